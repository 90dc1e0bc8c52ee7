"""``python -m tests.faults --seed S --runs N``: fault runs of the seeds S, S + 1, ...

Exit status 1 if one does not hold. Each runs in a process of its own, several at once.
``--only S`` runs one, and tells what happened.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests import replay
from tests.conftest import run as run_command
from tests.faults import running
from tests.faults.plan import Plan, draw

PR_SET_CHILD_SUBREAPER = 36
RUN_WITHIN = 1800.0


def can_mount() -> bool:
    """Whether a small disk can be mounted here."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        return False
    try:
        with tempfile.TemporaryDirectory() as folder, running.small_disk(Path(folder)):
            return True
    except subprocess.SubprocessError:
        return False


def can_slow() -> bool:
    """Whether the slow file system can be mounted here."""
    return bool(shutil.which("fusermount3")) and os.access("/dev/fuse", os.R_OK | os.W_OK)


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--only", type=int, help="run this seed alone, in this process")
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--longest", type=float, default=60.0, help="seconds of the longest fault")
    parser.add_argument("--dali-home", type=Path, help="real programs (the default: replayed ones)")
    parser.add_argument("--keep", action="store_true", help="keep the folder of a run that fails")
    arguments = parser.parse_args()
    if arguments.dali_home and not arguments.dali_home.is_dir():
        parser.error(f"--dali-home: there is no folder {arguments.dali_home}")
    return arguments


def plan_of(seed: int, arguments: argparse.Namespace) -> Plan:
    """The plan of a seed on this machine."""
    return draw(seed, arguments.longest, can_mount(), can_slow())


def run_one(arguments: argparse.Namespace) -> int:
    """Run one seed here."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans are seen
    plan = plan_of(arguments.only, arguments)
    print(plan, flush=True)
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    keep = False
    try:
        home = arguments.dali_home or replay.make_home(folder / "home")
        bundle = folder / "made.bundle"
        if plan.bundled:
            made = run_command(
                "bundle", "build", replay.DATA / "ECOD70", "-o", bundle, "--dali-home", home,
                "--workers", "2",
            )  # fmt: skip
            running.expect(made.returncode == 0, f"no bundle: {made.stderr}")
        root = folder / "world"
        root.mkdir()
        struck = running.run(plan, root, home, bundle, sys.stdout)
        print(f"  held; struck: {'; '.join(struck) or 'nothing'}")
        return 0
    except running.Broken as broken:
        keep = arguments.keep
        print(f"  BROKEN: {broken}" + (f"\n  kept: {folder}" if keep else ""))
        return 1
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def run_many(arguments: argparse.Namespace) -> int:
    """Run all seeds, each in a process."""
    begun = time.monotonic()

    def run(seed: int) -> tuple[int, int, str]:
        argv = [sys.executable, "-m", "tests.faults", "--only", str(seed)]
        argv += ["--longest", str(arguments.longest)]
        argv += ["--dali-home", str(arguments.dali_home)] if arguments.dali_home else []
        argv += ["--keep"] if arguments.keep else []
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=RUN_WITHIN
        )
        return seed, done.returncode, done.stdout

    broken, kinds = [], Counter[str]()
    seeds = range(arguments.seed, arguments.seed + arguments.runs)
    with ThreadPoolExecutor(arguments.at_once) as threads:
        for seed, code, text in threads.map(run, seeds):
            held = code == 0
            print(text if not held else text.splitlines()[0], flush=True)
            kinds.update(type(fault).__name__ for fault in plan_of(seed, arguments).faults)
            if not held:
                broken.append(seed)
    print(f"\n{arguments.runs - len(broken)} of {arguments.runs} runs held", end="")
    print(f" in {time.monotonic() - begun:.0f} s; faults drawn: {dict(kinds)}")
    for seed in broken:
        print(f"again: python -m tests.faults --only {seed} --longest {arguments.longest:g} --keep")
    return 1 if broken else 0


if __name__ == "__main__":
    parsed = parse()
    sys.exit(run_one(parsed) if parsed.only is not None else run_many(parsed))
