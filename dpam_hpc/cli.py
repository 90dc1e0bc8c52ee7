"""The command line: verbs that parse, call and print; one handler turns errors into exit codes."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dpam_hpc import __version__
from dpam_hpc.errors import DpamHpcError, ExitCode

app = typer.Typer(
    name="dpam-hpc",
    help="Exact iterative DALI for domain parsing, on one machine and on clusters.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
bundle_app = typer.Typer(help="Template bundles: all templates imported, in one file.")
dali_app = typer.Typer(help="The DALI programs.")
app.add_typer(bundle_app, name="bundle", no_args_is_help=True)
app.add_typer(dali_app, name="dali", no_args_is_help=True)


def _path_option(help_text: str, *names: str) -> Any:
    """An option that is a path, which is not looked at before it is used."""
    return typer.Option(*names, parser=Path, metavar="PATH", help=help_text)


def _path_argument(help_text: str) -> Any:
    return typer.Argument(parser=Path, metavar="PATH", help=help_text)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"dpam-hpc {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command()
def run(
    work_dir: Annotated[
        Path | None, _path_argument("dpam's working folder; default: here.")
    ] = None,
    data_dir: Annotated[Path | None, _path_option("dpam's data folder, with ECOD70/.")] = None,
    targets: Annotated[Path | None, _path_option("A file of target ids, one a line.")] = None,
    target: Annotated[list[str] | None, typer.Option(help="A target id; again for more.")] = None,
    aligner: Annotated[str | None, typer.Option(help="dali, tmalign or a plug-in's.")] = None,
    dali_home: Annotated[Path | None, _path_option("DaliLite.v5's folder.")] = None,
    templates: Annotated[Path | None, _path_option("A template bundle.")] = None,
    scratch_dir: Annotated[Path | None, _path_option("Where to work; else chosen.")] = None,
    min_free_gb: Annotated[
        float | None, typer.Option(help="Free scratch under which no work starts.")
    ] = None,
    cpus: Annotated[int | None, typer.Option(help="Processors to use.")] = None,
    dali_workers: Annotated[
        int | None, typer.Option(help="Workers; default min(4 x cpus, 64).")
    ] = None,
    retry_failed: Annotated[
        bool | None, typer.Option("--retry-failed", help="Earlier failures once more.")
    ] = None,
    redo: Annotated[bool | None, typer.Option("--redo", help="Everything again.")] = None,
    fix_long_chains: Annotated[
        bool | None,
        typer.Option("--fix-long-chains", help="Keep segments at index 1000 and up."),
    ] = None,
    dpam_state: Annotated[
        bool | None, typer.Option("--dpam-state", help="Write dpam's state files too.")
    ] = None,
    grace: Annotated[
        float | None, typer.Option(help="Seconds for running work after a signal.")
    ] = None,
    time_limit_factor: Annotated[
        float | None, typer.Option(help="Scales the time limits on programs.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The summary as JSON.")] = False,
    show_settings: Annotated[
        bool, typer.Option("--show-settings", help="Print every setting and its source; stop.")
    ] = False,
) -> None:
    """Align targets with their candidates by iterative DALI; leave the hits in WORK_DIR.

    Exit codes: 0 done, 2 usage, 3 done with failures, 4 no DALI, 5 another run is at work,
    6 no room, 7 bundle refused, 75 interrupted (the same command goes on).
    """
    from dpam_hpc import settings

    given = {
        "work_dir": work_dir, "data_dir": data_dir, "targets": targets, "target": target or None,
        "aligner": aligner, "dali_home": dali_home, "templates": templates,
        "scratch_dir": scratch_dir, "min_free_gb": min_free_gb, "cpus": cpus,
        "dali_workers": dali_workers, "retry_failed": retry_failed, "redo": redo,
        "fix_long_chains": fix_long_chains, "dpam_state": dpam_state, "grace": grace,
        "time_limit_factor": time_limit_factor,
    }  # fmt: skip
    resolved = settings.resolve(given)
    if show_settings:
        _print_settings(resolved.rows(), json)
        return
    raise typer.Exit(_run(resolved.settings, json))


def _run(run_settings: Any, json: bool) -> int:
    from dpam_hpc.node.launcher import IterativeDali
    from dpam_hpc.node.shutdown import Shutdown
    from dpam_hpc.report import summary
    from dpam_hpc.report.progress import ProgressDisplay
    from dpam_hpc.target import WorkFolder, chosen_targets, read_targets_file

    named = list(run_settings.target)
    if run_settings.targets:
        named = read_targets_file(run_settings.targets)
    targets = chosen_targets(WorkFolder.at(run_settings.work_dir), named)
    display = ProgressDisplay()
    shutdown = Shutdown()
    session = IterativeDali(
        run_settings, expected_targets=len(targets), shutdown=shutdown, on_tick=display
    )
    try:
        with shutdown, session:
            progress = session.run(targets)
    finally:
        display.close()
        shutdown.close()
    if json:
        print(summary.as_json(progress, shutdown.reason))
    else:
        from rich.console import Console

        summary.print_table(progress, Console())
    if shutdown.reason:
        print(f"interrupted by {shutdown.reason}; resume with: {_same_command()}", file=sys.stderr)
        return ExitCode.INTERRUPTED_TWICE if shutdown.at_once else ExitCode.INTERRUPTED
    if progress.failed or progress.failures or progress.earlier_failures:
        print(
            "some targets or templates failed: see the *.failures.tsv files beside the hits;"
            " --retry-failed tries them again",
            file=sys.stderr,
        )
        return ExitCode.FAILURES
    return ExitCode.DONE


def _same_command() -> str:
    import shlex

    # What --redo has begun is in the journal: with it everything would begin anew.
    return shlex.join(["dpam-hpc", *(word for word in sys.argv[1:] if word != "--redo")])


def _print_settings(rows: list[tuple[str, str, str]], json: bool) -> None:
    if json:
        import json as json_module

        names = ("name", "value", "source")
        print(json_module.dumps([dict(zip(names, row, strict=True)) for row in rows]))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("setting", "value", "from", box=None)
    for row in rows:
        table.add_row(*row)
    Console().print(table, highlight=False)


@bundle_app.command("build")
def bundle_build(
    ecod70_dir: Annotated[Path, _path_argument("The folder with the templates' PDB files.")],
    output: Annotated[Path, _path_option("The bundle to write.", "-o", "--output")],
    workers: Annotated[int | None, typer.Option(help="Default: one a processor.")] = None,
    dali_home: Annotated[Path | None, _path_option("DaliLite.v5's folder.")] = None,
    aligner: Annotated[str, typer.Option(help="dali, tmalign or a plug-in's.")] = "dali",
    scratch_dir: Annotated[Path | None, _path_option("Where to work; else chosen.")] = None,
) -> None:
    """Import every template of ECOD70_DIR once and write them into one file."""
    from dpam_hpc import settings
    from dpam_hpc.node.bundling import build
    from dpam_hpc.report.progress import CountDisplay

    resolved = settings.resolve(
        {"aligner": aligner, "dali_home": dali_home, "scratch_dir": scratch_dir}
    ).settings
    info, left_out = build(ecod70_dir, output, workers or resolved.cpus, resolved, CountDisplay())
    print(
        f"{output}: {info.templates} templates, {info.unusable} of them cannot be aligned,"
        f" {info.bytes / 1e6:.1f} MB"
    )
    if left_out:
        print(f"{left_out} templates were left out: their import crashed", file=sys.stderr)
        raise typer.Exit(ExitCode.FAILURES)


@bundle_app.command("info")
def bundle_info(
    file: Annotated[Path, _path_argument("A template bundle.")],
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """What a bundle holds and what made it."""
    from dataclasses import asdict

    from dpam_hpc.bundle import Bundle

    info = asdict(Bundle(file).info())
    if json:
        import json as json_module

        print(json_module.dumps(info))
        return
    for name, value in info.items():
        print(f"{name:12} {value}")


@bundle_app.command("verify")
def bundle_verify(
    file: Annotated[Path, _path_argument("A template bundle.")],
    data_dir: Annotated[
        Path | None, _path_option("Compare with the PDB files in ECOD70/ too.")
    ] = None,
) -> None:
    """Read a whole bundle and compare every checksum; exit code 7 if one differs."""
    from dpam_hpc.bundle import Bundle

    bundle = Bundle(file)
    problems = list(bundle.verify())
    if data_dir is not None:
        problems += bundle.differing(data_dir / "ECOD70", bundle.templates())
    for problem in problems:
        print(problem)
    if problems:
        print(f"{file}: {len(problems)} templates are not sound", file=sys.stderr)
        raise typer.Exit(ExitCode.BUNDLE)
    print(f"{file}: {bundle.info().templates} templates, all sound")


@dali_app.command("check")
def dali_check(
    dali_home: Annotated[Path | None, _path_option("DaliLite.v5's folder.")] = None,
) -> None:
    """Prove DALI on a known pair, to the byte; exit code 4 if it fails."""
    import tempfile

    from dpam_hpc import settings
    from dpam_hpc.align.dali import install
    from dpam_hpc.align.dali.aligner import DaliAligner

    home = settings.resolve({"dali_home": dali_home}).settings.dali_home
    options = {"dali_home": str(home or "")}
    fingerprint = DaliAligner.fingerprint(options)
    with tempfile.TemporaryDirectory() as folder:
        DaliAligner.prove(options, Path(folder) / "proof")
    programs = install.find(options["dali_home"])
    print(f"DALI in {programs} gives the known answer to the byte (import {fingerprint[:12]})")


class _StandardError(logging.Handler):
    """Messages on what standard error is at the time: a progress display moves aside for them."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


def main() -> None:
    """Entry point of the command ``dpam-hpc``."""
    logging.basicConfig(format="%(message)s", level=logging.INFO, handlers=[_StandardError()])
    try:
        app()
    except DpamHpcError as error:
        print(f"dpam-hpc: {error.what}", file=sys.stderr)
        if error.hint:
            print(f"  -> {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)
