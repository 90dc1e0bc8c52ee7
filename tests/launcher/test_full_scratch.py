"""Scratch that really fills or vanishes while a run is at work; needs root to mount one."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import lay_out
from tests.launcher.test_interrupt import _wait_for_workers, start

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("mount"), reason="run as root, who may mount a tmpfs"
)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", str(folder)], timeout=10, check=False
    )
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here: allow CAP_SYS_ADMIN")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], timeout=10, check=True)


def fill(folder: Path) -> None:
    """Use up every byte."""
    with open(folder / "fill", "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 65536)
        except OSError:
            return


def test_scratch_that_fills_costs_no_hit(tmp_path: Path, small_disk: Path, stand_in: Path) -> None:
    work = lay_out(tmp_path / "w", ("A0A0K2WPR7", "O05011"))
    running = start(work, stand_in, small_disk, workers=1)
    _wait_for_workers(small_disk)
    fill(small_disk)
    time.sleep(2)
    (small_disk / "fill").unlink()
    _, stderr = running.communicate(timeout=60)
    assert running.returncode == 0, stderr
    assert "no new work for now" in stderr
    work.expect_whole()
    assert list(small_disk.iterdir()) == []


def test_scratch_that_vanishes_costs_no_hit(tmp_path: Path, scratch: Path, stand_in: Path) -> None:
    work = lay_out(tmp_path / "w", ("A0A0K2WPR7", "O05011"))
    running = start(work, stand_in, scratch, workers=1)
    _wait_for_workers(scratch)
    for folder in scratch.iterdir():
        shutil.rmtree(folder, ignore_errors=True)
    _, stderr = running.communicate(timeout=60)
    assert running.returncode == 0, stderr
    assert "the run moves to" in stderr
    work.expect_whole()


def test_a_full_working_folder_stops_the_run_and_keeps_what_is_done(
    tmp_path: Path, small_disk: Path, scratch: Path, stand_in: Path
) -> None:
    work = lay_out(small_disk / "w", ("A0A0K2WPR7", "O05011"))
    running = start(work, stand_in, scratch, workers=1)
    _wait_for_workers(scratch)
    fill(small_disk)
    _, stderr = running.communicate(timeout=60)
    assert running.returncode == 6, stderr
    assert "results cannot be written" in stderr
    assert "Traceback" not in stderr
    (small_disk / "fill").unlink()
    again = start(work, stand_in, scratch)
    _, stderr = again.communicate(timeout=60)
    assert again.returncode == 0, stderr
    work.expect_whole()
