"""A target costs the shared file system no more operations than docs/design.md says."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import slowfs

from dpam_hpc.node.dispatch import STAGING_THREADS
from tests import replay
from tests.conftest import Work

pytestmark = [
    pytest.mark.slow_fs,
    pytest.mark.skipif(bool(slowfs.why_none()), reason=slowfs.why_none()),
]

TARGET = "r1bd2X"
MORE = 3
ASKED = {
    "open": 2, "read": 2, "create": 1, "write": 1, "fsync": 1, "flush": 1, "rename": 1, "link": 1,
}  # fmt: skip
"""Of a target, in the working folder; in the run's own folder some go by the clock."""
LOOK_UPS = 5


def test_operations_of_a_target(launch: Callable[..., object], tmp_path: Path) -> None:
    counted = []
    for targets in (1, 1 + MORE):
        shared = tmp_path / f"shared-{targets}"
        work = shared / "work"
        work.mkdir(parents=True)
        names = tuple(f"{TARGET}-{number}" for number in range(targets))
        for name in names:
            for ending in (".pdb", "_hits4Dali"):
                shutil.copy(replay.DATA / f"{TARGET}{ending}", work / f"{name}{ending}")
        mount = tmp_path / f"mount-{targets}"
        options = ("--nfs", "--latency-ms", 0, "--data-latency-ms", 0)
        with slowfs.mounted(shared, mount, options=options):
            slowfs.reset(mount)
            launch(Work(mount / "work", names))
            counted.append(Counter(slowfs.stats(mount)["folders"]["/work"]))
        hits = {(work / f"{name}_iterativdDali_hits").read_bytes() for name in names}
        assert hits == {(replay.DATA / f"{TARGET}_iterativdDali_hits").read_bytes()}
    few, many = counted
    more = {kind: many[kind] - few[kind] for kind in ASKED}
    expected = {kind: MORE * number for kind, number in ASKED.items()}
    # Targets that end together each write a marker: none has a name yet that could be linked to.
    together = expected["link"] - more["link"]
    assert 0 <= together < STAGING_THREADS
    expected["link"] -= together
    for kind in ("create", "write", "flush"):
        expected[kind] += together
    assert more == expected
    assert many["getattr"] - few["getattr"] <= MORE * (LOOK_UPS + 1)
