"""The verbs ``status``, ``cancel`` and ``logs`` of a submitted run."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpam_hpc.cli.options import path_argument, path_option
from dpam_hpc.errors import ConfigError, SchedulerError

if TYPE_CHECKING:
    from dpam_hpc.report.status import RunStatus
    from dpam_hpc.run_dir import RunDir

WATCH_EVERY = 5.0
LOG_LINES = 40


def status(
    work_dir: Annotated[Path | None, path_argument("dpam's working folder; default: here.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until it ends.")] = False,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Where the run that was submitted last stands."""
    from rich.console import Console

    from dpam_hpc.report import chain
    from dpam_hpc.report import status as report
    from dpam_hpc.run_dir import RunDir

    run = RunDir.latest(work_dir or Path())
    runs = RunDir.last(run.work_dir) if run.place else [run]
    console = Console(markup=False)  # names of nodes and folders may hold brackets
    while True:
        found = _look(runs)
        if json:
            print(chain.as_json(runs, found) if run.place else report.as_json(found[0]))
        else:
            if watch and console.is_terminal:
                console.clear()
            shown = chain.table(runs, found) if run.place else report.table(found[0])
            console.print(shown, highlight=False)
        if not watch or not any(each.queued for each in found):
            return
        time.sleep(WATCH_EVERY)


def cancel(
    work_dir: Annotated[Path | None, path_argument("dpam's working folder; default: here.")] = None,
) -> None:
    """End the jobs of the run that was submitted last; what is done stays done."""
    from dpam_hpc import trust
    from dpam_hpc.run_dir import RunDir
    from dpam_hpc.submit.platform_choice import scheduler_by_kind
    from dpam_hpc.target import OWN_FOLDER

    trust.check((work_dir or Path()) / OWN_FOLDER)
    run = RunDir.latest(work_dir or Path())
    runs = RunDir.last(run.work_dir)
    for each in runs:
        each.cancel()
    # The last first: what waits for another would begin as soon as that one ends.
    jobs = [job["job"] for each in reversed(runs) for job in each.jobs()]
    scheduler_by_kind(run.plan().scheduler, run.work_dir).cancel(jobs)
    print(f"run {run.chain}: {len(jobs)} jobs cancelled; dpam-hpc resume goes on with what is left")


def logs(
    what: Annotated[str, typer.Argument(help="A target's id or a task's number.")] = "",
    work_dir: Annotated[Path, path_option("dpam's working folder.", "--work-dir", "-C")] = Path(),
    lines: Annotated[int, typer.Option(help="How many lines of each log.")] = LOG_LINES,
) -> None:
    """The end of a task's log, or what is known of a target; of all tasks if none is named."""
    from dpam_hpc.run_dir import RunDir

    printed = False
    known = False
    last = RunDir.latest(work_dir)
    for run in RunDir.last(last.work_dir):
        number = _task_of(run, what)
        if what and number is None:
            continue
        known = True
        if number is not None and not what.isdecimal():
            print(f"{what} is in task {number}" + (f" of stage {run.place}" if run.place else ""))
            _print_records(run, number, what)
        for path in run.logs():
            if number is None or _is_of_task(run, path, number):
                printed = True
                print(f"==> {path} <==")
                text = path.read_text(errors="replace")
                print("\n".join(_printable(line) for line in text.splitlines()[-lines:]))
    if not known:
        raise ConfigError(f"run {last.chain} has no target and no task {what}")
    if not printed:
        print("nothing was logged yet")


def _task_of(run: RunDir, what: str) -> int | None:
    """The task that a number or a target's id means; None if the run has none such."""
    plan = run.plan()
    if what.isdecimal() and int(what) < len(plan.tasks):
        return int(what)
    if not what:
        return None
    return next(
        (n for n, t in enumerate(plan.tasks) if any(x == what for x, _ in run.targets(t))), None
    )


def _print_records(run: RunDir, number: int, target: str) -> None:
    for record in run.records(number):
        if record["target"] == target:
            facts = {k: v for k, v in record.items() if k not in ("target", "step", "sha256")}
            print("  " + _printable(", ".join(f"{k} {v}" for k, v in facts.items())))


def _is_of_task(run: RunDir, path: Path, number: int) -> bool:
    """Whether a log is the task's: an array's has the element in its name, others have all."""
    job, _, index = path.stem.partition("_")
    for submitted in run.jobs():
        if str(submitted["job"]) == job:
            return not index or int(submitted["first"]) + int(index) == number
    return not index


def _look(runs: list[RunDir]) -> list[RunStatus]:
    """Where runs stand; where the scheduler is silent what the folders alone tell, and that."""
    from dpam_hpc.report.chain import look
    from dpam_hpc.submit.platform_choice import scheduler_by_kind

    try:
        return look(runs, scheduler_by_kind(runs[0].plan().scheduler, runs[0].work_dir))
    except SchedulerError as error:
        found = look(runs, None)
        for each in found:
            each.problem = f"what the scheduler says is not known: {error.what}"
        print(f"dpam-hpc: {error.what}", file=sys.stderr)
        return found


def _printable(line: str) -> str:
    """Without what a terminal would take for a command: a log is anybody's text."""
    return "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in line)
