"""From settings to submitted jobs: what is to be done, in which shape, by which scripts."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dpam_hpc import __version__, cost, journal
from dpam_hpc.align import aligner as aligners
from dpam_hpc.clock import clock, parse_clock
from dpam_hpc.errors import ConfigError, SchedulerError
from dpam_hpc.journal import DONE, FAILED
from dpam_hpc.platforms.model import Partition, Platform
from dpam_hpc.run_dir import Job, Plan, RunDir
from dpam_hpc.settings import SubmitSettings, available_cpus
from dpam_hpc.submit import preflight
from dpam_hpc.submit.render import JobScript, Renderer
from dpam_hpc.submit.scheduler import Scheduler
from dpam_hpc.submit.shape import Limits, Shape, equal_tasks, shape
from dpam_hpc.submit.survey import Survey, Templates, survey
from dpam_hpc.target import JOURNAL, OWN_FOLDER, WorkFolder, chosen_targets, read_targets_file

UNKNOWN_CPUS = 16
"""Processors of a node that nothing is known of: for the prediction alone."""
MEGABYTES_A_WORKER = 150
MEGABYTES_BESIDE = 1000
MAX_RESTARTS = 30
JITTER_FROM = 8
"""Tasks from which on their starts are spread."""
MAX_JITTER = 60
GRACE_FOR_CLEANING = 5.0
"""Seconds of a site's grace that are kept for writing results and removing scratch."""

Count = Callable[[int, int], None]


@dataclass
class Prepared:
    """A run that is planned and not written; ``remarks`` are for the user."""

    settings: SubmitSettings
    platform: Platform
    shape: Shape
    found: Survey
    parts: list[list[tuple[str, float]]]
    cpus: int
    multi_node: bool
    done_before: int
    remarks: list[str] = field(default_factory=list)

    @property
    def scheduler(self) -> str:
        """Which scheduler the platform has."""
        return self.platform.scheduler.type

    def jobs(self) -> list[Job]:
        """The jobs, each with its tasks: one array, or as many multi-node jobs as it takes."""
        if not self.multi_node:
            return [Job("job.sh", 0, len(self.parts))]
        tasks = len(self.parts)
        jobs = math.ceil(tasks / self.shape.at_once)
        # Of nearly equal size: a small last one might be under the site's minimum.
        size, larger = divmod(tasks, jobs)
        return [
            Job(
                f"job-{n}.sh" if jobs > 1 else "job.sh",
                n * size + min(n, larger),
                size + (n < larger),
            )
            for n in range(jobs)
        ]

    def scripts(self, run: RunDir, renderer: Renderer) -> dict[str, str]:
        """Every script of the run by its name."""
        values = [self._script(run, job) for job in self.jobs()]
        texts = {job.script: renderer.job(v) for job, v in zip(self.jobs(), values, strict=True)}
        return {**texts, "node.sh": renderer.node(values[0])}

    def _script(self, run: RunDir, job: Job) -> JobScript:
        settings, platform = self.settings, self.platform
        scheduler, container = platform.scheduler, platform.container
        partition = settings.partition or platform.default_partition or ""
        given = {"account": settings.account, "partition": partition, "time": settings.time}
        exclusive = platform.is_exclusive(partition)
        many = len(self.parts)
        launcher = [sys.executable, "-m", "dpam_hpc"] if not settings.image else ["dpam-hpc"]
        return JobScript(
            run_id=run.id,
            run_dir=str(run.path),
            job_name=f"dpam-hpc-{run.id}",
            platform=platform.name,
            scheduler=self.scheduler,
            mode="multi-node" if self.multi_node else "array",
            launch_type=platform.launch.type,
            first=job.first,
            tasks=job.tasks,
            targets=len(self.found.costs),
            at_once=self.shape.at_once,
            cpus=self.cpus,
            exclusive=exclusive,
            memory=self._memory(exclusive),
            time_limit=clock(self.shape.time_limit),
            signal_lead=min(scheduler.signal_lead, self.shape.time_limit // 4),
            requeue=scheduler.requeue,
            max_restarts=max(MAX_RESTARTS, 3 * self.shape.starts),
            jitter=min(many, MAX_JITTER) if many >= JITTER_FROM else 0,
            log=f"{run.path}/logs/" + ("{job}.log" if self.multi_node else "{array}_{task}.log"),
            access=scheduler.access_arguments(given),
            sbatch_args=settings.sbatch_arg,
            modules=container.modules if settings.image else (),
            scratch=platform.scratch.candidates,
            last_resort=platform.scratch.last_resort,
            container_command=container.command,
            container_tmp_dir=container.tmp_dir or "",
            image=str(settings.image.absolute()) if settings.image else "",
            bind_paths=self._binds(),
            launcher=launcher,
        )

    def _memory(self, exclusive: bool) -> str:
        """What to ask for: the node's, or by the workers; nothing where it may not be asked for."""
        if not self.platform.scheduler.memory:
            return ""
        if exclusive:
            return "0"
        workers = self.settings.model_copy(update={"cpus": self.cpus}).workers
        return f"{workers * MEGABYTES_A_WORKER + MEGABYTES_BESIDE}M"

    def _binds(self) -> list[str]:
        """Folders that the launcher needs inside the image: one to write, the others to read."""
        settings = self.settings
        binds = [str(settings.work_dir.absolute())]
        data = settings.data_dir
        read = [data, settings.templates, settings.dali_home]
        binds += [f"{p.absolute()}:{p.absolute()}:ro" for p in read if p is not None]
        return binds + list(self.platform.container.bind_paths)


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
    settings = _with_defaults(settings, platform)
    problems = preflight.problems(settings, platform, scheduler)
    if problems:
        raise ConfigError(
            "this run cannot be submitted:\n  " + "\n  ".join(problems),
            "nothing was submitted",
        )
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
    correction = cost.correction(records(settings.work_dir))
    templates = Templates(settings.data_dir, settings.templates)
    found = survey(folder, left, templates, correction, on_count)
    cpus, remarks = _cpus(settings, platform)
    most_elements, multi_node = _arrays(platform, scheduler)
    if multi_node and platform.scheduler.submit_mode == "array":
        remarks.append("this SLURM takes no job arrays: one job of many nodes instead")
    seconds = sum(seconds for _, seconds in found.costs)
    limits = _limits(settings, platform, most_elements, multi_node)
    planned = shape(seconds, len(left), cpus, limits, multi_node)
    if correction != 1.0:
        remarks.append(f"predictions are {correction:.2f} x the model's, as earlier runs measured")
    return Prepared(
        settings,
        platform,
        planned,
        found,
        equal_tasks(found.costs, planned.tasks),
        cpus,
        multi_node,
        len(chosen) - len(left),
        remarks,
    )


def write(prepared: Prepared, renderer: Renderer) -> RunDir:
    """Make the run folder, with everything in it that jobs need."""
    settings = prepared.settings
    run = RunDir.create(settings.work_dir.absolute())
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
            version=__version__,
        )
    )
    return run


