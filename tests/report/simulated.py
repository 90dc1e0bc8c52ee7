"""A run of 28,000 targets as it would lie in its folder, written by the project's own writers.

``python -m tests.report.simulated FOLDER`` writes it: three nodes, twelve tasks one after the
other, preemptions, nodes that die, failures. The same seed gives the same run.
"""

from __future__ import annotations

import math
import random
import string
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpam_hpc import cost, run_dir
from dpam_hpc.align.coverage import LEVELS, PARTS, score_class
from dpam_hpc.image.identity import ImageIdentity
from dpam_hpc.journal import DONE, END, FAILED, LAUNCHER, START, Journal, Record
from dpam_hpc.run_dir import Job, Plan, RunDir
from dpam_hpc.submit.shape import equal_tasks
from dpam_hpc.target import OutputNames

TARGETS, TASKS, NODES, CPUS = 28_000, 12, 3, 24
BEGIN = 1_796_000_000.0
STEPS = {"import": 0.01, "WOLF": 0.17, "PARSI": 0.46, "SOAP": 0.02, "DP": 0.2, "FILTER95": 0.03,
         "DALICON": 0.08, "report": 0.01, "Python": 0.02}  # fmt: skip
NAMES = OutputNames("_iterativdDali_hits", "iterativeDali")
FAILURES = (
    "missing: no {} in /scratch/work", "{}.pdb: the query has 2 chains (A, B), not one",
    "{}.pdb: line 17 has no readable coordinates", "25 residues; DALI aligns chains of 30 and more",
    "its worker was killed by signal 9 (twice)",
)  # fmt: skip
START_SECONDS, REQUEUE_SECONDS = 45.0, 140.0
HEAD: dict[str, Any] = {
    "workers": CPUS, "version": "0.3.0", "python": "3.12.4", "system": "Linux 5.14.0 x86_64",
    "aligner": "dali", "fingerprint": "ba4a6098" * 8,
    "programs": {name: name[:1].encode().hex() * 32 for name in ("dsspcmbi", "puu", "puutos",
                                                                "serialcompare", "fssp")},
    "bundle": {"path": "/data/ecod70.bundle", "bytes": 201_326_592, "mtime": 1.0, "sha256":
               "5c" * 32},
    "scratch": {"path": "/tmp", "type": "xfs", "fallback": False, "free_bytes": 410_000_000_000},
    "settings": {"data_dir": "/data", "templates": "/data/ecod70.bundle"},
}  # fmt: skip


@dataclass
class Sample:
    """A made-up target, and what it will take."""

    id: str
    residues: int
    candidates: int

    @property
    def predicted(self) -> float:
        return cost.seconds(self.residues, self.candidates * cost.TYPICAL_TEMPLATE)


def samples(dice: random.Random, count: int) -> list[Sample]:
    """Targets with ids like UniProt's and lengths like a proteome's."""
    letters = string.ascii_uppercase + string.digits
    found: dict[str, Sample] = {}
    while len(found) < count:
        name = "A0A" + "".join(dice.choices(letters, k=7)) if dice.random() < 0.7 else (
            dice.choice("OPQ") + dice.choice(string.digits) + "".join(dice.choices(letters, k=4))
        )  # fmt: skip
        residues = min(2700, max(40, round(dice.lognormvariate(5.7, 0.6))))
        found[name] = Sample(name, residues, max(0, round(dice.gauss(220, 90))))
    return list(found.values())


