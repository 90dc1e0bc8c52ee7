"""The verb ``run``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpam_hpc.cli.completing import target_ids
from dpam_hpc.cli.options import AsJson, DataDir, Templates, WorkDir, path_option
from dpam_hpc.errors import ExitCode

if TYPE_CHECKING:
    from dpam_hpc.node.station import Station


def run(
    work_dir: WorkDir = None,
    data_dir: DataDir = None,
    targets: Annotated[Path | None, path_option("A file of target ids, one a line.")] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(help="A target id; again for more.", autocompletion=target_ids),
    ] = None,
    aligner: Annotated[str | None, typer.Option(help="dali, tmalign or a plug-in's.")] = None,
    dali_home: Annotated[Path | None, path_option("DaliLite.v5's folder.")] = None,
    templates: Templates = None,
    scratch_dir: Annotated[Path | None, path_option("Where to work; else chosen.")] = None,
    min_free_gb: Annotated[
        float | None, typer.Option(help="Free scratch under which no work starts.")
    ] = None,
    cpus: Annotated[int | None, typer.Option(help="Processors to use.")] = None,
    dali_workers: Annotated[
        int | None, typer.Option(help="Workers; default min(4 x cpus, 64), or cpus if more.")
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
    json: AsJson = False,
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
    raise typer.Exit(_run(resolved.settings, resolved.sources, json))


def _run(run_settings: Any, sources: dict[str, str], json: bool) -> int:
    from dpam_hpc.node.launcher import IterativeDali
    from dpam_hpc.node.shutdown import Shutdown
    from dpam_hpc.node.task import refuse_beside_tasks
    from dpam_hpc.show import summary
    from dpam_hpc.show.progress import ProgressDisplay
    from dpam_hpc.target import WorkFolder, chosen_targets, read_targets_file

    refuse_beside_tasks(run_settings.work_dir)
    named = list(run_settings.target)
    if run_settings.targets:
        named = read_targets_file(run_settings.targets)
    targets = chosen_targets(WorkFolder.at(run_settings.work_dir), named)
    display = ProgressDisplay()
    shutdown = Shutdown()
    session = IterativeDali(
        run_settings,
        expected_targets=len(targets),
        shutdown=shutdown,
        on_tick=display,
        station=_station(run_settings.work_dir.absolute(), {"sources": sources}),
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


def _station(work_dir: Path, about: Mapping[str, Any]) -> Station:
    """A run's, with scratch tried as a probe of this machine has measured, if there is one."""
    from dpam_hpc.node.scratch import CANDIDATES
    from dpam_hpc.node.station import Station
    from dpam_hpc.probe.keeping import any_kept

    if not any_kept():
        return Station.of_run(work_dir, about)
    from dpam_hpc.probe import choosing

    order = choosing.for_this_machine(CANDIDATES)
    for remark in order.remarks:
        print(f"scratch: {remark}", file=sys.stderr)
    return Station.of_run(work_dir, about, order.candidates, order.by)


def _same_command() -> str:
    import shlex

    # What --redo has begun is in the journal: with it everything would begin anew.
    return shlex.join(["dpam-hpc", *(word for word in sys.argv[1:] if word != "--redo")])


def _print_settings(rows: list[tuple[str, str, str]], json: bool) -> None:
    if json:
        from dpam_hpc.show.document import document

        names = ("name", "value", "source")
        print(document(settings=[dict(zip(names, row, strict=True)) for row in rows]))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("setting", "value", "from", box=None)
    for row in rows:
        table.add_row(*row)
    Console(markup=False).print(table, highlight=False)  # paths may hold brackets
