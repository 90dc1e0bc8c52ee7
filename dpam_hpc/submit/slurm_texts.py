"""SLURM's commands as lists of arguments, and what they print as values: texts alone.

Recorded from SLURM 22.05. A parser gets exit status, standard output and standard error; none
starts a process.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from dpam_hpc.errors import SchedulerError
from dpam_hpc.submit.scheduler import JobState, JobStatus

JOB_ID = re.compile(r"[0-9]+(_[0-9]+)?", re.ASCII)
PARSABLE_ID = re.compile(r"([0-9]+)(;[^\s;]+)?", re.ASCII)
FIELDS = 4
SQUEUE_FORMAT = "%F|%K|%T|%N|%r"
"""Job, array index, state, nodes; the reason last: it alone could contain the separator."""
SACCT_FORMAT = "JobID,State,NodeList,Reason"
UNKNOWN_JOB = "Invalid job id specified"
JOB_IS_OVER = (UNKNOWN_JOB, "already completing or completed")
MOST_ELEMENTS = 100_000
"""In one answer: no run has so many tasks, and each has a value of its own."""
NO_ACCOUNTING = "accounting storage is disabled"
NOTHING = {"None", "N/A", "(null)", "None assigned", "None allocated"}
HELD = re.compile(r"held|JobHoldMaxRequeue", re.IGNORECASE)
"""In reasons: JobHeldUser, JobHeldAdmin, "launch failed requeued held", "... in held state"."""

STATES = {
    "PENDING": JobState.PENDING,
    "CONFIGURING": JobState.PENDING,  # its nodes are booting
    "REQUEUED": JobState.PENDING,
    "REQUEUE_FED": JobState.PENDING,
    "RUNNING": JobState.RUNNING,
    "RESIZING": JobState.RUNNING,
    "SIGNALING": JobState.RUNNING,
    "COMPLETING": JobState.COMPLETING,
    "STAGE_OUT": JobState.COMPLETING,
    "SUSPENDED": JobState.SUSPENDED,
    "STOPPED": JobState.SUSPENDED,
    "REQUEUE_HOLD": JobState.HELD,
    "RESV_DEL_HOLD": JobState.HELD,
    "SPECIAL_EXIT": JobState.HELD,  # requeued and held by an epilog or `scontrol requeuehold`
    "COMPLETED": JobState.COMPLETED,
    "FAILED": JobState.FAILED,
    "BOOT_FAIL": JobState.NODE_FAIL,
    "NODE_FAIL": JobState.NODE_FAIL,
    "CANCELLED": JobState.CANCELLED,
    "REVOKED": JobState.CANCELLED,  # another cluster of the federation took it
    "TIMEOUT": JobState.TIMEOUT,
    "DEADLINE": JobState.TIMEOUT,
    "PREEMPTED": JobState.PREEMPTED,
    "OUT_OF_MEMORY": JobState.OUT_OF_MEMORY,
}

HINTS = {
    "invalid partition": "`sinfo -s` lists the partitions",
    "invalid account": "`sacctmgr show associations user=$USER` lists your accounts",
    "invalid qos": "`sacctmgr show associations user=$USER format=account,qos` lists them",
    "invalid job array": "this site takes no job arrays, or none so large: use one job of many "
    "nodes, or fewer tasks",
    "limit": "a limit of the site: wait until jobs of yours have ended, or ask for less",
    "requested node configuration": "no node of that partition has so much: ask for less",
    "more processors requested": "no node of that partition has so much: ask for less",
    "requested time limit": "ask for less time; `sinfo -o '%P %l'` lists the limits",
    "unable to contact": "the scheduler does not answer: try again later",
    "socket timed out": "the scheduler does not answer: try again later",
    "zero bytes were transmitted": "the scheduler does not answer: try again later",
    "access/permission denied": "is it a job of yours?",
    "unrecognized option": "an option that this version of SLURM does not have",
}
"""Parts of what SLURM says, in lower case, and what to do."""


def checked_ids(jobs: Iterable[str]) -> list[str]:
    """The ids, if they are some: any other text would be an option or another user's job."""
    ids = list(jobs)
    for job in ids:
        if not JOB_ID.fullmatch(job):
            raise SchedulerError(f"{job!r} is no SLURM job id", "is the run's record damaged?")
    return ids


def sbatch(script: Path, arguments: Sequence[str]) -> list[str]:
    """Submit; options before the script, what stands after it would be the script's."""
    return ["sbatch", "--parsable", *arguments, str(script)]


