"""The verb ``launch``: what a job script calls on the node."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from dpam_hpc.cli.options import path_argument, path_option
from dpam_hpc.errors import ExitCode


def launch(
    run_dir: Annotated[Path, path_argument("A submitted run's folder.")],
    task: Annotated[int, typer.Option(help="Which of its tasks.")],
    job: Annotated[str, typer.Option(help="The scheduler's job id.")] = "",
    node: Annotated[str, typer.Option(help="The node's name.")] = "",
    restart: Annotated[int, typer.Option(help="How often the job was requeued.")] = 0,
    deadline: Annotated[
        float, typer.Option(help="When the job's time is up, seconds since 1970; 0: never.")
    ] = 0.0,
    scratch: Annotated[
        list[str] | None, typer.Option(help="A place for scratch; again for more, best first.")
    ] = None,
    last_resort: Annotated[
        Path | None, path_option("Where to work if no place for scratch will do.")
    ] = None,
    image: Annotated[
        Path | None, path_option("Where the image that it runs in can be read.")
    ] = None,
) -> None:
    """Work off one task of a submitted run on this node (called by its scripts).

    Exit codes: those of run; 75: interrupted, to be started again.
    """
    from rich.console import Console

    from dpam_hpc import trust
    from dpam_hpc.node.shutdown import Shutdown
    from dpam_hpc.node.task import Start, work_off
    from dpam_hpc.run_dir import RunDir
    from dpam_hpc.show import summary
    from dpam_hpc.show.progress import CountsOfStage, ProgressDisplay
    from dpam_hpc.target import OWN_FOLDER

    start = Start(job, node, restart, deadline or None, tuple(scratch or ()), last_resort, image)
    trust.check(RunDir(run_dir).work_dir / OWN_FOLDER)
    plan = RunDir(run_dir).plan()
    display = CountsOfStage() if plan.stage else ProgressDisplay()
    shutdown = Shutdown()
    print(f"task {task} of {run_dir.name} on {node or 'this machine'}, start {restart}", flush=True)
    try:
        with shutdown:
            progress = work_off(RunDir(run_dir), task, start, shutdown, display)
    finally:
        display.close()
        shutdown.close()
    if plan.stage is not None:
        print(
            f"{progress.done} targets done, {progress.failed} failed, {progress.held} held back,"
            f" {progress.skipped} done before; {progress.seconds:.0f} s"
        )
        for line in progress.failure_lines:
            print(line)
    else:
        summary.print_table(progress, Console())
    if shutdown.reason:
        print(f"interrupted by {shutdown.reason}", file=sys.stderr)
        raise typer.Exit(ExitCode.INTERRUPTED)
    if progress.failed or progress.held or progress.failures or progress.earlier_failures:
        raise typer.Exit(ExitCode.FAILURES)
