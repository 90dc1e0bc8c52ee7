"""The design document's own table, measured here on a small scale and told for its machines.

Upstream's way with its working folder on a share as slow as leda's NFS, upstream with local scratch
and 16 or 64 workers, and ``dpam-hpc run``: the same proteins, one after the other, the same hits.
From CPU seconds and waits a pair follows what a protein takes on a node of 64 cores of this kind,
and batch_39 and Tier 1. Then the cost model: scaled by the program itself to the journal of one
half of many proteins, it predicts the other half, which is run.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import measuring
import proteins
import shared_fs
import slowfs
from measuring import Inputs, print_table
from shared_fs import WAYS, Outcome, Setting

from dpam_hpc import cost, journal
from dpam_hpc.submit.earlier import records
from dpam_hpc.submit.shape import equal_tasks
from dpam_hpc.submit.survey import Templates, survey
from dpam_hpc.target import OWN_FOLDER, WorkFolder

OPERATION_MS, CHANGE_MS = 3.5, 7.5
"""leda's NFS: a stat or read takes 2 to 5 ms, a create or mkdir 5 to 10."""
LEDA: list[str | float] = [
    "--nfs", "--latency-ms", OPERATION_MS, "--data-latency-ms", OPERATION_MS,
    "--change-latency-ms", CHANGE_MS,
]  # fmt: skip
CHANGES = ("create", "link", "mkdir", "rename", "rmdir", "symlink", "unlink")
NODE_CORES = 64
CANDIDATES = 200
"""Of a typical protein."""
SETS = {"batch_39": 263, "Tier 1": 28_000}
GOAL_PROTEIN = 0.5
"""Seconds a protein on a node of 64 cores."""
GOAL_ERROR = 0.10
TASKS = 2
BOOTSTRAPS = 2000
ALL_INPUTS = {"targets": None, "candidates": None}
TASK_SIZES = (10, 30, 100, 300, 1000)

# A row of the design document: name, way, workers (0: one a core), what it says a protein takes.
ROWS: tuple[tuple[str, str, int, str], ...] = (
    ("NFS, 16 workers", "upstream", 16, "150"),
    ("local scratch, 16 workers", "upstream-scratch", 16, "20 to 30"),
    ("local scratch, 64 workers", "upstream-scratch", 64, "6 to 10"),
    ("dpam-hpc", "ours", 0, ""),
    ("dpam-hpc, bundle", "ours-bundle", 0, ""),
)


def waits(operations: Counter[str]) -> float:
    """Seconds that all operations wait for the share together."""
    waited = {kind: n for kind, n in operations.items() if kind not in shared_fs.NOT_WAITED_FOR}
    changes = sum(n for kind, n in waited.items() if kind in CHANGES)
    return (changes * CHANGE_MS + (sum(waited.values()) - changes) * OPERATION_MS) / 1000


def predicted(cpu_a_pair: float, waits_a_pair: float, workers: int) -> float:
    """Seconds of a typical protein on a node of 64 cores: processors and waits, both shared."""
    shared = cpu_a_pair / min(workers, NODE_CORES) + waits_a_pair / workers
    return CANDIDATES * shared


