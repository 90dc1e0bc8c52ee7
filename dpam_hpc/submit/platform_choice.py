"""Which platform a submission is for, and what that means: its scheduler, the job templates.

What is slow to import is imported where it is needed: ``status`` needs the scheduler alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dpam_hpc.submit.local import Local
from dpam_hpc.submit.scheduler import Scheduler
from dpam_hpc.submit.slurm import Slurm
from dpam_hpc.target import OWN_FOLDER

if TYPE_CHECKING:
    from dpam_hpc.platforms.model import Platform
    from dpam_hpc.submit.render import Renderer

AUTO = "auto"


def choose(name: str) -> tuple[Platform, str]:
    """The platform called ``name``, or the one that is detected; and why it is that one."""
    from dpam_hpc.platforms import detect, library

    if name != AUTO:
        return library.named(name), "named"
    found = detect.here()
    return found.platform, found.reason


def scheduler_by_kind(kind: str, work_dir: Path) -> Scheduler:
    """A scheduler by its kind; the local one keeps its logs in the working folder."""
    if kind == "slurm":
        return Slurm()
    return Local(work_dir.absolute() / OWN_FOLDER / "local")


def renderer() -> Renderer:
    """Job templates: the user's own before those that come with dpam-hpc."""
    import platformdirs

    from dpam_hpc.submit.render import Renderer

    return Renderer([platformdirs.user_config_path("dpam-hpc") / "templates"])
