"""Lengths of time as SLURM writes and takes them."""

from __future__ import annotations

import re

from dpam_hpc.errors import ConfigError

NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)


def clock(seconds: int) -> str:
    """A time as SLURM writes it: days-hours:minutes:seconds."""
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    text = f"{hours:02d}:{rest // 60:02d}:{rest % 60:02d}"
    return f"{days}-{text}" if days else text


def seconds(text: str) -> int:
    """Seconds of a time as SLURM takes it: minutes, m:s, h:m:s, d-h, d-h:m, d-h:m:s.

    0 if it is none, or no time at all: that would be no limit to SLURM.
    """
    days, dash, rest = text.strip().rpartition("-")
    parts = rest.split(":")
    given = ([days] if dash else []) + parts
    if len(parts) > 3 or not all(NUMBER.fullmatch(part) for part in given):
        return 0
    numbers = [int(part) for part in parts]
    if not dash and len(numbers) < 3:
        numbers.insert(0, 0)
    hours, minutes, rest_seconds = [*numbers, 0, 0][:3]
    return int(days or 0) * 86400 + hours * 3600 + minutes * 60 + rest_seconds


def parse_clock(text: str) -> int:
    """The same; ConfigError if it is no time."""
    total = seconds(text)
    if not total:
        raise ConfigError(f"{text!r} is no time", "as SLURM writes it: 48:00:00, 2-00:00:00, 90")
    return total
