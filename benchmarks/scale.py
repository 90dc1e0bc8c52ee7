"""What the verbs of a cluster run take as the targets grow: time, peak memory, files.

Everything is made up: targets with 300 candidates each out of 63,000 templates (a folder of them,
a bundle of them), queries of log-normal sizes, a scheduler that answers at once. ``submit`` is
called dry and in earnest, then ``status`` and ``resume`` of a run whose targets are nearly all
done. Memory counts as the kernel does: the peak of the largest process. The goals are for 28,000
targets.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from multiprocessing import get_context
from pathlib import Path

import measuring
from measuring import Measured, print_table

from dpam_hpc import bundle
from dpam_hpc.align.dali.aligner import DaliAligner
from dpam_hpc.bundle import BundledTemplate
from dpam_hpc.cost import BYTES_A_RESIDUE
from dpam_hpc.journal import Journal, Record
from dpam_hpc.run_dir import RunDir
from dpam_hpc.target import CANDIDATES_SUFFIX

SIZES = "28000,100000"
GOALS = {
    "submit --dry-run": (20.0, 500),
    "submit --dry-run, bundle": (20.0, 500),
    "status": (2.0, 0),
}
"""Seconds, and MB where memory is limited."""
GOALS_ARE_FOR = 28_000
SPREAD_GOAL = 0.05
TEMPLATES = 63_000
CANDIDATES = 300
TASKS = 100
DISTINCT = 2000
"""Lists of candidates, and queries, that differ: the others are further names of these files."""
NAMES_A_FILE = 50_000
"""No file system of ours takes fewer."""
DONE = 0.9
JOB = "4242"


class Linked:
    """A file under very many names."""

    def __init__(self, folder: Path, make: Callable[[Path], object]) -> None:
        self._folder, self._make = folder, make
        self._names = count()
        self._source = folder

    def add(self, path: str) -> None:
        """One more name."""
        number = next(self._names)
        if number % NAMES_A_FILE == 0:
            self._source = self._folder / f"{id(self)}-{number}"
            self._make(self._source)
        os.link(self._source, path)


def template_names() -> list[str]:
    """Nine digits each, as ECOD numbers its domains."""
    return [f"{number:09d}" for number in range(1_000, 1_000 + 37 * TEMPLATES, 37)]


def make_data(folder: Path) -> None:
    """Make ``data`` with ECOD70/ and ECOD_length, a bundle of the same templates, and commands."""
    names, random_ = template_names(), random.Random(1)
    (folder / "sources").mkdir()
    (folder / "data" / "ECOD70").mkdir(parents=True)
    file = Linked(folder / "sources", Path.touch)
    for name in names:
        file.add(f"{folder}/data/ECOD70/{name}.pdb")
    lines = (f"{name}\te{n}A1\t{_residues(random_, 140)}\n" for n, name in enumerate(names))
    (folder / "data" / "ECOD_length").write_text("".join(lines))
    bundle.write(
        folder / "all.bundle", "dali", "made-up", (BundledTemplate(n, b"", b"") for n in names)
    )
    queue = "".join(f"{JOB}|{n}|RUNNING|c{n:03d}|None\n" for n in range(TASKS))
    (folder / "queue").write_text(queue)
    (folder / "bin").mkdir()
    for command, does in {
        "sbatch": f"echo {JOB}",
        "scontrol": "echo MaxArraySize = 100001",
        "squeue": f"cat {folder}/queue",
        "sacct": "echo accounting storage is disabled >&2; exit 1",
    }.items():
        (folder / "bin" / command).write_text(f"#!/bin/sh\n{does}\n")
        (folder / "bin" / command).chmod(0o755)


def make_targets(folder: Path, work: Path, targets: int) -> None:
    """Make a working folder with lists of candidates and queries; the latter are holes."""
    names, random_ = template_names(), random.Random(2)
    work.mkdir()
    different = []
    for _ in range(min(targets, DISTINCT)):
        text = "".join(f"{name}\n" for name in random_.sample(names, CANDIDATES))
        candidates = Linked(folder / "sources", partial(Path.write_text, data=text))
        residues = _residues(random_, 300)
        query = Linked(folder / "sources", partial(_hole, residues=residues))
        different.append((candidates, query))
    for number in range(targets):
        target = f"{work}/A0A{number:07d}"
        candidates, query = different[number % len(different)]
        candidates.add(f"{target}{CANDIDATES_SUFFIX}")
        query.add(f"{target}.pdb")


def _residues(random_: random.Random, typical: int) -> int:
    return max(20, min(2700, round(random_.lognormvariate(0, 0.6) * typical)))


def _hole(path: Path, residues: int) -> None:
    path.touch()
    os.truncate(path, residues * BYTES_A_RESIDUE)


def make_progress(folder: Path, work: Path) -> None:
    """What the tasks of the run would have written, of those targets that are done."""
    run, random_ = RunDir.latest(work), random.Random(3)
    marker = Linked(folder / "sources", partial(Path.write_text, data="done\n"))
    for number, task in enumerate(run.plan().tasks):
        run.task_folder(number).mkdir(parents=True)
        done = [target for target, _ in run.targets(task)[: round(DONE * task.targets)]]
        journal = Journal(run.task_folder(number) / "journal-0.jsonl")
        journal.append_all(_record(target, random_) for target in done)
        journal.close()
        said = {
            "job": JOB, "node": f"c{number:03d}", "restart": 0, "state": "interrupted",
            "done": len(done), "failed": 0, "skipped": 0, "targets": task.targets,
        }  # fmt: skip
        run.write_progress(number, said)
        for target in done:
            marker.add(f"{work}/{target}.{DaliAligner.step}.done")


def _record(target: str, random_: random.Random) -> Record:
    """As the launcher writes it."""
    seconds = random_.uniform(20, 200)
    steps = ("Python", "imports", "wolf", "dalicon", "dp", "pipe")
    return {
        "target": target,
        "state": "done",
        "sha256": hashlib.sha256(target.encode()).hexdigest(),
        "step": DaliAligner.step,
        "residues": random_.randrange(50, 900),
        "candidates": CANDIDATES,
        "hits": random_.randrange(100),
        "failures": int(random_.random() < 0.01),
        "lost": 0,
        "seconds": round(seconds, 3),
        "cpu": {step: round(seconds / len(steps), 3) for step in steps},
    }


def aside(work: Callable[..., None], *arguments: object) -> None:
    """Call it in a process of its own: a command's peak of memory begins at its caller's."""
    process = get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{work.__name__} failed")


def files_of(folder: Path) -> int:
    """Files and folders in it."""
    return sum(len(folders) + len(files) for _, folders, files in os.walk(folder))


def call(folder: Path, verb: str, work: Path, *options: str) -> Measured:
    """A verb of dpam-hpc, measured."""
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    environment = measuring.environment(folder, PATH=path)
    argv = [*measuring.dpam_hpc(), verb, str(work), *options]
    return measuring.measure(argv, cwd=folder, environment=environment)


def measure(folder: Path, targets: int) -> tuple[dict[str, Measured], float, int]:
    """All verbs on so many targets; the spread of the tasks' costs, the files of the run folder."""
    work = folder / f"work-{targets}"
    aside(make_targets, folder, work, targets)
    site = ["--platform", "tacc-ls6", "--partition", "normal", "--account", "X", "--no-image"]
    site += ["--nodes", str(TASKS), "--json"]
    data = ["--data-dir", str(folder / "data")]
    bundled = ["--templates", str(folder / "all.bundle")]
    found = {"submit --dry-run": call(folder, "submit", work, *site, *data, "--dry-run")}
    plan = found["submit --dry-run"].summary()
    found["submit --dry-run, bundle"] = call(folder, "submit", work, *site, *bundled, "--dry-run")
    found["submit"] = call(folder, "submit", work, *site, *data)
    aside(make_progress, folder, work)
    found["status"] = call(folder, "status", work)
    found["status --json"] = call(folder, "status", work, "--json")
    done = found["status --json"].summary()["done"]
    found["resume --dry-run"] = call(folder, "resume", work, "--dry-run", "--json")
    left = found["resume --dry-run"].summary()["targets"]
    if done + left != targets or len(plan["tasks"]) != TASKS:
        raise SystemExit(f"{done} of {targets} are done, {left} left, {len(plan['tasks'])} tasks")
    costs = [task["cpu_seconds"] for task in plan["tasks"]]
    return found, 1 - min(costs) / max(costs), files_of(RunDir.latest(work).path)


