"""The one door for external programs."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from dpam_hpc import command
from dpam_hpc.command import Captured, TimedOut, capture, run
from dpam_hpc.node.run_lock import started_at


def no_such_call(*_: Any) -> int:
    """What an old kernel says."""
    raise OSError(38, "Function not implemented")


@pytest.fixture(params=["pidfd", "an old kernel", "a Python without it"])
def pidfd(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With pidfd_open, with one that fails, and with none: conda's Python is built without it."""
    if request.param == "an old kernel":
        monkeypatch.setattr(os, "pidfd_open", no_such_call)
    elif request.param == "a Python without it":
        monkeypatch.delattr(os, "pidfd_open")


def shell(script: str, **named: Any) -> command.Completed:
    """Run a script, for ten seconds at most."""
    return run(["/bin/sh", "-c", script], **{"timeout": 10, **named})


@pytest.mark.usefixtures("pidfd")
def test_the_exit_status_is_told() -> None:
    assert shell("exit 0").returncode == 0
    assert shell("exit 7").returncode == 7


@pytest.mark.usefixtures("pidfd")
def test_a_signal_is_told_as_a_negative_number() -> None:
    assert shell("kill -SEGV $$").returncode == -signal.SIGSEGV


def test_arguments_reach_the_program_as_they_are(tmp_path: Path) -> None:
    argument = "a b;'\"$HOME*\n"
    run(["/bin/sh", "-c", 'printf %s "$1" > out', "sh", argument], timeout=10, cwd=tmp_path)
    assert (tmp_path / "out").read_text() == argument


def test_it_runs_in_the_folder_and_environment_given(tmp_path: Path) -> None:
    shell('echo "$PWD $A $B" > out', cwd=tmp_path, env={"A": "1"})
    assert (tmp_path / "out").read_text() == f"{tmp_path} 1 \n"


def test_files_are_handed_over(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("hello")
    with open(tmp_path / "in") as stdin, open(tmp_path / "out", "w") as stdout:
        completed = shell("cat; exit 3", stdin=stdin.fileno(), stdout=stdout.fileno())
    assert completed.returncode == 3
    assert (tmp_path / "out").read_text() == "hello"


def test_nothing_is_read_or_said_unasked(capfd: pytest.CaptureFixture[str]) -> None:
    assert shell("cat; echo said; echo complained >&2").returncode == 0
    assert capfd.readouterr() == ("", "")


def test_only_the_files_named_are_left_open(tmp_path: Path) -> None:
    with open(tmp_path / "kept", "w") as kept, open(tmp_path / "closed", "w") as closed:
        shell(f"echo x > /proc/self/fd/{kept.fileno()}", pass_fds=[kept.fileno()])
        assert shell(f"echo x > /proc/self/fd/{closed.fileno()}").returncode != 0
    assert (tmp_path / "kept").read_text() == "x\n"


def test_seconds_are_told() -> None:
    completed = shell("sleep 0.2; i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done")
    assert completed.seconds > 0.2
    assert 0 < completed.cpu_seconds < completed.seconds


@pytest.mark.usefixtures("pidfd")
def test_a_program_over_its_limit_is_killed_at_once(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(TimedOut, match=r"^sh ran over its time limit of 0 s$"):
        shell("trap '' TERM; echo $$ > pid; exec sleep 60", timeout=0.3, cwd=tmp_path)
    assert time.monotonic() - start < 5
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.usefixtures("pidfd")
def test_a_limit_of_weeks_can_be_set() -> None:
    assert shell("exit 0", timeout=1e8).returncode == 0


def test_a_program_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run([str(tmp_path / "absent")], timeout=10)


@pytest.mark.usefixtures("pidfd")
def test_no_open_files_are_left() -> None:
    def open_files() -> list[str]:
        return sorted(os.listdir("/proc/self/fd"))

    before = open_files()
    shell("exit 1")
    with pytest.raises(TimedOut):
        shell("exec sleep 60", timeout=0.01)
    assert open_files() == before


def captured(script: str, **named: Any) -> command.Captured:
    return capture(["/bin/sh", "-c", script], **{"timeout": 10, **named})


def test_what_a_program_writes_is_kept(tmp_path: Path) -> None:
    assert captured("echo out; echo err >&2; exit 3") == Captured(3, "out\n", "err\n")
    assert captured("cat", input="text\n") == Captured(0, "text\n", "")
    assert captured("cat; pwd; echo $A", cwd=tmp_path, env={"A": "1"}).stdout == f"{tmp_path}\n1\n"
    assert captured("printf '\\377'").stdout == "\ufffd"
    assert captured("kill -9 $$").returncode == -signal.SIGKILL


def test_input_may_be_left_unread() -> None:
    assert captured("exit 0", input="x" * 1_000_000).returncode == 0


def test_a_captured_program_over_its_limit_is_killed_with_its_children(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(TimedOut, match=r"^sh ran over its time limit"):
        captured("trap '' TERM; sleep 60 & echo $! > pid; wait", timeout=0.5, cwd=tmp_path)
    assert time.monotonic() - start < 5
    child = int((tmp_path / "pid").read_text())
    while started_at(child):  # a moment may pass until the kernel has ended it
        assert time.monotonic() - start < 5
        time.sleep(0.01)


def test_input_that_is_not_read_does_not_keep_a_program_alive() -> None:
    with pytest.raises(TimedOut):
        captured("exec sleep 60", input="x" * 1_000_000, timeout=0.3)


def test_a_child_that_keeps_the_output_open_is_not_waited_for_longer() -> None:
    start = time.monotonic()
    with pytest.raises(TimedOut):
        captured("sleep 60 & exit 0", timeout=0.5)
    assert time.monotonic() - start < 5


def test_a_captured_program_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        capture([str(tmp_path / "absent")], timeout=10)
