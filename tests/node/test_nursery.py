"""What starts the workers: it dies with its launcher, and itself may die, hang or be replaced."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from dpam_hpc.errors import AlignerError
from dpam_hpc.node import workers
from dpam_hpc.node.work import Unit
from dpam_hpc.node.workers import Nursery

from .fake_aligner import DEFINITION
from .test_workers import (
    Node,
    answers,
    is_gone,
    launcher,
    node,
    nursery_of,
    pool_of,
    wait_until,
    workers_of,
)

__all__ = ["node"]


def children() -> list[psutil.Process]:
    """Every child of this process, ended ones that nobody waited for among them."""
    return psutil.Process().children(recursive=True)


def open_files(pid: int) -> int:
    """How many descriptors a process has."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_it_dies_with_its_launcher(node: Node) -> None:
    with launcher(node, "hit") as process:
        nursery = nursery_of(process.pid)
        process.kill()
        wait_until(lambda: is_gone(nursery.pid), 2)


def test_it_dies_with_its_launcher_and_takes_a_worker_that_is_stopped_with_it(node: Node) -> None:
    with launcher(node, "hit") as process:
        (worker,) = workers_of(process.pid)
        worker.suspend()
        process.kill()
        wait_until(lambda: is_gone(worker.pid), 2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1, signal.SIGHUP, signal.SIGTERM])
def test_signals_to_the_whole_job_do_not_end_it(node: Node, number: signal.Signals) -> None:
    with pool_of(node) as pool:
        pool.give(node.unit("hit"))
        answers(pool, 1)
        nursery = nursery_of(os.getpid())
        nursery.send_signal(number)
        pool.give(node.unit("hang"))
        pool.give(node.unit("hit"))
        answers(pool, 1)
        assert nursery_of(os.getpid()) == nursery


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_one_that_is_killed_or_hangs_is_replaced_and_its_workers_go_on(
    node: Node, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "ANSWER_WITHIN", 0.5)
    with pool_of(node) as pool:
        pool.give(node.unit("hang"))
        worker, program = node.at_work()
        first = nursery_of(os.getpid())
        first.send_signal(number)
        pool.give(node.unit("hit"))
        (answer,) = answers(pool, 1)
        assert answer.done is not None
        assert is_gone(first.pid)
        assert nursery_of(os.getpid()) != first
        assert not is_gone(worker) and not is_gone(program)
        assert pool.busy_with(Unit) == 1, "the first is still at it"
    wait_until(lambda: is_gone(worker) and is_gone(program), 2)
    assert children() == []


def test_a_worker_whose_nursery_was_killed_is_missed_all_the_same(node: Node) -> None:
    with pool_of(node) as pool:
        pool.give(node.unit("hang"))
        worker, program = node.at_work()
        nursery_of(os.getpid()).kill()
        os.kill(worker, signal.SIGKILL)
        (answer,) = answers(pool, 1)
        assert (answer.done, answer.died) == (None, "its worker closed the connection")
        wait_until(lambda: is_gone(program), 2)
        pool.give(node.unit("hit"))
        (answer,) = answers(pool, 1)
        assert answer.done is not None


def test_a_worker_of_one_that_hangs_does_not_hold_up_the_end(node: Node) -> None:
    with pool_of(node) as pool:
        for _ in range(3):
            pool.give(node.unit("hang"))
        node.at_work()
        nursery_of(os.getpid()).suspend()
        begun = time.monotonic()
    assert time.monotonic() - begun < 2 * workers.END_WITHIN
    wait_until(lambda: children() == [], 2)


def test_dead_workers_leave_neither_zombies_nor_descriptors(node: Node) -> None:
    with pool_of(node) as pool:
        counts = []
        for _ in range(4):
            pool.give(node.unit("hit"))
            answers(pool, 1)
            (worker,) = workers_of(os.getpid())
            counts.append((open_files(os.getpid()), open_files(nursery_of(os.getpid()).pid)))
            worker.kill()
            assert pool.wait(5) == []
            assert children() == [nursery_of(os.getpid())]
        assert len(set(counts)) == 1, counts
    assert children() == []


def test_a_worker_has_no_descriptor_of_others(node: Node) -> None:
    with pool_of(node) as pool:
        for _ in range(3):
            pool.give(node.unit("hang"))
        wait_until(lambda: len(node.noted("programs")) == 3)
        for worker in workers_of(os.getpid()):
            found = [os.readlink(f"/proc/{worker.pid}/fd/{n}") for n in _numbers(worker.pid)]
            assert sum(name.startswith("socket:") for name in found) == 1, found
            assert found[:2] == ["/dev/null", "/dev/null"]


def _numbers(pid: int) -> list[int]:
    return sorted(int(name) for name in os.listdir(f"/proc/{pid}/fd"))


def test_each_worker_leads_a_group_and_works_in_its_folder(node: Node) -> None:
    with pool_of(node) as pool:
        pool.give(node.unit("hit"))
        answers(pool, 1)
        (worker,) = workers_of(os.getpid())
        assert os.getpgid(worker.pid) == worker.pid
        assert worker.cwd() == str(node.place.root)


def test_an_aligner_that_starts_threads_is_loaded_by_the_workers(node: Node) -> None:
    (Path(node.root) / "threads.py").write_text(
        "import threading, time\n"
        "from fake_aligner import FakeAligner\n"
        "threading.Thread(target=time.sleep, args=(300,), daemon=True).start()\n"
    )
    os.environ["PYTHONPATH"] += f":{node.root}"  # which the fixture sets back
    node.definition = "threads:FakeAligner"
    with pool_of(node) as pool:
        pool.give(node.unit("hit"))
        (answer,) = answers(pool, 1)
        assert answer.done is not None and answer.done.results
        nursery = nursery_of(os.getpid())
        assert nursery.num_threads() == 1
        assert "threads:FakeAligner" not in nursery.cmdline()


def test_where_none_can_be_had_it_is_said(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    nursery = Nursery(DEFINITION, node.place.root)
    with pytest.raises(AlignerError, match="no worker can be started"):
        nursery.start(node.place.root)
    nursery.close()
    assert children() == []


def test_a_folder_that_is_gone_is_an_error_of_scratch(node: Node) -> None:
    nursery = Nursery(DEFINITION, node.place.root)
    with pytest.raises(FileNotFoundError):
        nursery.start(node.root / "gone")
    nursery.close()
    assert children() == []
