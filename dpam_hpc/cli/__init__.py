"""The command line: verbs that parse, call and print; one handler turns errors into exit codes."""

from __future__ import annotations

import io
import logging
import sys
from typing import Annotated

import typer

from dpam_hpc import __version__
from dpam_hpc.cli import bundle, dali, image, platforms
from dpam_hpc.cli.doctor import doctor
from dpam_hpc.cli.init import init
from dpam_hpc.cli.launch import launch
from dpam_hpc.cli.probe import probe
from dpam_hpc.cli.run import run
from dpam_hpc.cli.status import cancel, logs, status
from dpam_hpc.cli.submit import resume, submit
from dpam_hpc.errors import DpamHpcError, ExitCode

app = typer.Typer(
    name="dpam-hpc",
    help="Exact iterative DALI for domain parsing, on one machine and on clusters.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command()(init)
app.command()(doctor)
app.command()(probe)
app.command()(submit)
app.command()(status)
app.command()(resume)
app.command()(cancel)
app.command()(logs)
app.command(hidden=True)(launch)
app.add_typer(bundle.app, name="bundle")
app.add_typer(dali.app, name="dali")
app.add_typer(image.app, name="image")
app.add_typer(platforms.app, name="platforms")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"dpam-hpc {__version__}")
        raise typer.Exit


def _help_all(context: typer.Context, wanted: bool) -> None:
    if wanted:
        for command in getattr(context.command, "commands", {}).values():
            command.hidden = False
        print(context.get_help())
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True)
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
        print(self.format(record), file=sys.stderr)


def main() -> None:
    """Entry point of the command ``dpam-hpc``."""
    logging.basicConfig(format="%(message)s", level=logging.INFO, handlers=[_StandardError()])
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no UTF-8
    try:
        app()
    except DpamHpcError as error:
        print(f"dpam-hpc: {error.what}", file=sys.stderr)
        if error.hint:
            print(f"  -> {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        # Wherever it comes from: a file system that is full, fails or is gone is no fault of ours.
        print(f"dpam-hpc: {error}", file=sys.stderr)
        print("  -> set it right, then start again: what is done is kept", file=sys.stderr)
        sys.exit(ExitCode.STORAGE)