def after(jobs: Sequence[str]) -> list[str]:
    """The option that makes a job wait until all of ``jobs``, arrays whole, are over."""
    return ["--dependency=afterany:" + ":".join(checked_ids(jobs))] if jobs else []


def sbatch_test(script: Path, arguments: Sequence[str]) -> list[str]:
    """Ask whether, and when, it would run."""
    return ["sbatch", "--test-only", *arguments, str(script)]


def squeue(jobs: Sequence[str]) -> list[str]:
    """All that the controller still knows: jobs that ended within MinJobAge as well."""
    ids = ",".join(checked_ids(jobs))
    return ["squeue", "-h", "-r", "-t", "all", "-o", SQUEUE_FORMAT, f"--jobs={ids}"]


def sacct(jobs: Sequence[str]) -> list[str]:
    """What accounting knows, of allocations, not of their steps."""
    ids = ",".join(checked_ids(jobs))
    return ["sacct", "-n", "-P", "-X", f"--format={SACCT_FORMAT}", f"--jobs={ids}"]


def scancel(jobs: Sequence[str]) -> list[str]:
    """Cancel jobs or elements."""
    return ["scancel", *checked_ids(jobs)]


def scontrol_release(jobs: Sequence[str]) -> list[str]:
    """Release held jobs."""
    return ["scontrol", "release", ",".join(checked_ids(jobs))]


def scontrol_config() -> list[str]:
    """Ask the controller for its settings."""
    return ["scontrol", "show", "config"]


def max_array_size(returncode: int, stdout: str, stderr: str) -> int | None:
    """MaxArraySize, of which an array's highest index is one less; None if it is not told."""
    if returncode != 0:
        raise refusal("scontrol", returncode, stdout, stderr)
    found = re.search(r"^MaxArraySize\s*=\s*([0-9]{1,9})\s*$", stdout, re.MULTILINE)
    return int(found[1]) if found else None


def job_name(script_text: str, script: Path, arguments: Sequence[str]) -> str:
    """The name that ``squeue`` shows: from options, the script's ``#SBATCH`` lines, its file."""
    name = script.name
    for line in script_text.splitlines():
        found = re.match(r"#SBATCH\s+(?:--job-name[=\s]\s*|-J\s*)(\S+)", line)
        if found:
            name = found[1].strip("\"'")
    for option in arguments:
        found = re.fullmatch(r"(?:--job-name=|-J=?)(.+)", option)
        if found:
            name = found[1]
    return name


def submitted_id(returncode: int, stdout: str, stderr: str, name: str) -> str:
    """The id of the job that ``sbatch --parsable`` made, without the cluster's name.

    A site's banner around it does no harm: the id is the one line that is an id.
    """
    if returncode != 0:
        raise refusal("sbatch", returncode, stdout, stderr)
    found = [m for line in stdout.splitlines() if (m := PARSABLE_ID.fullmatch(line.strip()))]
    if len(found) != 1:
        raise SchedulerError(
            f"sbatch ended well but named no job: {excerpt(stdout + stderr)}", may_exist(name)
        )
    return found[0][1]


def may_exist(name: str) -> str:
    """The hint for a submission whose answer was lost."""
    return (
        f"the job may exist nonetheless: look with `squeue --me --name={name}` "
        "and cancel it before submitting again"
    )


def tested(returncode: int, stdout: str, stderr: str) -> str:
    """What ``sbatch --test-only`` says of a script that would be taken."""
    if returncode != 0:
        raise refusal("sbatch --test-only", returncode, stdout, stderr)
    return messages(stdout + stderr)


def queued(returncode: int, stdout: str, stderr: str) -> list[JobStatus]:
    """What ``squeue`` knows; an id that it does not know is an error only when it is alone."""
    if returncode != 0:
        if UNKNOWN_JOB in stderr:
            return []
        raise refusal("squeue", returncode, stdout, stderr)
    found: list[JobStatus] = []
    for line in stdout.splitlines():
        if not line.strip() or line.startswith("CLUSTER: "):
            continue
        fields = line.split("|", FIELDS)
        if len(fields) != FIELDS + 1 or not re.fullmatch("[0-9]+", fields[0]):
            raise unreadable("squeue", line)
        job, index, state, nodes, reason = fields
        found += _statuses(job, "" if index in NOTHING else index, state, reason, nodes, line)
        if len(found) > MOST_ELEMENTS:
            raise unreadable("squeue", line)
    return found


