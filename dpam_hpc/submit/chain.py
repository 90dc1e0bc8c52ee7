"""Several of dpam's steps as a chain of runs, a stage each, which start one after the other.

However a stage ends, the next one begins: on the node it works on those targets alone that have
whole files of the steps before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dpam_hpc.align import aligner as aligners
from dpam_hpc.dpam_state import StateFiles
from dpam_hpc.errors import ConfigError, SchedulerError, StorageError
from dpam_hpc.journal import DONE, FAILED
from dpam_hpc.pipeline.outputs import Files
from dpam_hpc.pipeline.steps import DALI, STEPS, Stage, numbers_of, stages
from dpam_hpc.platforms.model import Platform
from dpam_hpc.run_dir import RunDir
from dpam_hpc.settings import SubmitSettings
from dpam_hpc.submit import submission
from dpam_hpc.submit.earlier import over, records
from dpam_hpc.submit.looking import look_at_all
from dpam_hpc.submit.prepared import Prepared
from dpam_hpc.submit.render import Renderer
from dpam_hpc.submit.scheduler import Scheduler
from dpam_hpc.submit.stage_plan import planned_stage
from dpam_hpc.submit.structures import layout, structures
from dpam_hpc.target import WorkFolder, chosen_targets, read_targets_file

Count = Callable[[int, int], None]


class NothingLeft(ConfigError):
    """All that was asked for is done, or has failed."""


def prepare(
    settings: SubmitSettings,
    platform: Platform,
    scheduler: Scheduler | None,
    numbers: Sequence[int],
    *,
    resumed: Sequence[RunDir] = (),
    retry_failed: bool = False,
    on_count: Count = lambda done, total: None,
) -> list[Prepared]:
    """Plan the stages of ``numbers`` in which something is left; ConfigError.

    ``resumed``: an earlier chain, of which what is left is planned. ``retry_failed``: its failures
    too, also where the settings say that all is to be done again.
    """
    settings = submission.checked(settings, platform, scheduler, numbers)
    if DALI in numbers and len(numbers) > 1:
        settings = settings.model_copy(update={"dpam_state": True})
    folder = layout(settings.work_dir)
    chosen = _chosen(settings, folder, numbers, resumed)
    pending: set[str] = set()
    prepared = []
    retry_failed = retry_failed or settings.retry_failed
    asked_for = len(chosen)
    for stage in stages(numbers):
        record = stage.record if stage.numbers != (DALI,) else ""
        if settings.redo:
            left, chosen = _left_to_redo(stage, chosen, pending, resumed, retry_failed)
        elif record:
            left = _left(folder, stage, chosen, pending)
            failed = set() if retry_failed else _failed(settings.work_dir, record)
            stuck = {target for target in left if target in failed and target not in pending}
            left = [target for target in left if target not in stuck]
            chosen = [target for target in chosen if target not in stuck]
        else:
            left, chosen = _left_of_dali(settings, folder, chosen, pending)
        if left and record:
            prepared.append(
                planned_stage(settings, platform, scheduler, folder, stage, left, len(chosen))
            )
        elif left:
            before = len(chosen) - len(left)
            prepared.append(
                submission.planned_alignment(
                    settings, platform, scheduler, folder, left, before,
                    to_come=bool(pending), on_count=on_count,
                )
            )  # fmt: skip
        pending.update(left)
    if not prepared:
        raise NothingLeft(
            f"of {settings.work_dir} all targets are done with these steps, or failed",
            "--retry-failed tries failures again, --redo does everything once more",
        )
    if failed_before := asked_for - len(chosen):
        prepared[0].remarks.append(
            f"left out, since they failed before: {failed_before} targets; --retry-failed tries"
            " them again"
        )
    return prepared


def write(
    prepared: Sequence[Prepared], renderer: Renderer, sources: Mapping[str, str] | None = None
) -> list[RunDir]:
    """Make the folders of all stages; ``sources``: where each setting came from."""
    settings = prepared[0].settings
    folder = layout(settings.work_dir)
    if folder.sharded:  # by which step 7 knows the layout
        folder.candidates_folder.mkdir(exist_ok=True)
    name = RunDir.new_name()
    runs = [
        submission.write(each, renderer, sources, f"{name}.s{place}")
        for place, each in enumerate(prepared, 1)
    ]
    _forget_in_batch_state(prepared, runs[0])
    return runs


def submit(runs: Sequence[RunDir], scheduler: Scheduler) -> list[list[str]]:
    """Submit all stages, each to start when the one before is over; the jobs' ids of each."""
    ids: list[list[str]] = []
    for run in runs:
        try:
            ids.append(submission.submit(run, scheduler, ids[-1] if ids else []))
        except SchedulerError as error:
            if not ids:
                raise
            before = ", ".join(job for jobs in ids for job in jobs)
            raise SchedulerError(
                f"stage {run.place} of {run.chain} was not submitted: {error.what}",
                f"the stages before it are, as job {before}; when they are over, dpam-hpc resume"
                " submits the rest",
            ) from None
    return ids


