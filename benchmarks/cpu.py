"""Where the CPU seconds of ``dpam-hpc run`` go, by DALI's steps, with a bundle and without.

Whole runs come first, the launcher and the workers' Python among them; then the pairs alone, unit
after unit as a worker gets them, first rounds and later rounds by themselves. The goal: with a
bundle at most 10 % outside ``serialcompare``.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import measuring
import ways
from measuring import Inputs, print_table
from ways import Outcome, Way

from dpam_hpc import command
from dpam_hpc.align import structure
from dpam_hpc.align.aligner import Alignment, Pair, Unusable
from dpam_hpc.align.dali.aligner import DaliAligner
from dpam_hpc.align.iterate import align_templates
from dpam_hpc.node import window

GOAL = 0.10
MODES = ("WOLF", "PARSI", "DP", "FILTER95", "DALICON", "SOAP")
PYTHON, PROGRAMS, PAIRS = "Python", "programs started", "pairs"
FIRST, LATER = "first rounds", "later rounds"
BUNDLE = "bundle"
TRACED = "trace=execve,open,openat,creat"
SYSTEM = ("/usr/", "/lib", "/etc/", "/proc/", "/sys/", "/dev/", "/bin/", "/sbin/")
CODE = (".py", ".pyc", ".so", ".pth", ".cfg")


# -- whole runs -----------------------------------------------------------------------------------


def split(outcome: Outcome) -> dict[str, float]:
    """Where the CPU seconds of a run went; they add up to all of them."""
    steps = Counter[str](outcome.measured.summary()["cpu_seconds"])
    parts = {mode: steps.pop(mode, 0.0) for mode in MODES}
    parts["import"] = steps.pop("import", 0.0)
    parts["report"] = steps.pop("report", 0.0)
    parts["workers' Python"] = steps.pop(PYTHON, 0.0)
    parts["launcher's Python"] = outcome.measured.own
    parts["proof, rest"] = outcome.measured.cpu - sum(parts.values()) - steps.total()
    return {**parts, **steps}


def medians(splits: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each part."""
    names = dict.fromkeys(name for found in splits for name in found)
    return {name: statistics.median(found.get(name, 0.0) for found in splits) for name in names}


def outside(parts: Mapping[str, float]) -> float:
    """The share that is not ``serialcompare``'s."""
    return 1 - sum(parts.get(mode, 0.0) for mode in MODES) / sum(parts.values())


def print_split(outcomes: dict[str, list[Outcome]]) -> dict[str, Any]:
    """Print and return where the CPU seconds of each way went."""
    parts = {name: medians([split(run) for run in runs]) for name, runs in outcomes.items()}
    names = list(dict.fromkeys(name for found in parts.values() for name in found))
    rows: list[list[object]] = [
        [
            name,
            *(
                f"{p.get(name, 0):.2f}  {p.get(name, 0) / sum(p.values()):5.1%}"
                for p in parts.values()
            ),
        ]
        for name in names
    ]
    shares = {name: [outside(split(run)) for run in runs] for name, runs in outcomes.items()}
    rows.append(
        ["all", *(ways.spread([r.measured.cpu for r in runs]) for runs in outcomes.values())]
    )
    rows.append(
        ["outside serialcompare", *(f"{statistics.median(s):.1%}" for s in shares.values())]
    )
    print_table(["CPU seconds of whole runs, median", *parts], rows)
    return {"parts": parts, "outside_serialcompare": shares}


# -- rounds ---------------------------------------------------------------------------------------


class Rounds:
    """An aligner that counts what the rounds cost: the first, and all later ones together.

    What lies between two rounds (records, residual queries and their import) is the later one's.
    """

    def __init__(self, aligner: DaliAligner, programs: Callable[[], int]) -> None:
        self.spent: dict[str, Counter[str]] = {FIRST: Counter(), LATER: Counter()}
        self._aligner = aligner
        self._programs = programs
        self._round = FIRST
        self._mark = self._now()

    def begin_unit(self) -> None:
        """The next pairs are a first round's; what was spent since the last is nobody's."""
        self._round = FIRST
        self._mark = self._now()

    def prepare(self, pdb: bytes) -> bytes:
        """A query of a later round, imported."""
        return self._aligner.prepare(pdb)

    def align(self, pairs: Sequence[Pair]) -> list[Alignment | None]:
        """A round's pairs."""
        self.spent[self._round][PAIRS] += len(pairs)
        alignments = self._aligner.align(pairs)
        self.count()
        self._round = LATER
        return alignments

    def count(self) -> None:
        """Note what was spent since the last call as this round's."""
        now = self._now()
        self.spent[self._round].update(now)
        self.spent[self._round].subtract(self._mark)
        self._mark = now

    def _now(self) -> Counter[str]:
        own = resource.getrusage(resource.RUSAGE_SELF)
        python = {PYTHON: own.ru_utime + own.ru_stime, PROGRAMS: self._programs()}
        return Counter[str]({**self._aligner.cpu_seconds(), **python})


def rounds(inputs: Inputs, dali_home: Path) -> dict[str, Counter[str]]:
    """All pairs, in units as a worker gets them while much is left; templates imported before."""
    with (
        measuring.fresh_folder() as folder,
        mock.patch.object(command, "run", wraps=command.run) as started,
    ):
        options = DaliAligner.stage_in({"dali_home": str(dali_home)}, folder)
        aligner = DaliAligner(options, folder / "worker")
        counted = Rounds(aligner, lambda: started.call_count)
        templates = dict(_prepared(aligner, inputs))
        for target, candidates in inputs.candidates.items():
            pdb = (inputs.data / f"{target}.pdb").read_bytes()
            residues = len(structure.read(pdb).residues)
            prepared = aligner.prepare(pdb)
            size = round(window.LARGEST_UNIT / residues) or 1
            ready = [name for name in candidates if name in templates]
            for at in range(0, len(ready), size):
                unit = {name: templates[name] for name in ready[at : at + size]}
                counted.begin_unit()
                align_templates(counted, pdb, prepared, unit)  # type: ignore[arg-type]
                counted.count()
        aligner.close()
        return counted.spent


