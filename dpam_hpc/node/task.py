"""A task of a cluster run on its node: what a job script starts, once a node."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dpam_hpc import journal, run_dir, trust
from dpam_hpc.errors import (
    ConfigError,
    DpamHpcError,
    InterruptedRun,
    LockedError,
    StorageError,
)
from dpam_hpc.image.identity import ImageIdentity
from dpam_hpc.journal import HELD
from dpam_hpc.node import account, image_check, run_lock, scratch
from dpam_hpc.node.dispatch import TIME_IS_SHORT
from dpam_hpc.node.failure_list import FailureList
from dpam_hpc.node.image_check import Mark
from dpam_hpc.node.launcher import LOST, IterativeDali
from dpam_hpc.node.progress import Progress
from dpam_hpc.node.run_lock import Lease
from dpam_hpc.node.shutdown import Shutdown
from dpam_hpc.node.stage import StageRun
from dpam_hpc.node.station import Station
from dpam_hpc.pipeline.outputs import Files
from dpam_hpc.pipeline.steps import DALI
from dpam_hpc.run_dir import RunDir
from dpam_hpc.settings import planned
from dpam_hpc.target import OWN_FOLDER, WorkFolder

log = logging.getLogger(__name__)

LEASE = Lease(heartbeat=10.0, stale_after=60.0, patience=90.0)
"""Of a task: the patience is long enough for the lease of one that died to end."""
WHOLE_TIME = 0.8
"""Part of its time limit that a start must have had, to say that the limit is too short."""
SAY_EVERY = 30.0
"""Seconds between two notes of where a task stands: one operation each on the shared folder."""


@dataclass(frozen=True)
class Start:
    """What the node's script knows: the scheduler's job, the node, and what the job is allowed."""

    job: str = ""
    node: str = ""
    restart: int = 0
    deadline: float | None = None
    scratch: tuple[str, ...] = ()
    last_resort: Path | None = None
    image: Path | None = None


class Reporter:
    """Writes progress.json of a task, now and then and at its end."""

    def __init__(self, run: RunDir, number: int, start: Start) -> None:
        self._run = run
        self._number = number
        self._base: dict[str, Any] = {
            "job": start.job, "node": start.node, "restart": start.restart, "began": time.time(),
        }  # fmt: skip
        self._wasted_before = float(run.progress(number).get("wasted", 0.0))
        self._said = 0.0

    def say(self, state: str, progress: Progress | None = None, **more: Any) -> None:
        """Write it now; what cannot be written is left out, since it only informs."""
        self._said = time.monotonic()
        wasted = self._wasted_before + (progress.wasted if progress else 0.0)
        content = {
            **self._base, "state": state, "at": time.time(), "wasted": round(wasted, 1), **more
        }  # fmt: skip
        if progress is not None:
            content |= {
                "targets": progress.targets, "done": progress.done, "failed": progress.failed,
                "skipped": progress.skipped, "found": progress.found,
                "pairs": progress.pairs, "hits": progress.hits, "workers": progress.workers,
                "busy_fraction": round(progress.busy_fraction, 4),
                "seconds": round(progress.seconds, 1), "free_bytes": progress.free_bytes,
                "cpu_seconds": round(sum(progress.cpu.values()), 1),
            }  # fmt: skip
        try:
            self._run.write_progress(self._number, content)
        except OSError as error:
            log.warning("where task %d stands cannot be written: %s", self._number, error)

    def tick(self, progress: Progress) -> None:
        """Say it, if it was not said for a while."""
        if time.monotonic() - self._said >= SAY_EVERY:
            self.say("running", progress)


def work_off(
    run: RunDir,
    number: int,
    start: Start,
    shutdown: Shutdown,
    on_tick: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Do a task's targets, going on where its earlier starts ended; raises DpamHpcError."""
    trust.check(run.work_dir / OWN_FOLDER)
    plan = run.plan()
    if not 0 <= number < len(plan.tasks):
        raise ConfigError(f"{run.path} has no task {number}", f"it has {len(plan.tasks)}, from 0")
    if run.is_cancelled:
        raise InterruptedRun(f"run {run.id} was cancelled", "dpam-hpc resume goes on with it")
    settings = planned(plan.settings, run.path)
    _refuse_beside_another_run(settings.work_dir)
    folder = run.task_folder(number)
    for each in (folder.parent, folder):
        trust.own_folder(each)
    reporter = Reporter(run, number, start)
    reporter.say("starting")
    predicted = dict(run.targets(plan.tasks[number]))
    follows = plan.stage is None and run.place > 1  # step 7, behind the steps of a chain
    held = _without_candidates(settings.work_dir, predicted) if follows else {}
    targets = [target for target in predicted if target not in held]

    def all_started() -> bool:
        return len(run.started()) >= len(plan.tasks)

    station = Station(
        folder,
        lambda: _next_journal(folder, held.values()),
        LEASE,
        rank=start.restart,
        scratch_candidates=start.scratch,
        scratch_by=plan.scratch_by,
        last_resort=start.last_resort,
        deadline=start.deadline,
        begins_once=True,
        keep_bundle=lambda: plan.keep_bundle and not all_started(),
        about=account.of_job(start.job, start.node, start.restart),
    )

    def tick(progress: Progress) -> None:
        reporter.tick(progress)
        on_tick(progress)

    began = time.time()
    session: IterativeDali | StageRun
    if plan.stage is not None:
        session = StageRun(
            settings, plan.stage, run.id, predicted,
            shutdown=shutdown, on_tick=tick, station=station,
        )  # fmt: skip
    else:
        session = IterativeDali(
            settings, expected_targets=len(targets), shutdown=shutdown, on_tick=tick,
            station=station,
        )  # fmt: skip
    mark: Mark | None = None
    try:
        mark = _verify_image(plan.image, run.id, start, settings.scratch_dir, folder)
        with session:
            if follows:
                FailureList(folder, held.values())
            progress = session.run(targets)
            progress.held += len(held)
    except DpamHpcError as error:
        reporter.say("failed", reason=error.what)
        raise
    finally:
        if mark and not shutdown.reason and all_started():
            mark.remove()
    if shutdown.reason == LOST:
        raise LockedError(f"task {number} of {run.id}: {LOST}", "that one goes on with it")
    had_its_time = start.deadline and start.deadline - began > WHOLE_TIME * plan.time_limit
    if shutdown.reason == TIME_IS_SHORT and had_its_time and not progress.done + progress.failed:
        reporter.say("failed", progress, reason=shutdown.reason)
        raise ConfigError(
            f"task {number} of {run.id}: none of the targets that are left fits into the time of a"
            f" job ({plan.time_limit} s), by the prediction",
            "dpam-hpc resume with a longer --time, or another --partition",
        )
    reporter.say("interrupted" if shutdown.reason else "finished", progress, reason=shutdown.reason)
    return progress


