"""SLURM by its commands: each with a time limit and a clean environment."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from dpam_hpc import command
from dpam_hpc.command import Captured, TimedOut
from dpam_hpc.errors import SchedulerError
from dpam_hpc.submit import slurm_texts as texts
from dpam_hpc.submit.environment import TIMEOUT_VARIABLE, clean_environment, scheduler_timeout
from dpam_hpc.submit.scheduler import JobState, JobStatus


class Slurm:
    """The SLURM that the commands on PATH speak to.

    ``environ`` is the user's environment (by default this process's), of which the commands get
    the part that ``clean_environment`` keeps; ``timeout`` is in seconds.
    """

    name = "slurm"

    def __init__(
        self, environ: Mapping[str, str] | None = None, *, timeout: float | None = None
    ) -> None:
        environ = os.environ if environ is None else environ
        # Without a limit on the length of "2_[0-5,...]" every pending element is told.
        self._environment = {**clean_environment(environ), "SLURM_BITSTR_LEN": "0"}
        self._timeout = scheduler_timeout(environ) if timeout is None else timeout
        self._accounts = True

    def submit(self, script: Path, arguments: Sequence[str], after: Sequence[str] = ()) -> str:
        """Submit a batch script; options of ``sbatch`` override those of the script."""
        arguments = [*arguments, *texts.after(after)]
        name = texts.job_name(_text(script), script, arguments)
        try:
            done = self._run(texts.sbatch(script, arguments))
        except TimedOut as error:
            raise SchedulerError(str(error), texts.may_exist(name)) from None
        return texts.submitted_id(done.returncode, done.stdout, done.stderr, name)

    def test(self, script: Path, arguments: Sequence[str]) -> str:
        """When SLURM thinks that it would start, in its words; SchedulerError if it refuses."""
        done = self.ask(texts.sbatch_test(script, arguments))
        return texts.tested(done.returncode, done.stdout, done.stderr)

    def status(self, jobs: Sequence[str]) -> list[JobStatus]:
        """One question to the controller, and one to accounting for what it has forgotten."""
        if not jobs:
            return []
        done = self.ask(texts.squeue(jobs))
        known = {
            (s.job, s.index): s for s in texts.queued(done.returncode, done.stdout, done.stderr)
        }
        # Any array may have elements that ended long ago.
        asked = [job for job in jobs if (job.partition("_")[0], None) not in known]
        for status in self._accounted([job for job in asked if not _is_known_element(job, known)]):
            known.setdefault((status.job, status.index), status)
        found: dict[tuple[str, int | None], JobStatus] = {}
        for job in jobs:
            number, _, index = job.partition("_")
            mine = sorted(
                (key for key in known if key[0] == number and index in ("", str(key[1]))),
                key=lambda key: -1 if key[1] is None else key[1],
            )
            unknown = (number, int(index) if index else None)
            for key in mine or [unknown]:
                found[key] = known.get(key) or JobStatus(*unknown, JobState.UNKNOWN)
        return list(found.values())

    def cancel(self, jobs: Sequence[str]) -> None:
        """Cancel jobs or elements; what is over already is no error."""
        if jobs:
            done = self.ask(texts.scancel(jobs))
            texts.cancelled(done.returncode, done.stdout, done.stderr)

    def max_array_size(self) -> int | None:
        """What the controller's settings say."""
        done = self.ask(texts.scontrol_config())
        return texts.max_array_size(done.returncode, done.stdout, done.stderr)

    def release(self, jobs: Sequence[str]) -> None:
        """Release jobs that are held, as after a failed launch."""
        if jobs:
            done = self.ask(texts.scontrol_release(jobs))
            texts.released(done.returncode, done.stdout, done.stderr)

    def _accounted(self, jobs: Sequence[str]) -> list[JobStatus]:
        """What accounting knows; nothing where there is none, or it is out of order."""
        if not jobs or not self._accounts:
            return []
        try:
            done = self.ask(texts.sacct(jobs))
            known = texts.accounted(done.returncode, done.stdout, done.stderr)
        except SchedulerError:
            return []  # then those jobs are unknown, which is said
        if known is None:
            self._accounts = False
        return known or []

    def ask(self, argv: Sequence[str]) -> Captured:
        """What a command answers; SchedulerError if it is missing or does not in time."""
        try:
            return self._run(argv)
        except TimedOut as error:
            raise SchedulerError(
                str(error),
                f"the scheduler is busy or down: try again later, or set {TIMEOUT_VARIABLE}",
            ) from None

    def _run(self, argv: Sequence[str]) -> Captured:
        try:
            return command.capture(argv, timeout=self._timeout, env=self._environment)
        except FileNotFoundError:
            raise SchedulerError(
                f"there is no {argv[0]} on PATH",
                "work on a login node of the cluster, or load the site's module for SLURM",
            ) from None
        except OSError as error:
            raise SchedulerError(f"{argv[0]} cannot be started: {error}") from None


def _text(script: Path) -> str:
    try:
        return script.read_text(errors="replace")
    except OSError as error:
        raise SchedulerError(f"the batch script cannot be read: {error}") from None


def _is_known_element(job: str, known: Mapping[tuple[str, int | None], JobStatus]) -> bool:
    number, _, index = job.partition("_")
    return bool(index) and (number, int(index)) in known
