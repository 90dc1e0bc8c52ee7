"""In which line of a TOML text each key stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from dpam_hpc import toml_file

KeyPath = tuple[str, ...]

TOKEN = re.compile(
    r"""
    (?P<text> \"\"\" (?:\\.|[^\\])*? \"{3,5} | ''' .*? '{3,5}
            | " (?:\\.|[^"\\\n])* " | ' [^'\n]* ' | \#[^\n]* )
    | (?P<open> [\[{] ) | (?P<close> [\]}] ) | (?P<end> \n )
    """,
    re.VERBOSE | re.DOTALL,
)
"""What tells whether a value goes on in the next line."""


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line (from 1) of each key and table of ``text``, which must be valid TOML.

    Each statement is parsed by itself, so quoted and dotted keys and inline tables need no rules of
    their own.
    """
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for start, statement in _statements(text.replace("\r\n", "\n")):
        is_header = statement.lstrip().startswith("[")
        paths = _paths(toml_file.loads(statement))
        if is_header:
            table = paths[-1]
        for path in paths:
            lines.setdefault(path if is_header else table + path, start)
    return lines


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Statements, each with the line where it begins: no more is known of TOML than ``TOKEN``."""
    line, depth, start, begins_in = 1, 0, 0, 1
    for token in TOKEN.finditer(text):
        line += token[0].count("\n")
        depth += bool(token["open"]) - bool(token["close"])
        if token["end"] and not depth:
            yield begins_in, text[start : token.end()]
            start, begins_in = token.end(), line
    yield begins_in, text[start:]


def _paths(content: dict[str, Any], above: KeyPath = ()) -> list[KeyPath]:
    paths = []
    for key, value in content.items():
        paths.append((*above, key))
        if isinstance(value, dict):
            paths += _paths(value, (*above, key))
    return paths
