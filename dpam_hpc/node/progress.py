"""Where a run stands: what the loop counts, and reports show."""

from __future__ import annotations

from dataclasses import dataclass, field

from dpam_hpc.journal import Record


@dataclass
class Progress:
    """Where a run stands; ``found`` are those of the skipped that have no record.

    ``held`` are targets of a stage of dpam's steps whose earlier steps are not done.

    ``wasted`` are CPU seconds that went into targets which an interruption left unfinished.
    ``rows`` are the records of the targets worked on, ``failure_lines`` say what failed; of many
    the first ones.
    """

    targets: int = 0
    done: int = 0
    failed: int = 0
    held: int = 0
    skipped: int = 0
    found: int = 0
    earlier_failures: int = 0
    failures: int = 0
    lost: int = 0
    pairs: int = 0
    hits: int = 0
    workers: int = 0
    busy: int = 0
    seconds: float = 0.0
    free_bytes: int = 0
    cpu: dict[str, float] = field(default_factory=dict)
    failure_lines: list[str] = field(default_factory=list)
    rows: list[Record] = field(default_factory=list)
    rows_left_out: int = 0
    busy_fraction: float = 0.0
    wasted: float = 0.0

    @property
    def finished(self) -> int:
        """Targets that need nothing more of this run."""
        return self.done + self.failed + self.held + self.skipped

    @property
    def seconds_left(self) -> float | None:
        """A guess at the time left, from the targets done so far."""
        worked = self.done + self.failed
        if not worked:
            return None
        return self.seconds / worked * (self.targets - self.finished)
