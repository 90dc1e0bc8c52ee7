"""``status --watch``: a run's tasks in place on a terminal, lines of what changed elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from dpam_hpc.report import document
from dpam_hpc.report import status as report
from dpam_hpc.report.status import RunStatus, TaskStatus
from dpam_hpc.submit.scheduler import JobState

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

Display = Callable[[RunStatus, float, float | None], None]
"""Shows a run as it was at a time, and when it will be looked at again (None: it is over)."""

COLUMNS = (
    ("task", 6), ("state", 0), ("node", 12), ("starts", 6), ("done", 6), ("failed", 6), ("left", 6),
    ("busy", 5), ("scratch", 9),
)  # fmt: skip
"""Names and widths; the state has what is left of the line."""
TO_THE_LEFT = ("state", "node")
FIRST_TO_GO = ("scratch", "busy", "starts", "node")
"""On a narrow terminal."""
STATE_WIDTH = 10
REMARKS_SHOWN = 3
ORDER = (JobState.RUNNING, JobState.COMPLETING, JobState.SUSPENDED, JobState.HELD)
BAR = 20


def watch(look: Callable[[], RunStatus], show: Display, every: float) -> RunStatus:
    """Look again and again until nothing is queued; a scheduler that is silent is asked again."""
    while True:
        found, now = look(), time.time()
        over = found.left == 0 if found.problem else not found.queued
        show(found, now, None if over else now + every)
        if over:
            return found
        time.sleep(every)


class InPlace:
    """Rewrites one part of the terminal; use it in a ``with``."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._console = console
        self._live: Live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> InPlace:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, status: RunStatus, looked: float, again: float | None) -> None:
        """Show it."""
        size = self._console.size
        self._live.update(frame(status, looked, again, size.width, size.height), refresh=True)


class Lines:
    """A line for each look at which something had changed."""

    def __init__(self, write: Callable[[str], None] = lambda text: print(text, flush=True)) -> None:
        self._write = write
        self._last: tuple[object, ...] = ()

    def __call__(self, status: RunStatus, looked: float, again: float | None) -> None:
        """Write it, if it differs from the last."""
        now = (status.done, status.failed, status.problem, *sorted(_states(status.tasks).items()))
        if now != self._last or again is None:
            told = f"; {status.problem}" if status.problem else ""
            self._write(f"{_clock(looked)} {report.one_line(status)}{told}")
        self._last = now
        if again is None:
            for remark in report.remarks(status):
                self._write(remark)


def json_lines(status: RunStatus, looked: float, again: float | None) -> None:
    """A document a look."""
    print(document.line(**report.content(status)), flush=True)


def frame(status: RunStatus, looked: float, again: float | None, width: int, height: int) -> Text:
    """The run on a terminal of a size; no line is longer, there are no more lines."""
    from rich.text import Text

    share = (status.done + status.failed) / status.targets if status.targets else 1.0
    filled = int(BAR * share)
    states = _states(status.tasks)
    running = f"{states[JobState.RUNNING.value]} of {len(status.tasks)} tasks running"
    rate = f"{status.pairs_per_second:.1f} pairs/s"
    left = f", {timedelta(seconds=round(status.seconds_left))} left" if status.seconds_left else ""
    head = [
        f"run {status.run} on {status.platform}" + (", cancelled" if status.cancelled else ""),
        f"[{'#' * filled}{'.' * (BAR - filled)}] {100 * share:.1f} %:"
        f" {status.done} of {status.targets} targets done, {status.failed} failed",
        f"{running}, {rate}{left}",
    ]
    remarks = ([status.problem] if status.problem else []) + report.remarks(status)
    foot = remarks[:REMARKS_SHOWN]
    if again is None:
        foot.append(f"looked at {_clock(looked)}: nothing is queued any more")
    else:
        foot.append(f"looked at {_clock(looked)}, next at {_clock(again)}; Ctrl-C stops watching")
    room = max(0, height - 1 - len(head) - len(foot) - 1)  # 1 for the names of the columns
    order = sorted(status.tasks, key=_rank)
    if len(order) > room:
        room = max(0, room - 1)
        rest = ", ".join(f"{n} {state}" for state, n in _states(order[room:]).most_common())
        foot.insert(0, f"and {len(order) - room} more tasks: {rest}")
    lines = [(text, "") for text in head] + [(_row({}, width), "bold")]
    lines += [(_row(_cells(task), width), "") for task in order[:room]] + [(t, "") for t in foot]
    shown = Text(no_wrap=True, overflow="ellipsis")
    for number, (line, style) in enumerate(lines[: height - 1]):
        text = Text("".join(c if c.isprintable() else "?" for c in line), style)
        text.truncate(width, overflow="ellipsis")
        shown.append("\n" if number else "").append_text(text)
    return shown


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


def _clock(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment))
