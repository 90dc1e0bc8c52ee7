"""A target's files of dpam's steps: judged by what is in them.

What dpam says of itself is not enough: it is complete without input (15, 16, 24), takes a file
that a killed start has cut for whole (1), or leaves an older one where there is no result (10).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from dpam_hpc.align import hits
from dpam_hpc.dpam_state import TargetState, of_target
from dpam_hpc.pipeline.steps import DALI, STEPS, Source, Step
from dpam_hpc.target import WorkFolder

DOMAINS = ".finalDPAM.domains"
"""The result: of step 13, which step 24 replaces."""
MARKER = ".iterativeDali.done"
FAILURES = "_iterativeDali.failures.tsv"
STRUCTURES = (".cif", ".pdb")
PAE = ".json"
READ_PAE = (12, 13)


class Files:
    """The files of one target, wherever its layout has them."""

    def __init__(self, folder: WorkFolder, target: str, state: TargetState | None = None) -> None:
        """``state``: dpam's, which tells what was begun and not ended; OSError, StorageError."""
        self._folder = folder
        self._target = target
        self._state = of_target(folder.root, target) if state is None else state

    def path(self, step: Step, ending: str) -> Path:
        """A step's file."""
        place = self._folder.root / step.folder if self._folder.sharded else self._folder.root
        return place / f"{self._target}{ending}"

    @property
    def query(self) -> Path:
        """The PDB file that dpam's steps read."""
        return self.path(STEPS[1], ".pdb")

    def given(self, ending: str) -> Path:
        """An input of the user's, which is in the working folder itself in both layouts."""
        return self._folder.root / f"{self._target}{ending}"

    # -- judging ----------------------------------------------------------------------------------

    def missing(self, number: int) -> str:
        """What a step has not left whole, in words; empty if nothing. OSError."""
        step = STEPS[number]
        if number == DALI:
            return self._missing_hits()
        if self.is_idle(number):
            left = [path for path in self._written(step) if path.exists()]
            return f"{left[0].name} of an earlier run" if left else ""
        for ending in step.always:
            path = self.path(step, ending)
            if why := _not_whole(path, step.may_be_empty):
                return f"{path.name} {why}"
        for ending in step.sometimes:
            path = self.path(step, ending)
            if path.exists() and (why := _not_whole(path, may_be_empty=True)):
                return f"{path.name} {why}"
        if number == 1 and (why := self._wrong_with_query()):
            return f"{self.query.name} {why}"
        if number == 20:
            absent = [path.name for path in self._extracted() if not path.exists()]
            return f"{absent[0]} is not there" if absent else ""
        return self._not_ended(step)

    def _not_ended(self, step: Step) -> str:
        """Of steps that were begun those are done that dpam has noted: another file may be cut."""
        state = self._state
        if state.begun and step.number >= state.begun_from and step.name not in state.completed:
            return f"{step.name} was begun and not ended"
        return ""

    def is_idle(self, number: int) -> bool:
        """Whether a step has rightly nothing to do, by what the steps before it have left."""
        source = STEPS[number].idle_without
        return source is not None and not self._has(source)

    def is_older_than_inputs(self, number: int) -> bool:
        """Whether something that the step read was written after what it left."""
        left = [path.stat().st_mtime_ns for path in self._written(STEPS[number]) if path.exists()]
        if not left:
            return False
        read = [path for n in STEPS[number].reads for path in self._written(STEPS[n])]
        if 1 in STEPS[number].reads:
            read.append(self.query)
        if number in READ_PAE:
            read.append(self.given(PAE))
        if number == 1:
            read = [next(filter(Path.exists, map(self.given, STRUCTURES)), self.query)]
        return any(path.stat().st_mtime_ns > min(left) for path in read if path.exists())

    def not_ready(self, numbers: Sequence[int]) -> tuple[int, str]:
        """The first step before ``numbers`` whose outputs they need and that are not whole."""
        needed = {n for number in numbers for n in STEPS[number].reads} - set(numbers)
        for number in sorted(needed):
            if why := self.missing(number):
                return number, why
        return 0, ""

    def remaining(self, numbers: Sequence[int]) -> tuple[int, ...]:
        """The steps of ``numbers`` from the first on whose files are missing or out of date."""
        for n, number in enumerate(numbers):
            if self.missing(number) or self.is_older_than_inputs(number):
                return tuple(numbers[n:])
        return ()

    def _missing_hits(self) -> str:
        """Zero hits because templates failed are no result either."""
        step = STEPS[DALI]
        path = self.path(step, step.always[0])
        if not self.path(step, MARKER).exists():
            return "step 7 is not finished: there is no marker"
        try:
            found = hits.count(path.read_bytes())
        except FileNotFoundError:
            return f"{path.name} is not there"
        except ValueError as error:
            return f"{path.name} is not whole: {error}"
        failures = self.path(step, FAILURES)
        if not found and failures.exists() and b"\tfailed\t" in failures.read_bytes():
            return f"step 7 has no hits because templates failed: {failures.name}"
        return ""

    def _wrong_with_query(self) -> str:
        """What is wrong with the query; a user's own file may end as it likes."""
        if self.given(".cif").exists():
            return _not_whole(self.query)
        try:
            return "" if self.query.stat().st_size else "is empty"
        except FileNotFoundError:
            return "is not there"

    def _has(self, source: Source) -> bool:
        path = self.path(STEPS[source.number], source.ending)
        try:
            with path.open("rb") as file:
                file.readline()
                return not source.rows or bool(file.readline())
        except FileNotFoundError:
            return False

    def _written(self, step: Step) -> Iterator[Path]:
        for ending in (*step.always, *step.sometimes):
            yield self.path(step, ending)

    def _extracted(self) -> list[Path]:
        """The domains that step 20 cuts out: those that step 19 wants to merge."""
        path = self.path(STEPS[19], ".step19_merge_candidates")
        names: set[str] = set()
        for line in path.read_text(errors="replace").splitlines():
            words = line.split("\t")
            if len(words) >= 4 and not line.startswith("#"):
                names.update((words[0], words[2]))
        return [self.path(STEPS[20], f"_{name}.pdb") for name in sorted(names)]

    # -- changing ---------------------------------------------------------------------------------

    def clear(self, numbers: Sequence[int]) -> None:
        """Remove what steps have left, so that nothing of it is taken for a result. OSError.

        The query stays: it may be the user's own.
        """
        if 20 in numbers and self.path(STEPS[19], ".step19_merge_candidates").exists():
            for path in self._extracted():
                path.unlink(missing_ok=True)
        for number in numbers:
            step = STEPS[number]
            for ending in (*step.always, *step.sometimes, *step.besides):
                self.path(step, ending).unlink(missing_ok=True)
        if 6 in numbers:  # hits of other candidates: step 7 would take them for its own
            step = STEPS[DALI]
            for ending in (MARKER, *step.always, FAILURES):
                self.path(step, ending).unlink(missing_ok=True)
        if 13 in numbers:
            for path in self._domains():
                path.unlink(missing_ok=True)
        elif 24 in numbers:
            self._restore_domains()

    def _domains(self) -> set[Path]:
        root = self._folder.root
        places = {root}
        if self._folder.sharded:
            places |= {root / "results", root / STEPS[13].folder}
        return {place / f"{self._target}{DOMAINS}" for place in places}

    def _restore_domains(self) -> None:
        """Give the result back its text of step 13, in place of that of step 24."""
        own = self.path(STEPS[13], ".step13_domains")
        if not own.exists():
            return
        for path in self._domains():
            if path.parent == self._folder.root and self._folder.sharded:
                path.unlink(missing_ok=True)  # step 24 alone writes there
            elif path.exists():
                shutil.copyfile(own, path)

    def place_query(self) -> None:
        """Put the user's PDB file where dpam's steps look for it in a sharded folder. OSError.

        dpam's step 1 writes it there from a CIF file only.
        """
        source, query = self.given(".pdb"), self.query
        if source == query or self.given(".cif").exists() or not source.exists():
            return
        query.parent.mkdir(exist_ok=True)
        if query.exists() and _same(source, query):
            return
        part = query.with_name(f".{query.name}.part")
        shutil.copy2(source, part)
        os.replace(part, query)


def _same(one: Path, other: Path) -> bool:
    a, b = one.stat(), other.stat()
    return (a.st_size, a.st_mtime_ns) == (b.st_size, b.st_mtime_ns)


def _not_whole(path: Path, may_be_empty: bool = False) -> str:
    """What is wrong with a text file, as far as its end tells; empty if nothing."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size == 0:
                return "" if may_be_empty else "is empty"
            file.seek(-1, os.SEEK_END)
            return "" if file.read(1) == b"\n" else "is cut: its last line has no end"
    except FileNotFoundError:
        return "is not there"
