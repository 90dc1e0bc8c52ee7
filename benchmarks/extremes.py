"""A node at its limits: many workers, a long target, many candidates, few and many cores.

``--only`` takes some of: memory, long, candidates, cores. Without DALI only the stand-ins are
measured: workers that wait, as ``busy.py`` has them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import busy
import measuring
import psutil
import ways
from measuring import Inputs, print_table

from dpam_hpc.errors import ExitCode
from dpam_hpc.node.worker import PROCESS_NAME
from dpam_hpc.settings import RunSettings
from dpam_hpc.target import CANDIDATES_SUFFIX

PARTS = ("memory", "long", "candidates", "cores")
BUSY_GOAL, BOOKKEEPING_GOAL = busy.GOAL, 0.5
SAMPLE_EVERY = 0.5
WAIT_SECONDS = 0.1
CORES = (2, 128)
WORKERS_A_CORE = 4
FULL_SECONDS = 30
SHIFT = 150.0
"""Angstrom from one copy of a domain to the next: far enough that none touches another."""
LONG_CANDIDATES = 10
MB = 1e6
PROGRAM = "program"


@dataclass
class Memory:
    """The most memory (PSS: shared pages divided among those who share them) seen at one time."""

    total: int = 0
    parts: Counter[str] = field(default_factory=Counter)
    processes: Counter[str] = field(default_factory=Counter)
    largest: Counter[str] = field(default_factory=Counter)

    def look(self) -> None:
        """Look once at all descendants of this process."""
        parts, processes = Counter[str](), Counter[str]()
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error, OSError):
                name = process.name()
                pss = process.memory_full_info().pss
                kind = name if name.startswith("dpam-") else PROGRAM
                kind = "launcher" if process.ppid() == os.getpid() else kind
                parts[kind] += pss
                processes[kind] += 1
                self.largest[kind] = max(self.largest[kind], pss)
        if parts.total() > self.total:
            self.total, self.parts, self.processes = parts.total(), parts, processes

    def bound(self, workers: int) -> int:
        """What ``workers`` workers could take: each as much as the largest, with its program."""
        rest = self.largest["launcher"] + self.largest["dpam-nursery"]
        return rest + workers * (self.largest[PROCESS_NAME] + self.largest[PROGRAM])

    def results(self) -> dict[str, Any]:
        """For the results' file."""
        return {
            "total": self.total,
            "parts": dict(self.parts),
            "processes": dict(self.processes),
            "largest": dict(self.largest),
        }


@contextmanager
def watched() -> Iterator[Memory]:
    """The memory of what runs within; looked at twice a second."""
    memory, ended = Memory(), threading.Event()

    def look() -> None:
        while not ended.wait(SAMPLE_EVERY):
            memory.look()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield memory
    finally:
        ended.set()
        thread.join()


# -- memory ---------------------------------------------------------------------------------------


def memory(arguments: argparse.Namespace, inputs: Inputs | None) -> dict[str, Any]:
    """Of a node with many workers, with the stand-in and with DALI."""
    workers: int = arguments.workers
    seen = {}
    with measuring.fresh_folder() as folder, watched() as seen["stand-in"]:
        busy.make_inputs(folder, round(workers * 5 / WAIT_SECONDS))
        busy.run(folder, workers, WAIT_SECONDS)
    if inputs:
        way = ways.by_dpam_hpc("DALI", inputs, arguments.dali_home, workers)
        with watched() as seen["DALI"]:
            ways.run(way, inputs, copies=arguments.copies)
    kinds = list(dict.fromkeys(kind for found in seen.values() for kind in found.parts))
    rows: list[list[object]] = [
        [
            f"{kind}, MB (processes)",
            *(f"{f.parts[kind] / MB:.0f} ({f.processes[kind]})" for f in seen.values()),
        ]
        for kind in kinds
    ]
    rows.append(["all, MB", *(f"{found.total / MB:.0f}" for found in seen.values())])
    rows.append(["all, MB a worker", *(found.total / MB / workers for found in seen.values())])
    for kind in kinds:
        rows.append(
            [f"largest {kind}, MB", *(f"{f.largest[kind] / MB:.0f}" for f in seen.values())]
        )
    bounds = (f"{found.bound(workers) / MB:.0f}" for found in seen.values())
    rows.append(["all, were each as large as the largest, MB", *bounds])
    print_table([f"peak memory (PSS), {workers} workers", *seen], rows)
    return {name: found.results() for name, found in seen.items()}


# -- a long target --------------------------------------------------------------------------------


