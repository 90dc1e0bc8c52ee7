"""One run at a time in a folder: a lock file that names its holder, and is a lease by its age."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from dpam_hpc.errors import LockedError
from dpam_hpc.node.shared_fs import persistently

FILE_NAME = "run.lock"
HALF_MADE_TRIES = 20
HALF_MADE_WAIT = 0.1
TAKEOVER_TRIES = 50
TAKEOVER_WAIT = 0.1
PATIENT_WAIT = 1.0
ABANDONED_AFTER = 60.0


@dataclass(frozen=True)
class Lease:
    """How long a lock holds without news of its holder; all in seconds.

    A holder shows that it is alive every ``heartbeat``; one on another machine is taken for dead
    after ``stale_after``. Who finds the lock held waits for ``patience``.
    """

    heartbeat: float = 60.0
    stale_after: float = 600.0
    patience: float = 0.0


RUN_LEASE = Lease()
TOKEN = re.compile("[A-Za-z0-9]{1,64}")
"""It is part of the names of files."""
HIGHEST_PID = 2**31


@dataclass(frozen=True)
class Holder:
    """Who holds the lock; ``started`` and ``boot`` tell a process from a later one of its pid."""

    host: str
    pid: int
    started: int
    boot: str
    token: str
    pid_namespace: int = 0
    rank: int = 0
    net_namespace: int = 0


NOBODY = Holder("", 0, 0, "", "")


class RunLock:
    """Held from construction to ``release``; ``beat`` now and then while it is held.

    Of two holders the one of a higher ``rank`` takes over from a living one: the scheduler has
    started a task again, and what runs elsewhere is no more than a remainder.
    """

    def __init__(self, folder: Path, *, lease: Lease = RUN_LEASE, rank: int = 0) -> None:
        self._path = folder / FILE_NAME
        self._lease = lease
        self._me = _this_process(rank)
        # Ends with this process, however it ends, and is seen from other containers of the machine.
        self._sign_of_life = _show_life(self._me.token)
        self.took_over: Holder | None = None
        self._last_beat = time.monotonic()
        self._released = threading.Event()
        until = time.monotonic() + lease.patience
        while True:
            try:
                self._acquire()
                break
            except BaseException as error:
                if not isinstance(error, LockedError) or time.monotonic() >= until:
                    os.close(self._sign_of_life)
                    raise
                time.sleep(PATIENT_WAIT)
        with suppress(OSError):
            self._remove_remains()

    def _remove_remains(self) -> None:
        """Remove what those left who were killed while they tried to get the lock."""
        now = self._path.stat().st_mtime  # by the file server's clock
        for path in self._path.parent.glob(f".{FILE_NAME}.*"):
            if now - path.stat().st_mtime > ABANDONED_AFTER:
                path.unlink(missing_ok=True)

    def _acquire(self) -> None:
        holder = None
        for _ in range(TAKEOVER_TRIES):
            if self._create():
                return
            holder = self._holder()
            if holder is None:
                continue
            if _is_alive(holder, self._me, self._path, self._lease):
                break
            if self._replace(holder):
                self.took_over = holder
                return
            time.sleep(TAKEOVER_WAIT)
        raise LockedError(
            f"{self._path.parent.parent} is being worked on by another run: "
            + (f"{holder.host}, process {holder.pid}" if holder else "it is just starting"),
            f"wait for it or end it; if that machine is gone, remove {self._path}",
        )

    def _create(self) -> bool:
        """Make the lock file; False if there is one."""
        try:
            self._write(self._path)
        except FileExistsError:
            return False
        return True

    def _write(self, path: Path) -> None:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.write(file, json.dumps(asdict(self._me)).encode())
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(file)  # held open it would cost an operation at each start of a program

    def _holder(self) -> Holder | None:
        """Who holds the lock; None if nobody does any more."""
        for _ in range(HALF_MADE_TRIES):
            try:
                return self._read(self._path)
            except FileNotFoundError:
                return None
            except (OSError, ValueError, TypeError) as error:
                problem = error
                time.sleep(HALF_MADE_WAIT)  # it may be in the making
        if self._remove_empty():
            return None
        raise LockedError(
            f"the lock file {self._path} cannot be read: {problem}",
            "remove it if no run is at work in this folder",
        )

    def _remove_empty(self) -> bool:
        """Remove the lock of one who died between making and writing it; whether it was one."""
        # Where no second name can be made it is left to people.
        with suppress(OSError), self._right_over("empty") as right:
            if right is not None:
                found = right.stat()  # changed by its second name just now, by the server's clock
                if not found.st_size and found.st_ctime - found.st_mtime > ABANDONED_AFTER:
                    self._path.unlink(missing_ok=True)
                    return True
        return False

    @staticmethod
    def _read(path: Path) -> Holder:
        return holder_in(path.read_bytes())

    def _replace(self, dead: Holder) -> bool:
        """Put this run's lock in the place of a dead one's; of several who try one succeeds."""
        mine = self._path.with_name(f".{FILE_NAME}.{self._me.token}")
        with self._right_over(dead.token) as right:
            if right is None:
                return False
            try:
                if self._read(right).token != dead.token:
                    return False  # it is another's lock already, made since ours was read
                self._write(mine)
                os.rename(mine, self._path)
                return True
            except (ValueError, TypeError):
                return False  # another's lock, in the making
            finally:
                mine.unlink(missing_ok=True)

    @contextmanager
    def _right_over(self, dead: str) -> Iterator[Path | None]:
        """The right to put another lock in the place of a dead one, or None: had by one at a time.

        It is a second name of the dead lock, so there is no moment without a lock.
        """
        right = self._path.with_name(f".{FILE_NAME}.{dead}.dead")
        try:
            os.link(self._path, right)
        except FileNotFoundError:
            yield None
            return
        except FileExistsError:
            with suppress(FileNotFoundError):  # who had the right may have died of it
                if time.time() - right.stat().st_ctime > ABANDONED_AFTER:
                    right.unlink()
            yield None
            return
        try:
            yield right
        finally:
            right.unlink(missing_ok=True)

    def beat(self) -> None:
        """Show that this run is alive; cheap to call often."""
        if time.monotonic() - self._last_beat > self._lease.heartbeat:
            self._last_beat = time.monotonic()
            with suppress(OSError, ValueError, TypeError):
                if self._read(self._path).token == self._me.token:
                    os.utime(self._path)

    def is_lost(self) -> bool:
        """Whether another has taken the lock over; where that cannot be told, no."""
        try:
            return self._read(self._path).token != self._me.token
        except FileNotFoundError:
            return True
        except (OSError, ValueError, TypeError):
            return False

    def keep_alive(self, on_lost: Callable[[], None] = lambda: None) -> None:
        """Beat from now on, from a thread, whatever else this process is waiting for.

        ``on_lost`` is called from there, once, when another has taken the lock over.
        """

        def beat() -> None:
            while not self._released.wait(self._lease.heartbeat):
                if self.is_lost() and not self._released.is_set():
                    on_lost()
                    return
                self.beat()

        threading.Thread(target=beat, name="heartbeat", daemon=True).start()

    def release(self) -> None:
        """Give the folder back, if it is still ours."""
        self._released.set()
        with suppress(OSError, ValueError, TypeError):
            if persistently(lambda: self._read(self._path)).token == self._me.token:
                persistently(self._path.unlink)
        if self._sign_of_life >= 0:
            os.close(self._sign_of_life)
            self._sign_of_life = -1


def holder_in(text: bytes) -> Holder:
    """The holder that a lock file names; ValueError, TypeError if it is none or half made."""
    try:
        holder = Holder(**json.loads(text))
    except RecursionError:
        raise ValueError("it is no lock file") from None
    for name, value in asdict(holder).items():
        if type(value) is not type(getattr(NOBODY, name)):
            raise ValueError(f"{name} is {str(value)[:40]!r}")
    if not TOKEN.fullmatch(holder.token) or not 0 <= holder.pid < HIGHEST_PID:
        raise ValueError(f"token {holder.token[:40]!r}, process {str(holder.pid)[:40]}")
    return holder


def holder_at_work(folder: Path, lease: Lease = RUN_LEASE) -> Holder | None:
    """Who holds the lock of ``folder`` and is alive, as far as can be told from here."""
    path = folder / FILE_NAME
    try:
        holder = RunLock._read(path)
    except (OSError, ValueError, TypeError):
        return None
    return holder if _is_alive(holder, _this_process(0), path, lease) else None


def _this_process(rank: int) -> Holder:
    return Holder(
        socket.gethostname(),
        os.getpid(),
        started_at(os.getpid()),
        _boot_id(),
        secrets.token_hex(8),
        _namespace("pid"),
        rank,
        _namespace("net"),
    )


def _is_alive(holder: Holder, me: Holder, path: Path, lease: Lease) -> bool:
    if holder.rank < me.rank:
        return False
    if holder.host == me.host:
        if holder.boot != me.boot:
            return False
        if holder.pid_namespace == me.pid_namespace:
            return started_at(holder.pid) == holder.started
        if me.net_namespace and holder.net_namespace == me.net_namespace:
            return _shows_life(holder.token)  # a container, whose process numbers mean nothing here
    # Another machine, or a container with a network of its own.
    return _seconds_without_heartbeat(path, me.token, lease.stale_after) < lease.stale_after


def _seconds_without_heartbeat(path: Path, token: str, if_gone: float) -> float:
    """By the file server's clock, which need not be this machine's."""
    probe = path.with_name(f".{FILE_NAME}.{token}.now")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return if_gone
    finally:
        probe.unlink(missing_ok=True)


def started_at(pid: int) -> int:
    """When a process began, in ticks since the machine did (no clock is set); 0 if it ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] == "Z" else int(fields[19])


def _show_life(token: str) -> int:
    """Take a name that is in no file system and known all over this network namespace; OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as named:
        named.bind(f"\0dpam-hpc-{token}")
        return named.detach()


def _shows_life(token: str) -> bool:
    try:
        os.close(_show_life(token))
    except OSError:
        return True
    return False


def _namespace(kind: str) -> int:
    try:
        return os.stat(f"/proc/self/ns/{kind}").st_ino
    except OSError:
        return 0


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