def refuse_beside_tasks(work_dir: Path) -> None:
    """LockedError while a task of a submitted run is at work in the folder."""
    for run in RunDir.last(work_dir):
        for number in run.started():
            holder = run_lock.holder_at_work(run.task_folder(number), LEASE)
            if holder is not None:
                raise LockedError(
                    f"run {run.id} is at work in {work_dir}: task {number} on {holder.host}",
                    "dpam-hpc status tells where it stands, dpam-hpc cancel ends it",
                )


def _verify_image(
    image: ImageIdentity | None, run: str, start: Start, explicit: Path | None, folder: Path
) -> Mark | None:
    """Before the lease is taken: who runs in another image takes nothing from anybody."""
    if image is None:
        return None
    if start.image:
        image = replace(image, path=start.image)  # as this node knows it
    choice = scratch.choose(folder, 0, explicit, candidates=start.scratch)
    local = not choice.is_fallback and scratch.is_local(choice.folder)
    return image_check.verify(image, run, choice.folder if local else None)


def _without_candidates(work_dir: Path, targets: Iterable[str]) -> dict[str, journal.Record]:
    """Records of the targets for which the stages before step 7 have not found candidates.

    They are held back, not failures: when those steps are done, step 7 does them.
    """
    held = {}
    folder = WorkFolder.at(work_dir)
    for target in targets:
        try:
            why = Files(folder, target).missing(DALI - 1)
        except (OSError, StorageError) as error:
            why = str(error)
        if why:
            reason = f"held back, step {DALI - 1} is not done: {why}"
            held[target] = {"target": target, "state": HELD, "at": "-", "reason": reason}
    return held


def _next_journal(folder: Path, held: Iterable[journal.Record] = ()) -> journal.Journal:
    """The journal of this start, with the records of the earlier ones before its own."""
    earlier = run_dir.journals(folder)
    opened = journal.Journal(run_dir.next_journal(folder, earlier))
    opened.append_all(held)
    opened.records[:0] = [record for path in earlier for record in journal.read(path)]
    return opened


def _refuse_beside_another_run(work_dir: Path) -> None:
    """A ``dpam-hpc run`` in the same folder would work on the same targets."""
    holder = run_lock.holder_at_work(work_dir / OWN_FOLDER)
    if holder is not None:
        raise LockedError(
            f"{work_dir} is being worked on by dpam-hpc run: {holder.host}, process {holder.pid}",
            "wait for it or end it, then dpam-hpc resume",
        )
