"""Step 7 as upstream does it against ``dpam-hpc run``, on the same inputs, side by side.

CPU seconds are those of a whole command with all its children. Upstream is dpam_c2's own step
where a checkout is named (``--dpam``), else one ``dali.pl`` a pair through the project's loop.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import measuring
import upstream
from measuring import Inputs, Measured, print_table

from dpam_hpc.align.dali.aligner import DaliAligner
from dpam_hpc.errors import ExitCode

COMPARISON = ("WOLF", "PARSI", "DP", "FILTER95", "DALICON", "SOAP")
TRACED = "trace=execve,open,openat,creat"
SYSTEM = ("/usr/", "/lib", "/etc/", "/proc/", "/sys/", "/dev/", "/bin/", "/sbin/")
CODE = (".py", ".pyc", ".so", ".pth", ".cfg")
UPSTREAM = "upstream"


@dataclass
class Variant:
    """A way to do the step: its command, given a working folder and the targets in it."""

    name: str
    argv: Callable[[Path, Sequence[str]], list[str]]
    environment: dict[str, str] = field(default_factory=dict)
    ours: bool = True


@dataclass(frozen=True)
class Outcome:
    """One run of a variant; hits by target, with 0 in field 5 of each header.

    Upstream counts no failures.
    """

    measured: Measured
    hits: dict[str, bytes]

    failures: int

    @property
    def count(self) -> int:
        """Hits of all targets."""
        return sum(content.count(b">") for content in self.hits.values())


def variants(
    arguments: argparse.Namespace, inputs: Inputs, bundle: Path | None, settings: Path
) -> list[Variant]:
    """What is to be compared, upstream first."""
    home: Path = arguments.dali_home.absolute()
    clean = measuring.environment(settings)
    workers = str(arguments.workers)

    def by_dpam(work: Path, targets: Sequence[str]) -> list[str]:
        python = str(arguments.dpam_python.absolute())
        return [python, "-c", upstream.RUN_STEP, str(work), str(inputs.data), workers, *targets]

    def by_dali_pl(work: Path, targets: Sequence[str]) -> list[str]:
        argv = [sys.executable, upstream.__file__, str(work), str(inputs.data), *targets]
        return [*argv, "--dali-home", str(home), "--workers", workers]

    def ours(*more: str) -> Callable[[Path, Sequence[str]], list[str]]:
        def argv(work: Path, targets: Sequence[str]) -> list[str]:
            options = ["--data-dir", str(inputs.data), "--dali-home", str(home), *more]
            options += [word for target in targets for word in ("--target", target)]
            command = [*measuring.dpam_hpc(), "run", str(work), *options]
            return [*command, "--dali-workers", workers, "--json"]

        return argv

    if arguments.dpam:
        path = str(arguments.dpam.absolute())
        first = Variant(UPSTREAM, by_dpam, clean | {"DALI_HOME": str(home), "PYTHONPATH": path})
    else:
        first = Variant(UPSTREAM, by_dali_pl, clean)
    first.ours = False
    chosen = [first, Variant("dpam-hpc", ours(), clean)]
    if bundle:
        chosen.append(Variant("dpam-hpc, bundle", ours("--templates", str(bundle)), clean))
    return chosen


def run(variant: Variant, inputs: Inputs, before: Sequence[str] = ()) -> Outcome:
    """Run a variant in a fresh folder, its command behind the words ``before``."""
    with measuring.fresh_folder() as folder:
        work = folder / "work"
        targets = inputs.lay_out(work)
        argv = [*before, *variant.argv(work, targets)]
        measured = measuring.measure(
            argv,
            cwd=folder,
            environment=variant.environment,
            accepted=(0, ExitCode.FAILURES) if variant.ours else (0,),
        )
        hits = {}
        for target in targets:
            content = (work / f"{target}{DaliAligner.hits_suffix}").read_bytes()
            hits[target] = measuring.without_template_length(content)
        failures = measured.summary()["failures"] if variant.ours else 0
        return Outcome(measured, hits, failures)


def run_all(
    chosen: list[Variant], inputs: Inputs, repeat: int
) -> tuple[dict[str, list[Outcome]], list[list[object]]]:
    """Every variant ``repeat`` times, in an order that alternates; outcomes and table rows."""
    outcomes: dict[str, list[Outcome]] = {variant.name: [] for variant in chosen}
    rows: list[list[object]] = []
    for turn in range(repeat):
        for variant in chosen if turn % 2 == 0 else reversed(chosen):
            outcome = run(variant, inputs)
            outcomes[variant.name].append(outcome)
            m = outcome.measured
            numbers = [m.user, m.system, m.cpu, m.cpu / inputs.pairs, m.wall]
            failed = outcome.failures if variant.ours else "-"
            rows.append([variant.name, turn + 1, *numbers, outcome.count, failed])
    return outcomes, rows


def median_cpu(outcomes: list[Outcome]) -> float:
    """CPU seconds of a variant."""
    return statistics.median(outcome.measured.cpu for outcome in outcomes)


def split(outcome: Outcome) -> dict[str, float]:
    """Where the CPU seconds of one of our runs went; they add up to all of them."""
    steps = Counter[str](outcome.measured.summary()["cpu_seconds"])
    parts = {mode: steps.pop(mode, 0.0) for mode in COMPARISON}
    parts["import"] = steps.pop("import", 0.0)
    parts["report"] = steps.pop("report", 0.0)
    parts["workers' Python"] = steps.pop("Python", 0.0)
    parts["launcher's Python"] = outcome.measured.own
    parts["proof, rest"] = outcome.measured.cpu - sum(parts.values()) - steps.total()
    return {**parts, **steps}


def print_split(chosen: list[Variant], outcomes: dict[str, list[Outcome]]) -> dict[str, Any]:
    """Print and return the split of the first run of each of our variants."""
    parts = {v.name: split(outcomes[v.name][0]) for v in chosen if v.ours}
    names = list(dict.fromkeys(name for found in parts.values() for name in found))
    rows = [[name, *(found.get(name, 0.0) for found in parts.values())] for name in names]
    compared = {v: sum(found[mode] for mode in COMPARISON) for v, found in parts.items()}
    outside = {v: 1 - compared[v] / sum(found.values()) for v, found in parts.items()}
    rows.append(["serialcompare", *compared.values()])
    rows.append(["outside serialcompare", *(f"{share:.1%}" for share in outside.values())])
    print_table(["CPU seconds of the first run", *parts], rows)
    return {"parts": parts, "outside_serialcompare": outside}


def differing(outcomes: dict[str, list[Outcome]]) -> list[str]:
    """Variants and targets whose hits are not those of upstream's first run."""
    expected = outcomes[UPSTREAM][0].hits
    found = [
        f"{name}: {target}"
        for name, runs in outcomes.items()
        for outcome in runs
        for target, content in outcome.hits.items()
        if content != expected[target]
    ]
    return list(dict.fromkeys(found))


