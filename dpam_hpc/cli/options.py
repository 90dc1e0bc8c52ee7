"""Kinds of options that several verbs have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer


def path_option(help_text: str, *names: str) -> Any:
    """An option that is a path, which is not looked at before it is used."""
    return typer.Option(*names, parser=Path, metavar="PATH", help=help_text)


def path_argument(help_text: str) -> Any:
    """An argument that is a path, which is not looked at before it is used."""
    return typer.Argument(parser=Path, metavar="PATH", help=help_text)
