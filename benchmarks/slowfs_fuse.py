"""The operations of slowfs.py: what libfuse asks, passed to the backing folder."""

from __future__ import annotations

import argparse
import errno
import fcntl
import os
import stat
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

import mfusepy
import slowfs
from slowfs import CONTROL, STATS, Counters, Faults, Server

T = TypeVar("T")

ASYNCHRONOUS = frozenset({"release", "releasedir"})
"""Operations that nobody waits for: counted, never delayed, never failing."""
DATA = frozenset({"read", "write", "fsync"})
CHANGES = frozenset({"create", "link", "mkdir", "mknod", "rename", "rmdir", "symlink", "unlink"})
ENTRIES_A_READDIR = 256
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
STATVFS_FIELDS = (
    "f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_favail", "f_ffree", "f_files", "f_frsize",
    "f_namemax",
)  # fmt: skip
FLOCK_POLL = 0.005
LOOP_ENDED_BY_SIGNAL = 8


class Fuse(mfusepy.FUSE):  # type: ignore[misc]
    """The bridge to libfuse, with what mfusepy leaves out."""

    def rename_fuse_3(self, old: bytes, new: bytes, flags: int) -> int:
        """Flags are not ignored."""
        return -errno.EINVAL if flags else int(super().rename_fuse_3(old, new, flags))

    # mfusepy drops the file handle of these; the path of an unlinked file is NULL (nullpath_ok).
    def truncate_fuse_3(self, path: bytes | None, length: int, fip: Any) -> int:
        return int(self.operations.truncate(_decoded(path), length, _content(fip)))

    def chmod_fuse_3(self, path: bytes | None, mode: int, fip: Any) -> int:
        return int(self.operations.chmod(_decoded(path), mode, _content(fip)))

    def utimens_fuse_3(self, path: bytes | None, times: Any, fip: Any) -> int:
        pair = [(t.tv_sec, t.tv_nsec) for t in (times.contents.actime, times.contents.modtime)]
        return int(self.operations.utimens(_decoded(path), pair, _content(fip)))

    def flock(self, path: bytes | None, fip: Any, operation: int) -> int:
        """mfusepy has none."""
        return int(self.operations.flock(_decoded(path), _content(fip), operation))

    def fgetattr(self, path: bytes | None, buffer: Any, fip: Any) -> int:
        """The hot path: without a dictionary in between."""
        found, out = self.operations.stat(_decoded(path), _content(fip)), buffer.contents
        for name in ("ino", "mode", "nlink", "uid", "gid", "rdev", "size", "blocks", "blksize"):
            setattr(out, f"st_{name}", getattr(found, f"st_{name}"))
        for name in ("atime", "mtime", "ctime"):
            moment, nanoseconds = getattr(out, f"st_{name}spec"), getattr(found, f"st_{name}_ns")
            moment.tv_sec, moment.tv_nsec = divmod(nanoseconds, 10**9)
        return 0


def _decoded(path: bytes | None) -> str | None:
    return None if path is None else os.fsdecode(path)


def _content(pointer: Any) -> Any:
    return pointer.contents if pointer else None


