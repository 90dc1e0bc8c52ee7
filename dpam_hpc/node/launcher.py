"""Iterative DALI on this machine: from a shared working folder to finished hits.

``IterativeDali`` holds what a run needs for as long as it is entered: the lock on the working
folder, the journal, scratch with the template cache, and the workers.
"""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from types import TracebackType

from dpam_hpc import cost, settings, target, trust
from dpam_hpc.align import aligner as aligners
from dpam_hpc.align.aligner import Options
from dpam_hpc.bundle import Bundle
from dpam_hpc.dpam_state import StateFiles
from dpam_hpc.errors import BundleError, ConfigError, DpamHpcError, StorageError
from dpam_hpc.journal import REDO
from dpam_hpc.node import scratch
from dpam_hpc.node.account import Account
from dpam_hpc.node.bundle_copy import BundleCopy
from dpam_hpc.node.dispatch import Dispatcher
from dpam_hpc.node.progress import Progress
from dpam_hpc.node.room import Room
from dpam_hpc.node.run_lock import RunLock
from dpam_hpc.node.shared_fs import working_in
from dpam_hpc.node.shutdown import Shutdown
from dpam_hpc.node.staging import Staging
from dpam_hpc.node.station import Station
from dpam_hpc.node.work import Place, Setup
from dpam_hpc.node.workers import Nursery, Pool, WorkerHandle

log = logging.getLogger(__name__)

LOST = "its task was given to another launcher"
BYTES_A_WORKER = 20_000_000
BYTES_A_TEMPLATE = 40_000
ALL_TEMPLATES = 63_000
SAMPLED_TEMPLATES = 2
"""Templates whose PDB files are compared with the bundle at the start of a run."""


