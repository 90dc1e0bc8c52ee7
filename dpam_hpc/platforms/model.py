"""What a platform's file says: a frozen model for each table; docs/platforms.md has all fields.

Only what a value is by itself is checked here; ``reading`` checks what must fit together, and
tells every error with its line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from platform import machine
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from dpam_hpc import clock

PLACEHOLDERS = ("account", "partition", "time")
"""What a template of ``access`` may name, and what ``requires`` may ask of the user."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
_TIME = re.compile(r"(\d+-)?\d{1,3}:[0-5]\d:[0-5]\d|\d+-\d{1,2}", re.ASCII)


def _one_line(text: str) -> str:
    # What is written into a job script must not begin a line of its own.
    if _CONTROL.search(text):
        raise ValueError("must be one line, without control characters")
    return text


def _word(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", text):
        raise ValueError("must be letters, digits and . _ + -")
    return text


def _place(text: str) -> str:
    if not text.startswith("/") and not _VARIABLE.match(text):
        raise ValueError("must be an absolute path or begin with a variable, as $TMPDIR")
    if "$" in _VARIABLE.sub("", text) or "`" in text:
        raise ValueError("may hold $NAME or ${NAME}, and nothing else that a shell would expand")
    return _one_line(text)


def _variable_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*", text):
        raise ValueError("is no name of an environment variable")
    return text


def _access(text: str) -> str:
    if not text.startswith("-"):
        raise ValueError("must be an option of sbatch, as --partition={partition}")
    try:
        used = _placeholders(text)
    except ValueError as error:
        raise ValueError(f"braces that do not fit: {error}") from None
    for name in used:
        if name not in PLACEHOLDERS:
            raise ValueError(f"{{{name}}} is not among {{{'}, {'.join(PLACEHOLDERS)}}}")
    return _one_line(text)


def _placeholders(template: str) -> list[str]:
    return [name for _, name, _, _ in Formatter().parse(template) if name is not None]


Line = Annotated[str, AfterValidator(_one_line)]
Pattern = Annotated[str, Field(min_length=1), AfterValidator(_one_line)]
Word = Annotated[str, AfterValidator(_word)]
Place = Annotated[str, AfterValidator(_place)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[int, Field(ge=0)]


class Table(BaseModel):
    """What all tables have: unknown keys are errors, nothing changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Scheduler(Table):
    """How jobs are asked for."""

    type: Literal["slurm", "local"]
    submit_mode: Literal["array", "multi-node"] = "array"
    max_array_size: Count | None = None
    max_jobs: Count | None = None
    max_nodes: Count | None = None
    access: tuple[Annotated[str, AfterValidator(_access)], ...] = (
        "--partition={partition}",
        "--account={account}",
    )
    requires: tuple[Literal["account", "partition", "time"], ...] = ()
    memory: bool = True
    requeue: bool = True
    exclusive: bool = True
    signal_lead: Seconds = 300

    def access_arguments(self, values: Mapping[str, str | None]) -> list[str]:
        """The templates of ``access``, filled in; one whose value is not given is left out."""
        given = {name: value for name, value in values.items() if value}
        return [
            template.format(**given)
            for template in self.access
            if all(name in given for name in _placeholders(template))
        ]

    def placeholders(self) -> set[str]:
        """What the templates of ``access`` name."""
        return {name for template in self.access for name in _placeholders(template)}


class Partition(Table):
    """One partition (queue); what is not said is not known, and the scheduler has the last word."""

    cpus_per_node: Count | None = None
    mem_mb: Count | None = None
    max_runtime: str | None = None
    min_nodes: Count | None = None
    max_nodes: Count | None = None
    max_nodes_user: Count | None = None
    max_jobs_running: Count | None = None
    max_jobs_queued: Count | None = None
    exclusive: bool | None = None
    preempt_mode: Literal["off", "requeue", "cancel"] = "off"
    grace_time: Seconds | None = None

    @field_validator("max_runtime")
    @classmethod
    def _is_time(cls, text: str | None) -> str | None:
        if text is not None and not seconds(text):
            # SLURM takes "48:00" for 48 minutes: the short forms are refused.
            raise ValueError('must be a time as "48:00:00" or "2-00:00:00"')
        return text

    @property
    def max_runtime_seconds(self) -> int | None:
        """``max_runtime`` in seconds; None if it is not known."""
        return seconds(self.max_runtime) if self.max_runtime else None


class Launch(Table):
    """How one launcher is started on each node of a job."""

    type: Literal["srun", "ibrun", "ssh"] = "srun"


class Scratch(Table):
    """Where a node has room of its own; the node decides, this is where it looks."""

    candidates: tuple[Place, ...] = ("$SLURM_TMPDIR", "$TMPDIR", "/tmp")  # noqa: S108
    min_free_gb: Annotated[float, Field(ge=0, le=1e9)] = 1.0
    fallback: Literal["working-dir"] = "working-dir"
    keep_between_tasks: bool = False
    last_resort: tuple[Place, ...] = ()


class Container(Table):
    """How a container is run on a node."""

    type: Literal["apptainer"] = "apptainer"
    command: Pattern = "apptainer"
    modules: tuple[Pattern, ...] = ()
    bind_paths: tuple[Pattern, ...] = ()
    tmp_dir: Place | None = None


class Platform(Table):
    """A site: how to recognise it, how to ask it for jobs, what its nodes have."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    name: Word
    descr: Line
    contact: Line = ""
    url: Line = ""
    extends: Word | None = None
    architecture: Literal["x86_64", "aarch64"] | None = None
    hostnames: tuple[Pattern, ...] = ()
    env_match: dict[Annotated[str, AfterValidator(_variable_name)], Pattern] = {}
    clusters: tuple[Word, ...] = ()
    default_partition: Word | None = None
    scheduler: Scheduler
    partitions: dict[Word, Partition] = {}
    launch: Launch = Launch()
    scratch: Scratch = Scratch()
    container: Container = Container()
    source: dict[str, Line] = {}

    @field_validator("source", mode="before")
    @classmethod
    def _source_is_flat(cls, value: Any) -> Any:
        # A fact's name with a dot and without quotes is a table to TOML.
        return dict(_flat(value)) if isinstance(value, dict) else value

    def node_architecture(self, here: str | None = None) -> str:
        """What an image must be built for; where the file does not say: ``here``, this machine."""
        return self.architecture or here or machine()

    def is_exclusive(self, partition: str | None) -> bool:
        """Whether jobs in ``partition`` are to have their nodes alone."""
        found = self.partitions.get(partition or "")
        if found is None or found.exclusive is None:
            return self.scheduler.exclusive
        return found.exclusive

    def missing(self, values: Mapping[str, str | None]) -> list[str]:
        """What the platform requires and ``values`` (account, partition, time) do not give."""
        given = {"partition": self.default_partition, **{k: v for k, v in values.items() if v}}
        return [name for name in self.scheduler.requires if not given.get(name)]


def seconds(text: str) -> int:
    """A time limit of SLURM's forms H:MM:SS, D-H and D-H:MM:SS in seconds; 0 if it is none."""
    # The short forms are no error to SLURM, which takes 48:00 for minutes.
    return clock.seconds(text) if _TIME.fullmatch(text) else 0


def expanded(place: str, environment: Mapping[str, str]) -> str | None:
    """A scratch candidate with its variables filled in; None where one is not set or empty."""
    names = [a or b for a, b in _VARIABLE.findall(place)]
    if not all(environment.get(name) for name in names):
        return None
    return _VARIABLE.sub(lambda found: environment[found[1] or found[2]], place)


def _flat(table: Mapping[str, Any], start: str = "") -> list[tuple[str, Any]]:
    rows = []
    for key, value in table.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{start}{key}.")
        else:
            rows.append((start + key, value))
    return rows
