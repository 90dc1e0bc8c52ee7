"""How busy the launcher keeps its workers: pairs that each take a program a fixed time.

The aligner is a stand-in (``sleeper.py``), named to the launcher by an entry point in a temporary
folder; targets, structures and templates are made up. The goal is 95 %.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path

import measuring
import sleeper
from measuring import Measured, print_table

GOAL = 0.95
SIZES = (600, 300, 120, 480, 60, 200, 400, 30, 150)
"""Candidates of the targets, which follow each other in this order as often as is needed."""
TEMPLATE_RESIDUES = 60
FULL_SECONDS = 30
"""Seconds of full work, by default."""


@dataclass(frozen=True)
class Worker:
    """A worker as it noted itself: when it was started, and begin and seconds of each program."""

    started: float
    programs: list[tuple[float, float]]

    @property
    def first(self) -> float:
        """Begin of its first program."""
        return self.programs[0][0]

    @property
    def last(self) -> float:
        """End of its last program."""
        return sum(self.programs[-1])

    def seconds_within(self, begin: float, end: float) -> float:
        """Program seconds between two moments."""
        return sum(max(0.0, min(end, b + s) - max(begin, b)) for b, s in self.programs)


@dataclass(frozen=True)
class Busy:
    """Fractions of the workers' time in which their programs ran, and the moments of the run.

    ``whole`` counts from the first unit handed out to the end of the last; ``steady`` from when
    all workers were at work to when the first one found nothing left.
    """

    whole: float
    steady: float
    ramp_up: float
    steady_seconds: float
    tail: float
    programs: int
    program_seconds: float


def busy(found: Sequence[Worker], workers: int) -> Busy:
    """How busy ``workers`` workers were; ``found`` may be one more, which imported templates."""
    at = min(workers, len(found)) - 1
    begin = min(worker.started for worker in found)
    end = max(worker.last for worker in found)
    all_at_work = sorted(worker.first for worker in found)[at]
    first_idle = sorted((worker.last for worker in found), reverse=True)[at]

    def fraction(start: float, stop: float) -> float:
        return sum(w.seconds_within(start, stop) for w in found) / (workers * (stop - start))

    return Busy(
        whole=fraction(begin, end),
        steady=fraction(all_at_work, first_idle) if first_idle > all_at_work else 0.0,
        ramp_up=all_at_work - begin,
        steady_seconds=first_idle - all_at_work,
        tail=end - first_idle,
        programs=sum(len(worker.programs) for worker in found),
        program_seconds=sum(worker.seconds_within(begin, end) for worker in found),
    )


def read_notes(folder: Path) -> list[Worker]:
    """What the workers noted."""
    found = []
    for file in folder.iterdir():
        started, *lines = file.read_text().splitlines()
        programs = [(float(a), float(b)) for a, b in (line.split() for line in lines)]
        found.append(Worker(float(started), programs))
    return found


def structure(residues: int, atoms: Sequence[str]) -> str:
    """A PDB file of one chain."""
    lines: list[str] = []
    for number in range(1, residues + 1):
        for atom in atoms:
            at = f"{number:8.3f}{len(lines) % 7:8.3f}{0:8.3f}"
            serial = (len(lines) + 1) % 100_000
            lines.append(f"ATOM  {serial:5d}  {atom:3} ALA A{number:4d}    {at}  1.00  0.00\n")
    return "".join(lines)


def make_inputs(folder: Path, pairs: int) -> list[int]:
    """Make ``work`` and ``data`` with so many pairs; the candidates of each target."""
    work, templates = folder / "work", folder / "data" / "ECOD70"
    work.mkdir()
    templates.mkdir(parents=True)
    names = [f"e{number:04d}A1" for number in range(min(max(SIZES), pairs))]
    for name in names:
        (templates / f"{name}.pdb").write_text(structure(TEMPLATE_RESIDUES, ["CA"]))
    sizes: list[int] = []
    for size in cycle(SIZES):
        if sum(sizes) == pairs:
            return sizes
        sizes.append(min(size, pairs - sum(sizes)))
        target = f"P{len(sizes):03d}"
        pdb = structure(100 + len(sizes) * 37 % 500, ["N", "CA", "C", "O"])
        (work / f"{target}.pdb").write_text(pdb)
        lines = "".join(f"{name}\n" for name in names[: sizes[-1]])
        (work / f"{target}_hits4Dali").write_text(lines)
    raise AssertionError


def register(folder: Path) -> None:
    """Make ``folder`` one that, on PYTHONPATH, offers the stand-in as an aligner."""
    definition = f"{sleeper.__name__}:{sleeper.SleepAligner.__name__}"
    measuring.register_aligner(folder, sleeper.SleepAligner.name, definition)
    shutil.copyfile(sleeper.__file__, folder / f"{sleeper.__name__}.py")


def run(
    folder: Path, workers: int, seconds: float, itself: bool = False
) -> tuple[Measured, list[Worker]]:
    """The launcher on the made-up inputs of ``folder``; the worker waits ``itself``, or a program.

    A machine with few cores can not start as many programs as one with hundreds.
    """
    notes, plug_in = folder / "notes", folder / "plug-in"
    notes.mkdir()
    register(plug_in)
    path = os.pathsep.join(filter(None, [str(plug_in), os.environ.get("PYTHONPATH", "")]))
    variables = {"PYTHONPATH": path, sleeper.SECONDS: str(seconds), sleeper.NOTES: str(notes)}
    if itself:
        variables[sleeper.ITSELF] = "1"
    argv = [*measuring.dpam_hpc(), "run", str(folder / "work"), "--data-dir", str(folder / "data")]
    argv += ["--aligner", sleeper.SleepAligner.name, "--dali-workers", str(workers), "--json"]
    environment = measuring.environment(folder, **variables)
    measured = measuring.measure(argv, cwd=folder, environment=environment)
    return measured, read_notes(notes)


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=0.1, help="that a program sleeps")
    parser.add_argument("--pairs", type=int, help="default: enough for half a minute")
    measuring.add_json_argument(parser)
    return parser.parse_args()


def main() -> None:
    """Run once and print."""
    arguments = parse()
    workers, seconds = arguments.workers, arguments.seconds
    pairs = arguments.pairs or round(workers * FULL_SECONDS / seconds)
    with measuring.fresh_folder() as folder:
        sizes = make_inputs(folder, pairs)
        measured, found = run(folder, workers, seconds)
    summary = measured.summary()
    result = busy(found, workers)
    nominal = pairs * seconds / (result.program_seconds / result.whole)
    measuring.say(
        f"{pairs} pairs of {seconds} s, {len(sizes)} targets of {min(sizes)} to {max(sizes)}"
        f" candidates, {workers} workers on {len(os.sched_getaffinity(0))} cores"
    )
    rows = [
        ["program seconds, from the first unit handed out to the end", f"{result.whole:.1%}"],
        [f"the same, each program taken for {seconds} s", f"{nominal:.1%}"],
        ["program seconds, steady state (all at work)", f"{result.steady:.1%}"],
        ["as the launcher reports it, stage-in and -out included", summary["busy_fraction"]],
    ]
    print_table([f"busy fraction (goal {GOAL:.0%})", ""], rows)
    timing = [["ramp-up", result.ramp_up], ["steady", result.steady_seconds]]
    print_table(["seconds", ""], [*timing, ["tail", result.tail], ["whole", measured.wall]])
    steps = summary["cpu_seconds"]
    cpu = {
        "launcher": measured.own,
        "workers' Python": steps["Python"],
        "programs": steps["sleep"],
        "all": measured.cpu,
    }
    measuring.print_goal(
        "workers' time in which programs run", result.whole, GOAL, "%", at_most=False
    )
    rows = [[name, spent, 1000 * spent / pairs] for name, spent in cpu.items()]
    print_table(["CPU seconds", "", "ms a pair"], rows)
    measuring.write_json(
        arguments.json,
        None,
        pairs=pairs,
        seconds=seconds,
        workers=workers,
        sizes=sizes,
        busy={**asdict(result), "nominal": nominal, "launcher": summary["busy_fraction"]},
        cpu=cpu,
        wall=measured.wall,
    )


if __name__ == "__main__":
    main()
