"""The command line: verbs that parse, call and print; one handler turns errors into exit codes."""

from __future__ import annotations

import io
import logging
import sys
from typing import Annotated

import typer

from dpam_hpc import __version__
from dpam_hpc.cli.verbs import Verbs
from dpam_hpc.errors import DpamHpcError, ExitCode
from dpam_hpc.printable import printable

PROGRAM = "dpam-hpc"

app = typer.Typer(
    name=PROGRAM,
    cls=Verbs,
    help="Exact iterative DALI for domain parsing, on one machine and on clusters.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"dpam-hpc {__version__}")
        raise typer.Exit


def _help_all(context: typer.Context, wanted: bool) -> None:
    if wanted:
        if isinstance(context.command, Verbs):
            context.command.show_hidden = True
        print(context.get_help())
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="The version."),
    ] = False,
    help_all: Annotated[
        bool,
        typer.Option(
            "--help-all", callback=_help_all, is_eager=True, help="With the verbs of job scripts."
        ),
    ] = False,
) -> None:
    pass


class _StandardError(logging.Handler):
    """Messages on what standard error is at the time: a progress display moves aside for them."""

    def emit(self, record: logging.LogRecord) -> None:
        _tell(self.format(record))


def _tell(text: str) -> None:
    """Lines on standard error, in which names of files and words of programs may stand."""
    print("\n".join(map(printable, text.split("\n"))), file=sys.stderr)


def main() -> None:
    """Entry point of the command ``dpam-hpc``."""
    logging.basicConfig(format="%(message)s", handlers=[_StandardError()])  # of others warnings
    logging.getLogger("dpam_hpc").setLevel(logging.INFO)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no UTF-8
    try:
        app(prog_name=PROGRAM)
    except DpamHpcError as error:
        _tell(f"dpam-hpc: {error.what}")
        if error.hint:
            _tell(f"  -> {error.hint}")
        sys.exit(error.exit_code)
    except OSError as error:
        # Wherever it comes from: a file system that is full, fails or is gone is no fault of ours.
        _tell(f"dpam-hpc: {error}")
        _tell("  -> set it right, then start again: what is done is kept")
        sys.exit(ExitCode.STORAGE)
