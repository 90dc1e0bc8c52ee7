"""Prepared structures on the node: each is imported once, whoever asks, however many at a time."""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dpam_hpc.align import structure
from dpam_hpc.align.aligner import Aligner, ProgramFailed, Unusable
from dpam_hpc.errors import BundleError
from dpam_hpc.node import shared_fs

if TYPE_CHECKING:
    from dpam_hpc.bundle import Bundle

LOCKS = 256
PREPARED, REFUSED = b"+", b"!"


class Unreadable(Unusable):
    """A file that cannot be read now; it is not remembered, since it may be read later."""


class TemplateStore:
    """What a worker sees of the node's prepared structures.

    ``cache`` is a folder that all workers share; a file in it is whole or absent. Templates come
    from ``bundle`` where it has them, else from the cache, else from ``pdb_folder``.
    """

    def __init__(
        self, aligner: Aligner, cache: Path, pdb_folder: Path, bundle: Path | None
    ) -> None:
        self._aligner = aligner
        self._cache = cache
        self._pdb_folder = pdb_folder
        self._bundle: Bundle | None = None
        if bundle:
            from dpam_hpc.bundle import Bundle  # SQLite is for those who have one

            self._bundle = Bundle(bundle)

    def template(self, template: str) -> bytes:
        """A prepared template; Unusable with the reason, or ProgramFailed."""
        if self._bundle:
            try:
                imported = self._bundle.get(template)
            except BundleError:
                imported = None  # one damaged row: its PDB file may still be there
            if imported is not None:
                return imported
        return self._once(f"T-{template}", lambda: self._read_template(template))

    def query(self, target: str, pdb: bytes) -> bytes:
        """A prepared query."""
        return self._once(f"Q-{target}", lambda: pdb)

    def _read_template(self, template: str) -> bytes:
        path = self._pdb_folder / f"{template}.pdb"
        try:
            pdb = shared_fs.persistently(path.read_bytes)
        except FileNotFoundError:
            raise Unusable(f"missing: there is no {path}") from None
        except OSError as error:
            raise Unreadable(f"unreadable: {path}: {error.strerror}") from None
        structure.check(pdb)
        return pdb

    def _once(self, name: str, read: Callable[[], bytes]) -> bytes:
        """The cached result under ``name``; made under a lock by the first who asks."""
        found = self._cached(name)
        if found is None:
            with self._locked(name):
                found = self._cached(name)
                if found is None:
                    found = self._make(name, read)
        if found.startswith(REFUSED):
            raise Unusable(found[1:].decode())
        return found[1:]

    def _cached(self, name: str) -> bytes | None:
        try:
            return (self._cache / name).read_bytes()
        except FileNotFoundError:
            return None

    def _make(self, name: str, read: Callable[[], bytes]) -> bytes:
        try:
            content = PREPARED + self._prepare(read())
        except Unreadable:
            raise
        except Unusable as error:
            content = REFUSED + str(error).encode()
        temporary = self._cache / f".{name}.{os.getpid()}"
        try:
            temporary.write_bytes(content)
            os.rename(temporary, self._cache / name)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        return content

    def _prepare(self, pdb: bytes) -> bytes:
        """Import, twice if a program fails: a crash may be the machine's, not the structure's."""
        try:
            return self._aligner.prepare(pdb)
        except ProgramFailed:
            return self._aligner.prepare(pdb)

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        lock = os.open(
            self._cache / "locks" / str(zlib.crc32(name.encode()) % LOCKS),
            os.O_RDWR | os.O_CREAT | os.O_CLOEXEC,
            0o600,
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def forget_query(cache: Path, target: str) -> None:
    """Remove a prepared query that is no longer needed."""
    (cache / f"Q-{target}").unlink(missing_ok=True)


def take(cache: Path, template: str) -> tuple[bytes, str] | None:
    """Take a template out of the cache: as prepared and "", or b"" and why it cannot be."""
    path = cache / f"T-{template}"
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        return None
    path.unlink()
    return (b"", found[1:].decode()) if found.startswith(REFUSED) else (found[1:], "")


def trim(cache: Path) -> int:
    """Remove all cached templates, which are only copies; bytes freed."""
    freed = 0
    for entry in os.scandir(cache):
        if entry.name.startswith("T-"):
            freed += entry.stat().st_size
            os.unlink(entry.path)
    return freed
