"""What a run shows while it goes on: one display on a terminal, a plain line elsewhere."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from dpam_hpc.node.progress import Progress
from dpam_hpc.node.scratch import gb

if TYPE_CHECKING:
    from rich.live import Live

LINE_EVERY = 30.0
TERMINAL_EVERY = 0.5


class ProgressDisplay:
    """Call it with each Progress; it writes to standard error."""

    def __init__(self) -> None:
        self._live: Live | None = None
        self._begun = time.monotonic()
        self._last_line = self._begun
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()

    def __call__(self, progress: Progress) -> None:
        """Show where the run stands."""
        if self._live is not None:
            from rich.progress_bar import ProgressBar
            from rich.table import Table

            grid = Table.grid(padding=(0, 1))
            grid.add_row(
                ProgressBar(total=max(progress.targets, 1), completed=progress.finished, width=30),
                line(progress),
            )
            self._live.update(grid, refresh=True)
        elif time.monotonic() - self._last_line >= LINE_EVERY:
            self._last_line = time.monotonic()
            print(line(progress), file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()


class CountsOfStage:
    """The same for a stage of dpam's steps, which counts targets alone; always plain lines."""

    def __init__(self) -> None:
        self._last_line = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Say where the stage stands, not too often."""
        if time.monotonic() - self._last_line >= LINE_EVERY:
            self._last_line = time.monotonic()
            said = (
                f"{progress.finished}/{progress.targets} targets, {progress.busy} at work,"
                f" {progress.failed} failed, {progress.held} held back"
            )
            print(said, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing is to be put right."""


class CountDisplay:
    """Call it with how many of how many are done: it shows them now and then."""

    def __init__(self, what: str = "templates") -> None:
        self._what = what
        self._terminal = sys.stderr.isatty()
        self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Show the count, not too often."""
        now = time.monotonic()
        if now - self._last >= (TERMINAL_EVERY if self._terminal else LINE_EVERY):
            self._last = now
            end = "\r" if self._terminal else "\n"
            print(f"{done}/{total} {self._what}", file=sys.stderr, flush=True, end=end)


def line(progress: Progress) -> str:
    """Where the run stands, on one line."""
    rate = progress.pairs / progress.seconds if progress.seconds else 0.0
    parts = [
        f"{progress.finished}/{progress.targets} targets",
        f"{progress.pairs} pairs",
        f"{progress.hits} hits",
        f"{rate:.1f} pairs/s",
        f"{progress.busy}/{progress.workers} workers busy",
        f"scratch {gb(progress.free_bytes)} free",
    ]
    if progress.failures or progress.failed:
        parts.append(f"{progress.failed} targets and {progress.failures} templates failed")
    left = progress.seconds_left
    if left is not None:
        parts.append(f"{timedelta(seconds=round(left))} left")
    return ", ".join(parts)
