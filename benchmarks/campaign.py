"""What all of the AlphaFold database would take: a simulation on paper, of measured parts.

Proteins are drawn by length, a batch of them is planned by the planner of ``submit``, and its
tasks are played through on made-up nodes that are preempted now and then. Taken from elsewhere:
the cost model (``dpam_hpc/cost.py``), the operations a protein of ``shared_fs.json``, the time and
memory of the verbs of ``scale.json``. Guesses are options, with what they rest on in ``--help``.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import measuring
from measuring import print_table

from dpam_hpc import cost
from dpam_hpc.node.window import LARGEST_UNIT
from dpam_hpc.submit.shape import Limits, equal_tasks, shape

RESULTS = Path(__file__).with_name("results")
SAMPLE = 50_000
"""Proteins that are drawn; a batch is as many times their cost."""
SHORTEST, LONGEST = 16, 2700
"""Residues of the chains in the database."""
START = 60.0
"""Seconds of a task's start on a node: bundle, programs, proof; measured far below."""
NAMES_A_PROTEIN = 4
"""List of candidates, query, hits, marker."""
HOUR, DAY = 3600.0, 86400.0


@dataclass(frozen=True)
class Site:
    """What is taken for granted of a cluster."""

    nodes: int
    cores: int
    busy: float
    time_limit: float
    preempted_every: float
    operations_a_second: float
    names_a_folder: int
    login_memory: float


@dataclass(frozen=True)
class Batch:
    """A batch as planned and played through; times in seconds."""

    proteins: int
    core_seconds: float
    tasks: int
    task_seconds: float
    starts: int
    node_seconds: float
    makespan: float
    wasted_core_seconds: float


def lengths(median: float, sigma: float, many: int) -> list[int]:
    """Residues of so many proteins."""
    dice = random.Random(1)
    drawn = (round(median * dice.lognormvariate(0, sigma)) for _ in range(many))
    return [max(SHORTEST, min(LONGEST, residues)) for residues in drawn]


def play(arguments: argparse.Namespace, site: Site) -> Batch:
    """Plan a batch and play its tasks through."""
    templates = arguments.candidates * cost.TYPICAL_TEMPLATE
    drawn = lengths(arguments.median, arguments.sigma, SAMPLE)
    costs = [(f"P{n}", cost.seconds(residues, templates)) for n, residues in enumerate(drawn)]
    core_seconds = sum(seconds for _, seconds in costs) * arguments.batch / SAMPLE
    limits = Limits(max_runtime=round(site.time_limit))
    planned = shape(core_seconds, arguments.batch, site.cores, limits, multi_node=False)
    parts = equal_tasks(costs, planned.tasks)
    dice = random.Random(2)
    free = [0.0] * min(site.nodes, len(parts))
    starts, wasted = 0, 0.0
    # In flight at a preemption: a unit of each worker, at most.
    unit = cost.seconds(1, LARGEST_UNIT / 350 * cost.TYPICAL_TEMPLATE) * 350**2
    for part in parts:
        begin = heapq.heappop(free)
        left = sum(seconds for _, seconds in part) * arguments.batch / SAMPLE
        now = begin
        while left > 0:
            starts += 1
            stop = now + dice.expovariate(1 / site.preempted_every)
            stop = min(stop, now + site.time_limit)
            end = now + START + left / (site.cores * site.busy)
            if end <= stop:
                now, left = end, 0.0
                continue
            left -= max(0.0, stop - now - START) * site.cores * site.busy
            lost = min(unit * site.cores, max(0.0, stop - now - START) * site.cores)
            left += lost
            wasted += lost + START * site.cores
            now = stop
        heapq.heappush(free, now)
    used = core_seconds / site.busy + wasted + starts * START * site.cores
    return Batch(
        arguments.batch, core_seconds, len(parts), core_seconds / len(parts) / site.cores, starts,
        used / site.cores, max(free), wasted,
    )  # fmt: skip


def operations(results: Path, given: float | None) -> float:
    """Operations a protein on the shared file system, with a bundle, as an NFS client counts."""
    if given is not None:
        return given
    for name in ("shared_fs", "shared_fs_replayed"):
        path = results / f"{name}.json"
        if path.exists():
            (counted, *_) = json.loads(path.read_text())["operations"]["ours-bundle"]
            return float(counted["waited_for"]["protein"])
    raise SystemExit(f"{results} does not tell: run shared_fs.py, or give --operations")