def print_equality(outcomes: dict[str, list[Outcome]]) -> list[str]:
    """Print and return which hits differ."""
    different = differing(outcomes)
    runs = sum(len(found) for found in outcomes.values())
    if different:
        measuring.say(f"hits differ from upstream's: {', '.join(different)}")
    else:
        count = outcomes[UPSTREAM][0].count
        measuring.say(
            f"hits: {count}, the same bytes in all {runs} runs, field 5 of the headers aside"
        )
    return different


def print_ratios(outcomes: dict[str, list[Outcome]], pairs: int) -> dict[str, float]:
    """Print and return upstream's CPU seconds over those of each other variant."""
    base = median_cpu(outcomes[UPSTREAM])
    ratios = {
        name: base / median_cpu(found) for name, found in outcomes.items() if name != UPSTREAM
    }
    for name, ratio in ratios.items():
        saved = (base - median_cpu(outcomes[name])) / pairs
        measuring.say(
            f"{name}: {ratio:.2f} times less CPU than upstream; {saved:.3f} s a pair saved"
        )
    return ratios


def count(chosen: list[Variant], inputs: Inputs) -> dict[str, dict[str, int]]:
    """Processes and files of each variant, from a run of its own under strace."""
    if not shutil.which("strace"):
        print("processes and files are not counted: there is no strace on PATH\n")
        return {}
    counts = {}
    for variant in chosen:
        with measuring.fresh_folder() as folder:
            trace = folder / "trace"
            argv = ["strace", "-f", "-y", "-qq", "-s", "4096", "-e", TRACED]
            run(variant, inputs, [*argv, "-e", "status=successful", "-o", str(trace)])
            counts[variant.name] = counted(trace)
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
    found = Counter[str]({"programs started": 0, "opens": 0, "data opens": 0, "files created": 0})
    with trace.open(errors="replace") as lines:
        for line in lines:
            if " execve(" in line:
                found["programs started"] += 1
            elif " open" in line or " creat(" in line:
                found["opens"] += 1
                if "O_DIRECTORY" not in line and _is_data(line.rpartition("<")[2].rstrip(">\n")):
                    found["data opens"] += 1
                    found["files created"] += "O_CREAT" in line or " creat(" in line
    return dict(found)