def table(setting: Setting, pairs: int, repeat: int, copies: int) -> list[dict[str, Any]]:
    """The rows, measured in an order that alternates; ours on ``copies`` of each protein.

    A run of ours begins by proving DALI, once: few proteins alone would count that as theirs.
    """
    found: dict[str, list[Outcome]] = {name: [] for name, *_ in ROWS}
    expected: dict[str, bytes] = {}
    for turn in range(repeat):
        for name, way, workers, _ in ROWS if turn % 2 == 0 else reversed(ROWS):
            chosen = replace(setting, workers=workers or setting.workers)
            times = copies if WAYS[way].ours else 1
            outcome = shared_fs.run(chosen, WAYS[way], share=LEDA, copies=times)
            found[name].append(outcome)
            for target, hits in outcome.hits.items():
                if expected.setdefault(target, hits) != hits:
                    raise SystemExit(f"{name}: the hits of {target} differ")
    results = []
    for name, way, workers, said in ROWS:
        outcomes = found[name]
        targets = outcomes[0].targets
        wall = statistics.median(o.wall for o in outcomes) / targets
        cpu = statistics.median(o.cpu for o in outcomes) / targets
        waited = statistics.median(waits(o.operations) for o in outcomes) / targets
        candidates = pairs / len(setting.inputs.candidates)
        node_seconds = predicted(cpu / candidates, waited / candidates, workers or NODE_CORES)
        results.append(
            {
                "name": name, "way": way, "workers": workers or setting.workers,
                "wall": wall, "cpu": cpu, "waits": waited, "targets": targets,
                "candidates": candidates, "design_seconds": said, "node_seconds": node_seconds,
                "waited_for": statistics.median(o.waited_for for o in outcomes) / targets,
            }
        )  # fmt: skip
    return results


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Print the table, and what follows for the design document's sets."""
    ours = rows[-1]
    cells: list[list[object]] = [
        [r["name"], r["wall"], r["cpu"], r["cpu"] / ours["cpu"], r["waits"], r["waited_for"],
         r["node_seconds"], r["design_seconds"]]
        for r in rows
    ]  # fmt: skip
    header = ["a protein", "wall s", "CPU s", "of the last", "waits s", "operations"]
    print_table([*header, f"s on {NODE_CORES} cores", "design says s"], cells)
    sets: list[list[object]] = [
        [r["name"], *(count * r["node_seconds"] / 3600 for count in SETS.values())] for r in rows
    ]
    print_table(["node hours", *(f"{name} ({n})" for name, n in SETS.items())], sets)


def run_half(setting: Setting, work: Path, data: Path, names: Sequence[str]) -> None:
    """Align some proteins of a folder, on local disk."""
    argv = [*measuring.dpam_hpc(), "run", str(work), "--data-dir", str(data), "--json"]
    argv += ["--dali-home", str(setting.dali_home), "--templates", str(setting.bundle)]
    argv += ["--dali-workers", str(setting.workers), *proteins.named(names)]
    environment = measuring.environment(work.parent)
    summary = measuring.measure(argv, cwd=work.parent, environment=environment).summary()
    if summary["done"] != len(names) or summary["failures"]:
        raise SystemExit(f"{summary['failures']} templates failed: these numbers mean nothing")


