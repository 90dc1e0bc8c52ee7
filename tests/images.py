"""Files that are Apptainer images as far as dpam-hpc reads them itself."""

from __future__ import annotations

import platform
from pathlib import Path

X86_64, AARCH64 = b"02", b"04"
HERE = {"x86_64": X86_64, "aarch64": AARCH64}[platform.machine()]
"""What an image's header says if it is made for this machine."""


def sif(path: Path, architecture: bytes = HERE, more: bytes = bytes(80)) -> Path:
    """An image's header, and bytes that no other image has."""
    start = b"#!/usr/bin/env run-singularity\n".ljust(32, b"\0")
    path.write_bytes(start + b"SIF_MAGIC\0" + b"01\0" + architecture + b"\0" + more)
    return path
