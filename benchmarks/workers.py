"""How many workers a node should have: 1, 2 and 4 for each processor, in all conditions.

With and without a template bundle, scratch on disk and in memory, and the page cache as it is or
dropped before each run (which takes root). Each condition's runs follow each other in an order that
alternates; the ratios are to the smallest number of workers.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import measuring
import ways
from measuring import Inputs, print_table
from ways import Outcome, Way

from dpam_hpc.settings import available_cpus

DROP = Path("/proc/sys/vm/drop_caches")
MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Condition:
    """What is the same for all numbers of workers; ``scratch`` in memory, or on disk."""

    bundle: bool
    in_memory: bool
    cold: bool

    def __str__(self) -> str:
        return ", ".join(
            (
                "bundle" if self.bundle else "no bundle",
                "tmpfs" if self.in_memory else "disk",
                "cold" if self.cold else "warm",
            )
        )


def may_drop_caches() -> bool:
    """Whether this user may drop the page cache."""
    return os.access(DROP, os.W_OK)


def drop_caches() -> None:
    """Write what is dirty and forget what is cached."""
    os.sync()
    DROP.write_text("3\n")


def conditions(cold_too: bool) -> list[Condition]:
    """All of them."""
    temperatures = (False, True) if cold_too else (False,)
    return [Condition(*chosen) for chosen in product((False, True), (False, True), temperatures)]


def measure(
    condition: Condition, arguments: argparse.Namespace, inputs: Inputs, bundle: Path, disk: Path
) -> dict[int, list[Outcome]]:
    """The runs of a condition, by number of workers."""
    scratch = MEMORY if condition.in_memory else disk
    options = ["--scratch-dir", str(scratch)]
    options += ["--templates", str(bundle)] if condition.bundle else []
    chosen = {
        workers: ways.by_dpam_hpc(str(workers), inputs, arguments.dali_home, workers, *options)
        for workers in arguments.numbers
    }

    @contextmanager
    def around(_way: Way) -> Iterator[None]:
        if condition.cold:
            drop_caches()
        yield

    outcomes = ways.run_all(list(chosen.values()), inputs, arguments.repeat, around)
    return {workers: outcomes[way.name] for workers, way in chosen.items()}


def ratios(outcomes: dict[int, list[Outcome]], what: str) -> list[float]:
    """Medians by number of workers, over the first one's."""
    medians = [
        statistics.median(getattr(run.measured, what) for run in runs) for runs in outcomes.values()
    ]
    return [value / medians[0] for value in medians]


def print_results(found: dict[Condition, dict[int, list[Outcome]]], numbers: Sequence[int]) -> None:
    """Walls and CPU seconds, then their ratios."""
    for what, title in (("wall", "seconds by the clock"), ("cpu", "CPU seconds")):
        rows: list[list[object]] = [
            [
                str(condition),
                *(ways.spread([getattr(r.measured, what) for r in runs]) for runs in by.values()),
            ]
            for condition, by in found.items()
        ]
        print_table([f"{title}, median (range)", *(f"{n} workers" for n in numbers)], rows)
    for what in ("wall", "cpu"):
        by_condition = {condition: ratios(by, what) for condition, by in found.items()}
        ratio_rows: list[list[object]] = [[str(c), *values] for c, values in by_condition.items()]
        middle = [statistics.median(column) for column in zip(*by_condition.values(), strict=True)]
        ratio_rows.append(["median of all", *middle])
        print_table([f"{what}, ratio", *(f"{n} workers" for n in numbers)], ratio_rows)


def parse() -> argparse.Namespace:
    """The arguments; ``numbers`` of workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    measuring.add_input_arguments(parser, workers=False)
    parser.add_argument("--factors", default="1,2,4", help="workers a processor; default: 1,2,4")
    parser.add_argument("--repeat", type=int, default=2)
    arguments = parser.parse_args()
    cpus = available_cpus()
    arguments.numbers = [int(float(factor) * cpus) for factor in arguments.factors.split(",")]
    return arguments


def main() -> None:
    """Measure all conditions."""
    arguments = parse()
    inputs = Inputs.of(arguments)
    cold_too = may_drop_caches()
    cold = "" if cold_too else "; no cold runs: only root may drop the page cache"
    targets = f"{len(inputs.candidates)} targets, {inputs.pairs} pairs"
    measuring.say(f"{targets}, {available_cpus()} processors{cold}")
    found: dict[Condition, dict[int, list[Outcome]]] = {}
    with measuring.fresh_folder() as folder:
        home = arguments.dali_home.absolute()
        measuring.build_bundle(inputs, home, folder / "bundle", available_cpus())
        bundle, disk = measuring.bundle_in(folder / "bundle"), folder / "scratch"
        disk.mkdir()
        for condition in conditions(cold_too):
            found[condition] = measure(condition, arguments, inputs, bundle, disk)
    print_results(found, arguments.numbers)
    hits = {
        tuple(sorted(r.hits.items())) for by in found.values() for rs in by.values() for r in rs
    }
    if len(hits) > 1:
        raise SystemExit("the hits differ between runs")
    measuring.say("The hits are the same bytes in all runs.")
    results: dict[str, Any] = {
        str(condition): {workers: [run.numbers() for run in runs] for workers, runs in by.items()}
        for condition, by in found.items()
    }
    measuring.write_json(
        arguments.json,
        arguments.dali_home,
        processors=available_cpus(),
        cold_could_be_measured=cold_too,
        conditions=results,
    )


if __name__ == "__main__":
    main()
