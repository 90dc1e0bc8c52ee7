"""A stage of dpam's steps on a node: target after target, several dpam at a time.

To ``task.py`` it is what ``IterativeDali`` is for step 7. A target that fails is named and holds
back nobody but itself; one whose earlier steps have not left whole files is not begun.
"""

from __future__ import annotations

import logging
import select
import shlex
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import takewhile

from dpam_hpc import trust
from dpam_hpc.dpam_state import StateFiles
from dpam_hpc.errors import ConfigError, StorageError
from dpam_hpc.journal import DONE, FAILED, HELD, Record
from dpam_hpc.node import capacity
from dpam_hpc.node.dispatch import TIME_IS_SHORT
from dpam_hpc.node.failure_list import FailureList
from dpam_hpc.node.launcher import LOST
from dpam_hpc.node.progress import Progress
from dpam_hpc.node.run_lock import RunLock
from dpam_hpc.node.shared_fs import persistently, working_in
from dpam_hpc.node.shutdown import Shutdown
from dpam_hpc.node.station import Station
from dpam_hpc.pipeline import program
from dpam_hpc.pipeline.outputs import Files
from dpam_hpc.pipeline.program import Call, Dpam
from dpam_hpc.pipeline.steps import STEPS, Stage
from dpam_hpc.settings import RunSettings
from dpam_hpc.target import WorkFolder

log = logging.getLogger(__name__)

LIMIT_BASE, LIMIT_FACTOR = 1800.0, 6.0
"""Seconds that every call of dpam may take, and how many times its prediction beside them."""
LOOK_EVERY = 0.1
OTHERS_END = 15.0
"""Seconds within which a launcher on another node that has lost the task has ended its dpam, which
writes the same files in place: more than a heartbeat of the lease."""
LINES_KEPT = 100
UNUSABLE_ID = "dpam's step 2 cuts an id at its last dot, and step 5 does not find its files"