def verbs(results: Path) -> dict[str, dict[str, float]]:
    """Seconds and bytes a target of the verbs, from the largest size that was measured."""
    sizes = [
        size
        for path in results.glob("scale*.json")
        for size in json.loads(path.read_text())["results"]
    ]
    if not sizes:
        raise SystemExit(f"{results} does not tell: run scale.py")
    largest = max(sizes, key=lambda size: float(size["targets"]))
    many = largest["targets"]
    return {
        verb: {"seconds": found["wall"] / many, "bytes": found["peak_bytes"] / many}
        for verb, found in largest["verbs"].items()
    }


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--proteins", type=int, default=200_000_000)
    add("--batch", type=int, default=1_000_000, help="proteins of a working folder")
    add("--candidates", type=int, default=cost.TYPICAL_CANDIDATES, help="of a protein")
    add(
        "--median", type=float, default=290, help="residues: with --sigma, a mean of 350 as UniProt"
    )
    add("--sigma", type=float, default=0.6, help="of the logarithm of the lengths")
    add("--nodes", type=int, default=100)
    add("--cores", type=int, default=64)
    add("--busy", type=float, default=0.95, help="busy.py measures it")
    add("--hours", type=float, default=48, help="the longest job")
    add("--preempted-every", type=float, default=24, help="hours between preemptions of a node")
    add("--operations", type=float, help="a protein; default: as shared_fs.json has it")
    add("--served", type=float, default=10_000, help="metadata operations a second of the server")
    add("--names", type=int, default=10_000_000, help="in a folder, before a server slows down")
    add("--memory", type=float, default=16, help="GB that a login node leaves to a command")
    add("--results", type=Path, default=RESULTS)
    measuring.add_json_argument(parser)
    return parser.parse_args()


def strains(
    arguments: argparse.Namespace, site: Site, rate: float, verb: dict[str, dict[str, float]]
) -> list[tuple[str, float, float, str]]:
    """What the campaign asks for beside what there is: name, need, limit, unit."""
    proteins, batch = arguments.proteins, arguments.batch
    submit, memory = verb["submit --dry-run"], site.login_memory
    return [
        ("metadata operations, all nodes", rate, site.operations_a_second, "a second"),
        ("names in one folder, all at once", NAMES_A_PROTEIN * proteins, site.names_a_folder, ""),
        ("names in a batch's folder", NAMES_A_PROTEIN * batch, site.names_a_folder, ""),
        (
            "memory of submit, all at once",
            submit["bytes"] * proteins / 1e9,
            site.login_memory,
            "GB",
        ),
        ("memory of submit, a batch", submit["bytes"] * batch / 1e9, memory, "GB"),
        ("submit, all at once", submit["seconds"] * proteins / HOUR, 1.0, "h"),
        ("status, a batch", verb["status"]["seconds"] * batch, 60.0, "s"),
    ]


def main() -> None:
    """Play a batch, multiply, print."""
    arguments = parse()
    site = Site(
        arguments.nodes, arguments.cores, arguments.busy, arguments.hours * HOUR,
        arguments.preempted_every * HOUR, arguments.served, arguments.names, arguments.memory,
    )  # fmt: skip
    each = operations(arguments.results, arguments.operations)
    batch = play(arguments, site)
    batches = arguments.proteins / arguments.batch
    nodes_hours = batches * batch.node_seconds / HOUR
    days = nodes_hours / site.nodes / 24
    rate = each * arguments.proteins / (days * DAY)
    verb = verbs(arguments.results)
    found: dict[str, Any] = {
        "core_hours": batches * batch.core_seconds / HOUR,
        "node_hours": nodes_hours,
        "days": days,
        "wasted": batch.wasted_core_seconds / batch.core_seconds,
        "seconds_a_protein": batch.core_seconds / batch.proteins,
        "operations": each * arguments.proteins,
        "operations_a_second": rate,
        "names": NAMES_A_PROTEIN * arguments.proteins,
        "batches": math.ceil(batches),
        "tasks": math.ceil(batches * batch.tasks),
        "starts": math.ceil(batches * batch.starts),
    }
    measuring.say(f"{arguments.proteins:,} proteins on {site.nodes} nodes of {site.cores} cores")
    print_table(
        ["", ""],
        [
            ["core-seconds a protein", found["seconds_a_protein"]],
            ["core-hours", f"{found['core_hours']:,.0f}"],
            ["node-hours, starts and losses included", f"{found['node_hours']:,.0f}"],
            ["days", found["days"]],
            ["lost by preemption", f"{found['wasted']:.2%}"],
            ["batches, tasks, starts of tasks",
             f"{found['batches']:,}, {found['tasks']:,}, {found['starts']:,}"],
            ["operations on the shared file system", f"{found['operations']:.3g}"],
            ["the same a second", f"{rate:,.0f}"],
        ],
    )  # fmt: skip
    strained = sorted(
        strains(arguments, site, rate, verb), key=lambda row: row[1] / row[2], reverse=True
    )
    rows = [
        [name, f"{need:,.4g} {unit}".strip(), f"{limit:,.4g}", f"{need / limit:.2g}"]
        for name, need, limit, unit in strained
    ]
    print_table(["what gives way first", "need", "limit", "need / limit"], rows)
    measuring.write_json(
        arguments.json,
        None,
        assumed={k: v for k, v in vars(arguments).items() if k not in ("json", "results")},
        site=asdict(site),
        batch=asdict(batch),
        campaign=found,
        strains=[
            dict(zip(("name", "need", "limit", "unit"), row, strict=True)) for row in strained
        ],
    )


if __name__ == "__main__":
    main()