def chained(pdb: str, residues: int) -> str:
    """Copies of a chain behind each other, renumbered and apart in space, ``residues`` long."""
    atoms = [line for line in pdb.splitlines() if line.startswith("ATOM")]
    lines: list[str] = []
    number, copy = 0, 0
    while True:
        last = ""
        for line in atoms:
            if line[22:27] != last:
                last = line[22:27]
                number += 1
                if number > residues:
                    return "".join(lines)
            x = float(line[30:38]) + SHIFT * copy
            serial = (len(lines) + 1) % 100_000
            place = f"A{number:4d} {line[27:30]}{x:8.3f}{line[38:]}"
            lines.append(f"ATOM  {serial:5d}{line[11:21]}{place}\n")
        copy += 1


def long(arguments: argparse.Namespace, inputs: Inputs) -> dict[str, Any]:
    """Chains of copies of each query: each must end with hits, or as a failure with its reason."""
    results: dict[str, Any] = {}
    rows: list[list[object]] = []
    for residues in arguments.residues:
        for target, candidates in inputs.candidates.items():
            with measuring.fresh_folder() as folder, watched() as memory:
                work, name = folder / "work", f"{target}-{residues}"
                work.mkdir()
                pdb = chained((inputs.data / f"{target}.pdb").read_text(), residues)
                (work / f"{name}.pdb").write_text(pdb)
                lines = "".join(f"{c}\n" for c in candidates[:LONG_CANDIDATES])
                (work / f"{name}{CANDIDATES_SUFFIX}").write_text(lines)
                found = _run(arguments, inputs, work, name)
            reason = "; ".join(found["reasons"]) or "-"
            numbers = [found[what] for what in ("hits", "lost", "failed", "cpu")]
            rows.append([name, *numbers, f"{memory.largest[PROGRAM] / MB:.0f}", reason[:90]])
            results[name] = {**found, "largest": dict(memory.largest)}
            if not (found["hits"] or found["lost"] or found["reasons"]):
                raise SystemExit(f"{name} ended with neither hits nor a named loss or failure")
    header = ["long targets", "hits", "lost segments", "failed", "CPU s", "program MB", "reason"]
    print_table(header, rows)
    return results


def _run(arguments: argparse.Namespace, inputs: Inputs, work: Path, target: str) -> dict[str, Any]:
    """Run one target of ``work``; its hits, and its failures file's reasons."""
    way = ways.by_dpam_hpc("long", inputs, arguments.dali_home, 2)
    measured = measuring.measure(
        way.argv(work, [target]),
        cwd=work.parent,
        environment=measuring.environment(work.parent),
        accepted=(0, ExitCode.FAILURES),
    )
    summary = measured.summary()
    hits = work / f"{target}{way.hits_suffix}"
    reasons = [
        line.split("\t")[-1]
        for file in work.glob(f"{target}*failures*")
        for line in file.read_text().splitlines()[1:]
        if "\tlost\t" not in line
    ]
    return {
        "hits": hits.read_bytes().count(b">") if hits.exists() else 0,
        "lost": summary["lost"],
        "failed": summary["failed"],
        "reasons": reasons,
        "cpu": measured.cpu,
        "wall": measured.wall,
    }


# -- many candidates ------------------------------------------------------------------------------


def candidates(arguments: argparse.Namespace, inputs: Inputs) -> dict[str, Any]:
    """One target with hundreds of candidates: copies of the templates under names of their own.

    Each copy must have the hits of its original, to the byte.
    """
    target, originals = next(iter(inputs.candidates.items()))
    with measuring.fresh_folder() as folder:
        data = folder / "data"
        (data / "ECOD70").mkdir(parents=True)
        shutil.copyfile(inputs.data / f"{target}.pdb", data / f"{target}.pdb")
        copies = {}
        for at in range(arguments.candidates_of_one):
            original = originals[at % len(originals)]
            name = f"{original}c{at // len(originals):03d}"
            copies[name] = original
            shutil.copyfile(
                inputs.data / "ECOD70" / f"{original}.pdb", data / "ECOD70" / f"{name}.pdb"
            )
        many = Inputs(data, {target: tuple(copies)})
        few = Inputs(inputs.data, {target: originals})
        outcomes = {
            len(found.candidates[target]): ways.run(
                ways.by_dpam_hpc("", found, arguments.dali_home, 2), found
            )
            for found in (few, many)
        }
    once, often = (outcome.hits[target] for outcome in outcomes.values())
    expected = _by_template(once)
    for name, records in _by_template(often).items():
        if records.replace(name.encode(), copies[name].encode()) != expected[copies[name]]:
            raise SystemExit(f"{name} has other hits than its original")
    if len(_by_template(often)) != sum(original in expected for original in copies.values()):
        raise SystemExit("copies of templates have no hits where their originals have")
    rows: list[list[object]] = []
    for number, outcome in outcomes.items():
        cpu, wall = outcome.measured.cpu, outcome.measured.wall
        rows.append([f"{number} candidates", outcome.count, cpu, 1000 * cpu / number, wall])
    print_table([target, "hits", "CPU s", "CPU ms a candidate", "wall s"], rows)
    return {str(number): outcome.numbers() for number, outcome in outcomes.items()}


