"""Kill it at any moment, start it again: the same bytes, nothing left behind, nothing doubled."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from dpam_hpc import journal
from dpam_hpc.node.worker import PROCESS_NAME
from tests import replay
from tests.conftest import COMMAND, Work, environment, lay_out

TARGETS = ("A0A0K2WPR7", "O05011")
MOMENTS = 15
LONGEST = 4.0


def start(
    work: Work, home: Path, scratch: Path, *more: str, workers: int = 3
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *COMMAND, "run", str(work.root), "--data-dir", str(replay.DATA),
            "--dali-home", str(home), "--scratch-dir", str(scratch), "--min-free-gb", "0.01",
            "--dali-workers", str(workers), "--grace", "0.2", *more,
        ],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip


def processes_in(folder: Path) -> list[str]:
    """Command lines of the processes that work in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd().startswith(str(folder)):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def expect_none_left(scratch: Path, within: float = 3.0) -> None:
    until = time.monotonic() + within
    while processes_in(scratch) and time.monotonic() < until:
        time.sleep(0.05)
    assert processes_in(scratch) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_again_and_again_it_ends_with_the_same_bytes(
    number: signal.Signals, tmp_path: Path, scratch: Path, stand_in: Path
) -> None:
    work = lay_out(tmp_path / "w", TARGETS)
    moments = random.Random(int(number))
    for _ in range(MOMENTS):
        running = start(work, stand_in, scratch)
        try:
            running.wait(moments.uniform(0.05, LONGEST))
        except subprocess.TimeoutExpired:
            running.send_signal(number)
        _, stderr = running.communicate(timeout=30)
        assert running.returncode in (0, 75, -number), stderr
        assert "Traceback" not in stderr
        expect_none_left(scratch)
        if running.returncode == 75:
            assert "resume with: " in stderr
            assert list(scratch.iterdir()) == []
    last = start(work, stand_in, scratch)
    _, stderr = last.communicate(timeout=60)
    assert last.returncode == 0, stderr
    work.expect_whole()
    assert list(scratch.iterdir()) == []
    records = journal.read(work.root / ".dpam-hpc" / "journal.jsonl")
    # A record that a kill took is not missed: marker and hits tell the same.
    assert {record["target"] for record in records} - {journal.LAUNCHER} <= set(TARGETS)
    noted = [record for record in records if record["target"] == journal.LAUNCHER]
    assert (noted[0]["state"], noted[-1]["state"], noted[-1]["how"]) == ("start", "end", "finished")


def test_a_worker_that_is_killed_costs_nothing(
    tmp_path: Path, scratch: Path, stand_in: Path
) -> None:
    work = lay_out(tmp_path / "w", TARGETS)
    running = start(work, stand_in, scratch)
    killed = 0
    while running.poll() is None and killed < 3:
        time.sleep(0.3)
        with suppress(psutil.Error):  # one may end while it is looked at
            for worker in psutil.Process(running.pid).children(recursive=True):
                if worker.name() == PROCESS_NAME:
                    worker.kill()
                    killed += 1
                    break
    _, stderr = running.communicate(timeout=60)
    assert running.returncode == 0, stderr
    assert killed
    work.expect_whole()


def test_the_second_interrupt_ends_at_once(tmp_path: Path, scratch: Path, stand_in: Path) -> None:
    work = lay_out(tmp_path / "w", ("r1bd2X",))
    running = start(work, stand_in, scratch, "--grace", "60")
    _wait_for_workers(scratch)
    running.send_signal(signal.SIGINT)
    time.sleep(0.2)
    running.send_signal(signal.SIGINT)
    begun = time.monotonic()
    running.communicate(timeout=30)
    assert running.returncode == 130
    assert time.monotonic() - begun < 10
    assert list(scratch.iterdir()) == []
    expect_none_left(scratch)


def test_the_grace_lets_running_work_finish(tmp_path: Path, scratch: Path, stand_in: Path) -> None:
    work = lay_out(tmp_path / "w", ("O05011",))
    running = start(work, stand_in, scratch, "--grace", "60", workers=12)
    _wait_for_workers(scratch)
    time.sleep(1.0)
    running.send_signal(signal.SIGUSR1)
    stdout, _ = running.communicate(timeout=90)
    assert running.returncode == 75
    assert "1 targets done" in stdout
    work.expect_whole()


def test_a_second_run_is_refused_and_a_dead_one_taken_over(
    tmp_path: Path, scratch: Path, stand_in: Path
) -> None:
    work = lay_out(tmp_path / "w", ("O05011",))
    first = start(work, stand_in, scratch)
    _wait_for_workers(scratch)
    second = start(work, stand_in, scratch)
    _, stderr = second.communicate(timeout=30)
    assert second.returncode == 5
    assert f"process {first.pid}" in stderr
    first.kill()
    first.communicate()
    third = start(work, stand_in, scratch)
    _, stderr = third.communicate(timeout=60)
    assert third.returncode == 0
    assert "took over" in stderr
    assert "removed" in stderr
    work.expect_whole()


def test_a_torn_journal_line_is_cut(tmp_path: Path, scratch: Path, stand_in: Path) -> None:
    work = lay_out(tmp_path / "w", ("O05011",))
    start(work, stand_in, scratch).communicate(timeout=60)
    path = work.root / ".dpam-hpc" / "journal.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    assert [json.loads(line).get("state") for line in lines[1:]] == ["start", "done", "end"]
    path.write_bytes(b"".join(lines[:3])[:-7])
    assert start(work, stand_in, scratch).communicate(timeout=60)
    # The marker and the hits say that it is done.
    assert [record["state"] for record in journal.read(path)] == ["start", "start", "end"]
    work.expect_whole()


def test_redo_survives_an_interruption(tmp_path: Path, scratch: Path, stand_in: Path) -> None:
    work = lay_out(tmp_path / "w", TARGETS)
    start(work, stand_in, scratch).communicate(timeout=60)
    redo = start(work, stand_in, scratch, "--redo")
    _wait_for_workers(scratch)
    redo.kill()
    redo.communicate()
    again = start(work, stand_in, scratch, "--json")
    stdout, _ = again.communicate(timeout=60)
    assert json.loads(stdout)["done"] == 2
    work.expect_whole()


def _wait_for_workers(scratch: Path) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if any("w0-" in name for folder in scratch.iterdir() for name in os.listdir(folder)):
            return
        time.sleep(0.02)
    raise AssertionError("no worker started")
