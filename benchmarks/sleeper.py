"""An aligner for ``busy.py``: a program that sleeps for each pair, and a note of when it ran.

Workers load this file as a module of its own, from a folder that is not the benchmarks'.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from dpam_hpc import command
from dpam_hpc.align.aligner import Alignment, Options, Pair

SECONDS, NOTES, ITSELF = "SLEEPER_SECONDS", "SLEEPER_NOTES", "SLEEPER_ITSELF"
"""Variables: how long each program sleeps; the folder for the notes, one file a worker; not empty
where the worker itself sleeps in the program's stead."""


class SleepAligner:
    """No hit for any pair, after a sleep."""

    name: ClassVar[str] = "sleeper"
    hits_suffix: ClassVar[str] = "_sleeper_hits"
    step: ClassVar[str] = "sleeper"

    @classmethod
    def fingerprint(cls, options: Options) -> str:
        """Nothing is imported."""
        return ""

    @classmethod
    def stage_in(cls, options: Options, folder: Path) -> Options:
        """Nothing to copy."""
        return options

    @classmethod
    def prove(cls, options: Options, folder: Path) -> None:
        """Nothing to prove."""

    def __init__(self, options: Options, folder: Path) -> None:
        self._argv = [shutil.which("sleep") or "sleep", os.environ[SECONDS]]
        self._notes = Path(os.environ[NOTES]) / str(os.getpid())
        self._cpu = 0.0

    def prepare(self, pdb: bytes) -> bytes:
        """The structure as it is."""
        return pdb

    def align(self, pairs: Sequence[Pair]) -> list[Alignment | None]:
        """One program a pair, each noted with its begin and its seconds."""
        lines = []
        for _ in pairs:
            begun = time.clock_gettime(time.CLOCK_BOOTTIME)
            lines.append(f"{begun} {self._sleep()}\n")
        with self._notes.open("a") as file:
            if not file.tell():
                file.write(f"{_started()}\n")
            file.writelines(lines)
        return [None] * len(pairs)

    def _sleep(self) -> float:
        if os.environ.get(ITSELF):
            begun = time.monotonic()
            time.sleep(float(self._argv[1]))
            return time.monotonic() - begun
        completed = command.run(self._argv, timeout=600)
        self._cpu += completed.cpu_seconds
        return completed.seconds

    def cpu_seconds(self) -> dict[str, float]:
        """Of the programs."""
        return {"sleep": self._cpu}

    def close(self) -> None:
        """Nothing to give back."""


def _started() -> float:
    """When this process was started, by the same clock as the pairs."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")
