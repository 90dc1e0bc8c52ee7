"""One run at a time in a folder: a living holder is respected, a dead one is not."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Semaphore, Thread, current_thread
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpam_hpc.errors import ExitCode, LockedError
from dpam_hpc.node import run_lock
from dpam_hpc.node.run_lock import FILE_NAME, RUN_LEASE, Lease, RunLock, holder_at_work

STARTED_AGAIN = {"started": 1}


def leave_lock(folder: Path, **changed: Any) -> Path:
    """The lock file of this process as if somebody else had made it: with ``changed`` entries."""
    folder.mkdir(exist_ok=True)
    RunLock(folder)
    return change_lock(folder, **changed)


def change_lock(folder: Path, **changed: Any) -> Path:
    """Change entries of the lock file."""
    path = folder / FILE_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    return path


def token(folder: Path) -> str:
    """By which lock the folder is held."""
    return str(json.loads((folder / FILE_NAME).read_text())["token"])


def age(path: Path, seconds: float) -> None:
    """Let the last heartbeat be ``seconds`` ago."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_second_holder_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    folder = tmp_path / ".dpam-hpc"
    path = leave_lock(folder)
    before = path.read_bytes()
    with pytest.raises(LockedError) as caught:
        RunLock(folder)
    assert caught.value.exit_code == ExitCode.LOCKED
    assert str(tmp_path) in caught.value.what
    assert os.uname().nodename in caught.value.what
    assert f"process {os.getpid()}" in caught.value.what
    assert str(path) in caught.value.hint
    assert path.read_bytes() == before
    assert os.listdir(folder) == [FILE_NAME]


def test_a_released_folder_can_be_held_again(tmp_path: Path) -> None:
    for _ in range(2):
        lock = RunLock(tmp_path)
        assert lock.took_over is None
        lock.release()
        assert os.listdir(tmp_path) == []