class IterativeDali:
    """A context manager that a pipeline opens once and gives targets to.

    >>> with IterativeDali(RunSettings(work_dir=work, data_dir=data)) as dali:
    ...     progress = dali.run(["P1", "P2"])

    On entering it claims scratch, proves the aligner on a known pair and starts no work yet; on
    leaving, by an error too, workers are ended and scratch is removed. Raises DpamHpcError.
    """

    def __init__(
        self,
        run_settings: settings.RunSettings,
        *,
        expected_targets: int | None = None,
        shutdown: Shutdown | None = None,
        on_tick: Callable[[Progress], None] = lambda progress: None,
        station: Station | None = None,
    ) -> None:
        self._settings = run_settings
        self._expected_targets = expected_targets
        self._shutdown = shutdown or Shutdown()
        self._own_shutdown = shutdown is None
        self._on_tick = on_tick
        self._station = station or Station.of_run(run_settings.work_dir.absolute())
        self._account = Account(run_settings, self._station.about)
        self._exit = ExitStack()

    def __enter__(self) -> IterativeDali:
        with ExitStack() as stack:
            with working_in(self._settings.work_dir):
                try:
                    self._open(stack)
                except DpamHpcError:
                    stack.__exit__(*sys.exc_info())
                    with suppress(OSError):  # not empty: there were runs before
                        (self._settings.work_dir / target.OWN_FOLDER).rmdir()
                    raise
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exit.__exit__(kind, error, trace)

    def _open(self, stack: ExitStack) -> None:
        if self._own_shutdown:
            stack.callback(self._shutdown.close)
        self.folder = target.WorkFolder.at(self._settings.work_dir)
        pdb_folder = _template_folder(self._settings)
        definition = aligners.find(self._settings.aligner)
        aligner = aligners.load(definition)
        options = aligner_options(self._settings)

        station = self._station
        run_folder = station.folder
        trust.own_folder(run_folder)
        self._lock = RunLock(run_folder, lease=station.lease, rank=station.rank)
        stack.callback(self._lock.release)
        self._lock.keep_alive(lambda: self._shutdown.ask(LOST, at_once=True))
        if self._lock.took_over:
            log.warning("took over from a run that died: process %d", self._lock.took_over.pid)
        needed = space_needed(self._settings, self._expected_targets)
        fallback = station.last_resort or run_folder
        choice = scratch.choose(
            fallback,
            needed,
            self._settings.scratch_dir,
            candidates=station.scratch_candidates,
        )
        for problem in choice.refused:
            log.warning("scratch: %s", problem)
        if choice.is_fallback:
            log.warning("scratch: %s is used, which is slow", fallback)
        elif station.scratch_by and self._settings.scratch_dir is None:
            log.info("scratch: %s, in the order of %s", choice.folder, station.scratch_by)
        for swept in scratch.sweep([choice.folder, fallback]):
            log.info("removed %s, left by a run that died", swept)

        def stage(folder: Path) -> Place:
            bundle = self._staged_bundle(stack, folder)
            place = Place(folder, aligner.stage_in(options, folder), bundle)
            place.make()
            return place

        floor = int(self._settings.min_free_gb * 1e9)
        self._room = Room(choice.folder, fallback, floor, stage)
        stack.callback(self._room.remove)
        # Of the copies: the programs themselves are read from a shared disk once.
        fingerprint = aligner.fingerprint(self._room.place.options)
        self._check_bundle(aligner.name, fingerprint)
        # Before anything is open in the shared folder, and while the proof takes its time.
        nursery = Nursery(definition, self._room.place.root)
        stack.callback(nursery.close)
        aligner.prove(self._room.place.options, self._room.place.root / "proof")

        def start_worker(number: int) -> WorkerHandle:
            setup = Setup(number, definition, pdb_folder)
            return WorkerHandle(setup, self._room.place.root, nursery)

        # After the proof: an open file costs an operation at each start of a program.
        self._journal = journal = station.open_journal()
        stack.callback(journal.close)
        staged = self._room.place.options
        journal.add(self._account.start(aligner, staged, fingerprint, choice))
        with suppress(OSError):  # then it waits for other records
            journal.flush()
        stack.push(self._note_end)
        begun = any(record.get("state") == REDO for record in journal.records)
        self._redo = self._settings.redo and not (begun and station.begins_once)
        self._pool = Pool(start_worker, self._shutdown.wakeup)
        stack.callback(self._pool.end)
        self._staging = Staging(
            self.folder,
            target.OutputNames(aligner.hits_suffix, aligner.step),
            journal,
            again="" if self._settings.redo and not self._redo else self._settings.again,
            dpam_state=StateFiles(self.folder.root, run_folder)
            if self._settings.dpam_state
            else None,
            asked=self._account.asked,
        )
        stack.callback(self._staging.close)

    def _note_end(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Whoever has lost the task writes nothing more: the next start tells of its end."""
        if self._shutdown.reason != LOST:
            busy, least = self._pool.busy_seconds, self._room.least_free_bytes
            self._journal.add(self._account.end(self._shutdown.reason, error, busy, least))

    def run(self, targets: Iterable[str]) -> Progress:
        """Align ``targets``; those that are done already are verified and skipped."""
        named = list(targets)
        if not named:
            return Progress()
        target.chosen_targets(self.folder, named)  # for its errors
        chosen = list(dict.fromkeys(named))  # as given: a plan has the dearest first
        dispatcher = Dispatcher(
            self._staging,
            self._pool,
            self._settings.workers,
            self._room,
            self._shutdown,
            prewarm=self._room.place.bundle is None,
            grace=self._settings.grace,
            on_tick=self._on_tick,
            deadline=self._station.deadline,
        )
        self._account.run(dispatcher.progress)
        try:
            self._staging.begin(chosen)
            if self._redo:
                self._staging.begin_again(chosen)
            return dispatcher.run(chosen)
        except OSError as error:
            raise StorageError(
                f"{self.folder.root}: {error}",
                "set it right, then start again: what is done is kept",
            ) from None
        finally:
            self._staging.finish()

    def _staged_bundle(self, stack: ExitStack, folder: Path) -> Path | None:
        """Copy a bundle from a shared file system to the node, once; elsewhere it stays."""
        bundle = self._settings.templates
        if bundle is None:
            return None
        if scratch.is_local(bundle) or not scratch.is_local(folder):
            with suppress(OSError):  # its absence is told when it is opened
                self._account.bundle(bundle, None)
            return bundle.absolute()
        copy = BundleCopy(bundle, folder.parent)
        self._account.bundle(bundle, copy)
        stack.callback(lambda: copy.release(self._station.keep_bundle()))
        return copy.path

    def _check_bundle(self, aligner: str, fingerprint: str) -> None:
        """BundleError if the bundle is another build's, or made from other PDB files.

        Of the PDB files only a few are compared: ``bundle verify --data-dir`` compares all.
        """
        path, data = self._room.place.bundle, self._settings.data_dir
        if path is None:
            return
        with closing(Bundle(path)) as bundle:
            bundle.check_made_by(aligner, fingerprint, self._settings.templates)
            if data is None or not (data / "ECOD70").is_dir():
                return
            templates = bundle.templates()
            sample = random.sample(templates, min(SAMPLED_TEMPLATES, len(templates)))
            for problem in bundle.differing(data / "ECOD70", sample):
                raise BundleError(
                    f"{self._settings.templates} was made from other PDB files than those of"
                    f" {data / 'ECOD70'}: {problem}",
                    "build it anew from them: dpam-hpc bundle build",
                )


def space_needed(run_settings: settings.RunSettings, targets: int | None) -> int:
    """Bytes of scratch that a run may fill, with the floor that stays free."""
    needed = int(run_settings.min_free_gb * 1e9) + run_settings.workers * BYTES_A_WORKER
    bundle = run_settings.templates
    if bundle is None:
        templates = ALL_TEMPLATES
        if targets:
            templates = min(templates, cost.TYPICAL_CANDIDATES * targets)
        return needed + templates * BYTES_A_TEMPLATE
    return needed + (0 if scratch.is_local(bundle) else _size(bundle))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # its absence is told when it is opened


def _template_folder(run_settings: settings.RunSettings) -> Path:
    """Where the templates' PDB files lie; it may be absent where there is a bundle."""
    if run_settings.data_dir is None:
        if run_settings.templates is None:
            raise ConfigError(
                "no data folder is named", "give --data-dir DIR, in which ECOD70/ lies"
            )
        return run_settings.templates.absolute().parent / "ECOD70"
    folder = run_settings.data_dir.absolute() / "ECOD70"
    if run_settings.templates is None and not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}", "--data-dir is the folder with ECOD70/")
    return folder


def aligner_options(run_settings: settings.RunSettings) -> Options:
    """What of the settings the aligner's own constructor hears of."""
    return {
        "dali_home": str(run_settings.dali_home or ""),
        "fix_long_chains": "1" if run_settings.fix_long_chains else "",
        "time_factor": str(run_settings.time_limit_factor),
    }
