"""The loop on the node: targets in, units to free workers, finished targets out."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, TypeVar

from dpam_hpc import cost
from dpam_hpc.errors import AlignerError, StorageError
from dpam_hpc.journal import DONE, Record
from dpam_hpc.node.progress import Progress
from dpam_hpc.node.room import Room
from dpam_hpc.node.shutdown import Shutdown
from dpam_hpc.node.staging import StagedTarget, Staging, TargetResult
from dpam_hpc.node.window import Job, Window
from dpam_hpc.node.work import Prewarm, Unit
from dpam_hpc.node.workers import Answer, Pool

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

TICK = 0.5
TIME_MARGIN = 1.5
TIME_IS_SHORT = "the time that is left to the job"
STAGING_THREADS = 4
PREWARM_AT_ONCE = 4
DEATHS_BEFORE_GIVING_UP = 4
TYPICAL_RESIDUES = 350
ROWS_KEPT = 10_000
FAILURE_LINES_KEPT = 100


class Dispatcher:
    """Runs targets through the workers until all are done or a signal asks for an end."""

    def __init__(
        self,
        staging: Staging,
        pool: Pool,
        workers: int,
        room: Room,
        shutdown: Shutdown,
        *,
        prewarm: bool,
        grace: float,
        on_tick: Callable[[Progress], None],
        deadline: float | None = None,
    ) -> None:
        self._staging = staging
        self._pool = pool
        self._workers = workers
        self._room = room
        self._shutdown = shutdown
        self._grace = grace
        self._on_tick = on_tick
        self._deadline = deadline
        self._window = Window()
        self._prewarm = prewarm
        self._to_prewarm: deque[str] = deque()
        self._seen: set[str] = set()
        self._put_off = 0
        self._deaths_in_a_row = 0
        self._coming_in: set[Future[StagedTarget]] = set()
        self._going_out: set[Future[Record]] = set()
        self._flushing: Future[None] | None = None
        self._begun = time.monotonic()
        self._last_tick = 0.0
        self._busy_before = pool.busy_seconds
        self._progress = Progress(workers=workers)

    @property
    def progress(self) -> Progress:
        """Where it stands."""
        return self._progress

    def run(self, targets: Sequence[str]) -> Progress:
        """Process ``targets``."""
        self._progress.targets = len(targets)
        self._threads = ThreadPoolExecutor(STAGING_THREADS, thread_name_prefix="staging")
        unread = deque(targets)
        try:
            while not self._shutdown.reason:
                self._stage_in(unread)
                self._hand_out(len(unread) + len(self._coming_in))
                if not (unread or self._coming_in or len(self._window) or self._going_out):
                    break
                self._wait()
            if self._shutdown.reason:
                self._drain()
            elif self._put_off:
                self._shutdown.ask(TIME_IS_SHORT)
            self._flush(force=True)
        finally:
            self._progress.wasted = self._window.cpu_seconds
            self._threads.shutdown(wait=True, cancel_futures=True)
            self._tick(force=True)
        return self._progress

    # -- targets in -------------------------------------------------------------------------------

    def _stage_in(self, unread: deque[str]) -> None:
        """Take in what was read, and keep more coming."""
        for future in [future for future in self._coming_in if future.done()]:
            self._coming_in.remove(future)
            self._take_in(future.result())
        ahead = 2 * self._workers + STAGING_THREADS
        while unread and len(self._window) + len(self._coming_in) + len(self._going_out) < ahead:
            self._coming_in.add(self._in_background(self._staging.stage_in, unread.popleft()))

    def _take_in(self, target: StagedTarget) -> None:
        if target.finished is not None:
            self._progress.skipped += 1
            self._progress.found += bool(target.finished.get("found"))
            if target.finished["state"] != DONE or target.finished.get("failures"):
                self._progress.earlier_failures += 1
        elif target.problem or not target.candidates:
            refused = list(target.refused)
            self._stage_out(TargetResult(target.id, 0, len(refused), refused, target.problem))
        else:
            self._window.add(target)
            if self._prewarm:
                new = [name for name in target.candidates if name not in self._seen]
                self._seen.update(new)
                self._to_prewarm.extend(new)

    # -- units ------------------------------------------------------------------------------------

    def _hand_out(self, targets_to_come: int) -> None:
        """Give every free worker a unit, as long as scratch has room."""
        if not self._room.is_enough(running=bool(self._pool.busy_with(Unit))):
            return
        cost_to_come = targets_to_come * cost.TYPICAL_CANDIDATES * TYPICAL_RESIDUES
        while self._pool.busy_with(Unit) < self._workers:
            found = self._window.next(self._workers, cost_to_come, self._fits)
            if found is None:
                if not self._pool.busy_with(Unit):
                    # None of those at hand fits into the time that is left; later ones may.
                    self._put_off += self._window.put_off()
                break
            job, templates = found
            unit = Unit(self._room.place, job.target.id, templates)
            try:
                self._room.put_query(job.target.id, job.target.pdb)
                self._pool.give(unit)
            except OSError as error:
                self._room.report(str(error))
                self._window.give_back(unit)
                break
        if self._to_prewarm and not self._pool.busy_with(Prewarm):
            now = [self._to_prewarm.popleft() for _ in range(PREWARM_AT_ONCE) if self._to_prewarm]
            with suppress(OSError):  # it only helps
                self._pool.give(Prewarm(self._room.place, tuple(now)))

    def _fits(self, job: Job) -> bool:
        """Whether a target that is not begun can be finished in the time that is left."""
        if self._deadline is None:
            return True
        shared_by = min(self._workers, os.cpu_count() or 1)
        return time.time() + self._grace + TIME_MARGIN * job.predicted / shared_by < self._deadline

    def _wait(self) -> None:
        """Wait for something to happen and take in all that did."""
        for answer in self._pool.wait(TICK):
            self._take_answer(answer)
        self._shutdown.drain_wakeups()
        for future in [future for future in self._going_out if future.done()]:
            self._going_out.remove(future)
            self._record(future)
        self._flush()
        self._tick()

    def _take_answer(self, answer: Answer) -> None:
        unit, done = answer.unit, answer.done
        if done is not None:
            self._deaths_in_a_row = 0
            for step, seconds in done.cpu.items():
                self._progress.cpu[step] = self._progress.cpu.get(step, 0.0) + seconds
        if isinstance(unit, Prewarm):
            if done is None:
                self._to_prewarm.clear()  # it only helps: whoever needs a template imports it
            return
        if done is None:
            self._count_death(answer.died)
            job = self._window.give_back(unit, answer.died)
        elif done.scratch_problem:
            self._room.report(done.scratch_problem)
            job = self._window.give_back(unit)
        else:
            self._room.went_well()
            self._progress.pairs += len(done.results)
            self._progress.hits += sum(len(result.records) for result in done.results)
            job = self._window.done(unit, done)
        if job is not None:
            self._room.forget_query(job.target.id)
            self._stage_out(job.result())

    def _count_death(self, died: str) -> None:
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row > DEATHS_BEFORE_GIVING_UP * self._workers:
            raise AlignerError(
                f"the workers die one after the other; of the last it is known that {died}",
                "what they said is on standard error; is there enough memory?",
            )

    # -- targets out ------------------------------------------------------------------------------

    def _stage_out(self, result: TargetResult) -> None:
        self._progress.failure_lines += result.failure_lines()[
            : FAILURE_LINES_KEPT - len(self._progress.failure_lines)
        ]
        self._going_out.add(self._in_background(self._staging.stage_out, result))

    def _in_background(self, do: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future = self._threads.submit(do, *args, **kwargs)
        future.add_done_callback(lambda _: self._shutdown.wake())
        return future

    def _flush(self, force: bool = False) -> None:
        """Have records that wait for others written, in the background unless ``force``."""
        if self._flushing is not None and (force or self._flushing.done()):
            _written(self._flushing)
            self._flushing = None
        if self._flushing is None and (force or self._staging.flush_is_due()):
            self._flushing = self._in_background(self._staging.flush)
            if force:
                _written(self._flushing)

    def _record(self, future: Future[Record]) -> None:
        record = _written(future)
        progress = self._progress
        progress.failures += record["failures"]
        progress.lost += record["lost"]
        if record["state"] == DONE:
            progress.done += 1
        else:
            progress.failed += 1
        if len(progress.rows) < ROWS_KEPT:
            progress.rows.append(record)
        else:
            progress.rows_left_out += 1

    def _drain(self) -> None:
        """Give what runs the grace; targets finished by then go out, the others are done again."""
        log.warning(
            "%s: no new work; what runs has %.0f s, a second interrupt ends it at once",
            self._shutdown.reason,
            self._grace,
        )
        until = time.monotonic() + self._grace
        while not self._shutdown.at_once:
            running = self._pool.busy_with(Unit) and time.monotonic() < until
            if not running and not self._going_out:
                break
            self._wait()

    def _tick(self, force: bool = False) -> None:
        now = time.monotonic()
        if not force and now - self._last_tick < TICK:
            return
        self._last_tick = now
        progress = self._progress
        progress.seconds = now - self._begun
        progress.busy = self._pool.busy_with(Unit)
        progress.free_bytes = self._room.free_bytes
        busy_seconds = self._pool.busy_seconds - self._busy_before
        progress.busy_fraction = busy_seconds / (self._workers * max(progress.seconds, 1e-9))
        self._on_tick(progress)


def _written(future: Future[T]) -> T:
    """What came of a write; StorageError if it failed."""
    try:
        return future.result()
    except OSError as error:
        raise StorageError(
            f"results cannot be written: {error}",
            "make room or set the rights right, then start again: what is done is kept",
        ) from None
