"""A chain of stages: its plan, and where it stands; a row a stage, or JSON."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from dpam_hpc.node.failure_list import FILE_NAME
from dpam_hpc.pipeline.steps import DALI, STEPS, Stage, stage_name
from dpam_hpc.report import document, plan, status
from dpam_hpc.report.status import RunStatus
from dpam_hpc.run_dir import RunDir
from dpam_hpc.submit.scheduler import JobStatus, Scheduler

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from dpam_hpc.submit.prepared import Prepared

LISTS_SHOWN = 5


class _Asked:
    """What a scheduler said of all jobs of a chain, asked once."""

    def __init__(self, known: Sequence[JobStatus]) -> None:
        self._known = known

    def status(self, jobs: Sequence[str]) -> list[JobStatus]:
        return [each for each in self._known if each.job in jobs]


def look(runs: Sequence[RunDir], scheduler: Scheduler | None) -> list[RunStatus]:
    """Where each stage stands; the scheduler is asked once. SchedulerError."""
    jobs = [job["job"] for run in runs for job in run.jobs()]
    asked: Any = None
    if scheduler is not None:
        asked = _Asked(scheduler.status(jobs) if jobs else [])
    return [status.look(run, asked) for run in runs]


def left(found: Sequence[RunStatus]) -> int:
    """Targets that the last stage has still to do, but for those that failed before it."""
    return max(0, found[-1].left - sum(each.failed for each in found[:-1]))


def numbers_of(stage: Stage | None) -> tuple[int, ...]:
    """A stage's steps; None is step 7."""
    return stage.numbers if stage else (DALI,)


def one_line(found: Sequence[RunStatus]) -> str:
    """Where the chain stands, on one line."""
    working = next((each for each in found if each.left and each.queued), found[-1])
    return f"stage {found.index(working) + 1} of {len(found)}: {status.one_line(working)}"


def table(runs: Sequence[RunDir], found: Sequence[RunStatus]) -> RenderableType:
    """A row a stage, then what went wrong."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    rows = Table(box=None, header_style="bold")
    for name in ("stage", "steps", "jobs", "tasks", "done", "failed", "held back", "left"):
        rows.add_column(name, justify="left" if name in ("steps", "jobs") else "right")
    for run, each in zip(runs, found, strict=True):
        states = ", ".join(f"{count} {state}" for state, count in sorted(each.jobs.items()))
        rows.add_row(
            str(run.place), stage_name(run.plan().stage), Text(states or "not submitted"),
            str(len(each.tasks)), str(each.done), str(each.failed), str(_held(each)),
            str(each.left),
        )  # fmt: skip
    head = f"run {runs[0].chain} on {found[0].platform}, {len(runs)} stages"
    lines: list[Text | Table] = [Text(head + (", cancelled" if found[0].cancelled else "")), rows]
    for run, each in zip(runs, found, strict=True):
        lines += [Text(f"stage {run.place}: {line}") for line in status.reasons(each.tasks)]
    lists = failure_lists(runs)
    lines += [Text(f"what failed, and how to repeat it: {path}") for path in lists[:LISTS_SHOWN]]
    if len(lists) > LISTS_SHOWN:
        lines.append(Text(f"... and {len(lists) - LISTS_SHOWN} more such lists"))
    if any(each.left for each in found) and not any(each.queued for each in found):
        lines.append(Text("no job of it is known to be queued: dpam-hpc resume goes on"))
    lines += [Text(each.problem) for each in found[:1] if each.problem]
    return Group(*lines)


def show(
    runs: Sequence[RunDir],
    look_now: Callable[[], list[RunStatus]],
    console: Console,
    every: float | None,
    json: bool,
) -> None:
    """Print where a chain stands: once, or every so many seconds until nothing is queued.

    On a terminal the table is rewritten in place, elsewhere a line tells what changed.
    """
    from rich.live import Live

    in_place = every is not None and console.is_terminal and not console.is_dumb_terminal
    before = ""
    with (
        Live(console=console, auto_refresh=False)
        if in_place and not json
        else nullcontext() as live
    ):
        while True:
            found = look_now()
            problem = found[0].problem
            over = left(found) == 0 if problem else not any(each.queued for each in found)
            last = over or every is None
            if json:
                told = document.document if every is None else document.line
                print(told(**content(runs, found)), flush=True)
            elif live is not None:
                live.update(table(runs, found), refresh=True)
            elif last:
                console.print(table(runs, found), highlight=False)
            elif (line := one_line(found)) != before:
                before = line
                print(line, flush=True)
            if last:
                return
            assert every is not None
            time.sleep(every)


def failure_lists(runs: Sequence[RunDir]) -> list[str]:
    """The lists of failures that stages have left."""
    return [
        str(path)
        for run in runs
        for number in run.started()
        if (path := run.task_folder(number) / FILE_NAME).exists()
    ]


def as_json(runs: Sequence[RunDir], found: Sequence[RunStatus]) -> str:
    """The same for programs; docs/schemas/chain-status.schema.json describes it."""
    return document.document(**content(runs, found))


def content(runs: Sequence[RunDir], found: Sequence[RunStatus]) -> dict[str, Any]:
    """The same as values."""
    stages = [
        {
            "stage": stage_name(run.plan().stage), "steps": list(numbers_of(run.plan().stage)),
            "held": _held(each), **status.content(each),
        }
        for run, each in zip(runs, found, strict=True)
    ]  # fmt: skip
    return {
        "run": runs[0].chain,
        "platform": found[0].platform,
        "cancelled": found[0].cancelled,
        "queued": sum(each.queued for each in found),
        "done": found[-1].done,
        "failed": sum(each.failed for each in found),
        "left": left(found),
        "failure_lists": failure_lists(runs),
        "stages": stages,
    }


def print_plan(prepared: Sequence[Prepared]) -> None:
    """The plan of all stages as people read it."""
    for place, each in enumerate(prepared, 1):
        names = ", ".join(STEPS[number].name for number in numbers_of(each.stage))
        print(f"stage {place}: steps {stage_name(each.stage)}: {names}")
        plan.print_plan(each)


def plan_as_json(
    prepared: Sequence[Prepared],
    chain: str,
    jobs: Sequence[Sequence[str]] = (),
    scripts: Sequence[Mapping[str, str]] = (),
) -> str:
    """The plan for programs; docs/schemas/chain-plan.schema.json describes it."""
    stages = []
    for n, each in enumerate(prepared):
        stage: dict[str, Any] = {
            "stage": stage_name(each.stage),
            "steps": list(numbers_of(each.stage)),
        }
        if each.stage:
            stage |= {
                "cpus_a_target": each.stage.cpus, "memory_mb_a_target": each.stage.memory_mb,
                "targets_at_a_time": each.stage.at_once,
            }  # fmt: skip
        run = f"{chain}.s{n + 1}" if chain else ""
        own = jobs[n] if jobs else []
        stages.append({**stage, **plan.content(each, run, own, scripts[n] if scripts else None)})
    return document.document(run=chain, stages=stages)


def _held(each: RunStatus) -> int:
    return sum(task.held for task in each.tasks)