def outcome(dice: random.Random, sample: Sample, at: float) -> Record:
    """A record as a launcher writes it."""
    facts: Record = {"step": NAMES.step, "at": round(at, 1), "residues": sample.residues,
                     "candidates": sample.candidates, "hits": 0, "failures": 0, "lost": 0,
                     "seconds": 0.0, "cpu": {}}  # fmt: skip
    if dice.random() < 0.004:
        reason = dice.choice(FAILURES).format(sample.id)
        return {"target": sample.id, "state": FAILED, "reason": reason, **facts}
    spent = sample.predicted * dice.lognormvariate(0, 0.25)
    facts["cpu"] = {step: round(spent * part, 3) for step, part in STEPS.items()}
    facts["seconds"] = round(spent / 8, 3)
    facts["failures"] = dice.randint(1, 3) if dice.random() < 0.006 else 0
    hits = max(0, round(sample.candidates * dice.betavariate(2, 3)))
    facts["hits"] = hits
    if hits:
        scores: dict[str, int] = {}
        best = 0.0
        for _ in range(hits):
            score = 2 + dice.expovariate(1 / 3.2)
            best = max(best, score)
            scores[score_class(score)] = scores.get(score_class(score), 0) + 1
        begin, end = sorted((dice.randint(0, PARTS // 2), dice.randint(PARTS // 3, PARTS)))
        cover = "".join(
            dice.choice(LEVELS[2:]) if begin <= part < end else LEVELS[0] for part in range(PARTS)
        )
        covered = round(sample.residues * sum(LEVELS.index(c) for c in cover) / PARTS / 3)
        facts |= {"best": round(best, 1), "scores": scores, "covered": covered, "cover": cover}
    return {"target": sample.id, "state": DONE, "sha256": f"{dice.getrandbits(256):064x}", **facts}


class Simulation:
    """Tasks worked off one after the other on a few nodes, in a clock of its own."""

    def __init__(self, work_dir: Path, targets: int = TARGETS, seed: int = 8) -> None:
        self._dice = random.Random(seed)
        self._work_dir = work_dir
        self._samples = {sample.id: sample for sample in samples(self._dice, targets)}

    def write(self, tasks: int = TASKS, until: float = math.inf) -> RunDir:
        """The run's folder, as it lies there ``until`` a moment."""
        costs = [(sample.id, sample.predicted) for sample in self._samples.values()]
        parts = equal_tasks(costs, tasks)
        run = RunDir.create(self._work_dir)
        planned = run.write_targets(parts)
        image = ImageIdentity(Path("/data/dpam.sif"), "7e" * 32, "x86_64", 1_403_000_000)
        settings = {"work_dir": str(self._work_dir), "data_dir": "/data", "aligner": "dali",
                    "templates": "/data/ecod70.bundle"}  # fmt: skip
        sources = {"data_dir": "flag --data-dir", "templates": "environment DPAM_HPC_TEMPLATES"}
        run.write_plan(
            Plan("leda", "slurm", "array", NODES, CPUS, 4 * 3600, planned,
                 [Job("job.sh", 0, tasks)], settings, {"partition": "flex", "nodes": NODES},
                 image=image, version="0.3.0", sources={**sources, "partition": "flag --partition"},
                 created=BEGIN)
        )  # fmt: skip
        run.add_job("4711", 0, tasks)
        jobs = (run.path / "jobs.jsonl").read_text().partition('"at":')[0]
        (run.path / "jobs.jsonl").write_text(f'{jobs}"at": {BEGIN}}}\n')
        free = [BEGIN + 300 + 200 * n for n in range(NODES)]
        for number, part in enumerate(parts):
            node = min(range(NODES), key=free.__getitem__)
            free[node] = self._task(run, number, f"n{node + 1}", part, free[node] + 20, until)
        return run

    def _task(
        self, run: RunDir, number: int, node: str, part: list[tuple[str, float]], at: float,
        until: float,
    ) -> float:  # fmt: skip
        """One task with all its starts; when it ended."""
        left = [self._samples[target] for target, _ in part]
        folder = run.task_folder(number)
        restart = 0
        while left:
            begin, ready = at, at + START_SECONDS
            if begin > until:
                return math.inf
            lives = ready + self._dice.expovariate(1 / 5000.0)
            dies = self._dice.random() < 0.25
            spent = dict.fromkeys(STEPS, 0.0)
            records: list[Record] = []
            now = ready
            while left and now < min(lives, until):
                sample = left.pop(0)
                record = outcome(self._dice, sample, now)
                now += sum(record["cpu"].values()) / (CPUS * 0.93)
                record["at"] = round(now, 1)
                for step, seconds in record["cpu"].items():
                    spent[step] += seconds
                records.append(record)
                self._write_failures(record)
            folder.mkdir(parents=True, exist_ok=True)
            opened = Journal(run_dir.next_journal(folder, run_dir.journals(folder)))
            start = {"target": LAUNCHER, "state": START, "at": round(begin, 1), "cpus": CPUS,
                     "ready": round(ready, 1), "node": node, "job": "4711", "restart": restart,
                     "pid": 4242, **HEAD}  # fmt: skip
            opened.append_all([start, *records])
            ended = max(now, ready)
            if now < until and not (left and dies):
                opened.append(self._end(records, spent, ended, bool(left)))
            opened.close()
            run.write_progress(
                number,
                {"job": "4711", "node": node, "restart": restart, "began": begin, "at": ended,
                 "state": "interrupted" if left else "finished", "done": len(records)},
            )  # fmt: skip
            if now >= until:
                return math.inf
            at, restart = ended + REQUEUE_SECONDS + self._dice.expovariate(1 / 400), restart + 1
        return ended

    def _end(
        self, records: list[Record], spent: dict[str, float], at: float, stopped: bool
    ) -> Record:
        count = len(records)
        wasted = self._dice.uniform(200, 1800) if stopped else 0.0
        used = {step: round(s + wasted * STEPS[step], 2) for step, s in spent.items()}
        asked = {"open": 2, "read": 4, "create": 1, "write": 1, "fsync": 1, "rename": 1, "link": 1}
        return {
            "target": LAUNCHER, "state": END, "at": round(at, 1),
            "how": "interrupted" if stopped else "finished",
            "reason": "SIGTERM" if stopped else "",
            "done": sum(r["state"] == DONE for r in records),
            "failed": sum(r["state"] == FAILED for r in records), "skipped": 0, "found": 0,
            "pairs": sum(r["candidates"] for r in records),
            "hits": sum(r["hits"] for r in records), "wasted": round(wasted, 1),
            "busy": round(sum(used.values()) * 1.02, 1), "used": used,
            "launcher": round(0.02 * count, 2),
            "asked": {kind: n * count for kind, n in asked.items()} | {"list": 1},
            "read_bytes": 240_000 * count, "written_bytes": 310_000 * count,
            "bundle_bytes": 201_326_592, "least_free_bytes": 395_000_000_000,
        }  # fmt: skip

    def _write_failures(self, record: Record) -> None:
        if record["failures"]:
            rows = [f"e{n}xyzA1\tfailed\tmissing: there is no /data/ECOD70/e{n}xyzA1.pdb"
                    for n in range(1, record["failures"] + 1)]  # fmt: skip
            path = self._work_dir / NAMES.failures(record["target"])
            path.write_text("\n".join(["template\tkind\treason", *rows]) + "\n")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    print(Simulation(folder).write().path)
