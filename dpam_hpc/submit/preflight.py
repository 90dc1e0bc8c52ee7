"""What would make a run fail as a whole, found before anything is submitted; all of it at once.

What is wrong with single targets is no hindrance: it is told, and the run names it as a failure.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dpam_hpc.align import aligner as aligners
from dpam_hpc.bundle import Bundle
from dpam_hpc.clock import parse_clock
from dpam_hpc.errors import ConfigError, DpamHpcError, ImageError, SchedulerError
from dpam_hpc.image import fitness
from dpam_hpc.node import run_lock
from dpam_hpc.pipeline.steps import DALI, STEPS
from dpam_hpc.platforms.model import Platform
from dpam_hpc.run_dir import RunDir
from dpam_hpc.settings import SubmitSettings
from dpam_hpc.submit import databases
from dpam_hpc.submit.platform_choice import scheduler_by_kind
from dpam_hpc.submit.scheduler import Scheduler
from dpam_hpc.submit.user_flags import OWNED, user_flags_problem
from dpam_hpc.target import OWN_FOLDER

FREE_BYTES = 100_000_000
"""Room in the working folder under which a run is not begun: hits are small, a full disk is not."""
OWNED_HERE = OWNED | {"--partition", "--account", "--time", "--mem", "--exclusive"}


def problems(
    settings: SubmitSettings,
    platform: Platform,
    scheduler: Scheduler | None,
    steps: Sequence[int] = (DALI,),
) -> list[str]:
    """Everything that is in the way, a line each; ``scheduler``: None where none is asked."""
    found: list[str] = []
    # A time limit is asked for in any case: the user's, or by the prediction.
    given = {"account": settings.account, "partition": settings.partition, "time": "given"}
    for name in platform.missing(given):
        found.append(f"platform {platform.name} requires --{name}")
    for name in ("account", "partition"):
        if not getattr(settings, name).isprintable():
            found.append(f"--{name} {getattr(settings, name)!r} has characters that no name has")
    found += user_flags_problem(settings.sbatch_arg, OWNED_HERE)
    if settings.sbatch_arg and platform.scheduler.type == "local":
        found.append("--sbatch-arg means nothing without SLURM")
    try:
        if settings.time:
            parse_clock(settings.time)
    except ConfigError as error:
        found.append(error.what)
    if DALI in steps:
        found += _data(settings)
    if set(steps) != {DALI}:
        found += databases.problems(settings, steps)
        if DALI in steps:
            found += _hits_for_dpam(settings.aligner)
    found += _paths(settings)
    if settings.image:
        found += _image(settings.image, platform)
    if not settings.work_dir.is_dir():
        return [*found, f"there is no folder {settings.work_dir}"]
    found += _work_dir(settings.work_dir)
    found += _others(settings.work_dir, scheduler)
    return found


def _data(settings: SubmitSettings) -> list[str]:
    if settings.templates is not None:
        try:
            Bundle(settings.templates)
        except DpamHpcError as error:
            return [error.what]
        return []
    if settings.data_dir is None:
        return ["no data folder is named: --data-dir DIR, in which ECOD70/ lies"]
    if not (settings.data_dir / "ECOD70").is_dir():
        return [f"there is no folder {settings.data_dir / 'ECOD70'}"]
    return []


def _hits_for_dpam(aligner: str) -> list[str]:
    """dpam's later steps read DALI's hits; those of others have other names."""
    if aligners.load(aligners.find(aligner)).hits_suffix in STEPS[DALI].always:
        return []
    return [
        f"dpam's other steps do not read the hits of --aligner {aligner}: it is for step 7 alone"
    ]


def _paths(settings: SubmitSettings) -> list[str]:
    named = [
        settings.work_dir,
        settings.data_dir,
        settings.templates,
        settings.dali_home,
        settings.image,
    ]
    return [
        f"the path {str(path)!r} has a character that cannot be used in a job"
        for path in named
        if path is not None and is_unfit(path, bool(settings.image))
    ]


def is_unfit(path: Path, with_image: bool) -> bool:
    """Whether no batch script can hold it: sbatch reads lines, apptainer splits at : and , ."""
    bad = '\n\r\\"' + (":," if with_image else "")
    return any(c in bad or not c.isprintable() for c in str(path.absolute()))


def _image(image: Path, platform: Platform) -> list[str]:
    try:
        fitness.check(image, platform.node_architecture(), platform.name)
    except ImageError as error:
        return [": ".join(filter(None, (error.what, error.hint)))]
    return []


def _work_dir(work_dir: Path) -> list[str]:
    try:
        with tempfile.TemporaryFile(dir=work_dir) as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return [f"{work_dir} cannot be written: {error.strerror}"]
    room = os.statvfs(work_dir)
    if room.f_bavail * room.f_frsize < FREE_BYTES:
        return [f"{work_dir} has less than {FREE_BYTES // 10**6} MB free"]
    return []


def _others(work_dir: Path, scheduler: Scheduler | None) -> list[str]:
    """Whoever is at work in the folder already: a ``run``, or jobs that were submitted before."""
    holder = run_lock.holder_at_work(work_dir / OWN_FOLDER)
    if holder is not None:
        return [f"dpam-hpc run is at work there: {holder.host}, process {holder.pid}"]
    runs = RunDir.last(work_dir)
    if not runs or scheduler is None:
        return []
    jobs = [job["job"] for run in runs for job in run.jobs()]
    kind = runs[-1].plan().scheduler
    if kind != scheduler.name:
        scheduler = scheduler_by_kind(kind, work_dir)
    try:
        queued = [status.job for status in scheduler.status(jobs) if status.state.is_queued]
    except SchedulerError as error:
        return [f"whether jobs of run {runs[-1].chain} are still queued is not known: {error.what}"]
    if queued:
        return [
            f"run {runs[-1].chain} is submitted already: job {', '.join(sorted(set(queued)))}"
            " (dpam-hpc status tells where it stands, dpam-hpc cancel ends it)"
        ]
    return []
