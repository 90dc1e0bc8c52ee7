"""Operations on the shared file system: few of them, and tried again where they fail for a moment.

A folder is opened once and its files are named relative to it, so that no operation walks a path.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections import Counter
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import TypeVar

from dpam_hpc.errors import StorageError

T = TypeVar("T")

TRANSIENT = frozenset(
    (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY, errno.EREMOTEIO)
)
READ_AT_ONCE = 1 << 20
UNFINISHED = re.compile(r"\.(.+)\.[0-9a-f]{6}\.part")
"""Where ``replace`` writes until it is done."""
LONGEST = 1 << 28
"""Bytes of a file: no input is so long, and a device that is named as one has no end."""
DELAYS = (0.1, 0.5, 2.0, 5.0)
"""Seconds to wait before each further try."""


@contextmanager
def working_in(work_dir: Path) -> Iterator[None]:
    """While a run begins: a file system that fails is told as what is wrong with its folder."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{work_dir} cannot be worked in: {error}",
            "a run reads and writes in its working folder",
        ) from None


def persistently(operation: Callable[[], T]) -> T:
    """The result of ``operation``, tried again after a failure that tends to pass."""
    for delay in DELAYS:
        try:
            return operation()
        except OSError as error:
            if error.errno not in TRANSIENT:
                raise
        time.sleep(delay)
    return operation()


def is_unfinished(name: str, written: Container[str]) -> bool:
    """Whether a file is what a killed ``replace`` of one of the names ``written`` left."""
    found = UNFINISHED.fullmatch(name)
    return bool(found and found[1] in written)


class Asked:
    """What was asked of the shared file system: operations by kind, and bytes. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.operations: Counter[str] = Counter()
        self.read_bytes = 0
        self.written_bytes = 0

    def add(self, *kinds: str, read: int = 0, written: int = 0) -> None:
        """Count operations, each by its kind, and bytes."""
        with self._lock:
            self.operations.update(kinds)
            self.read_bytes += read
            self.written_bytes += written


class SharedFolder:
    """A folder on the shared file system, open as long as the object is.

    ``asked`` counts what it asks for, repetitions too; look-ups and closes of the kernel are more.
    """

    def __init__(self, path: Path, asked: Asked | None = None) -> None:
        self.path = path
        self._asked = asked or Asked()
        self._handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def names(self, wanted: Callable[[str], bool]) -> set[str]:
        """Names of the entries that are ``wanted``, by one listing; of millions no more is kept."""
        return persistently(lambda: self._names(wanted))

    def _names(self, wanted: Callable[[str], bool]) -> set[str]:
        self._asked.add("list")
        with os.scandir(self._handle) as entries:
            return {entry.name for entry in entries if wanted(entry.name)}

    def read(self, name: str) -> bytes:
        """Read a whole file; OSError."""
        return persistently(lambda: self._read(name))

    def write(self, name: str, content: bytes) -> None:
        """Write a short file anew; OSError. What had the name is never written through."""
        persistently(lambda: self._write_anew(name, content))

    def link(self, source: str, name: str) -> bool:
        """Give the file ``source`` the name ``name`` too; False where that cannot be done."""
        self._asked.add("link")
        try:
            os.link(
                source, name, src_dir_fd=self._handle, dst_dir_fd=self._handle,
                follow_symlinks=False,
            )  # fmt: skip
        except FileExistsError:
            return self._is_file(name)
        except OSError:
            return False
        return True

    def replace(self, name: str, content: bytes) -> None:
        """Put ``content`` under ``name``, whole or not at all; on the disk when this returns.

        Every write, the flush and the close must succeed before the name changes hands.
        """
        persistently(lambda: self._replace(name, content))

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError):
            persistently(lambda: self._unlink(name))

    def _unlink(self, name: str) -> None:
        self._asked.add("remove")
        os.unlink(name, dir_fd=self._handle)

    def _read(self, name: str) -> bytes:
        # One that is a pipe would be waited for.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        self._asked.add("open")
        file = os.open(name, flags, dir_fd=self._handle)
        try:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_SEQUENTIAL)  # twice as much in one go
            parts = []
            length = 0
            reads = 1
            # To the empty one: a short one may be cut by an error, which the next one tells.
            while part := os.read(file, READ_AT_ONCE):
                parts.append(part)
                length += len(part)
                reads += 1
                if length > LONGEST:
                    raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), name)
            if not parts and not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(errno.EINVAL, "it is no file", name)  # an empty one is something else
        finally:
            os.close(file)
        self._asked.add(*["read"] * reads, read=length)
        return b"".join(parts)

    def _is_file(self, name: str) -> bool:
        self._asked.add("stat")
        status = os.stat(name, dir_fd=self._handle, follow_symlinks=False)
        return stat.S_ISREG(status.st_mode)

    def _write_anew(self, name: str, content: bytes) -> None:
        try:
            self._write(name, content, sync=False)
        except FileExistsError:
            self._unlink(name)
            self._write(name, content, sync=False)

    def _write(self, name: str, content: bytes, sync: bool) -> None:
        """Write a new file: one that exists, or a link, may be anybody's."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._asked.add("create")
        file = os.open(name, flags, 0o644, dir_fd=self._handle)
        try:
            written = 0
            while written < len(content):
                now = os.write(file, content[written:])
                self._asked.add("write", written=now)
                written += now
            if sync:
                self._asked.add("fsync")
                os.fsync(file)
        finally:
            os.close(file)

    def _replace(self, name: str, content: bytes) -> None:
        temporary = f".{name}.{os.urandom(3).hex()}.part"
        try:
            self._write(temporary, content, sync=True)
            self._asked.add("rename")
            os.rename(temporary, name, src_dir_fd=self._handle, dst_dir_fd=self._handle)
        except OSError:
            with suppress(OSError):
                self._unlink(temporary)
            raise

    def close(self) -> None:
        """Close the folder."""
        os.close(self._handle)
