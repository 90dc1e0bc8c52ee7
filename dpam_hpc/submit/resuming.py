"""Going on with a run: what is left of it, and taking its tasks away from whoever still runs."""

from __future__ import annotations

from contextlib import suppress

from dpam_hpc.image.identity import ImageIdentity
from dpam_hpc.node.run_lock import FILE_NAME
from dpam_hpc.run_dir import RunDir
from dpam_hpc.submit.scheduler import JobState, Scheduler


def left_of(run: RunDir, over: set[str]) -> list[str]:
    """Targets of a run that are not among those that need nothing more."""
    plan = run.plan()
    return [name for task in plan.tasks for name, _ in run.targets(task) if name not in over]


def release_held(run: RunDir, scheduler: Scheduler) -> list[str]:
    """Let a run's held jobs go on; their ids."""
    known = scheduler.status([job["job"] for job in run.jobs()])
    held = [s for s in known if s.state is JobState.HELD]
    ids = [s.job if s.index is None else f"{s.job}_{s.index}" for s in held]
    if ids:
        scheduler.release(ids)
    return ids


def image_remarks(run: RunDir, now: ImageIdentity | None) -> list[str]:
    """That the image is another one than that of the run before, if it is."""
    before = run.plan().image
    if before is None or now is None or before.sha256 == now.sha256:
        return []
    return [
        f"the image {now.path} is not that of run {run.id}: its checksum is {now.short}..., and was"
        f" {before.short}...; what is left runs in the new one"
    ]


def take_from(run: RunDir) -> None:
    """Take the leases of an earlier run away: a launcher that outlived its node stops writing."""
    run.cancel()
    for number in run.started():
        with suppress(OSError):
            (run.task_folder(number) / FILE_NAME).unlink()
