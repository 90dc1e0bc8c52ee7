"""Step 7 head to head: upstream's way, ``dpam-hpc run``, and any other aligner, on the same inputs.

Upstream is dpam_c2's own step where a checkout is named (``--dpam``), else one ``dali.pl`` a pair
through the project's loop. A further aligner is one that is installed as a plug-in, by its name, or
``module:Class``, found in ``--aligner-path`` or among the benchmarks; it hears the environment, so
one that drives an executable learns from a variable where that is.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import measuring
import ways
from measuring import Inputs, print_table
from ways import Outcome, Way

from dpam_hpc.align import aligner as aligners

UPSTREAM, OURS, OURS_WITH_BUNDLE = "upstream", "dpam-hpc", "dpam-hpc, bundle"


@dataclass(frozen=True)
class Agreement:
    """A way's hits against upstream's.

    ``found`` are upstream's hits (template and round) that the way has too, ``identical`` those
    of them with the same bytes, ``more`` the hits that upstream does not have; ``files`` are whole
    hits files with the same bytes.
    """

    hits: int
    found: int
    identical: int
    more: int
    files: int


def records(hits: Mapping[str, bytes]) -> dict[tuple[str, bytes], bytes]:
    """All hits by target and name, a name being ``>{template}_{round}``."""
    return {
        (target, record.split(b"\t", 1)[0]): record
        for target, content in hits.items()
        for record in content.split(b">")[1:]
    }


def agreement(upstream: Mapping[str, bytes], other: Mapping[str, bytes]) -> Agreement:
    """How the hits of ``other`` agree with ``upstream``'s."""
    expected, found = records(upstream), records(other)
    both = expected.keys() & found.keys()
    return Agreement(
        hits=len(found),
        found=len(both),
        identical=sum(expected[name] == found[name] for name in both),
        more=len(found.keys() - expected.keys()),
        files=sum(other[target] == content for target, content in upstream.items()),
    )


def other_way(arguments: argparse.Namespace, inputs: Inputs, name: str, plug_ins: Path) -> Way:
    """``dpam-hpc run --aligner`` with another aligner."""
    here = Path(__file__).parent
    path = [str(place.absolute()) for place in (*arguments.aligner_path, here)]
    sys.path += [place for place in path if place not in sys.path]
    if ":" in name:
        definition, name = name, aligners.load(name).name
        folder = plug_ins / f"{len(list(plug_ins.iterdir()))}"
        measuring.register_aligner(folder, name, definition)
        path.append(str(folder))
    else:
        definition = aligners.find(name)
    path += filter(None, [os.environ.get("PYTHONPATH", "")])
    return ways.by_dpam_hpc(
        name,
        inputs,
        arguments.dali_home,
        arguments.workers,
        "--aligner",
        name,
        environment={"PYTHONPATH": os.pathsep.join(path)},
        hits_suffix=aligners.load(definition).hits_suffix,
    )


def chosen_ways(arguments: argparse.Namespace, inputs: Inputs, folder: Path) -> list[Way]:
    """What is to be compared, upstream first."""
    common = (inputs, arguments.dali_home, arguments.workers)
    if arguments.dpam:
        first = ways.by_dpam(UPSTREAM, *common, arguments.dpam, arguments.dpam_python)
    else:
        first = ways.by_dali_pl(UPSTREAM, *common)
    bundle = str(measuring.bundle_in(folder / "bundle"))
    chosen = [
        first,
        ways.by_dpam_hpc(OURS, *common),
        ways.by_dpam_hpc(OURS_WITH_BUNDLE, *common, "--templates", bundle),
    ]
    (folder / "plug-ins").mkdir()
    return chosen + [
        other_way(arguments, inputs, name, folder / "plug-ins") for name in arguments.aligner
    ]


def print_results(
    outcomes: dict[str, list[Outcome]], pairs: int, upstream_hits: Mapping[str, bytes]
) -> dict[str, dict[str, Any]]:
    """The tables, and what they hold."""
    results: dict[str, dict[str, Any]] = {}
    costs: list[list[object]] = []
    hits: list[list[object]] = []
    base_cpu = ways.median_cpu(outcomes[UPSTREAM])
    base_wall = ways.median_wall(outcomes[UPSTREAM])
    for name, runs in outcomes.items():
        cpu, wall = ways.median_cpu(runs), ways.median_wall(runs)
        agreed = [agreement(upstream_hits, run.hits) for run in runs]
        least = min(agreed, key=lambda found: (found.files, found.identical))
        system = statistics.median(run.measured.system for run in runs)
        spread = ways.spread([run.measured.cpu for run in runs])
        costs.append(
            [name, spread, system, 1000 * cpu / pairs, wall, base_cpu / cpu, base_wall / wall]
        )
        numbers = [least.hits, least.found, least.identical, least.more]
        failed = "-" if runs[0].failures is None else str(max(run.failures or 0 for run in runs))
        hits.append([name, *numbers, f"{least.files} of {len(upstream_hits)}", failed])
        results[name] = {
            "cpu_ratio": base_cpu / cpu,
            "wall_ratio": base_wall / wall,
            "agreement": vars(least),
            "runs": [run.numbers() for run in runs],
        }
    header = ["", "CPU s, median (range)", "of it system", "ms a pair", "wall s"]
    print_table([*header, "times less CPU", "times less wall"], costs)
    header = ["", "hits", "upstream's found", "same bytes", "not upstream's", "whole files"]
    print_table([*header, "failed"], hits)
    return results


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    measuring.add_input_arguments(parser)
    parser.add_argument("--dpam", type=Path, metavar="CHECKOUT", help="a checkout of dpam_c2")
    parser.add_argument("--dpam-python", type=Path, default=Path(sys.executable), metavar="EXE")
    parser.add_argument(
        "--aligner", action="append", default=[], metavar="NAME", help="a further one; may repeat"
    )
    parser.add_argument(
        "--aligner-path", type=Path, action="append", default=[], metavar="DIR", help="its folder"
    )
    parser.add_argument("--repeat", type=int, default=1)
    return parser.parse_args(argv)


def main() -> None:
    """Compare, in a folder that is removed in the end."""
    arguments = parse()
    inputs = Inputs.of(arguments)
    upstream = "dpam_c2 step 7" if arguments.dpam else "one dali.pl a pair"
    targets = f"{len(inputs.candidates)} targets, {inputs.pairs} pairs"
    measuring.say(f"{targets}; upstream: {upstream}")
    with measuring.fresh_folder() as folder:
        home = arguments.dali_home.absolute()
        build = measuring.build_bundle(inputs, home, folder / "bundle", arguments.workers)
        size = measuring.bundle_in(folder / "bundle").stat().st_size
        measuring.say(
            f"bundle of {len(inputs.templates)} templates, built once: {build.cpu:.2f} CPU s,"
            f" {build.wall:.2f} s, {size} bytes"
        )
        outcomes = ways.run_all(chosen_ways(arguments, inputs, folder), inputs, arguments.repeat)
    results = print_results(outcomes, inputs.pairs, outcomes[UPSTREAM][0].hits)
    measuring.write_json(
        arguments.json,
        arguments.dali_home,
        upstream=upstream,
        workers=arguments.workers,
        candidates={target: len(names) for target, names in inputs.candidates.items()},
        bundle={"cpu": build.cpu, "wall": build.wall, "bytes": size},
        ways=results,
    )


if __name__ == "__main__":
    main()
