"""A few seeds of ``python -m tests.faults``; ``make faults`` runs many."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import kinds, plan

SEEDS = range(1, 9)
LONGEST = 4.0
ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_the_bytes_are_the_reference_s(seed: int) -> None:
    argv = [sys.executable, "-m", "tests.faults", "--only", str(seed), "--longest", str(LONGEST)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=290, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_seed_is_always_the_same_run() -> None:
    for seed in range(100):
        drawn = [plan.draw(seed, LONGEST, True, True) for _ in range(2)]
        assert drawn[0] == drawn[1]
        assert min(fault.start for fault in drawn[0].faults) == 0


def test_a_machine_that_can_mount_nothing_has_runs_too() -> None:
    storages = {plan.draw(seed, LONGEST, False, False).storage for seed in range(100)}
    assert storages == {"disk"}


def test_all_kinds_of_faults_are_drawn() -> None:
    plans = [plan.draw(seed, LONGEST, True, True) for seed in range(200)]
    drawn = {type(fault) for drawn in plans for fault in drawn.faults}
    assert drawn == set(kinds.ALL)
