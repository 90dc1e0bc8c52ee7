"""Apptainer, by spython: run a command in an image, and read what Apptainer says of one.

spython is not used for builds: a failed one returns nothing, without the reason, and one that is
interrupted leaves its processes. Three things of it are made up for here: it calls a program named
``singularity``, it waits for ever, and it mixes what Apptainer says with what the command printed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dpam_hpc.errors import ImageError

SECONDS = 900
TIMED_OUT = 124
SAID_BY_APPTAINER = ("INFO:", "WARNING:", "FATAL:", "ERROR:")
UNPACKED = "Converting SIF file to temporary sandbox"


@dataclass(frozen=True)
class Answer:
    """How a command in an image ended, what it printed, and what Apptainer said beside it."""

    code: int
    text: str
    said: str


def execute(image: Path, command: Sequence[str], *options: str) -> Answer:
    """Run a command in an image as this user; ImageError if it does not end in time."""
    with _client() as client:
        result = client.execute(
            str(image), list(command), options=list(options), return_result=True, quiet=True
        )
    message = result["message"]
    lines = (message if isinstance(message, str) else "".join(message)).splitlines()
    # Apptainer's own lines may be coloured.
    said = [line for line in lines if line.lstrip("\x1b[0123456789m").startswith(SAID_BY_APPTAINER)]
    if result["return_code"] == TIMED_OUT:
        raise ImageError(f"{' '.join(command)} in {image} did not end in {SECONDS} s")
    printed = [line for line in lines if line not in said]
    return Answer(result["return_code"], "\n".join(printed), "\n".join(said))


def inspect(image: Path) -> dict[str, Any]:
    """What Apptainer says of an image: its labels, recipe, environment and scripts; ImageError."""
    with _client() as client:
        found = client.inspect(str(image), json=True, quiet=True)
    attributes = found.get("attributes") if isinstance(found, dict) else None
    if not isinstance(attributes, dict):
        raise ImageError(f"apptainer cannot inspect {image}: {found}")
    return attributes


@contextmanager
def _client() -> Iterator[Any]:
    """spython's client; it finds Apptainer under the name that it calls, with a time limit."""
    program = shutil.which("apptainer") or shutil.which("singularity")
    if program is None:
        raise ImageError("there is no apptainer on this machine", "install it, or load its module")
    from spython.main import Client

    path = os.environ.get("PATH", "")
    with TemporaryDirectory(prefix="dpam-hpc-") as folder:
        script = Path(folder) / "singularity"
        script.write_text(f'#!/bin/sh\nexec timeout -k 10 {SECONDS} "{program}" "$@"\n')
        script.chmod(0o700)
        os.environ["PATH"] = f"{folder}:{path}"
        try:
            yield Client
        finally:
            os.environ["PATH"] = path
