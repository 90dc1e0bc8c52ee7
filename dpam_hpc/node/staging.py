"""Stage-in of a target's inputs and stage-out of its hits: all that touches the shared folder.

About ten operations a target. A hits file is written whole or not at all: beside the target file,
flushed, checked, renamed; then the marker; then the journal record.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dpam_hpc.align import hits, structure
from dpam_hpc.align.aligner import Unusable
from dpam_hpc.align.iterate import TemplateResult
from dpam_hpc.journal import Journal, Record
from dpam_hpc.node.shared_fs import persistently
from dpam_hpc.target import TEMPLATE_ID, OutputNames, WorkFolder

DONE, FAILED, REDO = "done", "failed", "redo"
DONE_TEXT = b"done\n"
WHOLE_TARGET = "-"
LISTING_FROM = 50
"""Targets from which on one listing of the folder is cheaper than a look for each file."""


@dataclass(frozen=True)
class StagedTarget:
    """A target as read: its query, its candidates, and those already known to be impossible.

    ``finished`` is the journal's record of a target that needs nothing more. ``problem`` is why
    the whole target cannot be processed.
    """

    id: str
    pdb: bytes = b""
    residues: int = 0
    candidates: tuple[str, ...] = ()
    refused: tuple[TemplateResult, ...] = ()
    finished: Record | None = None
    problem: str = ""


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


class Staging:
    """The shared folder of a run, with its journal."""

    def __init__(
        self, folder: WorkFolder, names: OutputNames, journal: Journal, *, again: str = ""
    ) -> None:
        """``again``: "failed" works on earlier failures once more, "all" on everything."""
        self._folder = folder
        self._names = names
        self._journal = journal
        self._again = again
        self._records = {str(record["target"]): record for record in journal.records}
        self._listed: set[str] | None = None

    def list_outputs(self, targets: int) -> None:
        """Learn which outputs exist by one listing, where there are many ``targets``."""
        if self._folder.sharded:
            self._folder.output_folder.mkdir(exist_ok=True)
        if targets >= LISTING_FROM:
            endings = (self._names.done(""), self._names.failures(""))
            with os.scandir(self._folder.output_folder) as entries:
                self._listed = {entry.name for entry in entries if entry.name.endswith(endings)}

    def stage_in(self, target: str) -> StagedTarget:
        """Read a target's inputs, unless it is finished; a bad input is in the answer."""
        finished = self._finished(target)
        if finished:
            return StagedTarget(target, finished=finished)
        try:
            text = persistently(self._folder.candidates(target).read_bytes).decode()
        except FileNotFoundError:
            return StagedTarget(
                target, problem=f"missing: there is no {self._folder.candidates(target)}"
            )
        except (OSError, UnicodeDecodeError) as error:
            return StagedTarget(target, problem=f"its candidates cannot be read: {error}")
        candidates, refused = _candidates(text)
        if not candidates:
            return StagedTarget(target, refused=refused)
        pdb = self._read_query(target)
        if pdb is None:
            places = " or ".join(str(place) for place in self._query_folders())
            return StagedTarget(target, problem=f"missing: there is no {target}.pdb in {places}")
        try:
            residues = len(structure.check_query(pdb).residues)
        except Unusable as error:
            return StagedTarget(target, problem=f"{target}.pdb: {error}")
        return StagedTarget(target, pdb, residues, candidates, refused)

    def _query_folders(self) -> tuple[Path, ...]:
        return self._folder.query_folders if self._folder.sharded else (self._folder.root,)

    def _read_query(self, target: str) -> bytes | None:
        for folder in self._query_folders():
            with suppress(FileNotFoundError):
                return persistently((folder / f"{target}.pdb").read_bytes)
        return None

    def _finished(self, target: str) -> Record | None:
        """The record of a target that is done and verified, or failed and not asked for again."""
        if self._again == "all":
            return None
        record = self._records.get(target)
        if record is None:
            return self._done_by_others(target)
        if self._again == "failed" and (record["state"] == FAILED or record.get("failures")):
            return None
        if record["state"] == FAILED:
            return record
        if record["state"] != DONE:
            return None
        content = self._read_hits(target)
        intact = content is not None and hashlib.sha256(content).hexdigest() == record["sha256"]
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
        if content is None or found is None:
            return None
        return _done_record(target, content, {"hits": found, "found": True})

    def _has_marker(self, target: str) -> bool:
        name = self._names.done(target)
        if self._listed is not None:
            return name in self._listed
        return (self._folder.output_folder / name).exists()

    def _read_hits(self, target: str) -> bytes | None:
        try:
            return persistently((self._folder.output_folder / self._names.hits(target)).read_bytes)
        except OSError:
            return None

    def begin_again(self, target: str) -> None:
        """Note that a target's earlier outcome no longer counts, whatever happens next."""
        self._journal.append({"target": target, "state": REDO})

    def stage_out(self, result: TargetResult) -> Record:
        """Write a target's outputs; its record, which is in the journal by then."""
        folder, target = self._folder.output_folder, result.id
        failures = _failures_text(result)
        if failures:
            self._write_whole(folder / self._names.failures(target), failures)
        elif self._may_exist(target, self._names.failures(target)):
            (folder / self._names.failures(target)).unlink(missing_ok=True)
        facts: Record = {
            "residues": result.residues,
            "candidates": result.candidates,
            "hits": sum(len(r.records) for r in result.results),
            "failures": sum(bool(r.failure) for r in result.results),
            "lost": sum(len(r.lost) for r in result.results),
            "seconds": round(result.seconds, 3),
            "cpu": {step: round(seconds, 3) for step, seconds in result.cpu.items()},
        }
        if result.problem:
            (folder / self._names.done(target)).unlink(missing_ok=True)
            record: Record = {"target": target, "state": FAILED, "reason": result.problem, **facts}
        else:
            by_template = {r.template: r for r in result.results}
            ordered = hits.in_upstream_order(by_template)
            content = "".join(text for t in ordered for text in by_template[t].records).encode()
            self._write_whole(folder / self._names.hits(target), content)
            self._write_marker(folder / self._names.done(target))
            record = _done_record(target, content, facts)
        persistently(lambda: self._journal.append(record))
        return record

    def _may_exist(self, target: str, name: str) -> bool:
        if self._listed is not None:
            return name in self._listed
        return target in self._records or self._again != ""

    def _write_whole(self, path: Path, content: bytes) -> None:
        persistently(lambda: _replace(path, content))

    @staticmethod
    def _write_marker(path: Path) -> None:
        def write() -> None:
            marker = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            try:
                os.write(marker, DONE_TEXT)
            finally:
                os.close(marker)

        persistently(write)


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
    return ("\n".join(lines) + "\n").encode()


def _one_line(cell: str) -> str:
    return " ".join(cell.split())


def _done_record(target: str, content: bytes, facts: Record) -> Record:
    checksum = hashlib.sha256(content).hexdigest()
    return {"target": target, "state": DONE, "sha256": checksum, **facts}


def _replace(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path``, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(3)}.part")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        try:
            written = 0
            while written < len(content):
                written += os.write(file, content[written:])
            os.fsync(file)
            if os.fstat(file).st_size != len(content):
                raise OSError(5, "the file on disk has another size", str(path))
        finally:
            os.close(file)
        os.rename(temporary, path)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        raise
