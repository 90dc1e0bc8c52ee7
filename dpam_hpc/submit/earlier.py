"""What was done in a working folder before: by ``run``, and by runs that were submitted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from dpam_hpc import journal
from dpam_hpc.align import aligner as aligners
from dpam_hpc.journal import DONE, FAILED
from dpam_hpc.run_dir import RunDir
from dpam_hpc.settings import SubmitSettings
from dpam_hpc.target import JOURNAL, OWN_FOLDER, WorkFolder


def records(work_dir: Path, only: RunDir | None = None) -> Iterator[journal.Record]:
    """Everything that runs of a working folder have noted, of ``run`` and of submitted ones."""
    own = work_dir / OWN_FOLDER / JOURNAL
    if own.exists() and only is None:
        yield from journal.read(own)
    for run in [only] if only else RunDir.all(work_dir):
        for number in run.started():
            yield from run.records(number)


def over(settings: SubmitSettings, only: RunDir | None = None) -> set[str]:
    """Targets that need nothing more; what is not among them the nodes verify, or work on.

    A target is done where its last record says so and its marker is there, and failed where its
    record says that; failures are not over where they are to be tried again. ``only``: by the
    records of this run.
    """
    if settings.again == "all":
        return set()
    step = aligners.load(aligners.find(settings.aligner)).step
    state: dict[str, str] = {}
    for record in records(settings.work_dir, only):
        if record.get("step") == step:
            again = settings.again == "failed" and record.get("failures")
            state[record["target"]] = "again" if again else record["state"]
    if not state:
        return set()
    marked = _marked(WorkFolder.at(settings.work_dir), step)
    done = {target for target, what in state.items() if what == DONE and target in marked}
    if settings.again == "failed":
        return done
    return done | {target for target, what in state.items() if what == FAILED}


def _marked(folder: WorkFolder, step: str) -> set[str]:
    ending = f".{step}.done"
    if not folder.output_folder.is_dir():
        return set()
    with os.scandir(folder.output_folder) as entries:
        return {e.name.removesuffix(ending) for e in entries if e.name.endswith(ending)}
