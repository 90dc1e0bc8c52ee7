"""The worker processes as the launcher sees them: start, hand work, take answers, end."""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dpam_hpc.errors import AlignerError
from dpam_hpc.node import messages
from dpam_hpc.node.run_lock import started_at
from dpam_hpc.node.work import Done, Prewarm, Setup, Unit

END_WITHIN = 5.0
SAID_WITHIN = 1.0
ANSWER_WITHIN = 10.0
BEGIN_WITHIN = 60.0
"""Seconds for the start of a nursery: a shared disk with Python on it may be slow."""
NURSERIES_TRIED = 3
LONGEST_ANSWER = 1 << 12
LOOK_AGAIN = 0.01


class WorkerDied(Exception):
    """A worker ended without an answer; the text says how."""


@dataclass(frozen=True)
class Answer:
    """What came back for a unit: ``done``, or, where the worker died of it, how it ``died``."""

    unit: Unit | Prewarm
    done: Done | None
    died: str = ""


class NurseryLost(Exception):
    """The process that starts workers is gone, or hangs; the text says which."""


class Nursery:
    """Starts the workers of a run, by a process that forks them and is replaced where it fails.

    Close it after the workers.
    """

    def __init__(self, aligner: str, cwd: Path) -> None:
        """``aligner``: where its class is defined; ``cwd``: a folder with no module of a user's."""
        self._aligner = aligner
        self._process = NurseryProcess(aligner, cwd)

    def start(self, cwd: Path) -> tuple[NurseryProcess, int, socket.socket]:
        """A new worker: its parent, its number and its socket; OSError, AlignerError."""
        problem = ""
        for _ in range(NURSERIES_TRIED):
            ours, theirs = socket.socketpair()  # anew: a worker of a lost process may have the last
            try:
                with theirs:
                    return self._process, self._process.fork(cwd, theirs), ours
            except NurseryLost as lost:
                ours.close()
                problem = str(lost)
                self._process.close()
                self._process = NurseryProcess(self._aligner, cwd)
            except OSError:
                ours.close()
                raise
        raise AlignerError(
            f"no worker can be started: the process that starts them {problem}",
            "what it said is on standard error; is there enough memory?",
        )

    def close(self) -> None:
        """End the process."""
        self._process.close()


class NurseryProcess:
    """The launcher's side of one process that forks workers (``nursery``)."""

    def __init__(self, aligner: str, cwd: Path) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._has_answered = False
        self._is_lost = False
        self._ended: dict[int, int] = {}
        with theirs:
            # It works in scratch so that Python looks for modules in no folder of the user's.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dpam_hpc.node.nursery", str(theirs.fileno()), aligner],
                pass_fds=(theirs.fileno(),),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )

    def fork(self, cwd: Path, connection: socket.socket) -> int:
        """The number of a new worker at the other end of ``connection``; OSError, NurseryLost."""
        until = time.monotonic() + (ANSWER_WITHIN if self._has_answered else BEGIN_WITHIN)
        try:
            self._socket.settimeout(ANSWER_WITHIN)
            socket.send_fds(self._socket, [os.fsencode(cwd)], [connection.fileno()])
        except OSError:
            self._is_lost = True
        kind, value = "ended", 0
        while kind == "ended":
            if self._is_lost:
                raise NurseryLost("ended")
            said = self._hear(until)
            if said is not None:
                kind, value = said
            elif not self._is_lost:
                self._is_lost = True
                raise NurseryLost("hangs")
        self._has_answered = True
        if kind == "failed":
            raise OSError(value, os.strerror(value), str(cwd))
        self._ended.pop(value, None)  # of an earlier worker with this number
        return value

    def how_ended(self, pid: int, within: float = 0.0) -> int | None:
        """The exit code of a worker as soon as it is known; None if it lives, or nobody knows."""
        until = time.monotonic() + within
        while pid not in self._ended and not self._is_lost:
            if self._hear(until) is None:
                break
        if pid in self._ended or not within:
            return self._ended.get(pid)
        # It ended and the one who should say so does not: that one hangs.
        self._is_lost = self._is_lost or not started_at(pid)
        while self._is_lost and started_at(pid) and time.monotonic() < until:
            time.sleep(LOOK_AGAIN)
        return None

    def _hear(self, until: float) -> tuple[str, int] | None:
        """The next thing said, workers' ends noted; None if there is none by ``until``, or ever."""
        self._socket.settimeout(max(0.0, until - time.monotonic()))
        try:
            content = self._socket.recv(LONGEST_ANSWER)
        except (TimeoutError, BlockingIOError):
            return None
        except OSError:
            content = b""
        if not content:
            self._is_lost = True
            return None
        kind, value, *code = json.loads(content)
        if code:
            self._ended[value] = code[0]
        return kind, value

    def close(self) -> None:
        """End the process; where it is lost, its workers are left at work."""
        if self._is_lost:
            self._process.kill()  # before its socket closes, at which it would end the workers
        self._socket.close()
        try:
            self._process.wait(END_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class WorkerHandle:
    """One worker process and what it is doing."""

    def __init__(self, setup: Setup, cwd: Path, nursery: Nursery) -> None:
        self._parent, self._pid, self.socket = nursery.start(cwd)
        self.unit: Unit | Prewarm | None = None
        with suppress(OSError):  # one that is dead already says so at its first unit
            messages.send(self.socket, setup)

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
        if self._parent.how_ended(self._pid) is None:  # else its number may be another's by now
            with suppress(ProcessLookupError):  # the group exists only once the worker made it
                os.killpg(self._pid, signal.SIGKILL)
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self.socket.close()
        self._parent.how_ended(self._pid, END_WITHIN)

    def _how_it_ended(self) -> str:
        code = self._parent.how_ended(self._pid, SAID_WITHIN)
        if code is None:
            return "its worker closed the connection"
        if code < 0:
            return f"its worker was killed by signal {-code}"
        return f"its worker ended with exit status {code}"


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
