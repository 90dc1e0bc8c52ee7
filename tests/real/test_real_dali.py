"""The sample, and where DPAM_HPC_GOLDEN names one a whole golden set, by the real programs."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests import replay
from tests.conftest import COMMAND, HITS, as_upstream, environment, lay_out, run

HOME = os.environ.get("DALI_HOME", "")
GOLDEN = os.environ.get("DPAM_HPC_GOLDEN", "")
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not HOME, reason="set DALI_HOME to a DaliLite.v5 folder (docs/dali.md)"),
]
needs_golden = pytest.mark.skipif(
    not GOLDEN, reason="set DPAM_HPC_GOLDEN to a folder with P.pdb, P_hits4Dali, ECOD70/, hits/"
)


def test_the_known_pair() -> None:
    done = run("dali", "check", "--dali-home", HOME)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("workers", "sharded"), [("1", False), ("7", True)])
def test_the_sample_to_the_byte(tmp_path: Path, scratch: Path, workers: str, sharded: bool) -> None:
    work = lay_out(tmp_path / "w", replay.PROTEINS, sharded)
    done = run(
        "run", work.root, "--data-dir", replay.DATA, "--dali-home", HOME,
        "--scratch-dir", scratch, "--dali-workers", workers,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    work.expect_whole()


def test_long_chains_lose_what_upstream_loses_unless_asked_to_keep_it(
    tmp_path: Path, scratch: Path
) -> None:
    """A query of three copies in a row: the last one's indices begin over 1000."""
    atoms = [
        line
        for line in (replay.DATA / "r1bd2X.pdb").read_text().splitlines(keepends=True)
        if line.startswith("ATOM")
    ]
    residues = len({line[22:26] for line in atoms})
    copies, number, last = [], 0, ""
    for copy in range(2):
        for line in atoms:
            number, last = number + (line[22:26] != last), line[22:26]
            x = float(line[30:38]) + 200.0 * copy
            copies.append(f"{line[:22]}{number:4d}{line[26:30]}{x:8.3f}{line[38:]}")
    assert number == 2 * residues > 1300
    hits = {}
    for flags in ([], ["--fix-long-chains"]):
        folder = tmp_path / f"w{len(flags)}"
        folder.mkdir()
        (folder / "P.pdb").write_text("".join(copies))
        (folder / "P_hits4Dali").write_text("e1bd2B1\n")
        done = run(
            "run", folder, "--data-dir", replay.DATA, "--dali-home", HOME,
            "--scratch-dir", scratch, *flags,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        hits[len(flags)] = (folder / f"P{HITS}").read_text()
        named = folder / "P_iterativeDali.failures.tsv"
        assert named.exists() == (not flags)
        if not flags:
            assert "e1bd2B1\tlost\tround" in named.read_text()
    assert hits[1].count("\n") > hits[0].count("\n")


@needs_golden
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("workers", "sharded", "bundled"),
    [("1", False, True), ("2", True, False), ("7", False, False), ("64", True, True)],
)
def test_the_golden_set_to_the_byte(
    tmp_path: Path, scratch: Path, workers: str, sharded: bool, bundled: bool
) -> None:
    golden = Path(GOLDEN)
    work = tmp_path / "w"
    queries = work / "step01_prepare" if sharded else work
    candidates = work / "step06_candidates" if sharded else work
    queries.mkdir(parents=True)
    candidates.mkdir(exist_ok=True)
    for query in golden.glob("*.pdb"):
        shutil.copy(query, queries)
        shutil.copy(golden / f"{query.stem}_hits4Dali", candidates)
    more: list[str | Path] = []
    if bundled:
        bundle = tmp_path / "golden.bundle"
        run("bundle", "build", golden / "ECOD70", "-o", bundle, "--dali-home", HOME)
        more = ["--templates", bundle]
    arguments = [
        "run", work, "--data-dir", golden, "--dali-home", HOME, "--scratch-dir", scratch,
        "--dali-workers", workers, *more,
    ]  # fmt: skip
    if workers == "7":
        _interrupt_often([str(argument) for argument in arguments], times=30)
    done = run(*arguments, timeout=1700)
    assert done.returncode == 0, done.stderr
    output = work / "step07_dali" if sharded else work
    for expected in (golden / "hits").iterdir():
        text = (output / expected.name).read_text()
        assert as_upstream(text) == as_upstream(expected.read_text())
    assert list(scratch.iterdir()) == []


def _interrupt_often(arguments: list[str], times: int) -> None:
    """Start it and end it, by turns orderly and by force, at seeded moments."""
    moments = random.Random(7)
    for turn in range(times):
        running = subprocess.Popen(
            [*COMMAND, *arguments, "--grace", "0.5"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(),
        )  # fmt: skip
        try:
            running.wait(moments.uniform(0.1, 20.0))
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL if turn % 2 else signal.SIGTERM)
            running.wait(30)
