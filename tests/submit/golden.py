"""Scripts as every platform gets them, kept as plain files in ``golden/PLATFORM-CASE/``.

``python -m tests.submit.golden`` writes them anew; the difference is then to be read.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from dpam_hpc.image.identity import ImageIdentity
from dpam_hpc.pipeline.steps import Stage, stages
from dpam_hpc.platforms import library
from dpam_hpc.platforms.model import Platform
from dpam_hpc.probe.meaning import Order
from dpam_hpc.run_dir import RunDir
from dpam_hpc.settings import SubmitSettings
from dpam_hpc.submit.prepared import Prepared
from dpam_hpc.submit.render import Renderer
from dpam_hpc.submit.shape import Shape
from dpam_hpc.submit.survey import Survey

GOLDEN = Path(__file__).parent / "golden"
SHIPPED = [library.shipped_folder()]
RUN = "20260102-030405-c0de"
PYTHON = "/opt/dpam hpc/bin/python"
ODD = "/project/my proteins it's 100% $(x) `y`"
IMAGE: dict[str, Any] = {"image": "/images/dpam.sif"}


@dataclass(frozen=True)
class Case:
    """A run as planned: how many tasks, how many at once, and settings that are not the usual."""

    platform: Platform
    tasks: int = 1
    at_once: int = 1
    work_dir: str = "/project/proteins"
    settings: Mapping[str, Any] | None = None
    stage: Stage | None = None

    def prepared(self) -> Prepared:
        parts = [[(f"P{n}", 100.0)] for n in range(self.tasks)]
        return Prepared(
            SubmitSettings(
                **{
                    "work_dir": self.work_dir,
                    "data_dir": "/data/ecod",
                    "dali_home": "/opt/DaliLite.v5",
                    "partition": self.platform.default_partition or "",
                    **(self.settings or {}),
                }
            ),
            self.platform,
            Shape(self.tasks, self.at_once, 14400, 1),
            Survey([pair for part in parts for pair in part]),
            parts,
            48,
            self.platform.scheduler.submit_mode == "multi-node",
            0,
            Order(self.platform.scratch.candidates),
            self.identity(),
            self.stage,
            (Path("/databases/uniref"),) if self.stage else (),
        )

    def identity(self) -> ImageIdentity | None:
        """The image that the settings name, as if it were there."""
        path = (self.settings or {}).get("image")
        made_for = self.platform.node_architecture("x86_64")
        return ImageIdentity(Path(path), "0" * 64, made_for, 10**9) if path else None

    def run(self) -> RunDir:
        return RunDir.named(Path(self.work_dir), RUN)


def shipped(name: str) -> Platform:
    """A platform as it comes with dpam-hpc, whatever the user has."""
    return library.named(name, SHIPPED)


def made(launch: str, mode: str, **scheduler: Any) -> Platform:
    """A platform for what no shipped one has."""
    return Platform.model_validate(
        {
            "schema": 1,
            "name": f"test-{launch}",
            "descr": "a platform of the tests",
            "scheduler": {"type": "slurm", "submit_mode": mode, **scheduler},
            "launch": {"type": launch},
            "scratch": {"candidates": ["/local/$USER/two words", "${TMPDIR}"]},
            "container": {
                "command": "singularity",
                "modules": ["apptainer/1.3", "two words"],
                "bind_paths": ["/sw:/sw:ro"],
            },
        }
    )


def cases() -> dict[str, Case]:
    """All cases by the names of their folders."""
    found: dict[str, Case] = {}
    for name in library.names(SHIPPED):
        plain = Case(shipped(name), settings={"partition": "main"} if name == "leda" else None)
        found[f"{name}-plain"] = plain
        with_image = {**(plain.settings or {}), **IMAGE, "dali_home": None}
        found[f"{name}-image"] = replace(plain, settings=with_image)
        found[f"{name}-odd-folder"] = replace(plain, work_dir=ODD)
        if name != "local":
            found[f"{name}-many"] = replace(plain, tasks=20, at_once=20)
    given = {"account": "abc", "sbatch_arg": ["--qos=high", '--comment=it\'s "mine"']}
    found["generic-limited"] = Case(shipped("generic"), 20, 3, settings=given)
    found["local-many"] = Case(shipped("local"), 3)
    found["local-odd-folder-image"] = Case(shipped("local"), work_dir=ODD, settings=IMAGE)
    search = replace(stages(range(1, 7))[0], at_once=12)
    found["generic-steps"] = Case(shipped("generic"), 3, 3, stage=search)
    found["local-steps"] = Case(shipped("local"), stage=search)
    found["tacc-frontera-steps-image"] = Case(
        shipped("tacc-frontera"), 2, 2, settings=IMAGE, stage=replace(search, at_once=0)
    )
    shared = made("srun", "array", exclusive=False)
    found["test-srun-steps"] = Case(shared, 3, 3, settings=IMAGE, stage=search)
    found["tacc-frontera-several-jobs"] = Case(shipped("tacc-frontera"), 5, 2)
    for launch in ("srun", "ssh", "ibrun"):
        array = made(launch, "array", requeue=launch != "ibrun", exclusive=False)
        found[f"test-{launch}-array"] = Case(array, 3, 3, settings=IMAGE)
        found[f"test-{launch}-multi-node"] = Case(made(launch, "multi-node"), 3, 3)
        odd = Case(made(launch, "multi-node", memory=False), 3, 3, ODD)
        found[f"test-{launch}-odd-folder"] = odd
    return found


def scripts(case: Case, *folders: Path) -> dict[str, str]:
    """The scripts of a case by their names; ``folders`` have templates of the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.executable", PYTHON)
        return case.prepared().scripts(case.run(), Renderer(folders))


def main() -> None:
    """Write all scripts anew."""
    shutil.rmtree(GOLDEN, ignore_errors=True)
    for name, case in cases().items():
        (GOLDEN / name).mkdir(parents=True)
        for script, text in scripts(case).items():
            (GOLDEN / name / script).write_text(text)


if __name__ == "__main__":
    main()
