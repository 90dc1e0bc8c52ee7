"""From settings to submitted jobs: what is to be done, in which shape, by which scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dpam_hpc import __version__, cost
from dpam_hpc.clock import parse_clock
from dpam_hpc.errors import ConfigError, SchedulerError
from dpam_hpc.image.identity import identify
from dpam_hpc.pipeline.steps import DALI
from dpam_hpc.platforms.model import Partition, Platform
from dpam_hpc.probe import choosing
from dpam_hpc.probe.meaning import Order
from dpam_hpc.run_dir import Plan, RunDir
from dpam_hpc.settings import SubmitSettings, available_cpus
from dpam_hpc.submit import links, preflight
from dpam_hpc.submit.earlier import over, records
from dpam_hpc.submit.prepared import Prepared
from dpam_hpc.submit.render import Renderer
from dpam_hpc.submit.scheduler import Scheduler
from dpam_hpc.submit.shape import Limits, equal_tasks, shape
from dpam_hpc.submit.survey import Templates, survey
from dpam_hpc.target import WorkFolder, chosen_targets, read_targets_file

UNKNOWN_CPUS = 16
"""Processors of a node that nothing is known of: for the prediction alone."""
GRACE_FOR_CLEANING = 5.0
"""Seconds of a site's grace that are kept for writing results and removing scratch."""

Count = Callable[[int, int], None]


def prepare(
    settings: SubmitSettings,
    platform: Platform,
    scheduler: Scheduler | None,
    *,
    targets: Sequence[str] | None = None,
    on_count: Count = lambda done, total: None,
) -> Prepared:
    """Plan a run; ConfigError with everything that is in its way.

    ``targets``: what is left of an earlier run; else the settings' or all of the folder, but for
    those that are ``over``.
    """
    settings = checked(settings, platform, scheduler)
    folder = WorkFolder.at(settings.work_dir)
    if targets is None:
        named = read_targets_file(settings.targets) if settings.targets else settings.target
        chosen = chosen_targets(folder, list(named))
        finished = over(settings)
        left = [target for target in chosen if target not in finished]
    else:
        chosen = left = list(targets)
    if not left:
        raise ConfigError(
            f"of {settings.work_dir} all {len(chosen)} targets are done or failed",
            "--retry-failed tries failures again, --redo does everything once more",
        )
    return planned_alignment(
        settings, platform, scheduler, folder, left, len(chosen) - len(left), on_count=on_count
    )


def checked(
    settings: SubmitSettings,
    platform: Platform,
    scheduler: Scheduler | None,
    steps: Sequence[int] = (DALI,),
) -> SubmitSettings:
    """The settings with what the folder and the platform add; ConfigError with all problems."""
    settings = _with_defaults(settings, platform)
    problems = preflight.problems(settings, platform, scheduler, steps)
    if problems:
        raise ConfigError(
            "this run cannot be submitted:\n  " + "\n  ".join(problems),
            "nothing was submitted",
        )
    return settings


def planned_alignment(
    settings: SubmitSettings,
    platform: Platform,
    scheduler: Scheduler | None,
    folder: WorkFolder,
    left: Sequence[str],
    done_before: int,
    *,
    to_come: bool = False,
    on_count: Count = lambda done, total: None,
) -> Prepared:
    """Step 7 of the targets that are ``left``; ``to_come``: earlier steps find their candidates."""
    known = Templates(settings.data_dir, settings.templates)
    found = survey(folder, left, known, on_count, to_come=to_come)
    correction = cost.correction(records(settings.work_dir), found.mean_template)
    found = found.corrected(correction)
    cpus, remarks = cpus_of_node(settings, platform)
    multi_node, limits, more = means(settings, platform, scheduler)
    remarks += more
    seconds = sum(seconds for _, seconds in found.costs)
    planned = shape(seconds, len(left), cpus, limits, multi_node)
    if correction != 1.0:
        remarks.append(f"predictions are {correction:.2f} x the model's, as earlier runs measured")
    order, more = scratch_order(settings, platform)
    remarks += more
    binds, more = linked(settings, known.behind | found.behind)
    remarks += more
    return Prepared(
        settings,
        platform,
        planned,
        found,
        equal_tasks(found.costs, planned.tasks),
        cpus,
        multi_node,
        done_before,
        order,
        identify(settings.image) if settings.image else None,
        binds=binds,
        remarks=remarks,
    )


def linked(settings: SubmitSettings, folders: Iterable[str]) -> tuple[tuple[Path, ...], list[str]]:
    """Folders that an image must be given beside those of the settings, and what to say of it.

    ConfigError if they cannot be.
    """
    if not settings.image:
        return (), []
    given = (settings.work_dir, settings.data_dir)
    binds = tuple(links.outside(folders, [path for path in given if path is not None]))
    if unfit := [path for path in binds if preflight.is_unfit(path, True)]:
        raise ConfigError(
            f"links lead to {str(unfit[0])!r}, whose name cannot be used in a job",
            "rename the folder, or put the files themselves into the working folder",
        )
    named = ", ".join(map(str, binds))
    return binds, [f"links lead to {named}: bound into the image, to be read"] if binds else []


def scratch_order(settings: SubmitSettings, platform: Platform) -> tuple[Order, list[str]]:
    """In which order nodes try the platform's places for scratch, and what to say of it."""
    order = choosing.for_platform(platform, platform.scratch.candidates)
    if settings.scratch_dir is not None:
        return order, []
    told = [f"scratch is tried as {order.by} has measured"] if order.by else []
    return order, [*told, *order.remarks]


