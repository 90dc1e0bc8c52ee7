"""The verbs ``status``, ``cancel`` and ``logs`` of a submitted run."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpam_hpc.cli.completing import target_ids
from dpam_hpc.cli.options import AsJson, WorkDir, path_option
from dpam_hpc.errors import ConfigError, SchedulerError
from dpam_hpc.printable import printable

if TYPE_CHECKING:
    from dpam_hpc.run_dir import RunDir
    from dpam_hpc.show.status import RunStatus

WATCH_EVERY = 5.0
LOG_LINES = 40


def status(
    work_dir: WorkDir = None,
    again: Annotated[bool, typer.Option("--watch", help="Again and again, until it ends.")] = False,
    every: Annotated[
        float, typer.Option(min=1, max=86400, help="Seconds between two looks of --watch.")
    ] = WATCH_EVERY,
    json: AsJson = False,
) -> None:
    """Where the run that was submitted last stands.

    --watch shows it live until none of its jobs is queued; on a dumb terminal, or into a file, a
    line whenever something changed; with --json a document a line. Ctrl-C stops watching, not the
    run (exit code 130).
    """
    from rich.console import Console

    from dpam_hpc.run_dir import RunDir
    from dpam_hpc.show import document, watch
    from dpam_hpc.show.chain import Chain
    from dpam_hpc.show.run_screen import OneRun

    run = RunDir.latest(work_dir or Path())
    runs = RunDir.last(run.work_dir) if run.place else [run]
    view: watch.View = Chain(runs) if run.place else OneRun()
    console = Console(markup=False)  # names of nodes and folders may hold brackets
    look = partial(_look, runs)
    if again and json:
        watch.watch(look, watch.JsonLines(view), every)
    elif again and console.is_terminal and not console.is_dumb_terminal:
        with watch.InPlace(view, console) as display:
            watch.watch(look, display, every)
    elif again:
        watch.watch(look, watch.Lines(view), every)
    else:
        found = look()
        if found[0].problem:
            print(f"dpam-hpc: {found[0].problem}", file=sys.stderr)
        if json:
            print(document.document(**view.content(found)))
        else:
            # A chain's lines name files, whose paths are to stay whole.
            console.print(view.table(found), highlight=False, soft_wrap=bool(run.place))


def cancel(
    work_dir: WorkDir = None,
    json: AsJson = False,
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
    if json:
        from dpam_hpc.show.document import document

        print(document(run=run.chain, jobs=jobs))
        return
    print(f"run {run.chain}: {len(jobs)} jobs cancelled; dpam-hpc resume goes on with what is left")


def logs(
    what: Annotated[
        str,
        typer.Argument(help="A target's id or a task's number.", autocompletion=target_ids),
    ] = "",
    work_dir: Annotated[Path, path_option("dpam's working folder.", "--work-dir", "-C")] = Path(),
    lines: Annotated[int, typer.Option(help="How many lines of each log.")] = LOG_LINES,
    json: AsJson = False,
) -> None:
    """The end of a task's log, or what is known of a target; of all tasks if none is named."""
    from dpam_hpc.run_dir import RunDir

    last = RunDir.latest(work_dir)
    places: list[tuple[RunDir, int | None]] = []
    for run in RunDir.last(last.work_dir):
        number = _task_of(run, what)
        if number is not None or not what:
            places.append((run, number))
    if not places:
        raise ConfigError(f"run {last.chain} has no target and no task {what}")
    target = "" if not what or what.isdecimal() else what
    if json:
        from dpam_hpc.show.document import document, line

        for run, number in places:
            told = document if len(places) == 1 else line
            print(told(**_logged(run, number, target, lines)))
        return
    printed = False
    for run, number in places:
        found = _logged(run, number, target, lines)
        if target:
            print(f"{target} is in task {number}" + (f" of stage {run.place}" if run.place else ""))
        for record in found["records"]:
            facts = {k: v for k, v in record.items() if k not in ("target", "step", "sha256")}
            print("  " + printable(", ".join(f"{k} {v}" for k, v in facts.items())))
        for log in found["logs"]:
            printed = True
            print(f"==> {log['file']} <==")
            print("\n".join(printable(text) for text in log["lines"]))
    if not printed:
        print("nothing was logged yet")


def _logged(run: RunDir, number: int | None, target: str, lines: int) -> dict[str, Any]:
    """What is known of a run, of a task, of a target in it."""
    records = []
    if target and number is not None:
        records = [record for record in run.records(number) if record["target"] == target]
    paths = [path for path in run.logs() if number is None or _is_of_task(run, path, number)]
    logs = [
        {"file": str(path), "lines": path.read_text(errors="replace").splitlines()[-lines:]}
        for path in paths
    ]
    return {"run": run.id, "target": target, "task": number, "records": records, "logs": logs}


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


def _is_of_task(run: RunDir, path: Path, number: int) -> bool:
    """Whether a log is the task's: an array's has the element in its name, others have all."""
    job, _, index = path.stem.partition("_")
    for submitted in run.jobs():
        if str(submitted["job"]) == job:
            return not index or int(submitted["first"]) + int(index) == number
    return not index


def _look(runs: list[RunDir]) -> list[RunStatus]:
    """Where runs stand; where the scheduler is silent what the folders alone tell, and that."""
    from dpam_hpc.show.status import look_at_all
    from dpam_hpc.submit.platform_choice import scheduler_by_kind

    try:
        return look_at_all(runs, scheduler_by_kind(runs[0].plan().scheduler, runs[0].work_dir))
    except SchedulerError as error:
        found = look_at_all(runs, None)
        for each in found:
            each.problem = f"what the scheduler says is not known: {error.what}"
        return found
