"""What --watch shows fits the terminal, whatever its size and whatever there is to show."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rich.cells import cell_len

from dpam_hpc.show import status as report
from dpam_hpc.show import watch
from dpam_hpc.show.run_screen import OneRun, screen
from dpam_hpc.show.status import RunStatus, TaskStatus

NAMES = ("n1", "\N{CJK UNIFIED IDEOGRAPH-4E2D}" * 30, "a\x1b[2Jb\nc", "[bold]x[/bold]" * 5)


STATES = ("running", "pending", "finished")


def many(count: int, *, done: int = 0) -> RunStatus:
    """A run of so many tasks, of which the last are finished and every third runs."""
    tasks = [
        TaskStatus(
            n, 400, 1000.0, done=400 if n >= count - done else 0, node=NAMES[n % 4], starts=n,
            state="finished" if n >= count - done else "pending" if n % 3 else "running",
            reason=NAMES[(n + 1) % 4], said={"busy_fraction": 1.0, "free_bytes": 123e9},
        )
        for n in range(count)
    ]  # fmt: skip
    return RunStatus("20261128-040000-abcd", NAMES[2], True, tasks, {}, count, 1e5, 1e6, 1e9)


@pytest.mark.parametrize("count", [0, 1, 5, 500])
@pytest.mark.parametrize("height", [3, 8, 12, 24, 60])
@pytest.mark.parametrize("width", [20, 48, 80, 200])
def test_no_line_is_too_long_and_none_too_many(width: int, height: int, count: int) -> None:
    status = many(count)
    status.problem = "what the scheduler says is not known: " + NAMES[1] * 3
    lines = screen(status, 0.0, 5.0, width, height).plain.split("\n")
    assert len(lines) <= height - 1
    assert max(cell_len(line) for line in lines) <= width
    assert all(line.isprintable() for line in lines)


def test_running_tasks_come_first_and_finished_ones_last() -> None:
    lines = screen(many(9, done=4), 0.0, 5.0, 80, 24).plain.split("\n")
    rows = [line.split()[:2] for line in lines[4:] if line.split()[1] in STATES]
    assert rows == [
        ["0", "running"], ["3", "running"], ["1", "pending"], ["2", "pending"], ["4", "pending"],
        *([str(n), "finished"] for n in range(5, 9)),
    ]  # fmt: skip
    lines = screen(many(500, done=400), 0.0, 5.0, 80, 24).plain.split("\n")
    (rest,) = [line for line in lines if line.startswith("and ")]
    shown = [line.split()[0] for line in lines[4:] if line.split()[1] in STATES]
    assert shown == [str(3 * n) for n in range(len(shown))]
    left = 34 - len(shown)
    assert rest == (f"and {500 - len(shown)} more tasks: 400 finished, 66 pending, {left} running")


def test_the_last_line_tells_when_it_was_looked_at() -> None:
    assert "looked at" in screen(many(500), 0.0, 5.0, 80, 24).plain.split("\n")[-1]
    assert "nothing is queued" in screen(many(3), 0.0, None, 80, 24).plain.split("\n")[-1]


def looks(*problems: str | None) -> Iterator[RunStatus]:
    """The same run again and again; a text: the scheduler is silent; None: nothing is queued."""
    for problem in problems:
        status = many(9)
        status.problem = problem or ""
        status.queued = 0 if problem is None or problem else 9
        yield status


def test_lines_are_written_where_something_changed_and_it_goes_on_where_slurm_is_silent() -> None:
    lines: list[str] = []
    found = looks("", "", "SLURM is silent", "SLURM is silent", "", "", None)
    last = watch.watch(lambda: [next(found)], watch.Lines(OneRun(), lines.append), 0.0)[0]
    assert last.queued == 0
    told = [line for line in lines if "targets done" in line]
    assert ["SLURM is silent" in line for line in told] == [False, True, False, False]
    assert lines[len(told) :] == report.remarks(last)
    assert next(found, None) is None


def test_what_is_finished_is_over_though_slurm_is_silent() -> None:
    status = many(9, done=9)
    status.problem = "SLURM is silent"
    assert watch.watch(lambda: [status], watch.Lines(OneRun(), lambda text: None), 60.0) == [status]
