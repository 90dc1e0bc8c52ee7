"""Read a run into ``Facts``: its folder and its journals, record by record. No cluster is asked."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from dpam_hpc import __version__, cost, journal, run_dir
from dpam_hpc.align import aligner as aligners
from dpam_hpc.align import hits
from dpam_hpc.align.coverage import score_class
from dpam_hpc.errors import ConfigError, DpamHpcError
from dpam_hpc.node import run_lock
from dpam_hpc.node.run_lock import RUN_LEASE, Lease
from dpam_hpc.node.task import LEASE
from dpam_hpc.report import failures, records
from dpam_hpc.report.facts import (
    DIED,
    DONE,
    FAILED,
    LEFT,
    RUNNING,
    Facts,
    Start,
    Sums,
    Target,
    Task,
    add,
)
from dpam_hpc.report.values import content, counts, number, table, text, whole
from dpam_hpc.run_dir import RunDir
from dpam_hpc.target import (
    JOURNAL,
    OWN_FOLDER,
    TARGET_ID,
    OutputNames,
    WorkFolder,
    read_targets_file,
)

SCORE = re.compile(r"[0-9]{1,4}(\.[0-9])?")


def gather(work_dir: Path, run: RunDir | None, now: float | None = None) -> Facts:
    """All that is known of a run; ConfigError where its folder cannot be read."""
    made = time.time() if now is None else now
    reading = _Reading(Facts(str(work_dir.absolute()), run.id if run else "", made, __version__))
    if run is None:
        reading.plain_run(work_dir)
    else:
        reading.submitted_run(run)
    reading.complete(WorkFolder.at(work_dir))
    return reading.facts


class _Reading:
    """Facts that grow by record and record."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self._targets: dict[str, Target] = {}
        self._scores: dict[str, Sums] = {}
        self._settings: dict[str, Any] = {}
        self._sources: dict[str, Any] = {}

    def submitted_run(self, run: RunDir) -> None:
        """Read a run's folder: what was planned, then its tasks."""
        facts, plan = self.facts, run.plan()
        if plan.stage is not None:
            raise ConfigError(
                f"run {run.id} does other steps of dpam: a report is of step 7",
                "dpam-hpc status tells where it stands",
            )
        facts.platform, facts.scheduler = text(plan.platform), text(plan.scheduler)
        facts.cancelled = run.is_cancelled
        facts.image = records.image(plan.image)
        self._settings = {**plan.submit, **plan.settings}
        self._sources = dict(plan.sources)
        for n, planned in enumerate(plan.tasks):
            facts.tasks.append(Task(n, planned.targets, planned.seconds))
            for target, seconds in run.targets(planned):
                self._targets[target] = Target(target, n, seconds)
        for job in run.jobs():
            for task in facts.tasks[max(0, job["first"]) : max(0, job["first"] + job["tasks"])]:
                task.submitted = number(job, "at")
        for n in run.started():
            if n < len(facts.tasks):
                self._task(run, facts.tasks[n], plan.cpus)

    def _task(self, run: RunDir, task: Task, cpus: int) -> None:
        folder = run.task_folder(task.number)
        for path in run_dir.journals(folder):
            self._records(task, journal.each(path))
        records.add_progress(task, run.progress(task.number))
        for start in task.starts:
            start.cpus = start.cpus or cpus
        self._see_who_is_at_work(task, folder, LEASE)

    def plain_run(self, work_dir: Path) -> None:
        """Read the journal of all that ``dpam-hpc run`` did in the folder."""
        folder = work_dir / OWN_FOLDER
        task = Task(0)
        self.facts.tasks.append(task)
        self._records(task, journal.each(folder / JOURNAL))
        if self._settings.get("target") == "all" and not self._settings.get("targets"):
            for name in WorkFolder.at(work_dir).targets():
                self._target(name, 0)
        self._see_who_is_at_work(task, folder, RUN_LEASE)
        for target in self._targets.values():
            templates = target.candidates * cost.TYPICAL_TEMPLATE
            target.predicted = cost.seconds(target.residues, templates)
        task.targets = len(self._targets)
        task.predicted = sum(target.predicted for target in self._targets.values())

    def _see_who_is_at_work(self, task: Task, folder: Path, lease: Lease) -> None:
        if not task.starts or task.starts[-1].how != DIED:
            return
        with suppress(OSError, DpamHpcError):
            if run_lock.holder_at_work(folder, lease):
                task.starts[-1].how, task.starts[-1].ended = RUNNING, self.facts.made

    # -- records ----------------------------------------------------------------------------------

    def _records(self, task: Task, found: Iterable[journal.Record]) -> None:
        """The records of a journal; one that begins without a start's is an older version's."""
        start: Start | None = None
        for record in found:
            state = record["state"]
            if state == journal.START:
                start = self._start(task, record)
                continue
            if start is None:
                start = Start(task.number, len(task.starts))
                task.starts.append(start)
            if state == journal.END:
                records.end(start, record)
            elif record["target"] != journal.LAUNCHER:
                self._outcome(task, start, record)

    def _start(self, task: Task, record: journal.Record) -> Start:
        began = number(record, "at")
        start = Start(
            task.number,
            len(task.starts),
            node=text(record.get("node", "")),
            job=text(record.get("job", "")),
            began=began,
            ready=number(record, "ready"),
            ended=number(record, "ready"),
            cpus=whole(record, "cpus"),
            workers=whole(record, "workers"),
            scratch=table(record, "scratch"),
        )
        start.made_with = records.made_with(record)
        if start.made_with not in self.facts.made_with:
            self.facts.made_with.append(start.made_with)
        self.facts.aligner = text(record.get("aligner", ""))
        if not self.facts.run:
            self._settings, self._sources = table(record, "settings"), table(record, "sources")
            for name in self._named():
                self._target(name, task.number)
        task.starts.append(start)
        return start

    def _named(self) -> list[str]:
        """The targets that a start of ``dpam-hpc run`` was given by name, if they are known."""
        named, file = self._settings.get("target"), self._settings.get("targets")
        with suppress(OSError, ConfigError):
            if isinstance(file, str) and Path(file).is_file():
                named = read_targets_file(Path(file))
        if not isinstance(named, list):  # "all", or only how many
            return []
        return [name for name in named if TARGET_ID.fullmatch(name)]

    def _outcome(self, task: Task, start: Start, record: journal.Record) -> None:
        state = record["state"]
        target = self._target(text(record["target"]), task.number)
        target.state = state if state in (DONE, FAILED) else LEFT
        target.reason = text(record.get("reason", "")) if state == FAILED else ""
        target.at = number(record, "at")
        for name in ("residues", "candidates", "hits", "failures", "lost", "covered"):
            setattr(target, name, whole(record, name))
        target.seconds = number(record, "seconds")
        spent = counts(record, "cpu")
        target.cpu = sum(spent.values())
        scores = {name: n for name, n in counts(record, "scores").items() if SCORE.fullmatch(name)}
        target.best = number(record, "best") if scores else None
        target.cover = text(record.get("cover", "")) if scores else ""
        self._scores[target.id] = scores  # of one that is done again the last alone
        add(start.in_targets, spent)
        start.ended = max(start.ended, target.at)
        start.done += state == DONE
        start.failed += state == FAILED
        start.pairs += target.candidates
        start.hits += target.hits
        if not self.facts.aligner and record.get("step"):
            self.facts.aligner = "tmalign" if "TMalign" in str(record["step"]) else "dali"

    def _target(self, name: str, task: int) -> Target:
        found = self._targets.get(name)
        if found is None:
            found = self._targets[name] = Target(name, task)
        return found

    # -- at the end -------------------------------------------------------------------------------

    def complete(self, folder: WorkFolder) -> None:
        """What is known only when all was read."""
        facts = self.facts
        facts.targets = list(self._targets.values())
        for task in facts.tasks:
            for start, after in zip(task.starts, task.starts[1:], strict=False):
                if start.how == DIED and after.began:
                    start.ended = min(start.ended, after.began)
            for start in task.starts:
                start.used = start.used or dict(start.in_targets)
        for made_with in facts.made_with:
            records.checksum_bundle(made_with["bundle"])
        again = self._settings.get("redo") or self._settings.get("retry_failed")
        if not again and any(s.found or s.how in (DIED, RUNNING) for s in facts.starts):
            self._see_markers(folder)
        for scores in self._scores.values():
            add(facts.scores, scores)
        names = list(self._settings)
        shown = {name: _shown(self._settings[name]) for name in names}
        facts.settings = [(text(n), shown[n], text(self._sources.get(n, ""))) for n in names]
        facts.failures, facts.failures_unread = failures.by_reason(facts, self._names(), folder)
        facts.commands = failures.commands(facts)

    def _names(self) -> OutputNames | None:
        """How the aligner's outputs are called; None where it is not installed here."""
        with suppress(DpamHpcError):
            found = aligners.load(aligners.find(self.facts.aligner or "dali"))
            return OutputNames(found.hits_suffix, found.step)
        return None

    def _see_markers(self, folder: WorkFolder) -> None:
        """Of targets that were found done there is no record here: marker and hits tell.

        Nor of those whose record a crash took. One that has a record was to be done again.
        """
        names = self._names()
        if names is None:
            return
        with suppress(OSError):
            there = set(_names_in(folder.output_folder))
            read = 0
            for target in self.facts.targets:
                if target.id in self._scores or names.done(target.id) not in there:
                    continue
                path = folder.output_folder / names.hits(target.id)
                if path.name not in there or not path.stat().st_size:
                    continue  # without any hits, it is done again
                target.state = DONE
                if read < failures.FILES_READ:
                    read += 1
                    with suppress(OSError, ValueError, OverflowError):
                        self._count_hits(target, content(path))

    def _count_hits(self, target: Target, text: bytes) -> None:
        """What of a target's hits their file tells; ValueError."""
        number_of_hits = hits.count(text)
        heads = [line for line in text.decode().splitlines() if line.startswith(">")]
        scores = [float(head.split("\t")[1]) for head in heads]
        counted = dict(Counter(score_class(score) for score in scores))
        target.hits, target.best = number_of_hits, max(scores)
        self._scores[target.id] = {name: float(n) for name, n in counted.items()}


def _names_in(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name


def _shown(value: object) -> str:
    if value is None or value == [] or value == "":
        return "-"
    return text(" ".join(map(str, value)) if isinstance(value, list) else value)
