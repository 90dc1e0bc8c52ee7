"""A submitted run's folder, ``WORK_DIR/.dpam-hpc/runs/ID``: what is planned, and what happened.

plan.json       what was planned, with the settings of the launchers
targets.tsv     id and predicted CPU seconds, a line a target, the tasks one after the other
problems.tsv    targets whose inputs are missing, which the run will name as failures
job.sh node.sh  what the scheduler starts, and what runs once a node
jobs.jsonl      the job ids, in the order of submission
logs/           what the jobs print
tasks/K/        of task K: run.lock (its lease), journal-N.jsonl (of its N-th start),
                progress.json (where it stands)
cancelled       there once ``dpam-hpc cancel`` was called

A chain of stages of dpam's pipeline is a run a stage: ID.s1, ID.s2 and so on.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from dpam_hpc import journal, trust
from dpam_hpc.errors import ConfigError
from dpam_hpc.image.identity import ImageIdentity
from dpam_hpc.pipeline.steps import STEPS, Stage
from dpam_hpc.printable import printable
from dpam_hpc.target import OWN_FOLDER, TARGET_ID

SCHEMA = 1
OF_CHAIN = re.compile(r"(.+)\.s([0-9]{1,2})")
RUNS = "runs"
NUMBER = re.compile("[0-9]{1,9}")
SCRIPT = re.compile(r"job(-[0-9]{1,9})?\.sh")
JOB_FIELDS = {("job", str), ("first", int), ("tasks", int)}
PROGRESS_TEXTS = ("job", "node", "state", "reason")
HIGHEST = 1e18
"""Of a number in progress.json, in its absolute value."""


@dataclass(frozen=True)
class Task:
    """What one node works off: a slice of targets.tsv and its predicted CPU seconds."""

    targets: int
    seconds: float
    offset: int = 0
    length: int = 0


@dataclass(frozen=True)
class Job:
    """A job as planned: tasks ``first`` to ``first + tasks - 1``."""

    script: str
    first: int
    tasks: int


@dataclass(frozen=True)
class Plan:
    """A whole run as planned; ``time_limit`` in seconds.

    ``settings`` are the launchers', ``submit`` those of the submission, for a later one, and
    ``sources`` where each came from. ``image``
    is what the launchers are to find themselves in; None: none, or a plan of an older version.
    ``scratch_by``: what decided in which order places for scratch are tried; empty: the platform.
    ``stage``: which of dpam's steps it does; None: step 7.
    """

    platform: str
    scheduler: str
    mode: str
    nodes: int
    cpus: int
    time_limit: int
    tasks: list[Task]
    jobs: list[Job]
    settings: dict[str, Any]
    submit: dict[str, Any]
    keep_bundle: bool = False
    image: ImageIdentity | None = None
    scratch_by: str = ""
    version: str = ""
    sources: dict[str, str] = field(default_factory=dict)
    created: float = field(default_factory=time.time)
    schema: int = SCHEMA
    stage: Stage | None = None

    @property
    def targets(self) -> int:
        """Targets of all tasks."""
        return sum(task.targets for task in self.tasks)

    @property
    def seconds(self) -> float:
        """Predicted CPU seconds of all tasks."""
        return sum(task.seconds for task in self.tasks)


class RunDir:
    """A run's folder on the shared file system."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def new_name(cls) -> str:
        """A name that no other run has."""
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        return f"{stamp}-{secrets.token_hex(2)}"

    @classmethod
    def create(cls, work_dir: Path, name: str = "") -> RunDir:
        """A new, empty run folder; nothing else in it is made yet."""
        run = cls.named(work_dir, name or cls.new_name())
        for folder in (work_dir / OWN_FOLDER, run.path.parent):
            trust.own_folder(folder)
        run.path.mkdir(mode=trust.FOLDER_MODE)
        (run.path / "logs").mkdir(mode=trust.FOLDER_MODE)
        return run

    @classmethod
    def named(cls, work_dir: Path, name: str) -> RunDir:
        """The run called ``name``, whether it is there or not."""
        return cls(work_dir / OWN_FOLDER / RUNS / name)

    @classmethod
    def latest(cls, work_dir: Path) -> RunDir:
        """The run that was submitted last; ConfigError if there is none."""
        found = cls.all(work_dir)
        if not found:
            raise ConfigError(
                f"nothing was submitted from {work_dir}", "dpam-hpc submit does that; see --help"
            )
        return found[-1]

    @classmethod
    def all(cls, work_dir: Path) -> list[RunDir]:
        """All runs of a working folder that were planned to the end, oldest first."""
        found = []
        for plan in (work_dir / OWN_FOLDER / RUNS).glob("*/plan.json"):
            # Names tell the second alone.
            stamp = plan.parent.name.rpartition("-")[0]
            found.append((stamp, plan.stat().st_mtime_ns, plan.parent))
        return [cls(path) for _, _, path in sorted(found)]

    @classmethod
    def last(cls, work_dir: Path) -> list[RunDir]:
        """What was submitted last: a run, or all stages of a chain in their order; or nothing."""
        found = cls.all(work_dir)
        mine = [run for run in found if run.chain == found[-1].chain]
        return sorted(mine, key=lambda run: run.place)

    @property
    def id(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def chain(self) -> str:
        """The name that it shares with its chain's other stages; its own, if it is no stage."""
        found = OF_CHAIN.fullmatch(self.id)
        return found[1] if found else self.id

    @property
    def place(self) -> int:
        """Which of its chain's stages it is, from 1; 0 if it is none."""
        found = OF_CHAIN.fullmatch(self.id)
        return int(found[2]) if found else 0

    @property
    def work_dir(self) -> Path:
        """The working folder that it is a run of."""
        return self.path.parent.parent.parent

    def logs(self) -> list[Path]:
        """What the jobs printed, oldest first."""
        local = self.work_dir / OWN_FOLDER / "local"  # where no scheduler names the logs
        found = [local / f"local-{job['job']}.log" for job in self.jobs()]
        found = [path for path in found if path.exists()] + list((self.path / "logs").glob("*.log"))
        return sorted(found, key=lambda path: path.stat().st_mtime)

    # -- the plan ---------------------------------------------------------------------------------

    def write_targets(self, tasks: Iterable[Iterable[tuple[str, float]]]) -> list[Task]:
        """Write targets.tsv; the tasks with their places in it."""
        written = []
        with (self.path / "targets.tsv").open("wb") as file:
            for task in tasks:
                offset, total, count = file.tell(), 0.0, 0
                for target, seconds in task:
                    file.write(f"{target}\t{seconds:.3f}\n".encode())
                    total += seconds
                    count += 1
                written.append(Task(count, total, offset, file.tell() - offset))
        return written

    def write_plan(self, plan: Plan) -> None:
        """Write plan.json, which makes the folder a run."""
        temporary = self.path / ".plan.json"
        temporary.write_text(json.dumps(asdict(plan), indent=1, default=str) + "\n")
        temporary.rename(self.path / "plan.json")

    def plan(self) -> Plan:
        """Read plan.json; ConfigError if it is none."""
        path = self.path / "plan.json"
        try:
            plan = _adapter().validate_json(path.read_bytes())
            if plan.schema != SCHEMA:
                raise ValueError(f"schema {plan.schema}, not {SCHEMA}")
            for job in plan.jobs:
                if not SCRIPT.fullmatch(job.script):
                    raise ValueError(f"{job.script!r} is no script of the run")
            stage = plan.stage
            if stage and not (stage.numbers and stage.cpus > 0 and stage.command):
                raise ValueError("a stage without steps, processors or command")
            if stage and not set(stage.numbers) <= STEPS.keys():
                raise ValueError(f"steps {stage.numbers} are none of dpam's")
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} is no plan of a run: {error}") from None
        return plan

    def targets(self, task: Task) -> list[tuple[str, float]]:
        """Ids and predicted CPU seconds of a task's targets."""
        path = self.path / "targets.tsv"
        found = []
        try:
            with path.open("rb") as file:
                file.seek(task.offset)
                lines = file.read(task.length).decode().splitlines()
            for line in lines:
                target, seconds = line.split("\t")
                if not TARGET_ID.fullmatch(target):
                    raise ValueError(f"{target[:80]!r} is no target id")
                found.append((target, float(seconds)))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} is no list of a run's targets: {error}") from None
        return found

    # -- jobs -------------------------------------------------------------------------------------

    def add_job(self, job: str, first: int, tasks: int) -> None:
        """Note a job of the scheduler's for tasks ``first`` and on."""
        line = json.dumps({"job": job, "first": first, "tasks": tasks, "at": time.time()}) + "\n"
        file = os.open(self.path / "jobs.jsonl", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            end = os.fstat(file).st_size
            torn = end and os.pread(file, 1, end - 1) != b"\n"
            os.write(file, (b"\n" if torn else b"") + line.encode())
            os.fsync(file)
        finally:
            os.close(file)

    def jobs(self) -> list[dict[str, Any]]:
        """The jobs noted; torn lines are left out."""
        path = self.path / "jobs.jsonl"
        found = []
        for line in path.read_bytes().split(b"\n")[:-1] if path.exists() else []:
            with suppress(ValueError, RecursionError):
                job = json.loads(line)
                if isinstance(job, dict) and {(k, type(v)) for k, v in job.items()} >= JOB_FIELDS:
                    found.append(job)
        return found

    def cancel(self) -> None:
        """Note that the run was cancelled: its jobs do not requeue themselves any more."""
        (self.path / "cancelled").touch()

    @property
    def is_cancelled(self) -> bool:
        """Whether ``cancel`` was called."""
        return (self.path / "cancelled").exists()

    # -- tasks ------------------------------------------------------------------------------------

    def task_folder(self, number: int) -> Path:
        """Where a task has its lease, journals and progress."""
        return self.path / "tasks" / str(number)

    def started(self) -> list[int]:
        """Tasks that were started at least once."""
        folder = self.path / "tasks"
        if not folder.is_dir():
            return []
        return sorted(int(name) for name in os.listdir(folder) if NUMBER.fullmatch(name))

    def records(self, number: int) -> Iterator[journal.Record]:
        """Records of all starts of a task, the oldest first."""
        for path in journals(self.task_folder(number)):
            yield from journal.each(path)

    def progress(self, number: int) -> dict[str, Any]:
        """Where a task stood when it last said so, its texts printable; empty if it never did."""
        try:
            content = json.loads((self.task_folder(number) / "progress.json").read_text())
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(content, dict):
            return {}
        return {
            name: printable(" ".join(value.split())) if isinstance(value, str) else value
            for name, value in content.items()
            if _is_sound(name, value)
        }

    def write_progress(self, number: int, content: dict[str, Any]) -> None:
        """Say where a task stands."""
        path = self.task_folder(number) / "progress.json"
        # One name for all starts, so that a killed one leaves nothing that is not written again.
        temporary = path.with_name(".progress.part")
        temporary.write_text(json.dumps(content))
        with suppress(FileNotFoundError):  # a start that has lost the task has just said its own
            temporary.rename(path)


@cache
def _adapter() -> TypeAdapter[Plan]:
    return TypeAdapter(Plan)


def journals(task_folder: Path) -> list[Path]:
    """The journals of a task's starts, the oldest first."""
    found = task_folder.glob("journal-*.jsonl")
    return sorted((p for p in found if NUMBER.fullmatch(_start(p))), key=_start_number)


def next_journal(task_folder: Path, earlier: Sequence[Path]) -> Path:
    """Where this start of a task writes."""
    number = _start_number(earlier[-1]) + 1 if earlier else 0
    return task_folder / f"journal-{number}.jsonl"


def _start_number(path: Path) -> int:
    return int(_start(path))


def _start(path: Path) -> str:
    return path.stem.removeprefix("journal-")


def _is_sound(name: str, value: Any) -> bool:
    """Whether a value of progress.json is of its kind: text, or a number that can be shown."""
    if name in PROGRESS_TEXTS:
        return isinstance(value, str)
    return isinstance(value, (int, float)) and abs(value) < HIGHEST
