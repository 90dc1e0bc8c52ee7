"""A template bundle on the node: copied once from the shared file system, used by all launchers.

The copy lies in a private folder of the scratch place, named after what it is a copy of. Whoever
uses it holds its claim, shared; whoever makes or removes it holds it alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from shutil import rmtree

from dpam_hpc.errors import BundleError
from dpam_hpc.node.scratch import CLAIM, PREFIX

COPY = "templates.bundle"
NOTE = "copied.json"
READ_AT_ONCE = 8 << 20


class BundleCopy:
    """The copy of ``bundle`` in ``place``, there and claimed when the constructor returns.

    BundleError if it cannot be copied, or is not what it is a copy of.
    """

    def __init__(self, bundle: Path, place: Path) -> None:
        try:
            source = bundle.stat()
        except OSError as error:
            raise BundleError(f"{bundle} cannot be read: {error.strerror}") from None
        self._bundle = bundle
        self.copied = 0
        self._origin = {"of": str(bundle.absolute()), "size": source.st_size,
                        "mtime": source.st_mtime_ns}  # fmt: skip
        name = hashlib.sha256(json.dumps(self._origin).encode()).hexdigest()[:12]
        self.folder = self._shared = place / f"{PREFIX}{os.getuid()}-b{name}"
        try:
            while not self._stage():
                os.close(self._claim)
        except OSError as error:
            raise BundleError(
                f"{bundle} cannot be copied to {self.folder}: {error.strerror}",
                "is it there, and is there room in scratch?",
            ) from None

    @property
    def path(self) -> Path:
        """The copy."""
        return self.folder / COPY

    @property
    def sha256(self) -> str:
        """Its checksum, as it was read."""
        return self._noted()

    def _stage(self) -> bool:
        """Claim the folder and have the copy in it; False where it is to be tried again."""
        self._claim = self._open_claim()
        try:
            return self._claimed()
        except (OSError, BundleError):
            os.close(self._claim)  # held on, it would keep others waiting
            raise

    def _claimed(self) -> bool:
        try:
            fcntl.flock(self._claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            fcntl.flock(self._claim, fcntl.LOCK_SH)  # waits for whoever makes it
            return _is_still(self.folder / CLAIM, self._claim) and self._is_sound()
        if not _is_still(self.folder / CLAIM, self._claim):
            return False
        if not self._is_sound():
            self._copy()
        fcntl.flock(self._claim, fcntl.LOCK_SH)
        return _is_still(self.folder / CLAIM, self._claim)

    def _open_claim(self) -> int:
        """The claim of a folder that is this user's own and nobody else's to write.

        Anybody can guess its name and take it: then the copy is this launcher's alone.
        """
        while True:
            with suppress(FileExistsError):
                self.folder.mkdir(mode=0o700)
            try:
                status = os.lstat(self.folder)
                private = stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o077
                if not private or status.st_uid != os.getuid():
                    alone = f"{self._shared.name}-{secrets.token_hex(4)}"
                    self.folder = self._shared.with_name(alone)
                    continue
                return os.open(
                    self.folder / CLAIM,
                    os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC,
                    0o600,
                )
            except FileNotFoundError:
                continue  # somebody has just removed the folder

    def _is_sound(self) -> bool:
        try:
            return self._noted() == _sha256(self.path)
        except FileNotFoundError:
            return False

    def _noted(self) -> str:
        try:
            note = json.loads((self.folder / NOTE).read_text())
            return str(note["sha256"]) if note["origin"] == self._origin else ""
        except (ValueError, KeyError, TypeError):
            return ""

    def _copy(self) -> None:
        digest = hashlib.sha256()
        with self._bundle.open("rb") as source, self.path.open("wb") as copy:
            while part := source.read(READ_AT_ONCE):
                digest.update(part)
                self.copied += copy.write(part)
        if _sha256(self.path) != digest.hexdigest():
            raise BundleError(
                f"the copy {self.path} differs from {self._bundle}", "is scratch sound?"
            )
        note = {"origin": self._origin, "sha256": digest.hexdigest()}
        (self.folder / NOTE).write_text(json.dumps(note))

    def release(self, keep: bool) -> None:
        """Stop using it; whoever is the last removes it, unless it is to be kept."""
        if not keep:
            with suppress(OSError):  # somebody else uses it
                fcntl.flock(self._claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
                rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            os.close(self._claim)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(READ_AT_ONCE):
            digest.update(part)
    return digest.hexdigest()


def _is_still(path: Path, handle: int) -> bool:
    """Whether ``path`` still names the open file: it may have been removed while we waited."""
    try:
        named = os.stat(path)
    except FileNotFoundError:
        return False
    opened = os.fstat(handle)
    return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)