def cost_model(setting: Setting, count: int, candidates: int) -> dict[str, Any]:
    """Predict one half of many proteins by what the other half took."""
    with measuring.fresh_folder() as folder:
        work, data = folder / "work", folder / "data"
        names = proteins.make(setting.inputs, work, count, candidates, seed=1)
        setting.inputs.copy_templates(data / "ECOD70")
        proteins.write_lengths(data, proteins.lengths(setting.inputs))
        known, unknown = names[: count // 2], names[count // 2 :]
        run_half(setting, work, data, known)
        found = survey(WorkFolder.at(work), unknown, Templates(data, None))
        correction = cost.correction(records(work), found.mean_template)
        costs = found.corrected(correction).costs
        run_half(setting, work, data, unknown)
        measured = {
            str(record["target"]): sum(record["cpu"].values())
            for record in journal.each(work / OWN_FOLDER / "journal.jsonl")
            if record.get("cpu")
        }
    pairs = [(measured[name], seconds) for name, seconds in costs]
    tasks = [
        (sum(measured[name] for name, _ in part), sum(seconds for _, seconds in part))
        for part in equal_tasks(costs, TASKS)
    ]
    total = error(pairs)
    measuring.say(
        f"{count} proteins of {candidates} candidates; the model is scaled by {correction:.2f}"
        f" after the first {len(known)}"
    )
    rows: list[list[object]] = [
        [f"task {number}, {len(unknown) // TASKS} proteins", is_, was, f"{is_ / was - 1:+.1%}"]
        for number, (is_, was) in enumerate(tasks)
    ]
    rows.append(["all", sum(i for i, _ in pairs), sum(w for _, w in pairs), f"{total:+.1%}"])
    print_table(["the others", "CPU s", "predicted", f"error (goal {GOAL_ERROR:.0%})"], rows)
    worst = max(abs(is_ / was - 1) for is_, was in tasks)
    measuring.print_goal("error of a task's predicted time", worst, GOAL_ERROR, "%")
    spread = {size: expected_error(pairs, size) for size in TASK_SIZES}
    print_table(
        ["proteins a task", "expected error, from the spread of single proteins"],
        [[str(size), f"{error:.1%}"] for size, error in spread.items()],
    )
    return {
        "proteins": count, "candidates": candidates, "correction": correction,
        "measured_and_predicted": pairs, "tasks": tasks, "error": total, "goal": GOAL_ERROR,
        "expected_error": {str(size): error for size, error in spread.items()},
    }  # fmt: skip


def error(pairs: Sequence[tuple[float, float]]) -> float:
    """By how much all that was measured is more than predicted."""
    return sum(measured for measured, _ in pairs) / sum(wanted for _, wanted in pairs) - 1


def expected_error(pairs: Sequence[tuple[float, float]], size: int) -> float:
    """Root mean square error of tasks of ``size`` proteins such as these, their scale aside."""
    drawn = random.Random(1)
    scale = 1 + error(pairs)
    errors = (error(drawn.choices(pairs, k=size)) for _ in range(BOOTSTRAPS))
    return math.sqrt(statistics.fmean(((1 + found) / scale - 1) ** 2 for found in errors))


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    measuring.add_input_arguments(parser)
    parser.add_argument("--repeat", type=int, default=2, help="of the table")
    parser.add_argument("--copies", type=int, default=4, help="of each protein in our runs")
    parser.add_argument("--proteins", type=int, default=48, help="of the cost model; 0: without")
    parser.add_argument("--model-candidates", type=int, default=40, help="of each of them")
    arguments = parser.parse_args()
    if 0 < arguments.proteins < 2 * cost.ENOUGH_MEASURED:
        parser.error(f"--proteins: at least {2 * cost.ENOUGH_MEASURED}, half of them to fit")
    if why := slowfs.why_none():
        parser.error(why)
    return arguments


def main() -> None:
    """Measure, tell, predict."""
    arguments = parse()
    inputs = Inputs.of(arguments)
    with measuring.fresh_folder() as folder:
        home = arguments.dali_home.absolute()
        measuring.build_bundle(inputs, home, folder / "bundle", arguments.workers)
        setting = Setting(inputs, home, measuring.bundle_in(folder / "bundle"), arguments.workers)
        measuring.say(
            f"{', '.join(inputs.candidates)}, {inputs.pairs} pairs; a share with"
            f" {OPERATION_MS} ms an operation, {CHANGE_MS} ms one that makes or renames; a typical"
            f" protein has {CANDIDATES} candidates"
        )
        rows = table(setting, inputs.pairs, arguments.repeat, arguments.copies)
        print_rows(rows)
        measuring.print_goal(
            f"a protein on {NODE_CORES} cores, bundle", rows[-1]["node_seconds"], GOAL_PROTEIN, "s"
        )
        model = None
        if arguments.proteins:
            every = Inputs.of(argparse.Namespace(**{**vars(arguments), **ALL_INPUTS}))
            bundle = folder / "every"
            measuring.build_bundle(every, home, bundle, arguments.workers)
            setting = replace(setting, inputs=every, bundle=measuring.bundle_in(bundle))
            model = cost_model(setting, arguments.proteins, arguments.model_candidates)
    measuring.write_json(
        arguments.json,
        arguments.dali_home,
        latency_ms={"change": CHANGE_MS, "other": OPERATION_MS},
        typical_candidates=CANDIDATES,
        node_cores=NODE_CORES,
        sets=SETS,
        goal_protein=GOAL_PROTEIN,
        rows=rows,
        cost_model=model,
    )


if __name__ == "__main__":
    main()
