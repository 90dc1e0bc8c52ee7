"""Where a submitted run stands: by its journals, its tasks' notes, and one question to SLURM."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dpam_hpc.journal import DONE, FAILED, HELD
from dpam_hpc.run_dir import RunDir
from dpam_hpc.submit.scheduler import JobState, JobStatus, Scheduler

if TYPE_CHECKING:
    from rich.console import RenderableType

FRESH = 120.0
"""Seconds after which a task that says nothing of itself is no longer called running."""
TASKS_SHOWN = 40
NAMED = 5
"""Tasks that are named for a reason; of others how many there are."""
SAID_NOTHING = "its launcher could not say why; dpam-hpc logs has what the job printed"


@dataclass
class TaskStatus:
    """A task: what the scheduler says of its job, and what it has noted itself.

    ``held`` of those that are left wait for earlier steps of dpam's.
    """

    number: int
    targets: int
    predicted: float
    done: int = 0
    failed: int = 0
    with_failures: int = 0
    held: int = 0
    state: str = JobState.UNKNOWN.value
    reason: str = ""
    node: str = ""
    starts: int = 0
    said: dict[str, Any] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """Targets that are neither done nor failed."""
        return self.targets - self.done - self.failed


@dataclass
class RunStatus:
    """A run; times in seconds.

    ``wasted`` is CPU time of targets that interruptions left unfinished, as far as launchers that
    ended in order could tell.
    """

    run: str
    platform: str
    cancelled: bool
    tasks: list[TaskStatus]
    jobs: dict[str, int]
    queued: int
    pairs_per_second: float = 0.0
    seconds_left: float | None = None
    wasted: float = 0.0
    problem: str = ""

    @property
    def targets(self) -> int:
        """All targets."""
        return sum(task.targets for task in self.tasks)

    @property
    def done(self) -> int:
        """Targets whose record says so."""
        return sum(task.done for task in self.tasks)

    @property
    def failed(self) -> int:
        """Targets that failed as a whole."""
        return sum(task.failed for task in self.tasks)

    @property
    def with_failures(self) -> int:
        """Targets that failed, or are done with templates that failed."""
        return sum(task.failed + task.with_failures for task in self.tasks)

    @property
    def left(self) -> int:
        """Targets that are neither done nor failed."""
        return self.targets - self.done - self.failed


def look(run: RunDir, scheduler: Scheduler | None) -> RunStatus:
    """Read a run's folder and ask the scheduler, once; SchedulerError if it is silent.

    ``scheduler``: None looks at the folder alone.
    """
    return look_at_all([run], scheduler)[0]


def look_at_all(runs: Sequence[RunDir], scheduler: Scheduler | None) -> list[RunStatus]:
    """The same of several runs of one scheduler, which is asked once."""
    jobs = [job["job"] for run in runs for job in run.jobs()]
    known = scheduler.status(jobs) if scheduler is not None and jobs else []
    return [_look(run, known) for run in runs]


def _look(run: RunDir, known_of_all: Sequence[JobStatus]) -> RunStatus:
    plan = run.plan()
    tasks = [TaskStatus(n, task.targets, task.seconds) for n, task in enumerate(plan.tasks)]
    for number in run.started():
        if number < len(tasks):
            _read(run, tasks[number])
    submitted = run.jobs()
    jobs = {job["job"] for job in submitted}
    known = [status for status in known_of_all if status.job in jobs]
    _assign(tasks, submitted, known)
    states = Counter(status.state.value for status in known)
    status = RunStatus(
        run.id,
        plan.platform,
        run.is_cancelled,
        tasks,
        dict(states),
        sum(each.state.is_queued for each in known),
        wasted=sum(float(task.said.get("wasted", 0.0)) for task in tasks),
    )
    _predict(status, plan.cpus)
    return status


def _read(run: RunDir, task: TaskStatus) -> None:
    last: dict[str, tuple[str, bool]] = {}
    for record in run.records(task.number):
        last[record["target"]] = (record["state"], bool(record.get("failures")))
    task.done = sum(state == DONE for state, _ in last.values())
    task.failed = sum(state == FAILED for state, _ in last.values())
    task.held = sum(state == HELD for state, _ in last.values())
    task.with_failures = sum(state == DONE and bad for state, bad in last.values())
    task.said = run.progress(task.number)
    # Those that were found finished, by their markers, have no record in this run.
    task.done = min(task.targets - task.failed, task.done + int(task.said.get("found", 0)))
    task.node = str(task.said.get("node", ""))
    task.starts = int(task.said.get("restart", 0)) + 1 if task.said else 0


def _assign(
    tasks: list[TaskStatus], submitted: list[dict[str, Any]], known: list[JobStatus]
) -> None:
    """Tell every task what is known of the job, or the array's element, that has it."""
    first = {str(job["job"]): int(job["first"]) for job in submitted}
    count = {str(job["job"]): int(job["tasks"]) for job in submitted}
    for status in known:
        begin = first.get(status.job, 0)
        numbers = range(begin, begin + count.get(status.job, 0))
        if status.index is not None:
            numbers = range(begin + status.index, begin + status.index + 1)
        for number in numbers:
            if number < len(tasks):
                task = tasks[number]
                task.state, task.reason = status.state.value, status.reason
                task.node = status.nodes if len(numbers) == 1 and status.nodes else task.node
    for task in tasks:
        if task.left == 0:
            task.state = "finished"


