"""Stage-in of a target's inputs and stage-out of its hits: all that touches the shared folder.

Nine opens, reads, writes, renames and the like a target, and what a file system adds in look-ups
and closes (``benchmarks/shared_fs.py`` counts). A hits file is written whole or not at all: beside
the target file, flushed, checked, renamed; then the marker; then the journal record, which waits a
moment for others.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dpam_hpc.align import hits, structure
from dpam_hpc.align.aligner import Unusable
from dpam_hpc.align.coverage import coverage
from dpam_hpc.align.iterate import TemplateResult
from dpam_hpc.dpam_state import StateFiles
from dpam_hpc.errors import StorageError
from dpam_hpc.journal import DONE, FAILED, REDO, Journal, Record
from dpam_hpc.node import shared_fs
from dpam_hpc.node.shared_fs import Asked, SharedFolder, persistently
from dpam_hpc.target import CANDIDATES_SUFFIX, TEMPLATE_ID, OutputNames, WorkFolder

log = logging.getLogger(__name__)

DONE_TEXT = b"done\n"
WHOLE_TARGET = "-"


@dataclass(frozen=True)
class StagedTarget:
    """A target as read: its query, its candidates, and those already known to be impossible.

    ``finished`` is the journal's record of a target that needs nothing more. ``problem`` is why
    the whole target cannot be processed. ``numbers`` are those that the file gives its residues.
    """

    id: str
    pdb: bytes = b""
    residues: int = 0
    candidates: tuple[str, ...] = ()
    refused: tuple[TemplateResult, ...] = ()
    finished: Record | None = None
    problem: str = ""
    numbers: tuple[int, ...] = ()


@dataclass
class TargetResult:
    """Everything about a target that was worked on."""

    id: str
    residues: int = 0
    candidates: int = 0
    results: list[TemplateResult] = field(default_factory=list)
    problem: str = ""
    seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)
    numbers: tuple[int, ...] = ()

    def failure_lines(self) -> list[str]:
        """A line for the target as a whole or for each template that failed."""
        if self.problem:
            return [f"{self.id}: {self.problem}"]
        return [f"{self.id} {r.template}: {r.failure}" for r in self.results if r.failure]


class Staging:
    """The shared folder of a run, with its journal; close it at the end."""

    def __init__(
        self,
        folder: WorkFolder,
        names: OutputNames,
        journal: Journal,
        *,
        again: str = "",
        dpam_state: StateFiles | None = None,
        asked: Asked | None = None,
    ) -> None:
        """``again``: "failed" works on earlier failures once more, "all" on everything.

        ``dpam_state``: where to note each finished target for dpam. ``asked`` counts operations.
        """
        self._dpam_state = dpam_state
        self._noted: dict[bool, list[str]] = {True: [], False: []}
        self._a_marker = ""
        if folder.sharded:
            folder.output_folder.mkdir(exist_ok=True)
        opened: dict[Path, SharedFolder] = {}
        for path in (folder.candidates_folder, folder.output_folder, *folder.query_folders):
            if path not in opened and path.is_dir():
                opened[path] = SharedFolder(path, asked)
        self._opened = opened
        self._candidates = opened[folder.candidates_folder]
        self._output = opened[folder.output_folder]
        self._queries = [opened[path] for path in folder.query_folders if path in opened]
        self._names = names
        self._journal = journal
        self._again = again
        self._records = {
            str(record["target"]): record
            for record in journal.records
            if record.get("step") == names.step  # another aligner's outcome is another matter
        }
        self._listed: set[str] = set()

    def close(self) -> None:
        """Close the folders."""
        for folder in self._opened.values():
            folder.close()

    def begin(self, targets: Sequence[str]) -> None:
        """Learn by one listing which outputs there are, and remove halves that a killed run left.

        The targets are this run's alone: whoever still writes one of them has lost it.
        """
        names = self._names
        marks = {name(target) for target in targets for name in (names.done, names.failures)}
        written = {name(target) for target in targets for name in (names.hits, names.failures)}
        found = self._output.names(
            lambda name: name in marks or shared_fs.is_unfinished(name, written)
        )
        self._listed = found & marks
        for half in found - marks:
            self._output.remove(half)
        if self._again == "failed":
            failed = [t for t in targets if t in self._records and _has_failures(self._records[t])]
            self._forget_for_dpam(failed)

    def stage_in(self, target: str) -> StagedTarget:
        """Read a target's inputs, unless it is finished; a bad input is in the answer."""
        finished = self._finished(target)
        if finished:
            self._note_for_dpam(finished, anew=False)
            return StagedTarget(target, finished=finished)
        name = f"{target}{CANDIDATES_SUFFIX}"
        try:
            text = self._candidates.read(name).decode()
        except FileNotFoundError:
            return StagedTarget(target, problem=f"missing: no {name} in {self._candidates.path}")
        except (OSError, UnicodeDecodeError) as error:
            return StagedTarget(target, problem=f"{name} cannot be read: {error}")
        candidates, refused = _candidates(text)
        if not candidates:
            return StagedTarget(target, refused=refused)
        try:
            pdb = self._read_query(f"{target}.pdb")
            numbers = structure.check_query(pdb).residues
        except FileNotFoundError as error:
            return StagedTarget(target, problem=f"missing: {error}")
        except (OSError, Unusable) as error:
            return StagedTarget(target, problem=f"{target}.pdb: {error}")
        return StagedTarget(target, pdb, len(numbers), candidates, refused, numbers=numbers)

    def _read_query(self, name: str) -> bytes:
        for folder in self._queries:
            with suppress(FileNotFoundError):
                return folder.read(name)
        places = " or ".join(str(folder.path) for folder in self._queries)
        raise FileNotFoundError(f"no {name} in {places}")

    def _finished(self, target: str) -> Record | None:
        """The record of a target that is done and verified, or failed and not asked for again."""
        if self._again == "all":
            return None
        record = self._records.get(target)
        if record is None:
            return self._done_by_others(target)
        if self._again == "failed" and _has_failures(record):
            return None
        if record["state"] == FAILED:
            return record
        if record["state"] != DONE:
            return None
        content = self._read_hits(target)
        intact = content is not None and hashlib.sha256(content).hexdigest() == record.get("sha256")
        return record if intact and self._has_marker(target) else None

    def _done_by_others(self, target: str) -> Record | None:
        """A target without a record, but with a marker and hits that are whole."""
        if not self._has_marker(target):
            return None
        content = self._read_hits(target)
        try:
            found = hits.count(content) if content is not None else None
        except ValueError:
            found = None
        # Upstream leaves no hits and a marker where it failed too: that is done again.
        if content is None or not found:
            return None
        failures = self._count_failures(target)
        if failures and self._again == "failed":
            return None
        return _done_record(target, content, {"hits": found, "failures": failures, "found": True})

    def _count_failures(self, target: str) -> int:
        """Failures that an earlier run named beside the hits."""
        name = self._names.failures(target)
        if name not in self._listed:
            return 0
        try:
            rows = self._output.read(name).splitlines()[1:]
        except OSError:
            return 0
        return sum(row.split(b"\t")[1:2] == [b"failed"] for row in rows)

    def _has_marker(self, target: str) -> bool:
        return self._names.done(target) in self._listed

    def _read_hits(self, target: str) -> bytes | None:
        try:
            return self._output.read(self._names.hits(target))
        except OSError:
            return None

    def begin_again(self, targets: Sequence[str]) -> None:
        """Note that the targets' earlier outcomes no longer count, whatever happens next."""
        self._forget_for_dpam(targets)
        self._journal.append_all(
            {"target": target, "state": REDO, "step": self._names.step} for target in targets
        )

    def stage_out(self, result: TargetResult) -> Record:
        """Write a target's outputs; its record, which ``flush`` puts in the journal."""
        target = result.id
        failures = _failures_text(result)
        if failures:
            self._output.replace(self._names.failures(target), failures)
        elif self._names.failures(target) in self._listed:
            self._output.remove(self._names.failures(target))
        facts: Record = {
            "step": self._names.step,
            "at": round(time.time(), 1),
            "residues": result.residues,
            "candidates": result.candidates,
            "hits": sum(len(r.records) for r in result.results),
            "failures": sum(bool(r.failure) for r in result.results),
            "lost": sum(len(r.lost) for r in result.results),
            "seconds": round(result.seconds, 3),
            "cpu": {step: round(seconds, 3) for step, seconds in result.cpu.items()},
        }
        if result.problem:
            self._output.remove(self._names.done(target))
            self._output.remove(self._names.hits(target))
            record: Record = {"target": target, "state": FAILED, "reason": result.problem, **facts}
        else:
            by_template = {r.template: r for r in result.results}
            ordered = hits.in_upstream_order(by_template)
            records = [text for t in ordered for text in by_template[t].records]
            content = "".join(records).encode()
            found = coverage(records, result.numbers)
            facts |= asdict(found) if found else {}
            self._output.replace(self._names.hits(target), content)
            self._mark_done(target)
            record = _done_record(target, content, facts)
        self._note_for_dpam(record, anew=True)
        if record["state"] == DONE:
            self._journal.add(record)
        else:  # of a failure nothing else tells
            persistently(lambda: self._journal.append(record))
        return record

    def flush_is_due(self) -> bool:
        """Whether records wait for ``flush`` for long enough."""
        return self._journal.is_due()

    def flush(self) -> None:
        """Write the records of finished targets, many by one operation; OSError."""
        persistently(self._journal.flush)

    def _mark_done(self, target: str) -> None:
        """Make the marker: one more name of an earlier one, which costs less than a file."""
        marker = self._names.done(target)
        if not (self._a_marker and self._output.link(self._a_marker, marker)):
            self._output.write(marker, DONE_TEXT)
            self._a_marker = marker

    def _note_for_dpam(self, record: Record, anew: bool) -> None:
        """Note a finished target; later steps of one that was aligned ``anew`` read old hits."""
        if self._dpam_state and record["state"] == DONE:
            try:
                self._dpam_state.mark_target(record["target"], anew)
            except (OSError, StorageError) as error:
                log.warning("dpam is not told of %s: %s", record["target"], error)
                return
            self._noted[anew].append(record["target"])

    def _forget_for_dpam(self, targets: Sequence[str]) -> None:
        if self._dpam_state and targets:
            self._dpam_state.begin_batch_again(targets)

    def finish(self) -> None:
        """Write what is written once for many targets."""
        try:
            self.flush()
        except OSError as error:
            log.warning("the journal is not whole, the next run goes by the markers: %s", error)
        for anew, targets in self._noted.items():
            if self._dpam_state and targets:
                try:
                    self._dpam_state.mark_batch(targets, anew)
                except (OSError, StorageError) as error:
                    log.warning("dpam is not told of %d targets: %s", len(targets), error)
            self._noted[anew] = []


