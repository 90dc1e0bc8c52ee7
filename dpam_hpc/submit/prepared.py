"""A run that is planned and not written: its jobs, and what their scripts are made of."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from pathlib import Path

from dpam_hpc.clock import clock
from dpam_hpc.image.identity import ImageIdentity
from dpam_hpc.pipeline.steps import Stage
from dpam_hpc.platforms.model import Platform
from dpam_hpc.probe.meaning import Order
from dpam_hpc.run_dir import Job, RunDir
from dpam_hpc.settings import SubmitSettings
from dpam_hpc.submit.render import JobScript, Renderer
from dpam_hpc.submit.shape import Shape
from dpam_hpc.submit.survey import Survey

MEGABYTES_A_WORKER = 150
MEGABYTES_BESIDE = 1000
MAX_RESTARTS = 30
JITTER_FROM = 8
"""Tasks from which on their starts are spread."""
MAX_JITTER = 60


@dataclass
class Prepared:
    """A run that is planned and not written; ``remarks`` are for the user.

    ``scratch`` has the candidates, in the order in which a node is to try them. ``stage``: which of
    dpam's steps it does; None: step 7. ``binds``: what it reads beside the settings' folders.
    """

    settings: SubmitSettings
    platform: Platform
    shape: Shape
    found: Survey
    parts: list[list[tuple[str, float]]]
    cpus: int
    multi_node: bool
    done_before: int
    scratch: Order
    image: ImageIdentity | None = None
    stage: Stage | None = None
    binds: tuple[Path, ...] = ()
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
        launcher = [sys.executable, "-m", "dpam_hpc"] if not self.image else ["dpam-hpc"]
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
            modules=container.modules if self.image else (),
            scratch=self.scratch.candidates,
            last_resort=platform.scratch.last_resort,
            container_command=container.command,
            container_tmp_dir=container.tmp_dir or "",
            image=str(self.image.path) if self.image else "",
            image_architecture=self.image.architecture if self.image else "",
            bind_paths=self._binds(),
            launcher=launcher,
        )

    def _memory(self, exclusive: bool) -> str:
        """What to ask for: the node's, or by the workers; nothing where it may not be asked for."""
        if not self.platform.scheduler.memory:
            return ""
        if exclusive:
            return "0"
        if self.stage:
            return f"{self.stage.at_once * self.stage.memory_mb + MEGABYTES_BESIDE}M"
        workers = self.settings.model_copy(update={"cpus": self.cpus}).workers
        return f"{workers * MEGABYTES_A_WORKER + MEGABYTES_BESIDE}M"

    def _binds(self) -> list[str]:
        """Folders that the launcher needs inside the image: one to write, the others to read."""
        settings = self.settings
        binds = [str(settings.work_dir.absolute())]
        data = settings.data_dir
        read = [data, settings.templates, settings.dali_home, *self.binds]
        binds += [f"{p.absolute()}:{p.absolute()}:ro" for p in read if p is not None]
        return binds + list(self.platform.container.bind_paths)
