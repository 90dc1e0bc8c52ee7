"""All benchmarks, one after the other; results in results/, then docs/benchmarks.md from them.

Those that need the real DALI are left out where ``--dali-home`` names none: their results stay.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import document
import slowfs
from measuring import print_table

HERE = Path(__file__).resolve().parent
LONGEST = 2 * 3600


@dataclass(frozen=True)
class Benchmark:
    """A script and how it is called here; its results are ``results/NAME.json``."""

    name: str
    script: str
    arguments: str = ""
    real: bool = False
    fuse: bool = False
    long: bool = False


FEW = "--targets r1bd2X,O05011 --candidates 5"
"""So that upstream's way on sixteen nodes of a slow share takes minutes, not hours."""
OURS_AT_16 = "--ways ours,ours-bundle --nodes 16 --latencies 10"
"""The slowest case by itself, since all cases take an hour and a half."""
MODELS = "--targets A0A0K2WPR7,O05011"
"""AlphaFold models of usual length."""
TRIED = "--targets A0A0K2WPR7 --candidates 24 --repeat 9"
REPLAYED = "--targets r1bd2X,O05011 --candidates 3 --latencies 0,10 --nodes 1,4 --copies 3"
BENCHMARKS = (
    Benchmark("help", "help.py"),
    Benchmark("busy", "busy.py"),
    Benchmark("scale", "scale.py", "--targets 28000"),
    Benchmark("scale_million", "scale.py", "--targets 1000000", long=True),
    Benchmark("bundle_reading", "bundle_reading.py", fuse=True),
    Benchmark("least", "least.py", fuse=True),
    Benchmark("shared_fs_replayed", "shared_fs.py", f"{REPLAYED} --long-copies 4", fuse=True),
    Benchmark("cores", "extremes.py", "--only cores"),
    Benchmark("head_to_head", "head_to_head.py", real=True),
    Benchmark("cpu", "cpu.py", real=True),
    Benchmark("tried", "tried.py", TRIED, real=True),
    Benchmark("workers", "workers.py", real=True),
    Benchmark("extremes", "extremes.py", "--only memory,long,candidates", real=True),
    Benchmark("headline", "headline.py", f"{MODELS} --candidates 16", real=True, fuse=True),
    Benchmark("shared_fs", "shared_fs.py", f"{FEW} --workers 1", real=True, fuse=True),
    Benchmark(
        "shared_fs_16", "shared_fs.py", f"{FEW} --workers 1 {OURS_AT_16}", real=True, fuse=True
    ),
    Benchmark("campaign", "campaign.py"),
)
"""A line more for another benchmark. ``real``: it needs DALI; ``fuse``: it mounts slowfs.py;
``long``: it takes a quarter of an hour and is run where it is named. The last reckons with the
results of the others."""


def run(benchmark: Benchmark, arguments: argparse.Namespace) -> str:
    """Run one to its end; what became of it."""
    if benchmark.real and not arguments.dali_home:
        return "left out: no --dali-home"
    if benchmark.fuse and (why := slowfs.why_none()):
        return f"left out: {why}"
    if benchmark.long and not arguments.only:
        return f"left out, since it takes long: --only {benchmark.name}"
    results = arguments.results / f"{benchmark.name}.json"
    argv = [sys.executable, str(HERE / benchmark.script), *benchmark.arguments.split()]
    argv += ["--json", str(results)]
    environment = {k: v for k, v in os.environ.items() if k != "DALI_HOME"}
    environment["PYTHONUNBUFFERED"] = "1"
    if benchmark.real:
        environment["DALI_HOME"] = str(arguments.dali_home.absolute())
        if arguments.inputs and "--inputs" not in argv:
            argv += ["--inputs", str(arguments.inputs)]
    begun = time.monotonic()
    try:
        code = subprocess.run(argv, env=environment, timeout=LONGEST).returncode
    except subprocess.TimeoutExpired:
        return f"stopped after {LONGEST} s"
    return f"failed ({code})" if code else f"{time.monotonic() - begun:.0f} s"


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    home = os.environ.get("DALI_HOME")
    add("--dali-home", type=Path, default=home or None, help="default: $DALI_HOME")
    add("--inputs", type=Path, help="of those with the real DALI; default: sample/")
    add("--only", help=f"names with commas between: {', '.join(b.name for b in BENCHMARKS)}")
    add("--results", type=Path, default=document.RESULTS, help="default: results/ beside this")
    return parser.parse_args()


def main() -> int:
    """Run what was asked for; 1 if something failed."""
    arguments = parse()
    names = arguments.only.split(",") if arguments.only else [b.name for b in BENCHMARKS]
    if unknown := set(names) - {b.name for b in BENCHMARKS}:
        known = ", ".join(b.name for b in BENCHMARKS)
        raise SystemExit(f"--only: there is no {', '.join(sorted(unknown))}; there are {known}")
    arguments.results.mkdir(exist_ok=True)
    outcomes = []
    for benchmark in (b for b in BENCHMARKS if b.name in names):
        print(f"== {benchmark.name}\n", flush=True)
        outcomes.append([benchmark.name, run(benchmark, arguments)])
    if arguments.results == document.RESULTS:
        document.write()
    print_table(["benchmark", ""], outcomes)
    return int(any(outcome.startswith(("failed", "stopped")) for _, outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
