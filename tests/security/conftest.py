"""Folders that two users share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.security.people import WE


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that all can reach, as pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="dpam-hpc-security-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def shared_tmp(place: Path) -> Path:
    """A folder like /tmp."""
    folder = place / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


@pytest.fixture
def home(place: Path) -> Path:
    """Our home, with what nobody may spoil."""
    home = WE.folder(place / "home", 0o700)
    WE.file(home / "precious", b"precious")  # without a newline, as a torn journal is
    return home