def test_a_dead_process_is_taken_over_from(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    leave_lock(tmp_path, pid=ended.pid, token="theirs")
    lock = RunLock(tmp_path)
    assert lock.took_over is not None
    assert (lock.took_over.pid, lock.took_over.token) == (ended.pid, "theirs")
    assert token(tmp_path) != "theirs"
    assert os.listdir(tmp_path) == [FILE_NAME]


def test_a_process_that_ended_but_was_not_waited_for_is_dead(tmp_path: Path) -> None:
    read = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(read, stdin=subprocess.PIPE) as ended:
        started = run_lock.started_at(ended.pid)
        assert ended.stdin is not None
        ended.stdin.close()
        process = psutil.Process(ended.pid)
        while process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        leave_lock(tmp_path, pid=ended.pid, started=started)
        assert RunLock(tmp_path).took_over is not None


@pytest.mark.parametrize("changed", [STARTED_AGAIN, {"boot": "an earlier one"}])
def test_another_process_of_the_same_number_is_not_the_holder(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    leave_lock(tmp_path, **changed)
    assert RunLock(tmp_path).took_over is not None


@pytest.mark.parametrize("seconds", [0.0, RUN_LEASE.stale_after - 60])
def test_a_holder_elsewhere_with_a_heartbeat_is_respected(tmp_path: Path, seconds: float) -> None:
    path = leave_lock(tmp_path, host="elsewhere", pid=7, **STARTED_AGAIN)
    age(path, seconds)
    with pytest.raises(LockedError, match="elsewhere, process 7"):
        RunLock(tmp_path)
    assert os.listdir(tmp_path) == [FILE_NAME]


def test_a_holder_elsewhere_without_a_heartbeat_is_taken_over_from(tmp_path: Path) -> None:
    age(leave_lock(tmp_path, host="elsewhere"), RUN_LEASE.stale_after + 1)
    lock = RunLock(tmp_path)
    assert lock.took_over is not None
    assert lock.took_over.host == "elsewhere"
    assert os.listdir(tmp_path) == [FILE_NAME]


def test_in_another_container_of_this_machine_life_is_seen_at_once(tmp_path: Path) -> None:
    held = RunLock(tmp_path)
    path = change_lock(tmp_path, pid_namespace=1)
    age(path, 10 * RUN_LEASE.stale_after)
    with pytest.raises(LockedError):
        RunLock(tmp_path)
    left = path.read_text()
    held.release()
    path.write_text(left)  # as one that was killed just now leaves it
    taken = RunLock(tmp_path)
    assert taken.took_over
    taken.release()


def test_a_container_with_a_network_of_its_own_is_judged_by_its_heartbeat(tmp_path: Path) -> None:
    leave_lock(tmp_path, pid_namespace=1, net_namespace=1)
    with pytest.raises(LockedError):
        RunLock(tmp_path)


def test_the_heartbeat_is_shown_now_and_then(tmp_path: Path) -> None:
    lock = RunLock(tmp_path, lease=Lease(heartbeat=0.2))
    path = tmp_path / FILE_NAME
    age(path, 100)
    lock.beat()
    assert time.time() - path.stat().st_mtime > 50, "one that was just made needs none"
    time.sleep(0.25)
    lock.beat()
    assert time.time() - path.stat().st_mtime < 50


def test_a_later_start_takes_over_from_a_living_earlier_one(tmp_path: Path) -> None:
    earlier = RunLock(tmp_path, lease=Lease(heartbeat=0.05))
    told = threading.Event()
    earlier.keep_alive(told.set)
    later = RunLock(tmp_path, rank=1)
    assert later.took_over is not None and later.took_over.pid == os.getpid()
    assert told.wait(5), "the earlier one is told"
    assert earlier.is_lost() and not later.is_lost()
    earlier.release()
    assert not later.is_lost(), "what it releases is not the later one's"
    with pytest.raises(LockedError):
        RunLock(tmp_path)


def test_a_patient_one_waits_for_the_lock(tmp_path: Path) -> None:
    held = RunLock(tmp_path)
    threading.Timer(1.2, held.release).start()
    RunLock(tmp_path, lease=Lease(patience=10))
    with pytest.raises(LockedError):
        RunLock(tmp_path, lease=Lease(patience=0.1))


def test_who_is_at_work_is_told_without_taking_the_lock(tmp_path: Path) -> None:
    assert holder_at_work(tmp_path) is None
    lock = RunLock(tmp_path)
    holder = holder_at_work(tmp_path)
    assert holder is not None and holder.pid == os.getpid()
    assert not lock.is_lost()
    assert os.listdir(tmp_path) == [FILE_NAME]


def test_a_lock_that_was_taken_over_is_not_released(tmp_path: Path) -> None:
    """It was frozen for so long that another one took it for dead."""
    frozen = RunLock(tmp_path)
    age(change_lock(tmp_path, host="elsewhere"), RUN_LEASE.stale_after + 1)
    assert RunLock(tmp_path).took_over is not None
    theirs = token(tmp_path)
    frozen.release()
    assert token(tmp_path) == theirs


@pytest.mark.parametrize("content", ["", "nonsense", "[]", "3", '{"host": "h"}'])
def test_an_unreadable_lock_is_left_to_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setattr(run_lock, "HALF_MADE_WAIT", 0.0)
    path = tmp_path / FILE_NAME
    path.write_text(content)
    with pytest.raises(LockedError, match="cannot be read") as caught:
        RunLock(tmp_path)
    assert "remove it" in caught.value.hint
    assert path.read_text() == content


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="absent"):
        RunLock(tmp_path / "absent")


def test_a_full_disk_leaves_no_half_made_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", refuse)
        patched.setattr(Path, "write_text", refuse)
        with pytest.raises(OSError, match="No space"):
            RunLock(tmp_path)
    assert os.listdir(tmp_path) == []


class Taker(Thread):
    """One who wants the lock, and stops before each operation on a file until it may go on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self._folder = folder
        self._go, self._stopped = Semaphore(0), Semaphore(0)
        self.outcome = ""
        self.start()
        self._stopped.acquire()

    def run(self) -> None:
        """Try to hold the folder."""
        self.stop()
        try:
            RunLock(self._folder)
            self.outcome = "won"
        except Exception as error:
            self.outcome = type(error).__name__
        self._stopped.release()

    def stop(self) -> None:
        """Wait for the next turn."""
        self._stopped.release()
        self._go.acquire()

    def step(self) -> None:
        """Let it do one operation."""
        if not self.outcome:
            self._go.release()
            assert self._stopped.acquire(timeout=20)


def stopping(do: Callable[..., Any]) -> Callable[..., Any]:
    """An operation on a file that a taker does in its turn alone."""

    def in_turn(*arguments: Any, **named: Any) -> Any:
        taker = current_thread()
        if isinstance(taker, Taker):
            taker.stop()
        return do(*arguments, **named)

    return in_turn


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=50))
def test_of_those_who_take_over_one_wins_whoever_is_interrupted_when(turns: list[int]) -> None:
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patched:
        folder = Path(name)
        leave_lock(folder, **STARTED_AGAIN)
        for wait in ("HALF_MADE_WAIT", "TAKEOVER_WAIT"):
            patched.setattr(run_lock, wait, 0.0, raising=False)
        for function in ("open", "write", "link", "rename", "replace", "unlink"):
            patched.setattr(os, function, stopping(getattr(os, function)))
        patched.setattr(Path, "read_text", stopping(Path.read_text))
        takers = [Taker(folder) for _ in range(3)]
        for turn in turns:
            takers[turn].step()
        while not all(taker.outcome for taker in takers):
            for taker in takers:
                taker.step()
        patched.undo()
        outcomes = sorted(taker.outcome for taker in takers)
        assert outcomes == ["LockedError", "LockedError", "won"]
        assert os.listdir(folder) == [FILE_NAME]


def race(folders: list[Path], start: Barrier, won: Queue[tuple[str, int]]) -> None:
    """Try to hold each folder at the same moment as the others do."""
    for folder in folders:
        start.wait(60)
        try:
            RunLock(folder)
        except LockedError:
            continue
        won.put((folder.name, os.getpid()))
    start.wait(60)  # who ends is dead, and may be taken over from


def test_of_those_who_race_for_a_dead_lock_exactly_one_wins(tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(100)]
    for folder in folders:
        leave_lock(folder, **STARTED_AGAIN)
    context = get_context("spawn")
    start, won = context.Barrier(2), context.Queue()
    racers = [context.Process(target=race, args=(folders, start, won)) for _ in range(2)]
    for racer in racers:
        racer.start()
    winners = []
    while any(racer.is_alive() for racer in racers) or not won.empty():
        if won.empty():
            time.sleep(0.01)
        else:
            winners.append(won.get())
    assert [racer.exitcode for racer in racers] == [0, 0]
    assert sorted(name for name, _ in winners) == sorted(folder.name for folder in folders)


def test_remains_of_killed_competitors_go_after_a_minute(tmp_path: Path) -> None:
    folder = tmp_path / ".dpam-hpc"
    folder.mkdir()
    old, young = (folder / f".{FILE_NAME}.{token}.now" for token in ("0a", "0b"))
    for path in (old, young):
        path.touch()
    age(old, run_lock.ABANDONED_AFTER + 1)
    RunLock(folder).release()
    assert not old.exists()
    assert young.exists(), "its owner may be looking at it"


def test_a_lock_that_was_never_written_ends_after_a_minute(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    path.touch()
    with pytest.raises(LockedError, match="cannot be read"):
        RunLock(tmp_path)
    assert path.exists(), "it may be in the making"
    long_ago = time.time() - 100
    os.utime(path, (long_ago, long_ago))
    held = RunLock(tmp_path)
    assert path.stat().st_size
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run.lock"]
    held.release()
    path.write_text("{")
    os.utime(path, (long_ago, long_ago))
    with pytest.raises(LockedError, match="cannot be read"):
        RunLock(tmp_path)


def test_who_died_while_removing_such_a_lock_hinders_nobody_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_lock, "ABANDONED_AFTER", 0.05)
    path = tmp_path / "run.lock"
    path.touch()
    os.link(path, tmp_path / ".run.lock.empty.dead")
    time.sleep(0.2)
    with pytest.raises(LockedError, match="cannot be read"):
        RunLock(tmp_path)
    os.utime(path, (1, 1))
    RunLock(tmp_path).release()
    assert list(tmp_path.iterdir()) == []
