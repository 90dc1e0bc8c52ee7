"""In which line of a TOML text each key stands."""

from __future__ import annotations

import sys
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KeyPath = tuple[str, ...]


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line (from 1) of each key and table of ``text``, which must be valid TOML.

    A statement is what can be parsed by itself, so quoted and dotted keys, inline tables and
    values over several lines need no rules of their own.
    """
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    statement, start = "", 0
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if not statement:
            start = number
        statement += line + "\n"
        try:
            content = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue  # a value that goes on in the next line
        is_header = statement.lstrip().startswith("[")
        paths = _paths(content)
        if is_header:
            table = paths[-1]
        for path in paths:
            lines.setdefault(path if is_header else table + path, start)
        statement = ""
    return lines


def _paths(content: dict[str, Any], above: KeyPath = ()) -> list[KeyPath]:
    paths = []
    for key, value in content.items():
        paths.append((*above, key))
        if isinstance(value, dict):
            paths += _paths(value, (*above, key))
    return paths
