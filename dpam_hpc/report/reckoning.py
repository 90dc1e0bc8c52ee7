"""What a run has cost, reckoned from its facts: reserved, used, lost, waited. Times in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from dpam_hpc.report.facts import DIED, Facts, Sums, add


@dataclass
class Reckoning:
    """Core seconds of the starts that noted when they began; waits of the tasks.

    ``reserved`` = ``useful`` + ``lost`` + ``starting`` + ``rest``. ``useful``: in targets that
    were finished. ``lost`` to interruptions; ``lost_is_bound``: some were killed, and no more than
    that was lost. ``rest``: workers' and launchers' own time, waiting for files, idle at the end.
    """

    reserved: float = 0.0
    used: float = 0.0
    useful: float = 0.0
    lost: float = 0.0
    lost_is_bound: bool = False
    starting: float = 0.0
    working: float = 0.0
    waits: list[float] = field(default_factory=list)
    predicted: float = 0.0
    measured: float = 0.0
    asked: Sums = field(default_factory=dict)
    asked_by: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    bundle_bytes: int = 0

    @property
    def rest(self) -> float:
        """What is left of the reserved."""
        return max(0.0, self.reserved - self.useful - self.lost - self.starting)

    @property
    def efficiency(self) -> float | None:
        """CPU time used of what was reserved, as ``seff`` reckons it; None where nothing was."""
        return min(1.0, self.used / self.reserved) if self.reserved else None

    @property
    def median_wait(self) -> float:
        """Of the waits, the middle one."""
        return median(self.waits) if self.waits else 0.0


def reckon(facts: Facts) -> Reckoning:
    """All sums of a run."""
    found = Reckoning()
    for start in facts.starts:
        add(found.asked, start.asked)
        if start.asked:
            found.asked_by += start.done + start.failed
        found.read_bytes += start.read_bytes
        found.written_bytes += start.written_bytes
        found.bundle_bytes += start.bundle_bytes
        if start.began:
            found.reserved += start.reserved
            found.used += start.cpu
            found.useful += sum(start.in_targets.values())
            found.starting += start.starting
            found.working += start.wall
    for start in facts.interruptions:
        if start.began:
            found.lost += start.at_most_lost
            found.lost_is_bound |= start.how == DIED
    found.waits = [end - begin for task in facts.tasks for begin, end in task.waits]
    for target in facts.targets:
        if target.cpu and target.predicted:
            found.predicted += target.predicted
            found.measured += target.cpu
    return found
