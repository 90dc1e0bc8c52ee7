"""A slow shared file system for tests and benchmarks: a folder passed through FUSE.

    python benchmarks/slowfs.py BACKING MOUNT [MOUNT...] --latency-ms 5 --data-latency-ms 2

Each MOUNT is a client node, with names, attributes, pages and locks of its own. All share one
server: the limit of operations in flight, the quota, the folder BACKING. ``ready`` is printed when
all are mounted; SIGTERM unmounts. MOUNT/.stats shows what reached the server from there, as JSON;
removing it zeroes the counters. Lines written to MOUNT/.control change what happens there:

    fail OP:PROBABILITY:ERRNO[:TIMES]    as --fail
    hang SECONDS                         every operation waits
    clear                                no more failures, no more waiting
"""

from __future__ import annotations

import argparse
import collections
import ctypes
import errno
import functools
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STATS = "/.stats"
CONTROL = "/.control"
PR_SET_PDEATHSIG, PR_SET_TIMERSLACK = 1, 29
TRANSFER = 1 << 20
"""Bytes of the largest read or write, as NFS's."""
NFS_ATTRIBUTES, NFS_ENTRIES = 3, 30
"""Seconds for which a Linux client trusts attributes and names at least."""
MOUNT_WITHIN = 30.0


class WrongOrder(ValueError):
    """A fault or a line of the control file that cannot be read."""


@dataclass
class Fault:
    """Operations of a kind fail with a probability, ``left`` times; None: without limit."""

    operation: str
    probability: float
    error: int
    left: int | None = None

    @classmethod
    def parse(cls, text: str) -> Fault:
        """``OP:PROBABILITY:ERRNO[:TIMES]``; OP ``*`` is any."""
        operation, *rest = text.split(":")
        try:
            probability, name, *times = rest
            left = int(times[0]) if times else None
            return cls(operation, float(probability), getattr(errno, name), left)
        except (ValueError, AttributeError):
            raise WrongOrder(f"{text}: not OP:PROBABILITY:ERRNO[:TIMES]") from None


class Faults:
    """What goes wrong at a mount: operations that fail, drawn from a seed, and a hang."""

    def __init__(self, faults: Sequence[Fault], seed: str) -> None:
        self._faults = list(faults)
        self._random = random.Random(seed)
        self._changed = threading.Condition()
        self._hangs_until = 0.0

    def order(self, line: str) -> None:
        """Obey a line of the control file."""
        verb, *words = line.split()
        with self._changed:
            if verb == "clear" and not words:
                self._faults.clear()
                self._hangs_until = 0.0
            elif verb == "fail" and len(words) == 1:
                self._faults.append(Fault.parse(words[0]))
            elif verb == "hang" and len(words) == 1:
                try:
                    self._hangs_until = time.monotonic() + float(words[0])
                except ValueError:
                    raise WrongOrder(line) from None
            else:
                raise WrongOrder(line)
            self._changed.notify_all()

    def wait_and_draw(self, operation: str) -> None:
        """Wait while the mount hangs; OSError if the operation is to fail."""
        with self._changed:
            while (left := self._hangs_until - time.monotonic()) > 0:
                self._changed.wait(left)
            for fault in self._faults:
                if fault.operation not in (operation, "*") or fault.left == 0:
                    continue
                if self._random.random() < fault.probability:
                    fault.left = fault.left and fault.left - 1
                    raise OSError(fault.error, os.strerror(fault.error))


