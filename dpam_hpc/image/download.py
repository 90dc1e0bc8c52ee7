"""Files from elsewhere: nothing is kept whose SHA-256 is not the one expected."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

from dpam_hpc.errors import ImageError
from dpam_hpc.image import identity

SILENT_SECONDS = 60
"""How long a server may say nothing."""
WAITS = (0.0, 1.0, 5.0)
"""Seconds before each try: servers and names are out of reach for a moment, now and then."""
BLOCK = 1 << 20
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
"""Failures of the disk here, which no other home helps against."""


def sha256(path: Path) -> str:
    """Checksum of a file."""
    with path.open("rb") as file:
        return identity.sha256(file)


def fetch(homes: Sequence[str], expected: str, to: Path, hint: str = "") -> None:
    """Write the first of ``homes`` (URLs) whose file has the SHA-256 ``expected``; ImageError.

    OSError if the disk here is full.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    problems = []
    for home, wait in [(home, wait) for home in homes for wait in WAITS]:
        time.sleep(wait)
        handle, temporary = tempfile.mkstemp(dir=to.parent, prefix=".fetch-")
        try:
            with os.fdopen(handle, "wb") as file:
                _read(home, file)
            if (found := sha256(Path(temporary))) == expected:
                os.chmod(temporary, 0o644)
                os.rename(temporary, to)
                return
            problems.append(f"{home} has SHA-256 {found}, not {expected}")
        except (OSError, HTTPException, ValueError) as error:
            if getattr(error, "errno", None) in FULL:
                raise
            problems.append(f"{home}: {getattr(error, 'reason', None) or error}")
        finally:
            with suppress(OSError):
                os.unlink(temporary)
    told = "\n  ".join(dict.fromkeys(problems)) or "nothing is known of where it is"
    raise ImageError(f"{to.name} cannot be had:\n  {told}", hint)


def _read(home: str, to: BinaryIO) -> None:
    if not home.startswith(("http://", "https://", "file://")):
        raise ValueError("not an http, https or file address")
    with urllib.request.urlopen(home, timeout=SILENT_SECONDS) as answer:  # noqa: S310
        shutil.copyfileobj(answer, to, BLOCK)