class SlowFolder(mfusepy.Operations):  # type: ignore[misc]
    """The operations of a mount. Every one goes through ``serve``, those on its own files aside."""

    use_ns = True

    def __init__(self, arguments: argparse.Namespace, server: Server, faults: Faults) -> None:
        self.root = os.path.realpath(arguments.backing)
        self.arguments = arguments
        self.server = server
        self.faults = faults
        self.counters = Counters()
        self.paths: dict[int, str] = {}
        self.is_root = os.geteuid() == 0
        self.own_files: dict[str | None, Callable[[], bytes]] = {STATS: self._stats, CONTROL: bytes}
        self.own_handles: dict[int, str] = {}
        self._made: dict[int, str] = {}  # by thread; Python's thread locals end with each call
        if arguments.locks == "local":
            setattr(self, "flock", None)  # noqa: B010 not offered to libfuse: the kernel keeps locks, per mount

    def _stats(self) -> bytes:
        return self.counters.text(self.server.peak())

    def serve(self, operation: str, path: str, function: Callable[..., T], *arguments: Any) -> T:
        """Do an operation as the server does: after its latency, if it is not to fail; count it."""
        failed: OSError | None = None
        with self.server.in_flight():
            try:
                if operation not in ASYNCHRONOUS:
                    # The root's attributes stay to be had: .control is reached through it.
                    if path != "/":
                        self.faults.wait_and_draw(operation)
                    self.server.work(self._latency(operation) / 1000)
                return function(*arguments)
            except OSError as error:
                failed = error
                raise
            finally:
                self.counters.count(operation, path, failed)

    def _latency(self, operation: str) -> float:
        if operation in DATA:
            return float(self.arguments.data_latency_ms)
        if operation in CHANGES and self.arguments.change_latency_ms is not None:
            return float(self.arguments.change_latency_ms)
        return float(self.arguments.latency_ms)

    def by_handle(self, operation: str, fi: Any, function: Callable[..., T], *more: Any) -> T:
        """The same on an open file, which may have no name any more."""
        return self.serve(operation, self.paths.get(fi.fh, "?"), function, *more)

    def real(self, path: str | None) -> str:
        """The path in the backing folder."""
        return f"{self.root}{path}"

    def init_with_config(self, connection: Any, config: Any) -> None:
        """How long the kernel trusts what it knows."""
        config.entry_timeout = config.negative_timeout = self.arguments.entry_ttl
        config.attr_timeout, config.use_ino, config.nullpath_ok = self.arguments.attr_ttl, 1, 1
        connection.max_write = slowfs.TRANSFER
        connection.max_background = connection.congestion_threshold = self.arguments.threads

    # Names and attributes

    def getattr(self, path: str, fh: Any = None) -> dict[str, Any]:
        """``Fuse.fgetattr`` calls ``stat``; mfusepy wants to see the name."""
        raise NotImplementedError

    def stat(self, path: str | None, fi: Any = None) -> Any:
        """Attributes by handle or by name."""
        if path in self.own_files or (fi and fi.fh in self.own_handles):
            return types.SimpleNamespace(
                st_ino=2**62 + (path == STATS), st_mode=stat.S_IFREG | 0o666, st_nlink=1, st_uid=0,
                st_gid=0, st_rdev=0, st_size=1 << 16, st_blocks=0, st_blksize=4096, st_atime_ns=0,
                st_mtime_ns=0, st_ctime_ns=0,
            )  # fmt: skip
        if self._is_in_reply(path, fi):
            return os.fstat(fi.fh) if fi else os.lstat(self.real(path))
        if fi:
            return self.by_handle("getattr", fi, os.fstat, fi.fh)
        return self.serve("getattr", path or "?", os.lstat, self.real(path))

    def _is_in_reply(self, path: str | None, fi: Any) -> bool:
        """Whether libfuse asks for what a server's answer to the operation before has in it."""
        made = self._made.pop(threading.get_native_id(), None)
        return made is not None and made == (self.paths.get(fi.fh) if fi else path)

    def readdir(self, path: str | None, fh: int) -> Iterator[tuple[str, dict[str, int], int]]:
        name = path if path is not None else self.paths.get(fh, "?")
        entries = self.serve("readdir", name, lambda: list(os.scandir(self.real(name))))
        for _ in range(len(entries) // ENTRIES_A_READDIR):
            self.serve("readdir", name, int)
        for dot in (".", ".."):
            yield dot, {"st_ino": 1, "st_mode": stat.S_IFDIR}, 0
        for entry in entries:  # one without an inode number would be invisible (use_ino)
            yield entry.name, {"st_ino": entry.inode(), "st_mode": _kind(entry)}, 0

    def opendir(self, path: str) -> int:
        handle = self.serve("opendir", path, os.open, self.real(path), os.O_RDONLY | os.O_DIRECTORY)
        self.paths[handle] = path
        return handle

    def releasedir(self, path: str | None, fh: int) -> int:
        self.serve("releasedir", self.paths.pop(fh, "?"), os.close, fh)
        return 0

    def _make(self, operation: str, path: str, function: Callable[..., Any], *more: Any) -> int:
        def make() -> None:
            function(*more)
            self._own(path)

        self.serve(operation, path, make)
        self._made[threading.get_native_id()] = path
        return 0

    def _own(self, path: str) -> None:
        if self.is_root:
            user, group, _ = mfusepy.fuse_get_context()
            os.lchown(self.real(path), user, group)

    def mkdir(self, path: str, mode: int) -> int:
        return self._make("mkdir", path, os.mkdir, self.real(path), mode)

    def mknod(self, path: str, mode: int, dev: int) -> int:
        return self._make("mknod", path, os.mknod, self.real(path), mode, dev)

    def symlink(self, target: str, source: str) -> int:
        return self._make("symlink", target, os.symlink, source, self.real(target))

    def link(self, target: str, source: str) -> int:
        paths = self.real(source), self.real(target)
        self.serve("link", target, lambda: os.link(*paths, follow_symlinks=False))
        self._made[threading.get_native_id()] = target
        return 0

    def readlink(self, path: str) -> str:
        return str(self.serve("readlink", path, os.readlink, self.real(path)))

    def rmdir(self, path: str) -> int:
        self.serve("rmdir", path, os.rmdir, self.real(path))
        return 0

    def unlink(self, path: str) -> int:
        """Remove a file; zero the counters."""
        if path == STATS:
            self.counters.reset()
            self.server.reset_peak()
            return 0
        freed = self._size_if_last(path)
        self.serve("unlink", path, os.unlink, self.real(path))
        self.server.charge(-freed)
        return 0

    def rename(self, old: str, new: str) -> int:
        freed = self._size_if_last(new)
        self.serve("rename", old, os.rename, self.real(old), self.real(new))
        self.server.charge(-freed)
        return 0

    def _size_if_last(self, path: str) -> int:
        """What is given back when this name goes."""
        if self.server.quota:
            with suppress(FileNotFoundError):
                found = os.lstat(self.real(path))
                if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                    return found.st_size
        return 0

    def _set(self, path: str | None, fi: Any, function: Callable[[Any], Any]) -> int:
        """Set attributes by handle or by name."""
        if path in self.own_files or (fi and fi.fh in self.own_handles):
            return 0
        if fi:
            self.by_handle("setattr", fi, function, fi.fh)
        else:
            self.serve("setattr", path or "?", function, self.real(path))
        return 0

    def chmod(self, path: str | None, mode: int, fi: Any = None) -> int:
        return self._set(path, fi, lambda file: os.chmod(file, mode))

    def chown(self, path: str | None, uid: int, gid: int) -> int:
        return self._set(path, None, lambda file: os.lchown(file, uid, gid))

    def utimens(self, path: str | None, times: Any, fi: Any = None) -> int:
        """Set times; UTIME_NOW and UTIME_OMIT in the place of nanoseconds."""

        def change(file: Any) -> None:
            follow = not isinstance(file, str)
            found = os.stat(file, follow_symlinks=follow)
            kept = found.st_atime_ns, found.st_mtime_ns
            special = [{UTIME_NOW: time.time_ns(), UTIME_OMIT: old} for old in kept]
            atime, mtime = (
                known.get(nanoseconds, seconds * 10**9 + nanoseconds)
                for known, (seconds, nanoseconds) in zip(special, times, strict=True)
            )
            os.utime(file, ns=(atime, mtime), follow_symlinks=follow)

        return self._set(path, fi, change)

    def truncate(self, path: str | None, length: int, fi: Any = None) -> int:
        def change(file: Any) -> None:
            self.server.charge(length - os.stat(file).st_size)
            os.truncate(file, length)

        return self._set(path, fi, change)

    def statfs(self, path: str) -> dict[str, int]:
        found = self.serve("statfs", path, os.statvfs, self.real(path))
        return self.server.limit({name: getattr(found, name) for name in STATVFS_FIELDS})

    # Data

    def create(self, path: str, mode: int, fi: Any) -> int:
        return self._open("create", path, fi, os.O_CREAT, mode)

    def open(self, path: str, fi: Any) -> int:
        if path in self.own_files:
            fi.fh = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)  # a number that no other has
            self.own_handles[fi.fh] = path
            fi.direct_io = 1
            return 0
        return self._open("open", path, fi, 0, 0)

    def _open(self, operation: str, path: str, fi: Any, how: int, mode: int) -> int:
        # The client's kernel chooses the place of an append, as with NFS.
        flags = fi.flags & ~os.O_APPEND & ~os.O_DIRECT | os.O_CLOEXEC | how

        def open_it() -> int:
            truncates = flags & os.O_TRUNC and operation == "open"
            freed = os.stat(self.real(path)).st_size if self.server.quota and truncates else 0
            handle = os.open(self.real(path), flags, mode)
            self.server.charge(-freed)
            if operation == "create":
                self._own(path)
            return handle

        fi.fh = self.serve(operation, path, open_it)
        self.paths[fi.fh] = path
        if operation == "create":
            self._made[threading.get_native_id()] = path
        fi.noflush = self.arguments.nfs and not flags & (os.O_WRONLY | os.O_RDWR)
        return 0

    def read(self, path: str | None, size: int, offset: int, fi: Any) -> bytes:
        if fi.fh in self.own_handles:
            content = self.own_files[self.own_handles[fi.fh]]()
            return content[offset : offset + size]
        return self.by_handle("read", fi, os.pread, fi.fh, size, offset)

    def write(self, path: str | None, data: bytes, offset: int, fi: Any) -> int:
        """Write to a file; an order, to the control file."""
        if fi.fh in self.own_handles:
            return self._obey(data)

        def write_it() -> int:
            if self.server.quota:
                self.server.charge(max(0, offset + len(data) - os.fstat(fi.fh).st_size))
            return os.pwrite(fi.fh, data, offset)

        return self.by_handle("write", fi, write_it)

    def _obey(self, data: bytes) -> int:
        try:
            for line in filter(None, map(str.strip, data.decode().splitlines())):
                self.faults.order(line)
        except ValueError:
            raise OSError(errno.EINVAL, "not an order") from None
        return len(data)

    def fsync(self, path: str | None, datasync: int, fi: Any) -> int:
        self.by_handle("fsync", fi, os.fsync, fi.fh)
        return 0

    def flush(self, path: str | None, fi: Any) -> int:
        """What close(2) waits for."""
        if fi.fh not in self.own_handles:
            self.by_handle("flush", fi, int)
        return 0

    def release(self, path: str | None, fi: Any) -> int:
        """The last close of a file."""
        if self.own_handles.pop(fi.fh, None):
            os.close(fi.fh)
        else:
            self.serve("release", self.paths.pop(fi.fh, "?"), os.close, fi.fh)
        return 0

    def flock(self, path: str | None, fi: Any, operation: int) -> int:
        """One table of locks for all mounts (--locks shared)."""
        while True:
            try:
                self.by_handle("flock", fi, fcntl.flock, fi.fh, operation | fcntl.LOCK_NB)
                return 0
            except BlockingIOError:
                if operation & fcntl.LOCK_NB:
                    raise
                time.sleep(FLOCK_POLL)  # whoever waits holds a thread, not the server


def _kind(entry: os.DirEntry[str]) -> int:
    if entry.is_symlink():
        return stat.S_IFLNK
    if entry.is_dir():
        return stat.S_IFDIR
    return stat.S_IFREG if entry.is_file() else 0


def serve(arguments: argparse.Namespace, mount: str, server: Server, faults: Faults) -> None:
    """Serve a mount until a signal ends it."""
    folder = SlowFolder(arguments, server, faults)
    options: dict[str, Any] = {"max_threads": arguments.threads}
    options["max_idle_threads"] = arguments.threads
    if arguments.allow_other:
        options["allow_other"] = options["default_permissions"] = True
    try:
        Fuse(
            folder, mount, raw_fi=True, foreground=True, fsname=f"slowfs:{folder.root}",
            subtype="slowfs", **options,
        )  # fmt: skip
    except RuntimeError as error:
        if error.args != (LOOP_ENDED_BY_SIGNAL,):
            raise
