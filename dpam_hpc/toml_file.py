"""TOML texts as values: ValueError is all that goes wrong, whatever is in the text."""

from __future__ import annotations

import sys
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TOMLDecodeError = tomllib.TOMLDecodeError
LONGEST = 100_000
"""Characters: tomllib takes the square of time for a key of many parts."""
DEEPEST = 50
"""Tables in tables, and lists in lists: no file of ours has more than four."""
HIGHEST = 2**63


def loads(text: str) -> dict[str, Any]:
    """The content of a TOML text; ValueError, which is TOMLDecodeError where that has a line."""
    if len(text) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST} characters")
    try:
        content = tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    _check(content, DEEPEST)
    return content


def _check(value: Any, deeper: int) -> None:
    if not deeper:
        raise ValueError("it is nested too deep")
    if isinstance(value, int) and not -HIGHEST <= value < HIGHEST:
        raise ValueError("a number in it has more than 64 bits")
    if isinstance(value, str) and "\0" in value:
        raise ValueError("a text in it has a null character")
    for each in value if isinstance(value, list) else ():
        _check(each, deeper - 1)
    for key, each in value.items() if isinstance(value, dict) else ():
        _check(key, deeper)
        _check(each, deeper - 1)
