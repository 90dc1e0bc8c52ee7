"""The schedulers by their kinds."""

from __future__ import annotations

from pathlib import Path

from dpam_hpc.run_dir import FOLDER
from dpam_hpc.submit.local import Local
from dpam_hpc.submit.scheduler import Scheduler
from dpam_hpc.submit.slurm import Slurm


def scheduler(kind: str, work_dir: Path) -> Scheduler:
    """A scheduler by its kind; the local one keeps its logs in the working folder."""
    if kind == "slurm":
        return Slurm()
    folder = work_dir.absolute() / FOLDER / "local"
    folder.mkdir(parents=True, exist_ok=True)
    return Local(folder)
