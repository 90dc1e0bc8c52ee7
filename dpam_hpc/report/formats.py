"""Numbers as people read them."""

from __future__ import annotations

import time


def duration(seconds: float) -> str:
    """A length of time, in two units at most."""
    if seconds < 60:
        return f"{seconds:.1f} s" if 0 < seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        whole, rest = divmod(round(seconds), 60)
        return f"{whole} min {rest} s" if rest else f"{whole} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def hours(seconds: float) -> str:
    """CPU or core seconds as hours."""
    value = seconds / 3600
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.3f}"


def size(number: float) -> str:
    """Bytes."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= unit:
            return f"{number / unit:.1f} {name}"
    return f"{number:.0f} bytes"


def count(number: float) -> str:
    """A whole number."""
    return f"{number:,.0f}"


def many(number: int, noun: str) -> str:
    """So many of them."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def percent(part: float, of: float) -> str:
    """A part of a whole."""
    if not of:
        return "-"
    value = 100 * part / of
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.1f} %"


def moment(seconds: float) -> str:
    """A time of day, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds)) if seconds else "-"


def decimal(number: float | None) -> str:
    """A score or a factor."""
    return "-" if number is None else f"{number:g}"
