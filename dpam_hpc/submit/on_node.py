"""One command on one compute node, by a short job: submitted, waited for, its answer read."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dpam_hpc import trust
from dpam_hpc.clock import clock
from dpam_hpc.errors import ConfigError, SchedulerError
from dpam_hpc.platforms import library
from dpam_hpc.platforms.model import Partition, Platform
from dpam_hpc.settings import SubmitSettings
from dpam_hpc.submit.preflight import OWNED_HERE
from dpam_hpc.submit.render import Renderer
from dpam_hpc.submit.scheduler import JobState, JobStatus, Scheduler
from dpam_hpc.submit.user_flags import user_flags_problem
from dpam_hpc.target import OWN_FOLDER

TIME_LIMIT = 600
"""Seconds that the job asks for."""
LOOK_EVERY = 1.0
LATE_ANSWER = 15.0
"""Seconds in which the answer of a job that is over must be seen here: a client caches names."""
LOG_LINES = 15


class OnNode:
    """A job that runs ``dpam-hpc VERB ARGUMENTS`` with this Python and leaves what it prints.

    Its folder lies in the working folder, which the nodes see; it stays if there is no answer.
    """

    def __init__(self, settings: SubmitSettings, platform: Platform, scheduler: Scheduler) -> None:
        self._settings, self._platform, self._scheduler = settings, platform, scheduler
        own = settings.work_dir.absolute() / OWN_FOLDER
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        self.folder = own / "on-node" / f"{stamp}-{secrets.token_hex(2)}"
        self.job = ""

    def ask(
        self,
        command: Sequence[str],
        renderer: Renderer,
        patience: float,
        say: Callable[[str], None] = lambda text: None,
    ) -> bytes:
        """What the command printed on the node; SchedulerError if that cannot be had in time."""
        script = self._write(command, renderer)
        try:
            self.job = self._scheduler.submit(script, [])
        except SchedulerError:
            self._remove()
            raise
        say(f"job {self.job} is submitted; waiting up to {patience:.0f} s for it")
        try:
            if not (answer := self._wait(patience)).strip():
                raise SchedulerError(f"job {self.job} printed no answer{self._last_words()}")
        except BaseException:
            with suppress(SchedulerError):
                self._scheduler.cancel([self.job])
            raise
        self._remove()
        return answer

    def _remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):  # others are at work in it
            self.folder.parent.rmdir()

    def _write(self, command: Sequence[str], renderer: Renderer) -> Path:
        if not self._settings.work_dir.is_dir():
            raise ConfigError(f"there is no folder {self._settings.work_dir}")
        text = renderer.on_node(self._platform.name, self._values(command))
        for folder in (self.folder.parent.parent, self.folder.parent, self.folder):
            trust.own_folder(folder)
        script = self.folder / "job.sh"
        script.write_text(text)
        return script

    def _values(self, command: Sequence[str]) -> dict[str, Any]:
        settings, platform = self._settings, self._platform
        name = settings.partition or platform.default_partition or ""
        given = {"account": settings.account, "partition": name, "time": "given"}
        problems = [f"platform {platform.name} requires --{n}" for n in platform.missing(given)]
        problems += user_flags_problem(settings.sbatch_arg, OWNED_HERE)
        if problems:
            raise ConfigError("no job can be submitted: " + "; ".join(problems))
        partition = platform.partitions.get(name, Partition())
        time_limit = clock(min(TIME_LIMIT, partition.max_runtime_seconds or TIME_LIMIT))
        return {
            "job_name": f"dpam-hpc-{command[0]}",
            "access": platform.scheduler.access_arguments({**given, "time": time_limit}),
            "nodes": partition.min_nodes or 1,
            "exclusive": platform.is_exclusive(name),
            "time_limit": time_limit,
            "log": f"{self.folder}/log",
            "sbatch_args": settings.sbatch_arg,
            "modules": platform.container.modules if settings.image else (),
            "platform_path": os.environ.get(library.VARIABLE, ""),
            "folder": str(self.folder),
            "command": [sys.executable, "-m", "dpam_hpc", *command],
        }

    def _wait(self, patience: float) -> bytes:
        end = time.monotonic() + patience
        over_since = None
        while True:
            with suppress(FileNotFoundError):
                return (self.folder / "answer.json").read_bytes()
            with suppress(OSError):
                next(self.folder.iterdir())  # a listing has an NFS client look again
            now = time.monotonic()
            try:
                (status, *_) = self._scheduler.status([self.job])
            except SchedulerError:  # busy: its job goes on all the same
                if not now <= end:
                    raise
                time.sleep(LOOK_EVERY)
                continue
            if status.state.is_over:
                over_since = over_since or now
                if now - over_since > LATE_ANSWER:
                    raise self._without_answer(status)
            elif not now <= end:  # patience may be no number
                raise self._too_late(status, patience)
            time.sleep(LOOK_EVERY)

    def _too_late(self, status: JobStatus, patience: float) -> SchedulerError:
        reason = f": {status.reason}" if status.reason else ""
        if status.state in (JobState.PENDING, JobState.HELD):
            return SchedulerError(
                f"job {self.job} did not start in {patience:.0f} s ({status.state.value}{reason});"
                " it is cancelled",
                "wait longer (--wait SECONDS), or name a partition with free nodes (--partition)",
            )
        return SchedulerError(
            f"job {self.job} gave no answer in {patience:.0f} s ({status.state.value}{reason});"
            f" it is cancelled{self._last_words()}",
            "wait longer (--wait SECONDS)",
        )

    def _without_answer(self, status: JobStatus) -> SchedulerError:
        return SchedulerError(
            f"job {self.job} ended without an answer ({status.state.value}"
            f"{': ' + status.reason if status.reason else ''}){self._last_words()}",
            f"the nodes must see {self._settings.work_dir.absolute()} and {sys.executable}",
        )

    def _last_words(self) -> str:
        """The end of the job's log, printable."""
        log = self.folder / "log"
        if not log.exists():
            log = self.folder.parent.parent / "local" / f"local-{self.job}.log"
        try:
            lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        except OSError:
            return f"; it left no log in {self.folder}"
        clean = ("".join(c if c.isprintable() else " " for c in line) for line in lines)
        return f"; {log} ends:" + "".join(f"\n    {line}" for line in clean)