def _by_template(hits: bytes) -> dict[str, bytes]:
    """The records of each template."""
    found: dict[str, bytes] = {}
    for record in hits.split(b">")[1:]:
        template = record.split(b"\t", 1)[0].decode().rpartition("_")[0]
        found[template] = found.get(template, b"") + b">" + record
    return found


# -- few and many cores ---------------------------------------------------------------------------


def cores() -> dict[str, Any]:
    """Nodes of 2 and of 128 cores, one worker a core and four: they wait, the launcher is real.

    All that is not waiting is done by this machine's cores, of which the table tells the share.
    """
    results: dict[str, Any] = {}
    rows: list[list[object]] = []
    for workers in sorted({n * factor for n in CORES for factor in (1, WORKERS_A_CORE)}):
        pairs = round(workers * FULL_SECONDS / WAIT_SECONDS)
        with measuring.fresh_folder() as folder:
            busy.make_inputs(folder, pairs)
            measured, notes = busy.run(folder, workers, WAIT_SECONDS, itself=True)
        found = busy.busy(notes, workers)
        bookkeeping = measured.own / measured.wall
        shares = [f"{found.whole:.1%}", f"{found.steady:.1%}", found.ramp_up, found.tail]
        launcher = [f"{bookkeeping:.2f}", 1000 * measured.own / pairs]
        machine = measured.cpu / (measured.wall * len(os.sched_getaffinity(0)))
        row = [
            f"{workers} workers",
            pairs,
            *shares,
            *launcher,
            f"{machine:.0%}",
        ]
        rows.append(row)
        results[str(workers)] = {
            "pairs": pairs,
            "busy": vars(found),
            "launcher_cpu": measured.own,
            "wall": measured.wall,
            "bookkeeping": bookkeeping,
            "of_this_machine": machine,
        }
    header = [f"workers that wait {WAIT_SECONDS} s a pair", "pairs", "busy", "steady"]
    header += ["ramp-up s", "tail s", "launcher's cores", "its ms a pair", "of this machine"]
    print_table(header, rows)
    for cpus in CORES:
        workers = RunSettings(cpus=cpus).workers
        share, load = results[str(workers)]["busy"]["whole"], results[str(workers)]["bookkeeping"]
        node = f"{cpus} cores, {workers} workers"
        measuring.print_goal(f"{node}: busy", share, BUSY_GOAL, "%", at_most=False)
        measuring.print_goal(f"{node}: the launcher", load, BOOKKEEPING_GOAL, "cores")
    return results


# -------------------------------------------------------------------------------------------------


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    measuring.add_input_arguments(parser, workers=False, needs_dali=False)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between")
    parser.add_argument("--workers", type=int, default=64, help="of the node for its memory")
    parser.add_argument("--copies", type=int, default=10, help="of the targets, for the memory")
    parser.add_argument("--residues", default="2700,4001", help="of the long targets")
    parser.add_argument("--candidates-of-one", type=int, default=600, metavar="N")
    arguments = parser.parse_args()
    arguments.residues = [int(number) for number in arguments.residues.split(",")]
    return arguments


def main() -> None:
    """Measure the parts that were asked for."""
    arguments = parse()
    only = set(arguments.only.split(","))
    if unknown := only - set(PARTS):
        raise SystemExit(f"--only: there is no part {', '.join(sorted(unknown))}")
    inputs = Inputs.of(arguments) if arguments.dali_home else None
    results: dict[str, Mapping[str, Any]] = {}
    if "memory" in only:
        results["memory"] = memory(arguments, inputs)
    if inputs and "long" in only:
        results["long"] = long(arguments, inputs)
    if inputs and "candidates" in only:
        results["candidates"] = candidates(arguments, inputs)
    if "cores" in only:
        results["cores"] = cores()
    measuring.write_json(arguments.json, arguments.dali_home, workers=arguments.workers, **results)


if __name__ == "__main__":
    main()
