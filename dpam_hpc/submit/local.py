"""No scheduler: batch scripts as detached processes of this machine."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dpam_hpc import command, trust
from dpam_hpc.command import Captured, TimedOut
from dpam_hpc.errors import SchedulerError
from dpam_hpc.node.run_lock import started_at
from dpam_hpc.submit.environment import clean_environment, scheduler_timeout
from dpam_hpc.submit.scheduler import JobState, JobStatus

ID = re.compile(r"([1-9][0-9]*):([1-9][0-9]*)", re.ASCII)

WRAPPER = r"""
trap : TERM INT HUP USR1 USR2
after=("${@:3}")
stat=$(< /proc/$$/stat)
set -- "$1" "$2" ${stat##*) }
job=$$:${22}
: > "$2/local-$job.log" || exit
[ "${#after[@]}" = 0 ] || : > "$2/local-$job.waits"
echo "$job"
exec >> "$2/local-$job.log" 2>&1
is_alive() {
    local stat
    { stat=$(< "/proc/${1%:*}/stat"); } 2> /dev/null || return 1
    set -- "$1" "" ${stat##*) }
    [ "$3" != Z ] && [ "${22}" = "${1#*:}" ]
}
for earlier in ${after[@]+"${after[@]}"}; do
    until [ -e "$2/local-$earlier.exit" ] || [ -e "$2/local-$job.cancelled" ]; do
        is_alive "$earlier" || break
        sleep 0.2
    done
done
rm -f "$2/local-$job.waits"
if [ -e "$2/local-$job.cancelled" ]; then
    status=143
else
    bash "$1"
    status=$?
fi
echo "$status" > "$2/local-$job.part" && mv "$2/local-$job.part" "$2/local-$job.exit"
"""
"""Tells its id (pid, and start in clock ticks since boot), waits until the jobs ``$3`` and on are
over, runs ``$1`` with its output to a log in the folder ``$2``, and leaves the exit status there. A
signal to the group is the script's: the wrapper outlives it."""


class Local:
    """Runs batch scripts on this machine; logs and exit statuses lie in ``folder``.

    The first submission makes that folder. An id is ``pid:ticks``. Another machine that sees the
    folder is told what has ended, and nothing of what still runs.
    """

    name = "local"

    def __init__(
        self,
        folder: Path,
        environ: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
    ) -> None:
        environ = os.environ if environ is None else environ
        self._folder = folder.absolute()
        self._environment = clean_environment(environ)
        self._timeout = scheduler_timeout(environ) if timeout is None else timeout

    def submit(self, script: Path, arguments: Sequence[str], after: Sequence[str] = ()) -> str:
        """Start it; it goes on when this process and its terminal end."""
        self._expect_no_options(arguments)
        if not script.is_file():
            raise SchedulerError(f"there is no batch script {script}")
        try:
            self._folder.mkdir(mode=trust.FOLDER_MODE, parents=True, exist_ok=True)
        except OSError as error:
            raise SchedulerError(f"{self._folder} cannot be made: {error.strerror}") from None
        for earlier in after:
            _parts(earlier)
        words = [str(script), str(self._folder), *after]
        done = self._call(["setsid", "--fork", "bash", "-c", WRAPPER, "job", *words])
        job = done.stdout.strip()
        if not ID.fullmatch(job):
            raise SchedulerError(
                f"{script} could not be started: {done.stderr.strip() or 'no word why'}",
                f"can {self._folder} be written?",
            )
        return job

    def test(self, script: Path, arguments: Sequence[str]) -> str:
        """Whether bash can read the script."""
        self._expect_no_options(arguments)
        done = self._call(["bash", "-n", str(script)])
        if done.returncode != 0:
            raise SchedulerError(f"bash cannot read {script}: {done.stderr.strip()}")
        return f"would start at once on {socket.gethostname()}"

    def status(self, jobs: Sequence[str]) -> list[JobStatus]:
        """RUNNING, or what the exit status says; UNKNOWN if it left none, or runs elsewhere."""
        return [self._status(job) for job in dict.fromkeys(jobs)]

    def cancel(self, jobs: Sequence[str]) -> None:
        """TERM to all that the script has started; what is over already is no error."""
        for job in jobs:
            state = self._status(job).state
            if state is JobState.UNKNOWN:
                raise SchedulerError(
                    f"there is no process {job} on this machine, and it left no exit status",
                    "if it was started on another machine, cancel it there",
                )
            if state.is_queued:
                self._path(job, "cancelled").touch()
                with suppress(ProcessLookupError):
                    os.killpg(_parts(job)[0], signal.SIGTERM)

    def max_array_size(self) -> int | None:
        """There are no arrays here, and no limit to the tasks of a script."""
        return None

    def release(self, jobs: Sequence[str]) -> None:
        """Nothing is ever held."""
        for job in jobs:
            _parts(job)

    def log(self, job: str) -> Path:
        """Where the output of a job goes."""
        return self._path(job, "log")

    def _status(self, job: str) -> JobStatus:
        pid, ticks = _parts(job)
        # First whether it is alive: what ends between two looks has left its exit status.
        if started_at(pid) == ticks and self.log(job).exists():
            if self._path(job, "waits").exists():
                return JobStatus(job, None, JobState.PENDING, "Dependency")
            return JobStatus(job, None, JobState.RUNNING, nodes=socket.gethostname())
        try:
            status = int(self._path(job, "exit").read_text())
        except (OSError, ValueError):
            return JobStatus(job, None, JobState.UNKNOWN, "left no exit status")
        if status == 0:
            return JobStatus(job, None, JobState.COMPLETED)
        cancelled = self._path(job, "cancelled").exists()
        state = JobState.CANCELLED if cancelled else JobState.FAILED
        return JobStatus(job, None, state, f"exit status {status}")

    def _path(self, job: str, suffix: str) -> Path:
        return self._folder / f"local-{job}.{suffix}"

    def _expect_no_options(self, arguments: Sequence[str]) -> None:
        if arguments:
            raise SchedulerError(
                f"without a scheduler there are no options for one: {' '.join(arguments)}"
            )

    def _call(self, argv: Sequence[str]) -> Captured:
        try:
            return command.capture(argv, timeout=self._timeout, env=self._environment)
        except TimedOut as error:
            raise SchedulerError(str(error)) from None
        except OSError as error:
            raise SchedulerError(f"{argv[0]} cannot be started: {error}") from None


def _parts(job: str) -> tuple[int, int]:
    found = ID.fullmatch(job)
    if not found:
        raise SchedulerError(f"{job!r} is no id of a local job", "is the run's record damaged?")
    return int(found[1]), int(found[2])
