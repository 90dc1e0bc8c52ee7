"""``--watch``: look again and again until all is over; in place on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

from dpam_hpc.printable import printable
from dpam_hpc.show import document
from dpam_hpc.show.status import RunStatus

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.text import Text

Found = list[RunStatus]
"""What was submitted together: the stages of a chain, or one run."""
Display = Callable[[Found, float, float | None], None]
"""Shows what was found at a time, and when it will be looked at again (None: it is over)."""
REMARKS_SHOWN = 3
"""On a screen; lines elsewhere tell all."""


class View(Protocol):
    """How they are told of: ``run_screen.OneRun``, or ``chain.Chain``."""

    def one_line(self, found: Found) -> str:
        """Where they stand, on one line."""

    def remarks(self, found: Found) -> list[str]:
        """What else is to be said, a line each."""

    def table(self, found: Found) -> RenderableType:
        """The whole of it."""

    def screen(
        self, found: Found, looked: float, again: float | None, width: int, height: int
    ) -> Text:
        """As much as fits on a terminal of a size."""

    def content(self, found: Found) -> dict[str, Any]:
        """The same for programs."""


def left(found: Found) -> int:
    """Targets that a stage has still to do, but for those that failed before it.

    Of any stage: a later one has done what an earlier one was to do once more and did not.
    """
    failed = accumulate((each.failed for each in found), initial=0)
    return max(0, *(each.left - before for each, before in zip(found, failed, strict=False)))


def is_over(found: Found) -> bool:
    """Whether nothing is queued; where the scheduler is silent, whether nothing is left."""
    if found[0].problem:
        return left(found) == 0
    return not any(each.queued for each in found)


def watch(look: Callable[[], Found], show: Display, every: float) -> Found:
    """Look again and again until it is over; a scheduler that is silent is asked again."""
    while True:
        found, now = look(), time.time()
        again = None if is_over(found) else now + every
        show(found, now, again)
        if again is None:
            return found
        time.sleep(every)


class InPlace:
    """Rewrites one part of the terminal; use it in a ``with``."""

    def __init__(self, view: View, console: Console) -> None:
        from rich.live import Live

        self._view = view
        self._console = console
        self._live: Live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> InPlace:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, found: Found, looked: float, again: float | None) -> None:
        """Show it."""
        width, height = self._console.size
        shown = self._view.screen(found, looked, again, width, height)
        self._live.update(shown, refresh=True)


class Lines:
    """A line for each look at which something had changed."""

    def __init__(
        self, view: View, write: Callable[[str], None] = lambda text: print(text, flush=True)
    ) -> None:
        self._view = view
        self._write = write
        self._last: object = None

    def __call__(self, found: Found, looked: float, again: float | None) -> None:
        """Write it, if it differs from the last."""
        now = [
            (each.done, each.failed, each.problem, Counter(task.state for task in each.tasks))
            for each in found
        ]
        if now != self._last or again is None:
            told = f"; {found[0].problem}" if found[0].problem else ""
            self._write(f"{_clock(looked)} {self._view.one_line(found)}{told}")
        self._last = now
        if again is None:
            for remark in self._view.remarks(found):
                self._write(remark)


class JsonLines:
    """A document a look."""

    def __init__(self, view: View) -> None:
        self._view = view

    def __call__(self, found: Found, looked: float, again: float | None) -> None:
        """Print it."""
        print(document.line(**self._view.content(found)), flush=True)


def fitted(lines: Sequence[tuple[str, str]], width: int, height: int) -> Text:
    """Lines and their styles, cut to a terminal of a size; the cursor has the last line."""
    from rich.text import Text

    shown = Text(no_wrap=True, overflow="ellipsis")
    for number, (line, style) in enumerate(lines[: height - 1]):
        text = Text(printable(line, "?", kept=""), style)
        text.truncate(width, overflow="ellipsis")
        shown.append("\n" if number else "").append_text(text)
    return shown


def looked_at(looked: float, again: float | None) -> str:
    """The last line of a screen."""
    if again is None:
        return f"looked at {_clock(looked)}: nothing is queued any more"
    return f"looked at {_clock(looked)}, next at {_clock(again)}; Ctrl-C stops watching"


def _clock(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment))
