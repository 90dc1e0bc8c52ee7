"""Two ordinary users, where the tests are root's: whose run it is, and somebody else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil  # noqa: F401 - imported while all may be read
import pytest

NEEDED = pytest.mark.skipif(
    os.geteuid() != 0, reason="two other users are needed: run these tests as root"
)


@dataclass(frozen=True)
class Person:
    """A user of the machine; no account is needed, a number will do."""

    uid: int

    @contextmanager
    def acting(self) -> Iterator[None]:
        """What is done inside is done as this user, root's rights only kept for going back."""
        groups, umask = os.getgroups(), os.umask(0o022)
        os.setgroups([])
        os.setresgid(self.uid, self.uid, 0)
        os.setresuid(self.uid, self.uid, 0)
        try:
            yield
        finally:
            os.setresuid(0, 0, 0)
            os.setresgid(0, 0, 0)
            os.setgroups(groups)
            os.umask(umask)

    def folder(self, path: Path, mode: int = 0o755) -> Path:
        """A new folder of this user's."""
        path.mkdir()
        os.chown(path, self.uid, self.uid)
        path.chmod(mode)
        return path

    def file(self, path: Path, content: bytes, mode: int = 0o644) -> Path:
        """A new file of this user's."""
        path.write_bytes(content)
        os.chown(path, self.uid, self.uid)
        path.chmod(mode)
        return path


WE = Person(54321)
THEY = Person(54322)
