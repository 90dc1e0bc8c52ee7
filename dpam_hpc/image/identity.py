"""Which image a file is: its checksum, and the processors that it is made for, by its header."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dpam_hpc.errors import ImageError
from dpam_hpc.image import sif

READ_AT_ONCE = 8 << 20
SHOWN = 12
"""Digits of a checksum that people are shown."""


@dataclass(frozen=True)
class ImageIdentity:
    """An image as it was when a run was submitted; ``architecture`` as ``uname -m`` says it."""

    path: Path
    sha256: str
    architecture: str
    bytes: int

    @property
    def short(self) -> str:
        """The checksum as people are shown it."""
        return self.sha256[:SHOWN]


def identify(path: Path) -> ImageIdentity:
    """Read an image to its end; ImageError if it is none, or cannot be read."""
    made_for = architecture(path)
    try:
        with path.open("rb") as file:
            checksum = sha256(file)
            size = file.tell()
    except OSError as error:
        raise _unreadable(path, error) from None
    return ImageIdentity(path.absolute(), checksum, made_for, size)


def architecture(path: Path) -> str:
    """x86_64, aarch64 or ``sif.OTHER``; ImageError if ``path`` is no image, or cannot be read."""
    try:
        with path.open("rb") as file:
            found = sif.made_for(file.read(sif.START.size))
    except OSError as error:
        raise _unreadable(path, error) from None
    if found is None:
        raise ImageError(f"{path} is no Apptainer image (SIF)")
    return found


def sha256(file: IO[bytes]) -> str:
    """Checksum of what is left to read of an open file."""
    digest = hashlib.sha256()
    while part := file.read(READ_AT_ONCE):
        digest.update(part)
    return digest.hexdigest()


def _unreadable(path: Path, error: OSError) -> ImageError:
    return ImageError(f"the image {path} cannot be read: {error.strerror}")
