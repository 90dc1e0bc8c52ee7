"""Values from records that anybody may have written: of their kind, and fit to be shown."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dpam_hpc.printable import printable

HIGHEST = 1e15
TEXT_LENGTH = 500
NAMES = 64
"""Of one record's table: steps, kinds of operations, classes of scores."""


def content(path: Path) -> bytes:
    """Of a file; OSError, also where it is a pipe, which would be waited for."""
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return path.read_bytes()


def number(record: Mapping[str, Any], name: str) -> float:
    """A number that can be reckoned with, none is negative; 0 if there is none."""
    value = record.get(name)
    if isinstance(value, (int, float)) and 0 <= value < HIGHEST:
        return float(value)
    return 0.0


def whole(record: Mapping[str, Any], name: str) -> int:
    """The same, as a whole number."""
    return int(number(record, name))


def text(value: object) -> str:
    """A text that is no command to a terminal or a browser; of a long one its beginning."""
    return printable(str(value)[:TEXT_LENGTH], kept="")


def counts(record: Mapping[str, Any], name: str) -> dict[str, float]:
    """A table of numbers."""
    found = record.get(name)
    if not isinstance(found, dict):
        return {}
    values = {text(key): number(found, key) for key in list(found)[:NAMES]}
    return {key: value for key, value in values.items() if value}


def table(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A table of texts and numbers, as they are."""
    found = record.get(name)
    if not isinstance(found, dict):
        return {}
    return {text(key): plain(value) for key, value in list(found.items())[:NAMES]}


def plain(value: object) -> Any:
    """A text, a number, a list of texts, or nothing."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        return value if abs(value) < HIGHEST else None
    if isinstance(value, list):
        return [text(each) for each in value[:NAMES]]
    return text(value)
