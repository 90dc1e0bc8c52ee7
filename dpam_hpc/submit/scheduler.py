"""What every scheduler can do for us, and the states of a job in one vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol


class JobState(Enum):
    """What a scheduler says of a job; what it does not say is UNKNOWN, never COMPLETED."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETING = "completing"
    SUSPENDED = "suspended"
    HELD = "held"
    """Waits until somebody releases it; requeued jobs of a failed launch end so."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    PREEMPTED = "preempted"
    NODE_FAIL = "node_fail"
    OUT_OF_MEMORY = "out_of_memory"
    UNKNOWN = "unknown"

    @property
    def is_queued(self) -> bool:
        """Still the scheduler's business: it runs, or may run without a new submission."""
        return self in _QUEUED

    @property
    def is_over(self) -> bool:
        """The scheduler has said that it will do nothing more with it; UNKNOWN is not that."""
        return not self.is_queued and self is not JobState.UNKNOWN


_QUEUED = frozenset(
    {
        JobState.PENDING,
        JobState.RUNNING,
        JobState.COMPLETING,
        JobState.SUSPENDED,
        JobState.HELD,
    }
)


@dataclass(frozen=True)
class JobStatus:
    """One job, or one element of a job array.

    ``index`` is the element's, None for a job that is no array; ``reason`` and ``nodes`` are the
    scheduler's words, empty where it has none.
    """

    job: str
    index: int | None
    state: JobState
    reason: str = ""
    nodes: str = ""


class Scheduler(Protocol):
    """A scheduler; every method raises SchedulerError if it is missing, silent, or refuses."""

    name: str

    def submit(self, script: Path, arguments: Sequence[str], after: Sequence[str] = ()) -> str:
        """Submit a batch script with options of the scheduler's own; the id of the job.

        ``after``: jobs that are to be over before it starts, however they end; a job that is
        requeued is not over.
        """
        ...

    def test(self, script: Path, arguments: Sequence[str]) -> str:
        """What the scheduler says of a submission that is not made; a refusal is an error."""
        ...

    def status(self, jobs: Sequence[str]) -> list[JobStatus]:
        """All jobs asked for, in that order, an array's elements by index.

        ``jobs`` are ids, or ``id_index`` for single elements. A job that nobody knows has one
        entry, UNKNOWN. Elements of an array that the scheduler has forgotten are not in the list.
        """
        ...

    def cancel(self, jobs: Sequence[str]) -> None:
        """End jobs; one that is over already is no error."""
        ...

    def max_array_size(self) -> int | None:
        """The most elements that an array may have, 0 if it takes none; None if not known."""
        ...

    def release(self, jobs: Sequence[str]) -> None:
        """Let held jobs run."""
        ...
