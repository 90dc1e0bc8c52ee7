"""A folder with platform files, for the tests of platforms."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from dpam_hpc.errors import ConfigError, ExitCode
from dpam_hpc.platforms import library
from dpam_hpc.platforms.detect import Detection, SlurmAnswer, detect
from dpam_hpc.platforms.reading import PlatformError

SHIPPED = [library.shipped_folder()]
SHIPPED_NAMES = [
    "generic", "leda", "local", "tacc-frontera", "tacc-ls6", "tacc-stampede3", "tacc-vista",
]  # fmt: skip
SMALLEST = 'schema = 1\nname = "{name}"\ndescr = "d"\n{more}\n[scheduler]\ntype = "slurm"\n'


class Site:
    """A folder with platform files, before the shipped ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folders = [folder, *SHIPPED]

    def write(self, name: str, text: str) -> Path:
        """Write a file as it is."""
        path = self.folder / f"{name}.toml"
        path.write_text(textwrap.dedent(text))
        return path

    def add(self, name: str, more: str = "") -> None:
        """Write a small sound file with ``more`` at its top."""
        self.write(name, SMALLEST.format(name=name, more=more))

    def problems(self, name: str) -> list[tuple[str, int, str, str]]:
        """What is wrong with a file: (file, line, key, text)."""
        with pytest.raises(PlatformError) as caught:
            library.named(name, self.folders)
        assert caught.value.exit_code == ExitCode.USAGE
        assert isinstance(caught.value, ConfigError)
        for each in caught.value.problems:
            assert f"{each.file}:{each.line}: " in caught.value.what
        return [(p.file.name, p.line, p.key, p.text) for p in caught.value.problems]

    def detect(
        self,
        env: Mapping[str, str] | None = None,
        hostname: str = "h1.example.edu",
        answer: SlurmAnswer | None = None,
    ) -> Detection:
        """Which platform it is; without ``answer`` SLURM must not be asked."""

        def ask() -> SlurmAnswer:
            assert answer is not None, "SLURM is asked only where nothing else matches"
            return answer

        return detect(library.every(self.folders), env or {}, hostname, ask)