def _chosen(
    settings: SubmitSettings,
    folder: WorkFolder,
    numbers: Sequence[int],
    resumed: Sequence[RunDir],
) -> list[str]:
    """The targets: those of an earlier chain, those named, or all that there are."""
    if resumed:
        found: set[str] = set()
        for run in resumed:
            found.update(name for task in run.plan().tasks for name, _ in run.targets(task))
        return sorted(found)
    named = read_targets_file(settings.targets) if settings.targets else list(settings.target)
    if not named and numbers[0] < DALI:
        named = structures(folder)
        if not named:
            raise ConfigError(
                f"there are no structures in {folder.root}",
                "a target P has P.cif or P.pdb there, and its PAE in P.json",
            )
    return chosen_targets(folder, named)


def _left(folder: WorkFolder, stage: Stage, chosen: Sequence[str], pending: set[str]) -> list[str]:
    """Targets in which a stage has something to do, judged by their files, as the node does."""

    def is_left(target: str) -> bool:
        if target in pending:
            return True
        try:
            return bool(Files(folder, target).remaining(stage.numbers))
        except (OSError, StorageError):
            return True  # the node says what is wrong with it

    return [t for t, left in zip(chosen, look_at_all(is_left, chosen), strict=True) if left]


def _left_of_dali(
    settings: SubmitSettings,
    folder: WorkFolder,
    chosen: Sequence[str],
    pending: set[str],
) -> tuple[list[str], list[str]]:
    """What step 7 has left to do, and the targets that may go on behind it."""
    finished = over(settings)
    left = [
        target
        for target in chosen
        if target in pending or (target not in finished and not _has_hits(folder, target))
    ]
    working = set(left)
    failed = _failed(settings.work_dir, aligners.load(aligners.find(settings.aligner)).step)
    goes_on = [
        target
        for target in chosen
        if target in working or target not in failed or _has_hits(folder, target)
    ]
    return left, goes_on


def _has_hits(folder: WorkFolder, target: str) -> bool:
    """Whether step 7 was done by others; none but a marker may be upstream's failure."""
    try:
        files = Files(folder, target)
        hits = files.path(STEPS[DALI], STEPS[DALI].always[0])
        return not files.missing(DALI) and hits.stat().st_size > 0
    except (OSError, StorageError):
        return False


def _failed(work_dir: Path, step: str) -> set[str]:
    """Targets that a stage could not do when it was last tried."""
    last: dict[str, str] = {}
    for record in records(work_dir):
        if record.get("step") == step:
            last[record["target"]] = record["state"]
    return {target for target, state in last.items() if state == FAILED}


def _left_to_redo(
    stage: Stage,
    chosen: Sequence[str],
    pending: set[str],
    resumed: Sequence[RunDir],
    retry_failed: bool,
) -> tuple[list[str], list[str]]:
    """What a stage has left to do once more, and the targets that may go on behind it.

    All, or what an earlier chain has planned and not done: files and other runs' records tell of
    the time before it.
    """
    if not resumed:
        return list(chosen), list(chosen)
    own = next((run for run in resumed if numbers_of(run.plan().stage) == stage.numbers), None)
    still = set(pending)
    stuck: set[str] = set()
    if own is not None:
        planned = {name for task in own.plan().tasks for name, _ in own.targets(task)}
        last = {r["target"]: r for n in own.started() for r in own.records(n)}
        failed = {name for name, r in last.items() if r["state"] == FAILED}
        done = {name for name, r in last.items() if r["state"] == DONE}
        if retry_failed:
            done = {name for name in done if not last[name].get("failures")}
        else:
            stuck = failed - pending
        still |= planned - done - stuck
    goes_on = [target for target in chosen if target not in stuck]
    return [target for target in goes_on if target in still], goes_on


def _forget_in_batch_state(prepared: Sequence[Prepared], run: RunDir) -> None:
    """Take what is about to change out of the folder's batch state, before the nodes share it."""
    state = StateFiles(run.work_dir, run.path)
    for each in prepared:
        if each.stage:
            state.begin_batch_again([target for target, _ in each.found.costs], each.stage.names)