def _prepared(aligner: DaliAligner, inputs: Inputs) -> Iterator[tuple[str, bytes]]:
    """Templates that can be imported."""
    for template in inputs.templates:
        file = inputs.data / "ECOD70" / f"{template}.pdb"
        with suppress(Unusable, FileNotFoundError):
            yield template, aligner.prepare(file.read_bytes())


def print_rounds(spent: Mapping[str, Counter[str]]) -> dict[str, Any]:
    """Print and return what the rounds cost."""
    seconds = {
        name: {step: value for step, value in found.items() if step not in (PAIRS, PROGRAMS)}
        for name, found in spent.items()
    }
    pairs = {name: max(found[PAIRS], 1) for name, found in spent.items()}
    rows: list[list[object]] = [[PAIRS, *(found[PAIRS] for found in spent.values())]]
    rows.append(["programs started a pair", *(spent[n][PROGRAMS] / pairs[n] for n in spent)])
    for step in (*MODES, "import", "report", PYTHON):
        rows.append(
            [f"{step}, ms a pair", *(1000 * seconds[n].get(step, 0.0) / pairs[n] for n in spent)]
        )
    rows.append(["all, ms a pair", *(1000 * sum(seconds[n].values()) / pairs[n] for n in spent)])
    rows.append(["outside serialcompare", *(f"{outside(seconds[n]):.1%}" for n in spent)])
    print_table(["CPU of the pairs alone, templates imported", *spent], rows)
    return {name: dict(found) for name, found in spent.items()}


# -- processes and files --------------------------------------------------------------------------


def count(chosen: Sequence[Way], inputs: Inputs) -> dict[str, dict[str, int]]:
    """Processes and files of each way, from a run of its own under strace."""
    if not shutil.which("strace"):
        measuring.say("processes and files are not counted: there is no strace on PATH")
        return {}
    counts = {}
    for way in chosen:
        with measuring.fresh_folder() as folder:
            trace = folder / "trace"
            argv = ["strace", "-f", "-y", "-qq", "-s", "4096", "-e", TRACED]
            ways.run(way, inputs, [*argv, "-e", "status=successful", "-o", str(trace)])
            counts[way.name] = counted(trace)
    names = list(next(iter(counts.values())))
    rows = [[name, *(found[name] for found in counts.values())] for name in names]
    rows += [
        [f"{name}, a pair", *(found[name] / inputs.pairs for found in counts.values())]
        for name in names
    ]
    print_table(["counted by strace", *counts], rows)
    return counts


def counted(trace: Path) -> dict[str, int]:
    """What strace saw.

    Data files are those that are neither the system's nor Python's, nor in memory; of them those
    opened with O_CREAT are "files created".
    """
    found = Counter[str]({PROGRAMS: 0, "opens": 0, "data opens": 0, "files created": 0})
    with trace.open(errors="replace") as lines:
        for line in lines:
            if " execve(" in line:
                found[PROGRAMS] += 1
            elif " open" in line or " creat(" in line:
                found["opens"] += 1
                if "O_DIRECTORY" not in line and _is_data(line.rpartition("<")[2].rstrip(">\n")):
                    found["data opens"] += 1
                    found["files created"] += "O_CREAT" in line or " creat(" in line
    return dict(found)


def _is_data(path: str) -> bool:
    return "memfd:" not in path and not path.startswith(SYSTEM) and not path.endswith(CODE)


# -------------------------------------------------------------------------------------------------


def main() -> None:
    """Measure whole runs, then rounds, then count."""
    parser = argparse.ArgumentParser(description=__doc__)
    measuring.add_input_arguments(parser)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--count", action="store_true", help="processes and files, by strace")
    arguments = parser.parse_args()
    inputs = Inputs.of(arguments)
    home: Path = arguments.dali_home
    measuring.say(f"{len(inputs.candidates)} targets, {inputs.pairs} first-round pairs")
    with measuring.fresh_folder() as folder:
        measuring.build_bundle(inputs, home.absolute(), folder / BUNDLE, arguments.workers)
        bundle = str(measuring.bundle_in(folder / BUNDLE))
        chosen = [
            ways.by_dpam_hpc("no bundle", inputs, home, arguments.workers),
            ways.by_dpam_hpc(BUNDLE, inputs, home, arguments.workers, "--templates", bundle),
        ]
        outcomes = ways.run_all(chosen, inputs, arguments.repeat)
        results: dict[str, Any] = {"whole": print_split(outcomes)}
        results["rounds"] = print_rounds(rounds(inputs, home))
        if arguments.count:
            results["counted"] = count(chosen, inputs)
    share = statistics.median(results["whole"]["outside_serialcompare"][BUNDLE])
    measuring.print_goal("CPU outside serialcompare, with a bundle", share, GOAL, "%")
    measuring.write_json(
        arguments.json,
        home,
        goal=GOAL,
        workers=arguments.workers,
        candidates={target: len(names) for target, names in inputs.candidates.items()},
        runs={name: [run.numbers() for run in runs] for name, runs in outcomes.items()},
        **results,
    )


if __name__ == "__main__":
    main()
