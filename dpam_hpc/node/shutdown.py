"""Signals become an orderly end: no new work, a grace for what runs, then the end of all groups."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from types import FrameType

DRAIN = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Shutdown:
    """While it is entered, the first signal asks for an end and a second SIGINT ends at once.

    ``wakeup`` becomes readable when a signal arrives, or at ``wake``, for whoever waits in a
    selector. A library user who handles signals alone does not enter it.
    """

    def __init__(self) -> None:
        self.reason = ""
        self.at_once = False
        self.wakeup, self._notify = socket.socketpair()
        self.wakeup.setblocking(False)
        self._notify.setblocking(False)
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Shutdown:
        for number in DRAIN:
            self._before[number] = signal.signal(number, self._on_signal)
        self._wakeup_before = signal.set_wakeup_fd(self._notify.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def close(self) -> None:
        """Close the sockets."""
        self.wakeup.close()
        self._notify.close()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.reason and number == signal.SIGINT:
            self.at_once = True
        self.reason = self.reason or signal.Signals(number).name

    def ask(self, reason: str, *, at_once: bool = False) -> None:
        """Ask for an end as a signal does, from any thread."""
        self.reason = self.reason or reason
        self.at_once = self.at_once or at_once
        self.wake()

    def wake(self) -> None:
        """Wake the waiting loop from another thread."""
        with suppress(OSError):  # full: it will wake anyhow
            os.write(self._notify.fileno(), b"\0")

    def drain_wakeups(self) -> None:
        """Forget the wake-ups so far."""
        with suppress(OSError):
            while self.wakeup.recv(4096):
                pass
