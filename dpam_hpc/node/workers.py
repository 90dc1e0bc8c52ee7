"""The worker processes as the launcher sees them: start, hand work, take answers, end."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dpam_hpc.node import messages
from dpam_hpc.node.work import Done, Prewarm, Setup, Unit

END_WITHIN = 5.0


class WorkerDied(Exception):
    """A worker ended without an answer; the text says how."""


@dataclass(frozen=True)
class Answer:
    """What came back for a unit: ``done``, or, where the worker died of it, how it ``died``."""

    unit: Unit | Prewarm
    done: Done | None
    died: str = ""


class WorkerHandle:
    """One worker process and what it is doing."""

    def __init__(self, setup: Setup, cwd: Path) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            # It works in scratch so that Python looks for modules in no folder of the user's.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dpam_hpc.node.worker", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self.socket = ours
        self.unit: Unit | Prewarm | None = None
        with suppress(OSError):  # one that is dead already says so at its first unit
            messages.send(ours, setup)

    def give(self, unit: Unit | Prewarm) -> None:
        """Hand over a unit."""
        self.unit = unit
        with suppress(OSError):  # its end of the socket is closed, which ``take`` will see
            messages.send(self.socket, unit)

    def take(self) -> Done:
        """The answer to the unit, which must be there; or WorkerDied."""
        try:
            done: Done = messages.receive(self.socket)
        except (EOFError, OSError):
            raise WorkerDied(self._how_it_ended()) from None
        self.unit = None
        return done

    def end(self) -> None:
        """End the worker and every program that it started."""
        with suppress(ProcessLookupError):  # the group exists only once the worker made it
            os.killpg(self._process.pid, signal.SIGKILL)
        if self._process.returncode is None:
            self._process.kill()
        self.socket.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_WITHIN)

    def _how_it_ended(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(1.0)
            if code < 0:
                return f"its worker was killed by signal {-code}"
            return f"its worker ended with exit status {code}"
        return "its worker closed the connection"


class Pool:
    """The workers of a run, started when there is work for them; one goes on after its unit."""

    def __init__(self, start: Callable[[int], WorkerHandle], wakeup: socket.socket) -> None:
        self._start = start
        self._started = 0
        self._workers: list[WorkerHandle] = []
        self._wakeup = wakeup
        self._selector = selectors.DefaultSelector()
        self._selector.register(wakeup, selectors.EVENT_READ)
        self.busy_seconds = 0.0

    def busy_with(self, kind: type[Unit] | type[Prewarm]) -> int:
        """How many workers are doing a unit of this kind."""
        return sum(isinstance(worker.unit, kind) for worker in self._workers)

    def give(self, unit: Unit | Prewarm) -> None:
        """Hand a unit to an idle worker, or to a new one."""
        worker = next((worker for worker in self._workers if worker.unit is None), None)
        if worker is None:
            worker = self._start(self._started)
            self._started += 1
            self._workers.append(worker)
            self._selector.register(worker.socket, selectors.EVENT_READ, worker)
        worker.give(unit)

    def wait(self, timeout: float) -> list[Answer]:
        """The answers that are there, after a wait for one, for a wake-up or for the time."""
        answers = []
        for key, _ in self._selector.select(timeout):
            if key.fileobj is self._wakeup:
                continue
            worker: WorkerHandle = key.data
            unit = worker.unit
            try:
                done = worker.take()
            except WorkerDied as death:
                self._lose(worker)
                if unit is not None:
                    answers.append(Answer(unit, None, str(death)))
                continue
            assert unit is not None
            if isinstance(unit, Unit):
                self.busy_seconds += done.seconds
            answers.append(Answer(unit, done))
        return answers

    def _lose(self, worker: WorkerHandle) -> None:
        self._selector.unregister(worker.socket)
        self._workers.remove(worker)
        worker.end()

    def end(self) -> None:
        """End all workers, whatever they are doing."""
        for worker in list(self._workers):
            self._lose(worker)
        self._selector.close()
