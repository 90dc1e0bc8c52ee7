"""The template bundle: every template imported, in one SQLite file (layout: docs/bundle.md)."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dpam_hpc.align.aligner import Unusable
from dpam_hpc.errors import BundleError, StorageError

FORMAT = "1"
PAGE_BYTES = 16384
REBUILD = "build it anew: dpam-hpc bundle build"

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE template (
    id TEXT PRIMARY KEY,        -- ECOD domain
    pdb_sha256 TEXT NOT NULL,   -- of the PDB file that was imported
    pdb_bytes INTEGER NOT NULL, -- its size
    reason TEXT NOT NULL,       -- why it cannot be aligned, else empty
    sha256 TEXT NOT NULL,       -- of the columns before it, a line each, and what follows
    imported BLOB NOT NULL      -- the imported template, zlib
);
"""

SELECT = "SELECT id, pdb_sha256, pdb_bytes, reason, sha256, imported FROM template"


@dataclass(frozen=True)
class BundledTemplate:
    """A row to be written: a template as imported, or the ``reason`` why it cannot be."""

    id: str
    pdb: bytes
    imported: bytes
    reason: str = ""


@dataclass(frozen=True)
class BundleInfo:
    """What a bundle says of itself."""

    aligner: str
    fingerprint: str
    templates: int
    unusable: int
    bytes: int


class Bundle:
    """A bundle opened for reading; many processes may read one file at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _check_length(path)
        self._database = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True
        )
        with self._damage():
            meta = dict(self._database.execute("SELECT key, value FROM meta"))
            self.aligner, self.fingerprint = str(meta["aligner"]), str(meta["fingerprint"])
        if meta.get("format") != FORMAT:
            raise BundleError(f"{path} is a bundle of format {meta.get('format')}", REBUILD)

    def get(self, template: str) -> bytes | None:
        """An imported template; None if it is not in the bundle; Unusable with its reason."""
        row = self._row(template)
        if row is None:
            return None
        (_, _, _, reason), imported = row
        if reason:
            raise Unusable(reason)
        return imported

    def pdb_checksum(self, template: str) -> tuple[str, int] | None:
        """SHA-256 and size of the PDB file that a template was imported from."""
        row = self._row(template)
        return (row[0][1], row[0][2]) if row else None

    def _row(self, template: str) -> tuple[tuple[str, str, int, str], bytes] | None:
        """(id, PDB checksum, PDB size, reason) and the imported template, checked."""
        with self._damage():
            row = self._database.execute(f"{SELECT} WHERE id = ?", (template,)).fetchone()
            if row is None:
                return None
            head, sha256, imported = tuple(row[:4]), row[4], zlib.decompress(row[5])
            if _checksum(head, imported) != sha256:
                raise ValueError(f"the checksum of {template} differs")
            return head, imported

    def info(self) -> BundleInfo:
        """Counts and origin."""
        with self._damage():
            total, unusable = self._database.execute(
                "SELECT count(*), coalesce(sum(reason != ''), 0) FROM template"
            ).fetchone()
        size = self.path.stat().st_size
        return BundleInfo(self.aligner, self.fingerprint, total, unusable, size)

    def verify(self) -> Iterator[str]:
        """Read everything; a line for each template whose content is not what was written."""
        with self._damage():
            (sound,) = self._database.execute("PRAGMA integrity_check(1)").fetchone()
            if sound != "ok":
                raise BundleError(f"{self.path} is damaged: {sound}", REBUILD)
        for template in self.templates():
            try:
                self._row(template)
            except BundleError:
                yield f"{template}: damaged"

    def differing(self, folder: Path, templates: Iterable[str]) -> Iterator[str]:
        """A line for each of ``templates`` whose PDB file in ``folder`` is another, or missing."""
        for template in templates:
            recorded = self.pdb_checksum(template)
            try:
                pdb = (folder / f"{template}.pdb").read_bytes()
            except OSError as error:
                yield f"{template}: {error.strerror} in {folder}"
                continue
            if recorded and hashlib.sha256(pdb).hexdigest() != recorded[0]:
                yield f"{template}: the PDB file is not the one that was imported"

    def templates(self) -> list[str]:
        """All ids, sorted."""
        with self._damage():
            return [row[0] for row in self._database.execute("SELECT id FROM template ORDER BY id")]

    def check_made_by(self, aligner: str, fingerprint: str, called: Path | None = None) -> None:
        """BundleError unless the bundle was made by this aligner, and this build of it."""
        if (self.aligner, self.fingerprint) != (aligner, fingerprint):
            raise BundleError(
                f"{called or self.path} was made by another build: {self.aligner}"
                f" {self.fingerprint[:12]}, here it is {aligner} {fingerprint[:12]}",
                "build it anew with this build (dpam-hpc bundle build), or run without --templates",
            )

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, zlib.error, ValueError, TypeError, KeyError) as error:
            raise BundleError(f"{self.path} is damaged: {error}", REBUILD) from None

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def write(
    path: Path, aligner: str, fingerprint: str, templates: Iterable[BundledTemplate]
) -> BundleInfo:
    """Write a bundle whole or not at all; the same templates give the same bytes."""
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")
    try:
        with closing(sqlite3.connect(temporary, isolation_level=None)) as database:
            database.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            database.execute("PRAGMA journal_mode = OFF")
            database.execute("PRAGMA synchronous = OFF")
            database.executescript(SCHEMA)
            database.execute("BEGIN")
            meta = {"format": FORMAT, "aligner": aligner, "fingerprint": fingerprint}
            database.executemany("INSERT INTO meta VALUES (?, ?)", sorted(meta.items()))
            for template in templates:
                database.execute("INSERT INTO template VALUES (?, ?, ?, ?, ?, ?)", _row(template))
            database.execute("COMMIT")
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (sqlite3.OperationalError, OSError) as error:
        raise StorageError(
            f"{path} cannot be written: {error}", "is there room, and may you?"
        ) from None
    finally:
        with suppress(OSError):
            os.unlink(temporary)
    with closing(Bundle(path)) as bundle:
        return bundle.info()


def _row(template: BundledTemplate) -> tuple[str, str, int, str, str, bytes]:
    pdb_sha256 = hashlib.sha256(template.pdb).hexdigest()
    head = (template.id, pdb_sha256, len(template.pdb), template.reason)
    return (*head, _checksum(head, template.imported), zlib.compress(template.imported, 6))


def _checksum(head: Sequence[object], imported: bytes) -> str:
    lines = "".join(f"{column}\n" for column in head)
    return hashlib.sha256(lines.encode() + imported).hexdigest()


def _check_length(path: Path) -> None:
    """BundleError if the file is missing, no SQLite file, or shorter than its header says."""
    try:
        with open(path, "rb") as file:
            header = file.read(100)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise BundleError(
            f"{path} cannot be read: {error.strerror}",
            "is the path right? dpam-hpc bundle build makes one",
        ) from None
    if len(header) < 100 or not header.startswith(b"SQLite format 3\0"):
        raise BundleError(f"{path} is no template bundle", REBUILD)
    page_bytes, pages = struct.unpack(">H", header[16:18])[0], struct.unpack(">I", header[28:32])[0]
    if size < page_bytes * pages:
        raise BundleError(
            f"{path} is cut short: {size} bytes of {page_bytes * pages}",
            "copy it again, or " + REBUILD,
        )
