"""The journal: an append-only record of what is done, one JSON object a line, one writer a file."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

from dpam_hpc.errors import ConfigError

VERSION = 1
HEAD = "dpam-hpc journal"
DAMAGED = ".damaged"
DONE, FAILED, REDO, HELD = "done", "failed", "redo", "held"
"""States of a target in its record."""
LAUNCHER = ""
"""In place of a target, in a launcher's records of itself: older versions pass over them."""
START, END = "start", "end"
"""States of a launcher in its record; one that has no end was killed, or is at work."""
FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
WRITE_WITHIN = 3.0
"""Seconds after which a record that waits for others is due."""
Record = dict[str, Any]

log = logging.getLogger(__name__)


class Journal:
    """Appends records to ``path``; made, or cut back to its last whole record, when opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._waiting: list[Record] = []
        self._waits_since = float("inf")
        parsed = self._open()
        self.records = [record for record, _ in parsed[1:]]  # the first one is the version line
        whole = parsed[-1][1] if parsed else 0
        if whole != os.fstat(self._file).st_size:
            os.ftruncate(self._file, whole)
        if not whole:
            self._waiting.append({HEAD: VERSION})

    def _open(self) -> list[tuple[Record, int]]:
        """Open the file; its whole records. One that does not begin as a journal is set aside."""
        while True:
            self._file = os.open(self._path, FLAGS, 0o644)
            with open(self._file, "rb", closefd=False) as file:
                content = file.read()  # to its end: what is not read is cut off
            parsed = list(_parse(content, self._path))
            if parsed or b"\n" not in content:
                return parsed
            os.close(self._file)
            aside = f"{self._path}{DAMAGED}"
            os.replace(self._path, aside)
            log.warning("%s is damaged: set aside as %s", self._path, aside)

    def append(self, record: Record) -> None:
        """Add one record. Safe from several threads.

        It is handed to the file system, not waited for.
        """
        self.append_all([record])

    def add(self, record: Record) -> None:
        """Add one record that is written with others, by ``flush`` as soon as ``is_due``.

        For what a crash may lose: the record of a target that is done is found again from its
        marker and hits, which are on the disk before it.
        """
        with self._lock:
            self._waiting.append(record)
            self._waits_since = min(self._waits_since, time.monotonic())

    def is_due(self) -> bool:
        """Whether a record has waited long enough."""
        return time.monotonic() - self._waits_since >= WRITE_WITHIN

    def flush(self) -> None:
        """Write what waits; it goes on to wait if that fails."""
        self.append_all([])

    def append_all(self, records: Iterable[Record]) -> None:
        """Add many records at once."""
        with self._lock:
            all_of_them = [*self._waiting, *records]
            if all_of_them:
                self._write(all_of_them)
            self._waiting.clear()
            self._waits_since = float("inf")

    def _write(self, records: list[Record]) -> None:
        lines = (json.dumps(record, separators=(",", ":")) + "\n" for record in records)
        line = "".join(lines).encode()
        written = os.write(self._file, line)
        if written != len(line):  # a full disk took part of it: leave no torn line behind
            os.ftruncate(self._file, os.fstat(self._file).st_size - written)
            raise OSError(28, os.strerror(28), str(self._path))

    def close(self) -> None:
        """Write what waits, if it can be, and close the file."""
        with suppress(OSError):
            self.flush()
        os.close(self._file)


def read(path: Path) -> list[Record]:
    """The whole records of a journal that somebody else may be writing."""
    return list(each(path))


def each(path: Path) -> Iterator[Record]:
    """The same, one after the other: only the text is held."""
    return (record for record, _ in islice(_parse(path.read_bytes(), path), 1, None))


def _parse(content: bytes, path: Path) -> Iterator[tuple[Record, int]]:
    """Whole records, the version line first, and the length of the text as far as each."""
    whole = 0
    for line in _lines(content):
        try:
            record = json.loads(line.decode())
            if not isinstance(record, dict) or (whole and not _is_record(record)):
                raise ValueError("no record")
        except (ValueError, RecursionError):
            break  # torn by a crash, or garbage: what follows is done again, or found by markers
        if not whole and record.get(HEAD) != VERSION:
            if HEAD not in record:
                break
            raise ConfigError(
                f"{path} is a journal of another version ({line[:40]!r})",
                "move the file away; finished targets are found again by their markers",
            )
        whole += len(line)
        yield record, whole


def _is_record(found: Record) -> bool:
    return all(isinstance(found.get(name), str) for name in ("target", "state"))


def _lines(content: bytes) -> Iterator[bytes]:
    """Lines that end in a newline."""
    start = 0
    while (end := content.find(b"\n", start)) >= 0:
        yield content[start : end + 1]
        start = end + 1
