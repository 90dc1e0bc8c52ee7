"""Programs that do as a test tells them; nothing waits between two tries."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dpam_hpc.image import download

Program = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "WAITS", (0.0, 0.0))


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Put a shell script on PATH, before all others."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def program(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)
        return path

    return program
