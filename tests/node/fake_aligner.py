"""An aligner whose structures say themselves what becomes of them: see ``structure``.

``prepare`` hands back the structure as it is. Everything that happens is noted in the folder named
by the option ``notes``, one line each. Workers load this file as a module of its own.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from dpam_hpc import command
from dpam_hpc.align.aligner import Alignment, Options, Pair, ProgramFailed, Unusable

DEFINITION = "fake_aligner:FakeAligner"
ROTATION = ("1.0\t0.0\t0.0", "0.0\t1.0\t0.0", "0.0\t0.0\t1.0")


def structure(residues: int, what: str = "", chain: str = "A") -> bytes:
    """A PDB file of CA atoms that tells the aligner ``what`` to do when it meets it.

    refuse, crash, crash-once: in ``prepare``; die, hang: in ``align``.
    """
    lines = [f"REMARK {what}"]
    for number in range(1, residues + 1):
        at = f"{number:8.3f}{0:8.3f}{0:8.3f}"
        lines.append(f"ATOM  {number:5d}  CA  ALA {chain}{number:4d}    {at}  1.00  0.00")
    return ("\n".join(lines) + "\n").encode()


class FakeAligner:
    """No hit for any pair but those of a template that says ``hit``."""

    name: ClassVar[str] = "fake"
    hits_suffix: ClassVar[str] = "_fake_hits"
    step: ClassVar[str] = "fake"

    @classmethod
    def fingerprint(cls, options: Options) -> str:
        """The same everywhere."""
        return "f" * 64

    @classmethod
    def stage_in(cls, options: Options, folder: Path) -> Options:
        """Nothing to copy."""
        return options

    @classmethod
    def prove(cls, options: Options, folder: Path) -> None:
        """Nothing to prove."""

    def __init__(self, options: Options, folder: Path) -> None:
        self._notes = Path(options["notes"])

    def prepare(self, pdb: bytes) -> bytes:
        """The structure as it is, after a moment in which others may ask for it."""
        what = _says(pdb)
        self._note("prepared", what)
        time.sleep(0.05)
        if what == "refuse":
            raise Unusable("it says so")
        first = self.noted("prepared").count(what) == 1
        if what == "crash" or (what == "crash-once" and first):
            raise ProgramFailed("fake: exit status 1")
        return pdb

    def align(self, pairs: Sequence[Pair]) -> list[Alignment | None]:
        """Do what each template says."""
        return [self._align(_says(pair.template)) for pair in pairs]

    def _align(self, what: str) -> Alignment | None:
        if what in ("die", "hang"):
            self._note("workers", str(os.getpid()))
            program = f"echo $$ >> {self._notes}/programs; exec sleep 300"
            if what == "die":
                program = f"(sleep 0.2; kill -{signal.SIGKILL.value} {os.getpid()}) & {program}"
            command.run(["/bin/sh", "-c", program], timeout=300)
        if what == "hit":
            pairs = tuple((number, number) for number in range(1, 31))
            return Alignment("9.9", ROTATION, "0.0\t0.0\t0.0", pairs, 30)
        return None

    def noted(self, kind: str) -> list[str]:
        """The notes of a kind so far."""
        path = self._notes / kind
        return path.read_text().splitlines() if path.exists() else []

    def _note(self, kind: str, line: str) -> None:
        with open(self._notes / kind, "a") as file:
            file.write(line + "\n")

    def cpu_seconds(self) -> dict[str, float]:
        """None that it knows of."""
        return {}

    def close(self) -> None:
        """Nothing to give back."""


def _says(pdb: bytes) -> str:
    return pdb.split(b"\n", 1)[0].removeprefix(b"REMARK ").decode()