def _is_data(path: str) -> bool:
    return "memfd:" not in path and not path.startswith(SYSTEM) and not path.endswith(CODE)


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    measuring.add_input_arguments(parser)
    parser.add_argument("--dpam", type=Path, metavar="CHECKOUT", help="a checkout of dpam_c2")
    parser.add_argument("--dpam-python", type=Path, default=Path(sys.executable), metavar="EXE")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--bundle", action="store_true", help="also with a template bundle")
    parser.add_argument("--count", action="store_true", help="processes and files, by strace")
    return parser.parse_args()


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    """Run everything that was asked for; ``folder`` is for what all runs share."""
    inputs = Inputs.of(arguments)
    results: dict[str, Any] = {
        "upstream": "dpam_c2 step 7" if arguments.dpam else "one dali.pl a pair",
        "candidates": {target: len(names) for target, names in inputs.candidates.items()},
        "workers": arguments.workers,
    }
    measuring.say(f"{len(inputs.candidates)} targets, {inputs.pairs} pairs; {results['upstream']}")
    bundle = None
    if arguments.bundle:
        build = measuring.build_bundle(
            inputs, arguments.dali_home.absolute(), folder / "bundle", arguments.workers
        )
        bundle = measuring.bundle_in(folder / "bundle")
        results["bundle"] = {"cpu": build.cpu, "wall": build.wall, "bytes": bundle.stat().st_size}
        measuring.say(
            f"bundle of {len(inputs.templates)} templates, built once: {build.cpu:.2f} CPU s,"
            f" {build.wall:.2f} s, {bundle.stat().st_size} bytes"
        )
    chosen = variants(arguments, inputs, bundle, folder)
    outcomes, rows = run_all(chosen, inputs, arguments.repeat)
    header = ["", "run", "user s", "system s", "CPU s", "CPU s a pair", "wall s", "hits", "failed"]
    print_table(header, rows)
    results["differing"] = print_equality(outcomes)
    results["cpu_ratio"] = print_ratios(outcomes, inputs.pairs)
    results["split"] = print_split(chosen, outcomes)
    results["runs"] = [
        {"variant": name, "hits": outcome.count, **_numbers(outcome.measured)}
        for name, found in outcomes.items()
        for outcome in found
    ]
    if arguments.count:
        results["counted"] = count(chosen, inputs)
    measuring.write_json(arguments.json, arguments.dali_home, **results)


def _numbers(measured: Measured) -> dict[str, float]:
    numbers = {name: value for name, value in asdict(measured).items() if name != "stdout"}
    return {**numbers, "cpu": measured.cpu}


def main() -> None:
    """Compare, in a folder that is removed in the end."""
    arguments = parse()
    with measuring.fresh_folder() as folder:
        compare(arguments, folder)


if __name__ == "__main__":
    main()