def sizes(text: str) -> list[int]:
    """Numbers with commas between."""
    return sorted(int(word) for word in text.split(","))


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--targets", type=sizes, default=SIZES, help=f"numbers, with commas; default: {SIZES}"
    )
    measuring.add_json_argument(parser)
    return parser.parse_args()


def rows(found: Iterable[tuple[str, Measured]]) -> list[list[object]]:
    """A row a verb."""
    table: list[list[object]] = []
    for verb, measured in found:
        seconds, megabytes = GOALS.get(verb, (0.0, 0))
        goal = [f"{seconds:.0f} s"] if seconds else []
        goal += [f"{megabytes} MB"] if megabytes else []
        table.append([verb, measured.wall, measured.cpu, measured.peak / 1e6, ", ".join(goal)])
    return table


def print_goals(found: dict[str, Measured], spread: float) -> None:
    """Figures beside their goals."""
    for verb, (seconds, megabytes) in GOALS.items():
        measuring.print_goal(f"{verb} of {GOALS_ARE_FOR:,} targets", found[verb].wall, seconds, "s")
        if megabytes:
            peak = found[verb].peak / 1e6
            measuring.print_goal(f"{verb} of {GOALS_ARE_FOR:,} targets", peak, megabytes, "MB")
    measuring.print_goal("difference of the predicted cost of tasks", spread, SPREAD_GOAL, "%")


def main() -> None:
    """Measure each size and print."""
    arguments = parse()
    results = []
    with measuring.fresh_folder() as folder:
        aside(make_data, folder)
        for targets in arguments.targets:
            found, spread, files = measure(folder, targets)
            measuring.say(
                f"{targets} targets, {CANDIDATES} candidates each; {TASKS} tasks, {spread:.3%}"
                f" between the dearest and the cheapest (goal {SPREAD_GOAL:.0%}); {files} files"
                " in the run folder"
            )
            goal = f"goal for {GOALS_ARE_FOR:,}"
            print_table(["", "wall s", "CPU s", "peak MB", goal], rows(found.items()))
            if targets == GOALS_ARE_FOR:
                print_goals(found, spread)
            results.append(
                {
                    "targets": targets,
                    "spread": spread,
                    "files": files,
                    "verbs": {
                        verb: {"wall": m.wall, "cpu": m.cpu, "peak_bytes": m.peak}
                        for verb, m in found.items()
                    },
                }
            )
    measuring.write_json(arguments.json, None, results=results)


if __name__ == "__main__":
    main()