def _candidates(text: str) -> tuple[tuple[str, ...], tuple[TemplateResult, ...]]:
    """Template ids, each once, in upstream's order; ids that can be no template are refused."""
    ids = {line.strip() for line in text.splitlines()} - {""}
    good = {name for name in ids if TEMPLATE_ID.fullmatch(name)}
    refused = (TemplateResult(repr(name), failure="no template id") for name in sorted(ids - good))
    return tuple(hits.in_upstream_order(good)), tuple(refused)


def _failures_text(result: TargetResult) -> bytes:
    """The failures file; empty where nothing failed and nothing was lost."""
    rows = [(WHOLE_TARGET, "failed", result.problem)] if result.problem else []
    for template in sorted(result.results, key=lambda r: r.template):
        if template.failure:
            rows.append((template.template, "failed", template.failure))
        rows += [(template.template, "lost", segment) for segment in template.lost]
    if not rows:
        return b""
    lines = ["template\tkind\treason", *("\t".join(_one_line(cell) for cell in r) for r in rows)]
    # A folder's name may be no UTF-8.
    return ("\n".join(lines) + "\n").encode(errors="backslashreplace")


def _has_failures(record: Record) -> bool:
    return bool(record["state"] == FAILED or record.get("failures"))


def _one_line(cell: str) -> str:
    return " ".join(cell.split())


def _done_record(target: str, content: bytes, facts: Record) -> Record:
    checksum = hashlib.sha256(content).hexdigest()
    return {"target": target, "state": DONE, "sha256": checksum, **facts}
