"""The root of an image as one squashfs file: the same bytes for the same files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from dpam_hpc.command import Captured, TimedOut, capture, path_of_administrators
from dpam_hpc.errors import ImageError
from dpam_hpc.image import sif

SECONDS = 3600


def pack(root: Path, to: Path, epoch: int) -> None:
    """Pack a root, whoever owns its files here and whatever their times are; ImageError."""
    _run(
        "mksquashfs", str(root), str(to), "-noappend", "-no-progress", "-all-root",
        "-all-time", str(epoch), "-mkfs-time", str(epoch), "-no-xattrs", "-no-exports",
        # What each Apptainer can mount.
        "-comp", "gzip", "-b", "131072",
    )  # fmt: skip


def unpack(image: Path, to: Path) -> Path:
    """Unpack the root of an image (SIF) into a new folder; ImageError."""
    _run(
        "unsquashfs", "-no-progress", "-no-xattrs", "-quiet", "-o", str(sif.root_offset(image)),
        "-d", str(to), str(image),
    )  # fmt: skip
    return to


def _run(*command: str) -> Captured:
    path = path_of_administrators()
    if shutil.which(command[0], path=path) is None:
        raise ImageError(f"there is no {command[0]} on this machine", "install squashfs-tools")
    # Given an epoch both by option and by variable, mksquashfs refuses.
    environment = {k: v for k, v in os.environ.items() if k != "SOURCE_DATE_EPOCH"}
    try:
        done = capture(command, timeout=SECONDS, env={**environment, "PATH": path})
    except TimedOut as error:
        raise ImageError(str(error)) from None
    if done.returncode:
        told = (done.stderr or done.stdout).strip()[-500:]
        raise ImageError(f"{command[0]} failed: {told}", "a full disk? docs/image.md")
    return done
