"""Build a template bundle: all workers import, one writer writes, in the order of the ids."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from dpam_hpc import bundle, settings
from dpam_hpc.align import aligner as aligners
from dpam_hpc.bundle import BundledTemplate, BundleInfo
from dpam_hpc.errors import ConfigError, InterruptedRun, StorageError
from dpam_hpc.node import scratch, template_store
from dpam_hpc.node.launcher import BYTES_A_WORKER, aligner_options
from dpam_hpc.node.shutdown import Shutdown
from dpam_hpc.node.work import Place, Prewarm, Setup
from dpam_hpc.node.workers import Nursery, Pool, WorkerHandle
from dpam_hpc.target import TEMPLATE_ID

log = logging.getLogger(__name__)

AT_ONCE = 16
WAIT = 1.0


def build(
    pdb_folder: Path,
    output: Path,
    workers: int,
    run_settings: settings.RunSettings,
    on_import: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[BundleInfo, int]:
    """Import every ``ID.pdb`` of a folder and write the bundle ``output``, whole or not at all.

    Also how many templates were left out since their import crashed. ``on_import`` is told how
    many templates of how many are imported.
    """
    templates = _templates(pdb_folder)
    definition = aligners.find(run_settings.aligner)
    aligner = aligners.load(definition)
    options = aligner_options(run_settings)
    fingerprint = aligner.fingerprint(options)
    with ExitStack() as stack:
        shutdown = Shutdown()
        stack.callback(shutdown.close)
        stack.enter_context(shutdown)
        choice = scratch.choose(
            output.absolute().parent, workers * BYTES_A_WORKER, run_settings.scratch_dir
        )
        scratch.sweep([choice.folder])
        claimed = scratch.Scratch(choice.folder)
        stack.callback(claimed.remove)
        place = Place(claimed.folder, aligner.stage_in(options, claimed.folder))
        place.make()
        nursery = Nursery(definition, place.root)
        stack.callback(nursery.close)
        aligner.prove(place.options, place.root / "proof")

        def start_worker(number: int) -> WorkerHandle:
            setup = Setup(number, definition, pdb_folder.absolute())
            return WorkerHandle(setup, place.root, nursery)

        pool = Pool(start_worker, shutdown.wakeup)
        stack.callback(pool.end)
        imported = _import(templates, pdb_folder, place, pool, workers, shutdown)
        counted = _counted(imported, len(templates), on_import)
        info = bundle.write(output, aligner.name, fingerprint, counted)
        return info, len(templates) - info.templates


def _templates(pdb_folder: Path) -> list[str]:
    if not pdb_folder.is_dir():
        raise ConfigError(f"there is no folder {pdb_folder}", "name the folder ECOD70")
    names = sorted(path.stem for path in pdb_folder.glob("*.pdb"))
    good = [name for name in names if TEMPLATE_ID.fullmatch(name)]
    for name in set(names) - set(good):
        log.warning("left out: %r is no template id", name)
    if not good:
        raise ConfigError(f"there are no .pdb files in {pdb_folder}", "name the folder ECOD70")
    return good


def _import(
    templates: list[str],
    pdb_folder: Path,
    place: Place,
    pool: Pool,
    workers: int,
    shutdown: Shutdown,
) -> Iterator[BundledTemplate]:
    """Imported templates in the order of ``templates``; StorageError where scratch fails.

    Templates of a worker that died are tried alone, and left out if they do it again.
    """
    units = [tuple(templates[at : at + AT_ONCE]) for at in range(0, len(templates), AT_ONCE)]
    waiting = deque(units)
    finished: set[str] = set()
    for unit in units:
        while not finished.issuperset(unit):
            if shutdown.reason:
                raise InterruptedRun(f"interrupted by {shutdown.reason}", "no bundle was written")
            while waiting and pool.busy_with(Prewarm) < workers:
                pool.give(Prewarm(place, waiting.popleft()))
            for answer in pool.wait(WAIT):
                done = answer.unit.templates
                if answer.done is None and len(done) > 1:
                    waiting.extendleft((template,) for template in done)
                    continue
                if answer.done is not None and answer.done.scratch_problem:
                    raise StorageError(
                        f"scratch {place.root}: {answer.done.scratch_problem}",
                        "make room, or name another with --scratch-dir; no bundle was written",
                    )
                finished.update(done)
            shutdown.drain_wakeups()
        for template in unit:
            yield from _bundled(place.cache, pdb_folder, template)


def _bundled(cache: Path, pdb_folder: Path, template: str) -> Iterator[BundledTemplate]:
    found = template_store.take(cache, template)
    if found is None:
        log.warning("left out: the import of %s failed; a run will try it again", template)
        return
    imported, reason = found
    yield BundledTemplate(template, (pdb_folder / f"{template}.pdb").read_bytes(), imported, reason)


def _counted(
    templates: Iterator[BundledTemplate], total: int, on_import: Callable[[int, int], None]
) -> Iterator[BundledTemplate]:
    for done, template in enumerate(templates, 1):
        yield template
        on_import(done, total)
