"""The list of what went wrong in a task of a stage: target, step, reason, log, and the command."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from dpam_hpc.journal import Record

log = logging.getLogger(__name__)

FILE_NAME = "failures.tsv"
COLUMNS = ("target", "step", "reason", "log", "command")
KEYS = ("target", "at", "reason", "log", "command")


class FailureList:
    """``failures.tsv`` in a task's folder, begun anew at each start with what is still true."""

    def __init__(self, folder: Path, earlier: Iterable[Record]) -> None:
        self._path = folder / FILE_NAME
        self._write("".join(map(_row, earlier)), "w")

    def add(self, record: Record) -> None:
        """Add a target that failed, or is held back."""
        self._write(_row(record), "a")

    def _write(self, rows: str, mode: str) -> None:
        try:
            if not rows:
                self._path.unlink(missing_ok=True)
                return
            with self._path.open(mode, errors="backslashreplace") as file:
                if not file.tell():
                    file.write("\t".join(COLUMNS) + "\n")
                file.write(rows)
        except OSError as error:  # the journal has it too
            log.warning("%s cannot be written: %s", self._path, error)


def _row(record: Record) -> str:
    cells = (" ".join(str(record.get(key) or "-").split()) for key in KEYS)
    return "\t".join(cells) + "\n"
