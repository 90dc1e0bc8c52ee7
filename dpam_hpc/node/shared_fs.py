"""Operations on the shared file system: few of them, and tried again where they fail for a moment.

A folder is opened once and its files are named relative to it, so that no operation walks a path.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Container
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

TRANSIENT = frozenset(
    (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY, errno.EREMOTEIO)
)
READ_AT_ONCE = 1 << 20
UNFINISHED = re.compile(r"\.(.+)\.[0-9a-f]{6}\.part")
"""Where ``replace`` writes until it is done."""
DELAYS = (0.1, 0.5, 2.0, 5.0)
"""Seconds to wait before each further try."""


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


class SharedFolder:
    """A folder on the shared file system, open as long as the object is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def names(self) -> list[str]:
        """Names of all entries, by one listing."""
        return persistently(lambda: os.listdir(self._handle))

    def read(self, name: str) -> bytes:
        """Read a whole file; OSError."""
        return persistently(lambda: self._read(name))

    def write(self, name: str, content: bytes) -> None:
        """Write a short file in place; OSError."""
        persistently(lambda: self._write(name, content, os.O_TRUNC, sync=False))

    def link(self, source: str, name: str) -> bool:
        """Give the file ``source`` the name ``name`` too; False where that cannot be done."""
        try:
            os.link(source, name, src_dir_fd=self._handle, dst_dir_fd=self._handle)
        except FileExistsError:
            return True
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
            persistently(lambda: os.unlink(name, dir_fd=self._handle))

    def _read(self, name: str) -> bytes:
        file = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._handle)
        try:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_SEQUENTIAL)  # twice as much in one go
            parts = []
            # To the empty one: a short one may be cut by an error, which the next one tells.
            while part := os.read(file, READ_AT_ONCE):
                parts.append(part)
        finally:
            os.close(file)
        return b"".join(parts)

    def _write(self, name: str, content: bytes, how: int, sync: bool) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | how
        file = os.open(name, flags, 0o644, dir_fd=self._handle)
        try:
            written = 0
            while written < len(content):
                written += os.write(file, content[written:])
            if sync:
                os.fsync(file)
        finally:
            os.close(file)

    def _replace(self, name: str, content: bytes) -> None:
        temporary = f".{name}.{os.urandom(3).hex()}.part"
        try:
            self._write(temporary, content, os.O_EXCL, sync=True)
            os.rename(temporary, name, src_dir_fd=self._handle, dst_dir_fd=self._handle)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=self._handle)
            raise

    def close(self) -> None:
        """Close the folder."""
        os.close(self._handle)