class Server:
    """What all mounts share: room for operations in flight, and the quota."""

    def __init__(self, max_inflight: int, quota_mb: int, used: int) -> None:
        context = multiprocessing.get_context("fork")
        self._slots = context.Array("d", max_inflight) if max_inflight else None
        self._used = context.Value("q", used)
        self._now, self._peak = context.Value("q", 0), context.Value("q", 0)
        self.quota = quota_mb << 20

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Count an operation as in flight."""
        with self._now.get_lock():
            self._now.value += 1
            self._peak.value = max(self._peak.value, self._now.value)
        try:
            yield
        finally:
            with self._now.get_lock():
                self._now.value -= 1

    def peak(self) -> int:
        """The largest number of operations in flight from all mounts."""
        return int(self._peak.value)

    def reset_peak(self) -> None:
        """Begin to count anew."""
        with self._now.get_lock():
            self._peak.value = self._now.value

    def work(self, seconds: float) -> None:
        """Wait as an operation does that takes so long: one queue, ``max_inflight`` served."""
        if not seconds:
            return
        end = time.monotonic() + seconds
        if self._slots is not None:
            with self._slots.get_lock():  # a slot is the moment from which on it is free
                free: Any = self._slots.get_obj()
                first = min(range(len(free)), key=free.__getitem__)
                end = free[first] = max(time.monotonic(), free[first]) + seconds
        time.sleep(max(0.0, end - time.monotonic()))

    def charge(self, growth: int) -> None:
        """Take room, or give it back; OSError if there is none."""
        if self.quota and growth:
            with self._used.get_lock():
                if growth > 0 and self._used.value + growth > self.quota:
                    raise OSError(errno.ENOSPC, "quota")
                self._used.value += growth

    def limit(self, statvfs: dict[str, int]) -> dict[str, int]:
        """What is free by the quota, if there is one."""
        blocks = self.quota // statvfs["f_frsize"]
        if not blocks:
            return statvfs
        free = max(0, blocks - self._used.value // statvfs["f_frsize"])
        return {**statvfs, "f_blocks": blocks, "f_bfree": free, "f_bavail": free}


class Counters:
    """What reached the server from a mount: operations by kind, in all and by folder, errors."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """All to zero."""
        with self._lock:
            self._folders: dict[str, collections.Counter[str]] = {}
            self._errors = collections.Counter[str]()

    def count(self, operation: str, path: str, error: OSError | None) -> None:
        """One more operation."""
        with self._lock:
            folder = os.path.dirname(path)
            self._folders.setdefault(folder, collections.Counter())[operation] += 1
            if error is not None:
                name = errno.errorcode.get(error.errno or 0, str(error.errno))
                self._errors[f"{operation}:{name}"] += 1

    def text(self, peak_inflight: int) -> bytes:
        """As JSON."""
        with self._lock:
            content = {
                "operations": sum(self._folders.values(), collections.Counter[str]()),
                "folders": self._folders,
                "errors": dict(self._errors),
                "peak_inflight": peak_inflight,
            }
        return json.dumps(content, indent=1).encode() + b"\n"


def run_mount(arguments: argparse.Namespace, mount: str, number: int, server: Server) -> None:
    """Serve a mount to its end; in a process of its own."""
    faults = Faults([Fault.parse(text) for text in arguments.fail], f"{arguments.seed}:{number}")
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)  # no mount is left by a parent's death
    libc.prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)  # sleeps to the point
    import slowfs_fuse  # not needed, nor libfuse, by those who only look whether there can be one

    slowfs_fuse.serve(arguments, mount, server, faults)


def is_mounted(mount: Path | str) -> bool:
    """Whether a slow file system is mounted there."""
    return f" {mount} fuse.slowfs " in Path("/proc/mounts").read_text()


def read_at_once(mount: str) -> None:
    """Let the kernel ask for a whole read at once, not for 128 kB, where we may (root)."""
    device = os.stat(mount).st_dev
    knob = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
    with suppress(OSError):
        knob.write_text(f"{TRANSFER // 1024}\n")


@functools.cache
def why_none() -> str:
    """Why this machine cannot mount one, or nothing."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "no /dev/fuse that may be used"
    if not any(os.access(f"{d}/fusermount3", os.X_OK) for d in os.get_exec_path()):
        return "no fusermount3 (apt install fuse3)"
    return "" if find_library("fuse3") else "no libfuse3 (apt install fuse3)"


@contextmanager
def mounted(backing: Path, *mounts: Path, options: Sequence[str | float] = ()) -> Iterator[None]:
    """``backing`` at each of ``mounts``, by a process of its own, until the end of the block."""
    for mount in mounts:
        mount.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, __file__, str(backing), *map(str, mounts), *map(str, options)]
    process = subprocess.Popen(argv, cwd=backing.parent, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"{backing} cannot be mounted at {mounts[0]}")
        yield
    finally:
        process.terminate()
        process.wait(MOUNT_WITHIN)
        process.stdout.close()


