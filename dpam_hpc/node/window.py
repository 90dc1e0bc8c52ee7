"""The targets at hand on the node, and which templates of which target go to the next free worker.

Work is handed out longest target first, in units that shrink as less is left (guided
self-scheduling), so that neither one target with 600 candidates nor a tail of small ones leaves
cores idle. No result depends on it.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from dpam_hpc import cost
from dpam_hpc.align.iterate import TemplateResult
from dpam_hpc.node.staging import StagedTarget, TargetResult
from dpam_hpc.node.work import Done, Unit

# Costs are residues of the query times templates: 350 of them take about a tenth of a second.
LARGEST_UNIT = 32 * 350
SMALLEST_UNIT = 4 * 350
UNITS_A_WORKER_LEFT = 3
MAX_TRIES = 2


@dataclass
class Job:
    """A target at work: the templates still to be handed out, and what came back."""

    target: StagedTarget
    waiting: deque[str]
    alone: deque[str] = field(default_factory=deque)
    tries: Counter[str] = field(default_factory=Counter)
    running: int = 0
    results: list[TemplateResult] = field(default_factory=list)
    problem: str = ""
    begun: float | None = None
    cpu: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def left(self) -> int:
        """Templates still to be handed out."""
        return len(self.waiting) + len(self.alone)

    @property
    def predicted(self) -> float:
        """CPU seconds of the whole target, by which targets are ordered."""
        templates = len(self.target.candidates) * cost.TYPICAL_TEMPLATE
        return cost.seconds(self.target.residues, templates)

    @property
    def cost_left(self) -> int:
        """Predicted cost of what is still to be handed out."""
        return self.target.residues * self.left

    def result(self) -> TargetResult:
        """All that is known of the target."""
        return TargetResult(
            self.target.id,
            self.target.residues,
            len(self.target.candidates) + len(self.target.refused),
            [*self.target.refused, *self.results],
            self.problem,
            time.monotonic() - self.begun if self.begun else 0.0,
            dict(self.cpu),
            self.target.numbers,
        )


class Window:
    """The jobs that are staged in and not finished."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def pairs_left(self) -> int:
        """Pairs of all jobs still to be handed out."""
        return sum(job.left for job in self._jobs.values())

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds that went into jobs which are not finished."""
        return sum(sum(job.cpu.values()) for job in self._jobs.values())

    def put_off(self) -> int:
        """Forget the jobs that are not begun; how many there were."""
        waiting = [target for target, job in self._jobs.items() if not job.begun]
        for target in waiting:
            del self._jobs[target]
        return len(waiting)

    def add(self, target: StagedTarget) -> None:
        """Take in a target with candidates."""
        self._jobs[target.id] = Job(target, deque(target.candidates))

    def job(self, target: str) -> Job:
        """The job of a target."""
        return self._jobs[target]

    def next(
        self,
        workers: int,
        cost_to_come: int,
        may_begin: Callable[[Job], bool] = lambda job: True,
    ) -> tuple[Job, tuple[str, ...]] | None:
        """The next unit's job and templates, noted as running; None where there is none.

        ``cost_to_come`` is a guess at the cost of targets that are not in the window yet.
        """
        left = (job for job in self._jobs.values() if job.left)
        ready = [job for job in left if job.begun or may_begin(job)]
        if not ready:
            return None
        job = max(ready, key=lambda job: job.predicted)
        job.running += 1
        job.begun = job.begun or time.monotonic()
        if job.alone:
            return job, (job.alone.popleft(),)
        cost_left = sum(job.cost_left for job in ready) + cost_to_come
        size = unit_size(cost_left, job.target.residues, workers)
        return job, tuple(job.waiting.popleft() for _ in range(min(size, len(job.waiting))))

    def done(self, unit: Unit, done: Done) -> Job | None:
        """Take in an answer; the job, if it is finished by it."""
        job = self._jobs[unit.target]
        job.running -= 1
        job.results += done.results
        for step, seconds in done.cpu.items():
            job.cpu[step] += seconds
        if done.query_failure:
            job.problem = done.query_failure
            job.waiting.clear()
            job.alone.clear()
        return self._finish(job)

    def give_back(self, unit: Unit, died: str = "") -> Job | None:
        """Take back a unit without an answer; the job, if it is finished by it.

        Where a worker ``died`` of it its templates are tried one by one, and one that does it
        again and again is a failure.
        """
        job = self._jobs[unit.target]
        job.running -= 1
        if job.problem:
            pass  # nothing more is tried with this target
        elif not died:
            job.waiting.extendleft(reversed(unit.templates))
        elif len(unit.templates) > 1:
            job.alone.extend(unit.templates)
        else:
            (template,) = unit.templates
            job.tries[template] += 1
            if job.tries[template] < MAX_TRIES:
                job.alone.append(template)
            else:
                job.results.append(TemplateResult(template, failure=f"{died} (twice)"))
        return self._finish(job)

    def _finish(self, job: Job) -> Job | None:
        if job.running or job.left:
            return None
        return self._jobs.pop(job.target.id)


def unit_size(cost_left: int, residues: int, workers: int) -> int:
    """Templates in the next unit of a target with ``residues``.

    A share of the cost that is left, never so little that the starts of programs dominate; where
    less than a smallest unit is left for each worker, every worker gets a part of it.
    """
    share = cost_left / (UNITS_A_WORKER_LEFT * workers)
    smallest = min(SMALLEST_UNIT, cost_left / workers)
    return max(1, round(max(smallest, min(LARGEST_UNIT, share)) / residues))
