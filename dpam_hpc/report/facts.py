"""A run as its report sees it: targets, tasks, the starts of their launchers. Times in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Sums = dict[str, float]
LEFT, DONE, FAILED = "left", "done", "failed"
"""States of a target."""
FINISHED, INTERRUPTED, BROKEN, DIED, RUNNING = (
    "finished", "interrupted", "failed", "died", "running",
)  # fmt: skip
"""How a start of a launcher ended; one that died could not say so itself."""


def add(sums: Sums, more: Mapping[str, float]) -> None:
    """Add each of ``more`` to the sum of its name."""
    for name, value in more.items():
        sums[name] = sums.get(name, 0.0) + value


@dataclass(slots=True)
class Target:
    """A target by its last record; ``best`` score, ``cover`` as ``align.coverage`` writes it."""

    id: str
    task: int = 0
    predicted: float = 0.0
    state: str = LEFT
    reason: str = ""
    at: float = 0.0
    residues: int = 0
    candidates: int = 0
    hits: int = 0
    failures: int = 0
    lost: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    best: float | None = None
    covered: int = 0
    cover: str = ""

    @property
    def is_noted(self) -> bool:
        """Whether more is known of it than that it is done."""
        return self.state != DONE or bool(self.at or self.residues or self.candidates or self.hits)

    @property
    def covered_part(self) -> float | None:
        """Part of the query that some hit covers; None where it is not known."""
        if not self.residues or (self.hits and not self.cover):
            return None
        return self.covered / self.residues

    @property
    def has_failures(self) -> bool:
        """Whether it failed, or templates of it."""
        return self.state == FAILED or self.failures > 0


@dataclass
class Start:
    """One start of a launcher: on which node, from when to when, how it ended, what it used.

    ``began`` 0: a launcher of an older version, which noted neither start nor end. ``ended`` of
    one that died is its last sign of life, ``used`` then what its finished targets took.
    """

    task: int
    number: int
    node: str = ""
    job: str = ""
    began: float = 0.0
    ready: float = 0.0
    ended: float = 0.0
    how: str = DIED
    reason: str = ""
    cpus: int = 0
    workers: int = 0
    done: int = 0
    failed: int = 0
    pairs: int = 0
    hits: int = 0
    found: int = 0
    wasted: float = 0.0
    busy: float = 0.0
    launcher: float = 0.0
    used: Sums = field(default_factory=dict)
    in_targets: Sums = field(default_factory=dict)
    asked: Sums = field(default_factory=dict)
    read_bytes: int = 0
    written_bytes: int = 0
    bundle_bytes: int = 0
    scratch: dict[str, Any] = field(default_factory=dict)
    least_free_bytes: int = 0
    made_with: dict[str, Any] = field(default_factory=dict)

    @property
    def wall(self) -> float:
        """From its begin to its end."""
        return max(0.0, self.ended - self.began) if self.began else 0.0

    @property
    def reserved(self) -> float:
        """Processor seconds that it kept from others."""
        return self.wall * self.cpus

    @property
    def starting(self) -> float:
        """Processor seconds before its first target: lease, scratch, bundle, the known answer."""
        return max(0.0, min(self.ready, self.ended) - self.began) * self.cpus if self.began else 0.0

    @property
    def cpu(self) -> float:
        """CPU seconds used, as far as it could tell."""
        return sum(self.used.values()) + self.launcher

    @property
    def at_most_lost(self) -> float:
        """CPU seconds that its end cost; of one that died as many as can be."""
        if self.how == DIED:
            return max(0.0, self.reserved - self.starting - sum(self.in_targets.values()))
        return self.wasted


@dataclass
class Task:
    """A task as planned, when its job was submitted (0: not known), and its starts in order."""

    number: int
    targets: int = 0
    predicted: float = 0.0
    submitted: float = 0.0
    starts: list[Start] = field(default_factory=list)

    @property
    def waits(self) -> list[tuple[float, float]]:
        """From when to when it waited in the queue: before its first start, and between starts.

        Not of ``dpam-hpc run``, which waits in none.
        """
        if not self.submitted:
            return []
        known = [start for start in self.starts if start.began]
        since = [self.submitted, *(start.ended for start in known)]
        return [
            (begin, start.began)
            for begin, start in zip(since, known, strict=False)
            if start.began > begin
        ]


@dataclass
class Failure:
    """Failures of one kind: whole targets, or templates; some ids, and what to do."""

    reason: str
    whole: bool
    count: int = 0
    examples: list[str] = field(default_factory=list)
    advice: str = ""


@dataclass
class Facts:
    """Everything that a report shows; ``settings`` are (name, value, where it came from).

    ``run`` is a submitted run's id, empty for what ``dpam-hpc run`` did in the folder. ``made`` is
    when it was read. ``made_with``: versions and checksums as the starts noted them, each once.
    """

    work_dir: str
    run: str
    made: float
    version: str
    platform: str = ""
    scheduler: str = ""
    cancelled: bool = False
    image: dict[str, Any] = field(default_factory=dict)
    settings: list[tuple[str, str, str]] = field(default_factory=list)
    made_with: list[dict[str, Any]] = field(default_factory=list)
    aligner: str = ""
    targets: list[Target] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    scores: Sums = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    failures_unread: int = 0
    commands: list[tuple[str, str]] = field(default_factory=list)

    @property
    def starts(self) -> list[Start]:
        """All starts, the oldest first."""
        return sorted((s for task in self.tasks for s in task.starts), key=lambda s: s.began)

    def count(self, state: str) -> int:
        """Targets in a state."""
        return sum(target.state == state for target in self.targets)

    @property
    def steps(self) -> Sums:
        """CPU seconds by program or step."""
        steps: Sums = {}
        for start in self.starts:
            add(steps, start.used)
            add(steps, {"launcher": start.launcher} if start.launcher else {})
        return steps

    @property
    def interruptions(self) -> list[Start]:
        """Starts that ended before their work was done."""
        return [s for s in self.starts if s.how in (INTERRUPTED, DIED, BROKEN)]

    @property
    def began(self) -> float:
        """When the first launcher began, or 0."""
        return min((start.began for start in self.starts if start.began), default=0.0)

    @property
    def ended(self) -> float:
        """The last sign of a launcher, or 0."""
        return max((start.ended for start in self.starts), default=0.0)

    @property
    def score_name(self) -> str:
        """What the aligner's scores are called."""
        return "TM-score" if self.aligner == "tmalign" else "z"
