"""A run on a terminal of any size, as ``status --watch`` shows it: a row a task."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dpam_hpc.show import status as report
from dpam_hpc.show.status import RunStatus, TaskStatus
from dpam_hpc.show.watch import REMARKS_SHOWN, Found, fitted, looked_at
from dpam_hpc.submit.scheduler import JobState

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

COLUMNS = (
    ("task", 6), ("state", 0), ("node", 12), ("starts", 6), ("done", 6), ("failed", 6), ("left", 6),
    ("busy", 5), ("scratch", 9),
)  # fmt: skip
"""Names and widths; the state has what is left of the line."""
TO_THE_LEFT = ("state", "node")
FIRST_TO_GO = ("scratch", "busy", "starts", "node")
"""On a narrow terminal."""
STATE_WIDTH = 10
ORDER = (JobState.RUNNING, JobState.COMPLETING, JobState.SUSPENDED, JobState.HELD)
BAR = 20


class OneRun:
    """A run that is no chain's, to ``watch``."""

    def one_line(self, found: Found) -> str:
        """Where it stands."""
        return report.one_line(found[0])

    def remarks(self, found: Found) -> list[str]:
        """What else is to be said."""
        return report.remarks(found[0])

    def table(self, found: Found) -> RenderableType:
        """The whole of it."""
        return report.table(found[0])

    def screen(
        self, found: Found, looked: float, again: float | None, width: int, height: int
    ) -> Text:
        """As much as fits."""
        return screen(found[0], looked, again, width, height)

    def content(self, found: Found) -> dict[str, Any]:
        """The same for programs."""
        return report.content(found[0])


def screen(status: RunStatus, looked: float, again: float | None, width: int, height: int) -> Text:
    """The run on a terminal of a size; no line is longer, there are no more lines.

    ``looked``, ``again``: when it was looked at, and when it will be (None: it is over).
    """
    share = (status.done + status.failed) / status.targets if status.targets else 1.0
    filled = int(BAR * share)
    states = _states(status.tasks)
    running = f"{states[JobState.RUNNING.value]} of {len(status.tasks)} tasks running"
    rate = f", {status.pairs_per_second:.1f} pairs/s" if status.pairs_per_second else ""
    left = f", {timedelta(seconds=round(status.seconds_left))} left" if status.seconds_left else ""
    head = [
        f"run {status.run} on {status.platform}" + (", cancelled" if status.cancelled else ""),
        f"[{'#' * filled}{'.' * (BAR - filled)}] {100 * share:.1f} %:"
        f" {status.done} of {status.targets} targets done, {status.failed} failed",
        f"{running}{rate}{left}",
    ]
    remarks = ([status.problem] if status.problem else []) + report.remarks(status)
    foot = remarks[:REMARKS_SHOWN]
    foot.append(looked_at(looked, again))
    room = max(0, height - 1 - len(head) - len(foot) - 1)  # 1 for the names of the columns
    order = sorted(status.tasks, key=_rank)
    if len(order) > room:
        room = max(0, room - 1)
        rest = ", ".join(f"{n} {state}" for state, n in _states(order[room:]).most_common())
        foot.insert(0, f"and {len(order) - room} more tasks: {rest}")
    lines = [(text, "") for text in head] + [(_row({}, width), "bold")]
    lines += [(_row(_cells(task), width), "") for task in order[:room]] + [(t, "") for t in foot]
    return fitted(lines, width, height)


def _rank(task: TaskStatus) -> tuple[int, int]:
    """Running first, then what may run, what waits, what ended with targets left; finished last."""
    states = [state.value for state in ORDER]
    place = states.index(task.state) if task.state in states else len(states)
    return (len(states) + 1 if task.left == 0 else place, task.number)


def _states(tasks: list[TaskStatus]) -> Counter[str]:
    return Counter(task.state for task in tasks)


def _cells(task: TaskStatus) -> dict[str, str]:
    said = task.said
    return {
        "task": str(task.number),
        "state": task.state + (f" ({task.reason})" if task.reason and task.left else ""),
        "node": task.node,
        "starts": str(task.starts or ""),
        "done": str(task.done),
        "failed": str(task.failed),
        "left": str(task.left),
        "busy": f"{float(said['busy_fraction']):.0%}" if "busy_fraction" in said else "",
        "scratch": f"{said['free_bytes'] / 1e9:.1f} GB" if said.get("free_bytes") else "",
    }


def _row(cells: dict[str, str], width: int) -> str:
    """A line of the table; without cells that of their names."""
    from rich.text import Text

    columns = dict(COLUMNS)
    for name in FIRST_TO_GO:
        if _fixed(columns) + STATE_WIDTH > width:
            del columns[name]
    columns["state"] = max(STATE_WIDTH, width - _fixed(columns))
    parts = []
    for name, space in columns.items():
        cell = cells.get(name, "") if cells else name
        text = Text(cell if name in TO_THE_LEFT else cell.rjust(space))
        text.truncate(space, overflow="ellipsis", pad=True)
        parts.append(text.plain)
    return " ".join(parts).rstrip()


def _fixed(columns: dict[str, int]) -> int:
    return sum(columns.values()) + len(columns) - 1