def submit(run: RunDir, scheduler: Scheduler) -> list[str]:
    """Submit a run's jobs; each id is noted before the next is asked for."""
    ids: list[str] = []
    for job in run.plan().jobs:
        try:
            number = scheduler.submit(run.path / job.script, [])
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


def records(work_dir: Path, only: RunDir | None = None) -> Iterator[journal.Record]:
    """Everything that runs of a working folder have noted, of ``run`` and of submitted ones."""
    own = work_dir / OWN_FOLDER / JOURNAL
    if own.exists() and only is None:
        yield from journal.read(own)
    for run in [only] if only else RunDir.all(work_dir):
        for number in run.started():
            yield from run.records(number)


def latest_run(work_dir: Path) -> RunDir | None:
    """The run that was submitted last, if there was one."""
    runs = RunDir.all(work_dir)
    return runs[-1] if runs else None


def over(settings: SubmitSettings, only: RunDir | None = None) -> set[str]:
    """Targets that need nothing more; what is not among them the nodes verify, or work on.

    A target is done where its last record says so and its marker is there, and failed where its
    record says that; failures are not over where they are to be tried again. ``only``: by the
    records of this run.
    """
    if settings.again == "all":
        return set()
    step = aligners.load(aligners.find(settings.aligner)).step
    state: dict[str, str] = {}
    for record in records(settings.work_dir, only):
        if record.get("step") == step:
            again = settings.again == "failed" and record.get("failures")
            state[record["target"]] = "again" if again else record["state"]
    if not state:
        return set()
    marked = _marked(WorkFolder.at(settings.work_dir), step)
    done = {target for target, what in state.items() if what == DONE and target in marked}
    if settings.again == "failed":
        return done
    return done | {target for target, what in state.items() if what == FAILED}


def _marked(folder: WorkFolder, step: str) -> set[str]:
    ending = f".{step}.done"
    if not folder.output_folder.is_dir():
        return set()
    with os.scandir(folder.output_folder) as entries:
        return {e.name.removesuffix(ending) for e in entries if e.name.endswith(ending)}


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


def _cpus(settings: SubmitSettings, platform: Platform) -> tuple[int, list[str]]:
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