def accounted(returncode: int, stdout: str, stderr: str) -> list[JobStatus] | None:
    """What ``sacct`` knows; None where the site keeps no accounts."""
    if returncode != 0:
        if NO_ACCOUNTING in stderr.lower():
            return None
        raise refusal("sacct", returncode, stdout, stderr)
    found: list[JobStatus] = []
    for line in stdout.splitlines():
        if not line.strip():
            continue
        fields = line.split("|", FIELDS - 1)
        job = re.fullmatch(r"([0-9]+)(?:_(?:([0-9]+)|\[(.*)\]))?", fields[0])
        if len(fields) != FIELDS or not job:
            raise unreadable("sacct", line)
        _, state, nodes, reason = fields
        found += _statuses(job[1], job[2] or job[3] or "", state, reason, nodes, line)
        if len(found) > MOST_ELEMENTS:
            raise unreadable("sacct", line)
    return found


def cancelled(returncode: int, stdout: str, stderr: str) -> None:
    """Nothing, if all jobs are cancelled or were over before."""
    said = [line for line in (stdout + stderr).splitlines() if line.strip()]
    if returncode != 0 and not (
        said and all(any(over in line for over in JOB_IS_OVER) for line in said)
    ):
        raise refusal("scancel", returncode, stdout, stderr)


def released(returncode: int, stdout: str, stderr: str) -> None:
    """Nothing, if the jobs are released."""
    if returncode != 0:
        raise refusal("scontrol release", returncode, stdout, stderr)


def state_of(word: str, reason: str) -> JobState:
    """A state by SLURM's word for it, long form: ``CANCELLED by 1001``, ``COMPLETED+``."""
    state = STATES.get(word.split(" ")[0].rstrip("+"), JobState.UNKNOWN)
    if state is JobState.PENDING and HELD.search(reason):
        return JobState.HELD
    return state


def indices(text: str) -> list[int]:
    """Array indices as SLURM writes them: ``3``, ``0-5%2``, ``[1,4-8:2]``; ``...`` is cut off."""
    found: list[int] = []
    for part in text.strip("[]").partition("%")[0].split(","):
        if part == "...":
            break  # cut by SLURM_BITSTR_LEN
        numbers = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9})(?::([0-9]{1,9}))?)?", part)
        if not numbers or not int(numbers[3] or 1):
            raise ValueError(f"no array indices: {text!r}")
        first, last, step = (int(n) if n else None for n in numbers.groups())
        assert first is not None
        elements = range(first, (first if last is None else last) + 1, step or 1)
        if len(found) + len(elements) > MOST_ELEMENTS:
            raise ValueError(f"more elements than an array has: {text[:80]!r}")
        found += elements
    return found


def _statuses(
    job: str, index: str, word: str, reason: str, nodes: str, line: str
) -> list[JobStatus]:
    """One status, or one for each element that a line stands for."""
    reason, nodes = ("" if text.strip() in NOTHING else text.strip() for text in (reason, nodes))
    state = state_of(word, reason)
    if state is JobState.UNKNOWN and not reason:
        reason = word
    try:
        elements: Sequence[int | None] = indices(index) if index else [None]
    except ValueError:
        raise unreadable("squeue or sacct", line) from None
    return [JobStatus(job, element, state, reason, nodes) for element in elements]


def refusal(command: str, returncode: int, stdout: str, stderr: str) -> SchedulerError:
    """The error of a command that ended badly: what it said, and what to do where we know it."""
    said = messages(stderr) or messages(stdout) or f"exit status {returncode}, and no word"
    hint = next((hint for part, hint in HINTS.items() if part in said.lower()), "")
    return SchedulerError(f"{command}: {said}", hint)


def unreadable(command: str, line: str) -> SchedulerError:
    """The error of an answer in no form that we know."""
    return SchedulerError(
        f"{command} answered what cannot be read: {excerpt(line)}",
        f"is `{command}` an alias or a script of the site's? `type {command}` tells",
    )


def messages(text: str) -> str:
    """What a command said, on one line, without its own name before each part."""
    lines = (re.sub(r"^(?:\w+: )?(?:error: )?", "", line.strip()) for line in text.splitlines())
    return excerpt("; ".join(dict.fromkeys(line for line in lines if line)))


def excerpt(text: str, longest: int = 400) -> str:
    """One printable line of a text."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= longest else line[:longest] + "..."