def stats(mount: Path) -> dict[str, Any]:
    """What reached the server from a mount."""
    content: dict[str, Any] = json.loads((mount / STATS[1:]).read_text())
    return content


def reset(mount: Path) -> None:
    """Zero the counters of a mount."""
    until = time.monotonic() + MOUNT_WITHIN
    while True:
        try:
            (mount / STATS[1:]).unlink()
            return
        except FileNotFoundError:  # libfuse hears of a close later, and renames what it has open
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def order(mount: Path, line: str) -> None:
    """Give a mount an order, as in the control file."""
    (mount / CONTROL[1:]).write_text(f"{line}\n")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("backing")
    add("mounts", nargs="+", metavar="MOUNT")
    add("--latency-ms", type=float, default=1.0, help="of an operation")
    add("--data-latency-ms", type=float, default=0.4, help="of a read, write or fsync")
    add("--change-latency-ms", type=float, help="of a create, mkdir, rename...; default: any's")
    add("--max-inflight", type=int, default=0, help="served at once, of all mounts; 0: no limit")
    add(
        "--attr-ttl", type=float, help=f"seconds that attributes are trusted; NFS: {NFS_ATTRIBUTES}"
    )
    add("--entry-ttl", type=float, help=f"seconds that names are trusted; NFS: {NFS_ENTRIES}")
    add(
        "--nfs",
        action="store_true",
        help="as NFS: both of these, and a close asks nothing of the"
        " server where the file was only read",
    )
    add("--fail", action="append", default=[], metavar="OP:PROBABILITY:ERRNO[:TIMES]",
        help="e.g. write:0.01:EIO, *:0.001:ESTALE, rename:1:ENOSPC:2")  # fmt: skip
    add("--seed", default="1", help="which operations fail is drawn from it")
    add("--quota-mb", type=int, default=0)
    add("--locks", choices=("local", "shared"), default="local", help="flock between the mounts")
    add("--threads", type=int, default=128, help="a mount's operations in flight")
    add("--allow-other", action="store_true", help="other users may use the mounts")
    arguments = parser.parse_args(argv)
    if arguments.attr_ttl is None:
        arguments.attr_ttl = NFS_ATTRIBUTES if arguments.nfs else 0
    if arguments.entry_ttl is None:
        arguments.entry_ttl = NFS_ENTRIES if arguments.nfs else 0
    arguments.mounts = [os.path.realpath(mount) for mount in arguments.mounts]
    backing = os.path.realpath(arguments.backing)
    if any(f"{backing}/".startswith(f"{mount}/") for mount in arguments.mounts):
        parser.error(f"{backing} lies inside a mount: it would wait for itself")
    try:
        for text in arguments.fail:
            Fault.parse(text)
    except WrongOrder as error:
        parser.error(str(error))
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Mount, wait for the end, see that nothing stays mounted."""
    arguments = parse(argv)
    os.umask(0)
    used = 0
    if arguments.quota_mb:
        files = (path for path in Path(arguments.backing).rglob("*") if path.is_file())
        used = sum(path.lstat().st_size for path in files)
    server = Server(arguments.max_inflight, arguments.quota_mb, used)
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=run_mount, args=(arguments, mount, number, server))
        for number, mount in enumerate(arguments.mounts)
    ]
    for process in processes:
        process.start()

    def end(number: int, frame: Any) -> None:
        for process in processes:
            if process.is_alive():
                process.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)

    def all_alive() -> bool:
        return all(process.is_alive() for process in processes)

    while not all(map(is_mounted, arguments.mounts)) and all_alive():
        time.sleep(0.02)
    if all_alive():
        for mount in arguments.mounts:
            read_at_once(mount)
        print("ready", flush=True)
    for process in processes:
        process.join()
    for mount in filter(is_mounted, arguments.mounts):  # dead: its process was killed
        subprocess.run(["fusermount3", "-u", "-z", mount], check=False, timeout=MOUNT_WITHIN)
    return max(abs(process.exitcode or 0) for process in processes)


if __name__ == "__main__":
    sys.exit(main())
