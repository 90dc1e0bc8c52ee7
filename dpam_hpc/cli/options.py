"""What several verbs have in common: kinds of options, groups, JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

PLAIN: Any = {
    "add_completion": False, "pretty_exceptions_enable": False, "rich_markup_mode": None
}  # fmt: skip
"""Of all groups and verbs: help as plain text, since rich takes longer to load than the rest."""

AsJson = Annotated[bool, typer.Option("--json", help="As JSON (docs/json.md).")]


def path_option(help_text: str, *names: str) -> Any:
    """An option that is a path, which is not looked at before it is used."""
    return typer.Option(*names, parser=Path, metavar="PATH", help=help_text)


def path_argument(help_text: str) -> Any:
    """An argument that is a path, which is not looked at before it is used."""
    return typer.Argument(parser=Path, metavar="PATH", help=help_text)


WorkDir = Annotated[Path | None, path_argument("dpam's working folder; default: here.")]
PlatformName = Annotated[
    str | None, typer.Option(help="auto, or a name of 'dpam-hpc platforms list'.")
]
DataDir = Annotated[Path | None, path_option("dpam's data folder, with ECOD70/.")]
Templates = Annotated[Path | None, path_option("A template bundle.")]
Account = Annotated[str | None, typer.Option(help="The account to be charged.")]
Partition = Annotated[str | None, typer.Option(help="The partition (queue).")]
NodeWait = Annotated[float, typer.Option(help="Seconds to wait for that node.")]
IsNode = Annotated[bool, typer.Option("--is-node", hidden=True)]


class Group(TyperGroup):
    """A verb that has verbs of its own."""

    def get_params(self, ctx: Any) -> Any:
        """The options; flags that are not given are off, not unknown: that would load pydantic."""
        params = super().get_params(ctx)
        for param in params:
            if param.name in ("help", "install_completion", "show_completion"):
                param.default = False
        return params


def group(help_text: str) -> typer.Typer:
    """A Group with this help."""
    return typer.Typer(cls=Group, help=help_text, no_args_is_help=True, **PLAIN)
