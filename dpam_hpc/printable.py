"""Anybody's text for a terminal."""

from __future__ import annotations


def printable(text: str, instead: str = "\N{REPLACEMENT CHARACTER}", kept: str = "\t") -> str:
    """Without what a terminal would take for a command; ``kept`` stays."""
    return "".join(c if c.isprintable() or c in kept else instead for c in text)
