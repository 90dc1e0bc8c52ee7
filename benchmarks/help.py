"""How long a verb's help takes, beside a Python that imports typer and ends; goal: twice that.

Whole processes, one after the other in turn, so that another load on the machine meets all of
them; the median of each. Bytecode is written before, as an installation has it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import measuring
from measuring import print_goal, print_table

from dpam_hpc.cli.examples import EXAMPLES

GOAL = 2.0
TYPER = "import typer"


def commands() -> dict[str, list[str]]:
    """What is measured, by what it is called in the table."""
    program = measuring.dpam_hpc()
    found = {TYPER: [sys.executable, "-c", TYPER], "--help": [*program, "--help"]}
    return found | {f"{verb} --help": [*program, *verb.split(), "--help"] for verb in EXAMPLES}


def measure(folder: Path, repeats: int) -> dict[str, dict[str, float]]:
    """Median wall and CPU seconds of each command."""
    environment = measuring.environment(folder, PYTHONPYCACHEPREFIX=str(folder / "bytecode"))
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    walls: dict[str, list[float]] = {}
    cpus: dict[str, list[float]] = {}
    for turn in range(repeats + 1):
        for name, argv in commands().items():
            done = measuring.measure(argv, cwd=measuring.ROOT, environment=environment)
            if turn:  # the first one writes bytecode
                walls.setdefault(name, []).append(done.wall)
                cpus.setdefault(name, []).append(done.cpu)
    return {
        name: {"wall": statistics.median(walls[name]), "cpu": statistics.median(cpus[name])}
        for name in walls
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    measuring.add_json_argument(parser)
    arguments = parser.parse_args()
    with measuring.fresh_folder() as folder:
        found = measure(folder, arguments.repeats)
    base = found[TYPER]
    ratios = {name: each["cpu"] / base["cpu"] for name, each in found.items() if name != TYPER}
    measuring.say(f"Median of {arguments.repeats} processes each, in milliseconds.")
    print_table(
        ["process", "wall ms", "CPU ms", "CPU, times that of typer"],
        [
            [name, 1000 * each["wall"], 1000 * each["cpu"], each["cpu"] / base["cpu"]]
            for name, each in found.items()
        ],
    )
    slowest = max(ratios, key=lambda name: ratios[name])
    print_goal(f"the slowest, {slowest}, in times that of typer", ratios[slowest], GOAL)
    measuring.write_json(arguments.json, None, processes=found, ratios=ratios)


if __name__ == "__main__":
    main()