class StageRun:
    """A context manager, as ``IterativeDali`` is: entered it holds the task's lease and journal.

    ``predicted`` are CPU seconds of targets. ``run_id`` tells what this run has begun from what
    others have.
    """

    def __init__(
        self,
        settings: RunSettings,
        stage: Stage,
        run_id: str,
        predicted: Mapping[str, float],
        *,
        shutdown: Shutdown,
        on_tick: Callable[[Progress], None],
        station: Station,
    ) -> None:
        self._settings = settings
        self._stage = stage
        self._run_id = run_id
        self._seconds = {name: cpu / stage.cpus for name, cpu in predicted.items()}
        self._shutdown = shutdown
        self._on_tick = on_tick
        self._station = station
        self._exit = ExitStack()
        self._running: list[Call] = []
        self._progress = Progress()
        self._done: list[str] = []
        self._postponed: list[str] = []

    def __enter__(self) -> StageRun:
        with ExitStack() as stack:
            with working_in(self._settings.work_dir):
                self._open(stack)
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def _open(self, stack: ExitStack) -> None:
        settings, station = self._settings, self._station
        self._folder = WorkFolder.at(settings.work_dir)
        if settings.data_dir is None:
            raise ConfigError("no data folder is named", "dpam-hpc submit --data-dir DIR")
        self._dpam = Dpam(
            self._stage, self._folder.root, settings.data_dir, not self._folder.sharded,
            settings.dali_home,
        )  # fmt: skip
        program.needs(self._stage, self._dpam)
        trust.own_folder(station.folder)
        lock = RunLock(station.folder, lease=station.lease, rank=station.rank)
        stack.callback(lock.release)
        lock.keep_alive(lambda: self._shutdown.ask(LOST, at_once=True))
        self._journal = station.open_journal()
        stack.callback(self._journal.close)
        self._records = {str(record["target"]): record for record in self._journal.records}
        self._state = StateFiles(self._folder.root, station.folder)
        self._logs = station.folder.parent.parent / "logs" / "targets"
        self._environment = self._dpam.environment()
        if self._folder.sharded:  # without it dpam takes the folder for a flat one
            (self._folder.root / STEPS[1].folder).mkdir(exist_ok=True)
        stack.callback(self._end_all)
        if lock.took_over is not None and lock.took_over.host != socket.gethostname():
            select.select([self._shutdown.wakeup], [], [], OTHERS_END)

    def run(self, targets: Iterable[str]) -> Progress:
        """Work off ``targets``; those that are done already are looked at and skipped."""
        waiting = deque(targets)
        progress = self._progress
        progress.targets = len(waiting)
        progress.workers = capacity.slots(self._stage, self._settings)
        begun = time.monotonic()
        earlier = [r for r in self._records.values() if r["state"] == FAILED]
        self._failures = FailureList(self._station.folder, earlier)
        while waiting or self._running:
            while waiting and len(self._running) < progress.workers and not self._shutdown.reason:
                target = waiting.popleft()
                self._guarded(target, partial(self._begin, target))
            if self._shutdown.reason:
                self._end_in_time()
                break
            self._look()
            progress.busy, progress.seconds = len(self._running), time.monotonic() - begun
            self._on_tick(progress)
        if self._postponed and not self._shutdown.reason:
            self._shutdown.ask(TIME_IS_SHORT)
        self._tell_batch()
        progress.seconds = time.monotonic() - begun
        return progress

    def _is_too_long(self, target: str, left: Sequence[int]) -> bool:
        """Whether what is left of a target does not fit into the job's time, by the prediction."""
        deadline = self._station.deadline
        share = sum(STEPS[n].seconds for n in left) / sum(
            STEPS[n].seconds for n in self._stage.numbers
        )
        return deadline is not None and time.time() + share * self._seconds[target] > deadline

    # -- one target -------------------------------------------------------------------------------

    def _guarded(self, target: str, does: Callable[[], None]) -> None:
        """A file that cannot be read or written is this target's failure, not the task's."""
        try:
            does()
        except (OSError, StorageError) as error:
            self._fail(target, "-", str(error))

    def _begin(self, target: str) -> None:
        """Start dpam on what is left of a target, if something is, and if it can be."""
        earlier = self._records.get(target, {}).get("state")
        if earlier in (DONE, FAILED):
            self._progress.skipped += 1
            self._progress.earlier_failures += earlier == FAILED
            return
        numbers = self._stage.numbers
        if 2 in numbers and "." in target:
            self._fail(target, STEPS[2].name, UNUSABLE_ID)
            return
        state = self._state.of_target(target)
        files = Files(self._folder, target, state)
        if self._folder.sharded:
            files.place_query()
        lacking, why = files.not_ready(numbers)
        if lacking:
            self._hold(target, lacking, why)
            return
        redo = self._settings.redo and state.begun != self._run_id
        left = numbers if redo else files.remaining(numbers)
        if not left:
            self._finish(target, state.completed, found=True)
            return
        if self._is_too_long(target, left):
            self._postponed.append(target)
            return
        before = {STEPS[n].name for n in numbers if n < left[0]}
        before |= state.completed & {STEPS[n].name for n in STEPS if n < left[0]}
        self._state.begin_steps(target, before, self._run_id, left[0])
        files.clear(left)
        if all(files.is_idle(number) for number in left):
            self._finish(target, self._earlier_steps(target))
            return
        call = Call(
            target, left, self._dpam.argv(target, left), self._logs / f"{target}.log",
            (LIMIT_BASE + LIMIT_FACTOR * self._seconds[target])
            * self._settings.time_limit_factor,
        )  # fmt: skip
        self._running.append(call)
        try:
            call.start(self._environment)
        except OSError:
            self._running.remove(call)
            raise

    def _ended(self, call: Call) -> None:
        """Judge what a call has left: the first step that is not right is what failed."""
        files = Files(self._folder, call.target)
        for n, number in enumerate(call.numbers):
            if missing := files.missing(number):
                files.clear(call.numbers[n:])  # later steps have worked without its result
                name = STEPS[number].name
                self._fail(call.target, name, call.reason(name, missing), call)
                return
        earlier = self._earlier_steps(call.target)
        self._finish(call.target, earlier, seconds=round(call.seconds, 1))

    # -- what is noted ----------------------------------------------------------------------------

    def _finish(self, target: str, others: Iterable[str], **facts: object) -> None:
        """Note a target as done; ``others``: further steps that are."""
        self._state.end_steps(target, {*others, *self._stage.names}, {})
        self._done.append(target)
        self._progress.done += 1
        self._note({"target": target, "state": DONE, **facts})

    def _fail(self, target: str, step: str, reason: str, call: Call | None = None) -> None:
        if call:
            before = takewhile(lambda name: name != step, self._stage.names)
            done = {*self._earlier_steps(target), *before}
            try:
                self._state.end_steps(target, done, {step: reason})
            except (OSError, StorageError) as error:
                log.warning("dpam is not told of %s: %s", target, error)
        self._progress.failed += 1
        argv = call.argv if call else self._dpam.argv(target, self._stage.numbers)
        self._tell(
            {
                "target": target, "state": FAILED, "at": step, "reason": reason,
                "log": str(call.log) if call else "", "command": shlex.join(argv),
            }
        )  # fmt: skip

    def _hold(self, target: str, number: int, why: str) -> None:
        """Leave a target alone whose earlier steps are not done."""
        self._progress.held += 1
        reason = f"held back, step {number} ({STEPS[number].name}) is not done: {why}"
        self._tell({"target": target, "state": HELD, "at": STEPS[number].name, "reason": reason})

    def _earlier_steps(self, target: str) -> set[str]:
        """Steps before this stage that dpam's state has; they are not judged here."""
        try:
            completed = self._state.of_target(target).completed
        except (OSError, StorageError):
            return set()
        return {s.name for n, s in STEPS.items() if n < self._stage.numbers[0]} & completed

    def _tell(self, record: Record) -> None:
        """Note what went wrong, in the journal and in the list for people."""
        if len(self._progress.failure_lines) < LINES_KEPT:
            kind = "failed: " if record["state"] == FAILED else ""
            line = f"{kind}{record['target']} {record['at']}: {record['reason']}"
            self._progress.failure_lines.append(line)
        self._note(record)
        self._failures.add(record)

    def _note(self, record: Record) -> None:
        noted = {**record, "step": self._stage.record}
        persistently(lambda: self._journal.append(noted))

    def _tell_batch(self) -> None:
        """Tell dpam's state of the whole folder, if there is one."""
        try:
            self._state.mark_batch(self._done, False, self._stage.names)
        except (OSError, StorageError) as error:
            log.warning("dpam is not told of %d targets: %s", len(self._done), error)

    # -- waiting ----------------------------------------------------------------------------------

    def _look(self) -> None:
        """Wait a moment, and take what has ended."""
        select.select([self._shutdown.wakeup], [], [], LOOK_EVERY)
        self._shutdown.drain_wakeups()
        for call in list(self._running):
            if call.ended() is not None:
                call.close()
                self._running.remove(call)
                self._guarded(call.target, partial(self._ended, call))

    def _end_in_time(self) -> None:
        """Let running work end within the grace."""
        end = time.monotonic() + (0 if self._shutdown.at_once else self._settings.grace)
        while self._running and time.monotonic() < end and not self._shutdown.at_once:
            self._look()
        self._progress.wasted += sum(call.seconds * self._stage.cpus for call in self._running)
        self._end_all()

    def _end_all(self) -> None:
        for call in self._running:
            call.close()
        self._running.clear()
