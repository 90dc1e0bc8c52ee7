"""A site in which nothing is wrong, until a test plants a fault in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from platform import machine
from typing import Any

from dpam_hpc import __version__, bundle
from dpam_hpc.align.dali import install
from dpam_hpc.bundle import BundledTemplate
from dpam_hpc.doctor.context import Context
from dpam_hpc.doctor.examine import checked
from dpam_hpc.doctor.findings import Level, Row
from dpam_hpc.image import sif
from dpam_hpc.platforms.model import Platform
from dpam_hpc.settings import SubmitSettings

SITE = {
    "schema": 1,
    "name": "mycluster",
    "descr": "a site of the tests",
    "scheduler": {"type": "local"},
}
SLURM = {"type": "slurm", "requires": ["account"]}


@dataclass
class Site:
    """Settings and platform of a run, to be changed; ``rows`` are what a check says."""

    root: Path
    settings: dict[str, Any]
    platform: dict[str, Any] = field(default_factory=lambda: dict(SITE))
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        return self.root / "w"

    def context(self) -> Context:
        settings = SubmitSettings(**self.settings)
        return Context(settings, Platform.model_validate(self.platform), False, self.environment)

    def rows(self, check: Callable[[Context], list[Row]], fingerprint: str = "") -> list[Row]:
        context = self.context()
        context.fingerprint = fingerprint
        return checked("the check", 60, check, context)

    def trouble(
        self, check: Callable[[Context], list[Row]], level: Level, fingerprint: str = ""
    ) -> Row:
        """The one row of that level; all others are as they should be."""
        rows = self.rows(check, fingerprint)
        (row,) = (r for r in rows if r.level is not Level.OK)
        assert row.level is level, row
        return row

    def bundle(self, home: Path, change: Callable[[bytes], bytes] = lambda pdb: pdb) -> Path:
        """A bundle of the templates of the data folder, by the DALI in ``home``."""
        path = self.root / "templates.bundle"
        fingerprint = install.import_fingerprint(home / "bin")
        data = self.settings["data_dir"] / "ECOD70"
        bundle.write(
            path,
            "dali",
            fingerprint,
            [BundledTemplate(p.stem, change(p.read_bytes()), b"x") for p in sorted(data.iterdir())],
        )
        self.settings["templates"] = path
        return path

    def image(self, architecture: str = machine(), version: str = __version__) -> Path:
        """An image's file, with what is in it."""
        root = self.root / "root"
        root.write_bytes(b"hsqs" + bytes(5000))
        contents = json.dumps({"dpam_hpc": version})
        labels = {"data": {"attributes": {"labels": {"dpam-hpc.contents": contents}}}}
        parts = sif.Parts(b"Bootstrap: x\n", json.dumps(labels).encode(), b"{}", root)
        path = self.root / "dpam.sif"
        with path.open("wb") as file:
            sif.write(parts, architecture, 1783728000, file)
        self.settings["image"] = path
        return path


def programs(folder: Path, bodies: Mapping[str, str]) -> Path:
    """A folder of shell scripts."""
    folder.mkdir()
    for name, body in bodies.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
    return folder
