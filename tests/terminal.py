"""A terminal for commands that show or ask something: a pseudo-terminal and what is seen on it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pexpect
import pyte

from tests.conftest import COMMAND


class Screen(pyte.Screen):
    """Counts lines that were too long, and lines that were pushed out at the top."""

    wrapped = 0
    pushed_out = 0

    def draw(self, data: str) -> None:
        for character in data:
            self.wrapped += self.cursor.x == self.columns
            super().draw(character)

    def index(self) -> None:
        self.pushed_out += self.cursor.y == self.lines - 1
        super().index()


class Terminal:
    """A command on a terminal of 80x24, or of another size; use it in a ``with``."""

    def __init__(
        self,
        *arguments: str | Path,
        env: Mapping[str, str],
        rows: int = 24,
        columns: int = 80,
        kind: str = "xterm",
    ) -> None:
        self.screen = Screen(columns, rows)
        self.raw = b""
        self._stream = pyte.ByteStream(self.screen)
        argv = [*COMMAND, *map(str, arguments)]
        known = {k: v for k, v in env.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
        self._child: Any = pexpect.spawn(
            argv[0], argv[1:], env={**known, "TERM": kind}, dimensions=(rows, columns), timeout=60
        )

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.close(force=True)

    @property
    def lines(self) -> list[str]:
        """What is seen, without the empty lines below."""
        seen = [line.rstrip() for line in self.screen.display]
        while seen and not seen[-1]:
            seen.pop()
        return seen

    @property
    def text(self) -> str:
        """All that was written, as text."""
        return self.raw.decode().replace("\r\n", "\n")

    def until(self, text: str, within: float = 30) -> None:
        """Wait until a text is on the screen."""
        end = time.monotonic() + within
        while not any(text in line for line in self.lines):
            if not self._read() or time.monotonic() > end:
                seen = "\n".join(self.lines)
                raise AssertionError(f"{text!r} did not come; on the screen:\n{seen}")

    def send(self, text: str) -> None:
        """Type something."""
        self._child.send(text)

    def answer(self, question: str, text: str) -> None:
        """Wait for a question at the end of what was written, and type the answer."""
        end = time.monotonic() + 30
        while question not in self.text.rpartition("\n")[2]:
            if not self._read() or time.monotonic() > end:
                raise AssertionError(f"{question!r} was not asked:\n{self.text}")
        self.raw += b"\n"  # what was asked is behind us
        self.send(f"{text}\r")

    def end(self) -> int:
        """Read to the end; the exit code."""
        while self._read():
            pass
        self._child.close()
        assert self._child.exitstatus is not None, self._child.signalstatus
        return int(self._child.exitstatus)

    def _read(self) -> bool:
        """Read what there is; False at the end."""
        try:
            part = self._child.read_nonblocking(65536, 0.5)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += part
        self._stream.feed(part)
        return True