def write(
    prepared: Prepared,
    renderer: Renderer,
    sources: Mapping[str, str] | None = None,
    name: str = "",
) -> RunDir:
    """Make the run folder, with everything in it that jobs need.

    ``sources``: where each setting came from. ``name``: of the run, if it is a stage.
    """
    settings = prepared.settings
    run = RunDir.create(settings.work_dir.absolute(), name)
    tasks = run.write_targets(prepared.parts)
    if prepared.found.problems:
        lines = [f"{target}\t{problem}\n" for target, problem in prepared.found.problems]
        (run.path / "problems.tsv").write_text("".join(lines))
    for name, text in prepared.scripts(run, renderer).items():
        (run.path / name).write_text(text)
    run.write_plan(
        Plan(
            platform=prepared.platform.name,
            scheduler=prepared.scheduler,
            mode="multi-node" if prepared.multi_node else "array",
            nodes=prepared.shape.at_once,
            cpus=prepared.cpus,
            time_limit=prepared.shape.time_limit,
            tasks=tasks,
            jobs=prepared.jobs(),
            settings=launcher_settings(prepared),
            submit=settings.model_dump(mode="json", exclude_unset=True),
            keep_bundle=prepared.platform.scratch.keep_between_tasks,
            image=prepared.image,
            scratch_by=prepared.scratch.by,
            stage=prepared.stage,
            version=__version__,
            sources=dict(sources or {}),
        )
    )
    return run


def submit(run: RunDir, scheduler: Scheduler, after: Sequence[str] = ()) -> list[str]:
    """Submit a run's jobs, to start after others; each id is noted before the next is asked for."""
    ids: list[str] = []
    for job in run.plan().jobs:
        try:
            number = scheduler.submit(run.path / job.script, [], after)
        except SchedulerError as error:
            if not ids:
                (run.path / "refused").write_text(error.what + "\n")
            raise
        run.add_job(number, job.first, job.tasks)
        ids.append(number)
    return ids


def launcher_settings(prepared: Prepared) -> dict[str, Any]:
    """The settings of the launchers: the grace fits into the site's."""
    settings = prepared.settings
    values = settings.for_launchers()
    partition = _partition(settings, prepared.platform)
    if partition and partition.grace_time is not None:
        values["grace"] = min(settings.grace, max(0.0, partition.grace_time - GRACE_FOR_CLEANING))
    if "min_free_gb" not in settings.model_fields_set:
        values["min_free_gb"] = prepared.platform.scratch.min_free_gb
    return values


def _with_defaults(settings: SubmitSettings, platform: Platform) -> SubmitSettings:
    """The data folder may be the working folder itself."""
    changes: dict[str, Any] = {"work_dir": settings.work_dir.absolute()}
    own = settings.work_dir.absolute()
    if settings.data_dir is None and settings.templates is None and (own / "ECOD70").is_dir():
        changes["data_dir"] = own
    if not settings.partition and platform.default_partition:
        changes["partition"] = platform.default_partition
    return settings.model_copy(update=changes)


def _partition(settings: SubmitSettings, platform: Platform) -> Partition | None:
    return platform.partitions.get(settings.partition)


def cpus_of_node(settings: SubmitSettings, platform: Platform) -> tuple[int, list[str]]:
    """Processors of a node, and a remark where they are not known."""
    if "cpus" in settings.model_fields_set:
        return settings.cpus, []
    if platform.scheduler.type == "local":
        return available_cpus(), []
    partition = _partition(settings, platform)
    if partition and partition.cpus_per_node:
        return partition.cpus_per_node, []
    return UNKNOWN_CPUS, [
        f"processors of a node are not known: {UNKNOWN_CPUS} taken for the prediction; --cpus"
        " tells, or cpus_per_node of the partition in the platform's file"
    ]


def means(
    settings: SubmitSettings, platform: Platform, scheduler: Scheduler | None
) -> tuple[bool, Limits, list[str]]:
    """Whether jobs are multi-node ones, what is allowed, and a remark on it."""
    most_elements, multi_node = _arrays(platform, scheduler)
    limits = _limits(settings, platform, most_elements, multi_node)
    if multi_node and platform.scheduler.submit_mode == "array":
        return multi_node, limits, ["this SLURM takes no job arrays: one job of many nodes instead"]
    return multi_node, limits, []


def _arrays(platform: Platform, scheduler: Scheduler | None) -> tuple[int | None, bool]:
    """The most elements of an array (None: not known), and whether jobs are multi-node ones."""
    if platform.scheduler.submit_mode == "multi-node":
        return None, True
    most = platform.scheduler.max_array_size
    if most is None and scheduler is not None:
        most = scheduler.max_array_size()
    return most, most == 0


def _limits(
    settings: SubmitSettings, platform: Platform, most_elements: int | None, multi_node: bool
) -> Limits:
    scheduler, partition = platform.scheduler, _partition(settings, platform) or Partition()
    queued = [x for x in (scheduler.max_jobs, partition.max_jobs_queued) if x]
    allowed = [] if multi_node else [x for x in (most_elements, *queued) if x]
    nodes = [partition.max_nodes if multi_node else partition.max_nodes_user, scheduler.max_nodes]
    if settings.max_tasks:
        allowed.append(settings.max_tasks)
    if scheduler.type == "local":
        allowed.append(1)
    return Limits(
        max_runtime=partition.max_runtime_seconds,
        max_tasks=min(allowed) if allowed else None,
        max_nodes=min((x for x in nodes if x), default=None),
        max_jobs=min(queued, default=1),
        min_nodes=partition.min_nodes or 1,
        nodes=settings.nodes or None,
        time=parse_clock(settings.time) if settings.time else None,
    )
