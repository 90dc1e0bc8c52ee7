"""Fuzz the parsers one after the other by atheris, from their corpora; tell what was found.

    python -m tests.fuzz.run [--seconds N] [PARSER ...]
    python -m tests.fuzz.run --replay PARSER FILE      what a finding does

What a parser's coverage grows by is kept in .fuzz/PARSER, from where the next run goes on.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from tests.fuzz.parsers import CORPUS, PARSERS

WORK = Path(".fuzz")
LONGEST = 1 << 16
"""Bytes of an input."""
SLOWEST = 10
"""Seconds that one input may take."""
MEGABYTES = 2048


def fuzz(name: str, seconds: int) -> list[Path]:
    """Fuzz one parser for so long, or until it finds something; the inputs that it found."""
    grown, findings = WORK / name, WORK / "findings" / name
    grown.mkdir(parents=True, exist_ok=True)
    findings.mkdir(parents=True, exist_ok=True)
    before = set(findings.iterdir())
    done = subprocess.run(
        [
            sys.executable, "-m", "tests.fuzz.cover", name, str(grown), str(CORPUS / name),
            f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-timeout={SLOWEST}",
            f"-rss_limit_mb={MEGABYTES}", f"-artifact_prefix={findings}/", "-print_final_stats=1",
        ],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        timeout=seconds + 120,
    )  # fmt: skip
    (WORK / f"{name}.log").write_text(done.stdout)
    ran = re.search(r"number_of_executed_units:\s*(\d+)", done.stdout)
    found = sorted(set(findings.iterdir()) - before)
    print(f"{name}: {ran[1] if ran else '?'} executions, {len(found)} findings", flush=True)
    for path in found:
        print(f"  {path}: python -m tests.fuzz.run --replay {name} {path}", flush=True)
    if done.returncode and not found:
        print(done.stdout[-2000:], flush=True)
        found.append(WORK / f"{name}.log")
    return found


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=int, default=600, help="for each parser")
    arguments.add_argument("--replay", metavar="PARSER", choices=PARSERS)
    arguments.add_argument("names", nargs="*", help="parsers; with --replay: files")
    given = arguments.parse_args()
    if given.replay:
        for path in given.names:
            PARSERS[given.replay](Path(path).read_bytes())
            print(f"{path}: holds")
        return 0
    found = [path for name in given.names or PARSERS for path in fuzz(name, given.seconds)]
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
