"""One run at a time in a working folder: a lock file that names its holder."""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from dpam_hpc.errors import LockedError

FILE_NAME = "run.lock"
HEARTBEAT = 60.0
HALF_MADE_TRIES = 20
HALF_MADE_WAIT = 0.1
STALE_AFTER = 600.0
"""Seconds without a heartbeat after which a holder on another machine is taken for dead."""


@dataclass(frozen=True)
class Holder:
    """Who holds the lock; ``started`` and ``boot`` tell a process from a later one of its pid."""

    host: str
    pid: int
    started: float
    boot: str
    token: str


class RunLock:
    """Held from construction to ``release``; ``beat`` now and then while it is held."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._me = Holder(
            socket.gethostname(),
            os.getpid(),
            psutil.Process().create_time(),
            _boot_id(),
            secrets.token_hex(8),
        )
        self.took_over: Holder | None = None
        self._last_beat = time.monotonic()
        while not self._create():
            holder = self._holder()
            if holder is not None and self._is_alive(holder):
                raise LockedError(
                    f"{folder.parent} is being worked on by another run: {holder.host}, process"
                    f" {holder.pid}",
                    f"wait for it or end it; if that machine is gone, remove {self._path}",
                )
            if holder is not None and self._take_away(holder):
                self.took_over = holder

    def _create(self) -> bool:
        """Make the lock file; False if there is one."""
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            file = os.open(self._path, flags, 0o644)
            try:
                os.write(file, json.dumps(asdict(self._me)).encode())
                self._identity = _identity(os.fstat(file))
            finally:
                os.close(file)  # held open it would cost an operation at each start of a program
        except FileExistsError:
            return False
        return True

    def _holder(self) -> Holder | None:
        """Who holds the lock; None if nobody does any more."""
        for _ in range(HALF_MADE_TRIES):
            try:
                return Holder(**json.loads(self._path.read_text()))
            except FileNotFoundError:
                return None
            except (OSError, ValueError, TypeError) as error:
                problem = error
                time.sleep(HALF_MADE_WAIT)  # it may be in the making
        raise LockedError(
            f"the lock file {self._path} cannot be read: {problem}",
            "remove it if no run is at work in this folder",
        )

    def _is_alive(self, holder: Holder) -> bool:
        if holder.host != self._me.host:
            return self._seconds_without_heartbeat() < STALE_AFTER
        if holder.boot != self._me.boot:
            return False
        with suppress(psutil.Error):
            started: float = psutil.Process(holder.pid).create_time()
            return abs(started - holder.started) < 1.0
        return False

    def _seconds_without_heartbeat(self) -> float:
        """By the file server's clock, which need not be this machine's."""
        probe = self._path.with_name(f".{FILE_NAME}.{self._me.token}.now")
        try:
            probe.touch()
            return probe.stat().st_mtime - self._path.stat().st_mtime
        except FileNotFoundError:
            return STALE_AFTER
        finally:
            probe.unlink(missing_ok=True)

    def _take_away(self, dead: Holder) -> bool:
        """Remove a dead run's lock; only one of several who try succeeds."""
        aside = self._path.with_name(f".{FILE_NAME}.{dead.token}.dead")
        try:
            os.rename(self._path, aside)
        except FileNotFoundError:
            return False
        try:
            taken = Holder(**json.loads(aside.read_text()))
        except (OSError, ValueError, TypeError):
            taken = dead
        if taken.token != dead.token:  # somebody was quicker, and this is their new lock
            with suppress(FileExistsError):
                os.link(aside, self._path)
        aside.unlink(missing_ok=True)
        return taken.token == dead.token

    def beat(self) -> None:
        """Show that this run is alive; cheap to call often."""
        if time.monotonic() - self._last_beat > HEARTBEAT:
            self._last_beat = time.monotonic()
            with suppress(OSError):
                os.utime(self._path)

    def release(self) -> None:
        """Give the folder back, if it is still ours."""
        with suppress(OSError):
            if _identity(os.stat(self._path)) == self._identity:
                os.unlink(self._path)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
