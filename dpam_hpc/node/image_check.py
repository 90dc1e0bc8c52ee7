"""Whether the image on the node is the one that was submitted: read once a node and run.

Whoever has read it leaves a mark in the node's scratch place. It is a file and no folder, so that
``scratch.sweep`` leaves it: launchers of a run come and go, and the mark is for those that follow.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from dpam_hpc.errors import ImageError
from dpam_hpc.image.identity import SHOWN, ImageIdentity, sha256
from dpam_hpc.node.scratch import PREFIX
from dpam_hpc.node.shared_fs import persistently

FORGOTTEN_AFTER = 86400.0
"""Seconds after which a mark that nobody used is removed: the run's last task ended elsewhere."""


class Mark:
    """That the image was read, for ``about``: a private file in ``place``, locked until ``close``.

    Without a place, or where there can be no such file, nothing is known and nothing is noted.
    """

    def __init__(self, place: Path | None, about: list[str | int]) -> None:
        self._text = json.dumps(about).encode()
        self._path: Path | None = None
        if place is None:
            return
        path = place / f"{_mine()}{hashlib.sha256(self._text).hexdigest()[:12]}"
        with suppress(OSError):
            self._handle = _open_own(path)
            self._path = path

    def is_there(self) -> bool:
        """Whether somebody has read it; waits for one that is reading."""
        if self._path is None:
            return False
        with suppress(OSError):
            fcntl.flock(self._handle, fcntl.LOCK_EX)
            os.utime(self._handle)
            return os.pread(self._handle, len(self._text) + 1, 0) == self._text
        return False

    def make(self) -> None:
        """Note that it was read; what cannot be noted costs the next one the same reading."""
        if self._path is not None:
            with suppress(OSError):
                os.ftruncate(self._handle, 0)
                os.pwrite(self._handle, self._text, 0)

    def close(self) -> None:
        """Let those that wait look at it."""
        if self._path is not None:
            os.close(self._handle)

    def remove(self) -> None:
        """It is needed no more."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def verify(image: ImageIdentity, run: str, place: Path | None) -> Mark:
    """ImageError unless ``image`` is as it was when ``run`` was submitted; the closed mark of that.

    ``place``: scratch of this node alone, or None.
    """
    if place is not None:
        _remove_forgotten(place)
    try:
        return persistently(lambda: _verified(image, run, place))
    except OSError as error:
        raise ImageError(
            f"the image {image.path} cannot be read: {error.strerror}",
            "see that it is there and its file system mounted, then dpam-hpc resume",
        ) from None


def _verified(image: ImageIdentity, run: str, place: Path | None) -> Mark:
    with image.path.open("rb") as file:
        found = os.fstat(file.fileno())
        which = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        mark = Mark(place, [run, image.sha256, *which])
        try:
            if not mark.is_there():
                _compare(image, run, file)
                mark.make()
        except BaseException:
            mark.remove()
            raise
        finally:
            mark.close()
    return mark


def _compare(image: ImageIdentity, run: str, file: BinaryIO) -> None:
    checksum = sha256(file)
    if checksum != image.sha256:
        raise ImageError(
            f"the image {image.path} is not the one that run {run} was submitted with: its SHA-256"
            f" is {checksum[:SHOWN]}..., and was {image.short}...",
            "dpam-hpc resume takes the new one; or put the old file back, then dpam-hpc resume",
        )


def _mine() -> str:
    """How names of marks begin; no launcher's folder and no bundle's copy is called so."""
    return f"{PREFIX}{os.getuid()}-i"


def _open_own(path: Path) -> int:
    """A file that is this user's own and nobody else's to read or write; OSError if it is not."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    handle = os.open(path, flags, 0o600)
    status = os.fstat(handle)
    private = stat.S_ISREG(status.st_mode) and not status.st_mode & 0o077
    if private and status.st_uid == os.getuid() and status.st_nlink == 1:
        return handle
    os.close(handle)
    raise PermissionError(errno.EPERM, "not this user's own private file", str(path))


def _remove_forgotten(place: Path) -> None:
    with suppress(OSError):
        for entry in list(os.scandir(place)):
            if entry.name.startswith(_mine()) and entry.is_file(follow_symlinks=False):
                age = time.time() - entry.stat(follow_symlinks=False).st_mtime
                if age > FORGOTTEN_AFTER:
                    os.unlink(entry.path)