def _predict(status: RunStatus, cpus: int) -> None:
    """Pairs a second of what runs now, and when the last task will end."""
    now = time.time()
    longest: float | None = None
    for task in status.tasks:
        said = task.said
        if task.left == 0:
            continue
        share = task.left / task.targets if task.targets else 0.0
        needed = task.predicted * share / cpus
        if said.get("state") == "running" and now - float(said.get("at", 0)) < FRESH:
            seconds = float(said.get("seconds") or 0.0)
            if seconds:
                status.pairs_per_second += float(said.get("pairs", 0)) / seconds
            worked = int(said.get("done", 0)) + int(said.get("failed", 0))
            if worked:
                needed = seconds / worked * task.left
        longest = max(longest or 0.0, needed)
    status.seconds_left = longest if status.queued else None


def one_line(status: RunStatus) -> str:
    """Where the run stands, on one line."""
    running = sum(task.state == JobState.RUNNING.value for task in status.tasks)
    parts = [
        f"{status.done}/{status.targets} targets done",
        f"{status.failed} failed",
        f"{running}/{len(status.tasks)} tasks running",
    ]
    if status.pairs_per_second:
        parts.append(f"{status.pairs_per_second:.1f} pairs/s")
    if status.seconds_left is not None:
        parts.append(f"{timedelta(seconds=round(status.seconds_left))} left")
    return ", ".join(parts)


def table(status: RunStatus) -> RenderableType:
    """Where the run stands, a row a task (of many those that are not finished first)."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    rows = Table(box=None, header_style="bold")
    for name in ("task", "state", "node", "starts", "done", "failed", "left", "busy", "scratch"):
        rows.add_column(name, justify="left" if name in ("state", "node") else "right")
    order = sorted(status.tasks, key=lambda task: (task.left == 0, task.number))
    for task in order[:TASKS_SHOWN]:
        said = task.said
        busy = f"{float(said['busy_fraction']):.0%}" if "busy_fraction" in said else ""
        free = f"{said['free_bytes'] / 1e9:.1f} GB" if said.get("free_bytes") else ""
        state = task.state + (f" ({task.reason})" if task.reason and task.left else "")
        rows.add_row(
            str(task.number), Text(state), task.node, str(task.starts or ""), str(task.done),
            str(task.failed), str(task.left), busy, free,
        )  # fmt: skip
    head = f"run {status.run} on {status.platform}" + (", cancelled" if status.cancelled else "")
    lines: list[Text | Table] = [Text(head), Text(one_line(status)), rows]
    if len(order) > TASKS_SHOWN:
        lines.append(Text(f"... and {len(order) - TASKS_SHOWN} more tasks (--json has all)"))
    lines += [Text(line) for line in remarks(status)]
    if status.problem:
        lines.append(Text(status.problem))
    return Group(*lines)


def remarks(status: RunStatus) -> list[str]:
    """What else is to be said of a run, a line each."""
    lines = []
    if status.wasted:
        lines.append(f"{status.wasted:.0f} CPU seconds lost by interruptions")
    if status.with_failures:
        lines.append(f"{status.with_failures} targets have failures: *.failures.tsv")
    lines += reasons(status.tasks)
    if status.left and not status.queued and not status.problem:
        lines.append("no job of it is known to be queued: dpam-hpc resume goes on")
    return lines


def reasons(tasks: list[TaskStatus]) -> list[str]:
    """Why tasks ended with targets left, a line for each reason."""
    told: dict[str, list[str]] = {}
    for task in tasks:
        if task.left and task.said.get("state") == "failed":
            told.setdefault(str(task.said.get("reason", "")), []).append(str(task.number))
        elif task.left > task.held and task.state == JobState.FAILED.value:
            told.setdefault(SAID_NOTHING, []).append(str(task.number))
    lines = []
    for reason, numbers in told.items():
        more = f" and {len(numbers) - NAMED} more" if len(numbers) > NAMED else ""
        lines.append(f"task {', '.join(numbers[:NAMED])}{more} failed: {reason}")
    return lines


def content(status: RunStatus) -> dict[str, Any]:
    """The status as JSON has it; docs/schemas/status.schema.json describes it."""
    told = asdict(status)
    told |= {
        "targets": status.targets, "done": status.done, "failed": status.failed,
        "left": status.left, "with_failures": status.with_failures,
    }  # fmt: skip
    for task in told["tasks"]:
        task["left"] = task["targets"] - task["done"] - task["failed"]
    return told
