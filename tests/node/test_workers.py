"""Workers as processes: they answer, they die alone, and nothing outlives its launcher."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from dpam_hpc.align import aligner as aligners
from dpam_hpc.align.iterate import TemplateResult
from dpam_hpc.errors import AlignerError
from dpam_hpc.node.work import Place, Prewarm, Setup, Unit
from dpam_hpc.node.worker import PROCESS_NAME, Worker
from dpam_hpc.node.workers import Answer, Nursery, Pool, WorkerHandle

from .fake_aligner import DEFINITION, FakeAligner, structure

PATIENCE = 20.0


class Node:
    """Scratch, templates and a query."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pdb_folder = root / "ECOD70"
        self.place = Place(root / "scratch", {"notes": str(root)})
        self.definition = DEFINITION
        self.nursery: Nursery | None = None

    def make(self) -> None:
        """Make the folders, and a template a thing that an alignment can do."""
        self.pdb_folder.mkdir()
        self.place.root.mkdir()
        self.place.make()
        self.place.query("P1").write_bytes(structure(60))
        for what in ("hit", "none", "refuse", "die", "hang"):
            (self.pdb_folder / f"{what}.pdb").write_bytes(structure(40, what))

    def unit(self, *templates: str) -> Unit:
        """Work for a worker."""
        return Unit(self.place, "P1", templates)

    def start(self, number: int) -> WorkerHandle:
        """A new worker process."""
        self.nursery = self.nursery or Nursery(self.definition, self.place.root)
        setup = Setup(number, self.definition, self.pdb_folder)
        return WorkerHandle(setup, self.place.root, self.nursery)

    def close(self) -> None:
        """End what starts the workers."""
        if self.nursery:
            self.nursery.close()
            self.nursery = None

    def noted(self, kind: str) -> list[int]:
        """Numbers of the processes that were noted as ``workers`` or ``programs``."""
        return [int(line) for line in FakeAligner(self.place.options, self.root).noted(kind)]

    def at_work(self) -> tuple[int, int]:
        """The last worker that runs a program, and that program, as soon as it does."""
        wait_until(lambda: self.noted("programs") != [])
        return self.noted("workers")[-1], self.noted("programs")[-1]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    """A node whose workers find the fake aligner."""
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parents[2]}:{Path(__file__).parent}")
    node = Node(tmp_path)
    node.make()
    return node


@contextmanager
def pool_of(node: Node) -> Iterator[Pool]:
    """A pool that is ended at the end."""
    wakeup, notify = socket.socketpair()
    with wakeup, notify:
        pool = Pool(node.start, wakeup)
        try:
            yield pool
        finally:
            pool.end()
            node.close()


def wait_until(happened: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait for something to happen; fail if it does not."""
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def answers(pool: Pool, number: int) -> list[Answer]:
    """The next answers."""
    found: list[Answer] = []
    until = time.monotonic() + PATIENCE
    while len(found) < number:
        assert time.monotonic() < until, "no answer came"
        found += pool.wait(0.1)
    return found


def workers_of(pid: int) -> list[psutil.Process]:
    """The workers that a process started and that are alive."""
    below = psutil.Process(pid).children(recursive=True)
    return [p for p in below if not is_gone(p.pid) and p.name() == PROCESS_NAME]


def nursery_of(pid: int) -> psutil.Process:
    """What starts the workers of a process."""
    (found,) = (p for p in psutil.Process(pid).children() if "dpam_hpc.node.nursery" in p.cmdline())
    return found


def is_gone(pid: int) -> bool:
    """Whether a process has ended, waited for or not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_unit_is_answered(node: Node) -> None:
    with pool_of(node) as pool:
        unit = node.unit("none", "hit", "refuse", "absent")
        pool.give(unit)
        assert pool.busy_with(Unit) == 1
        (answer,) = answers(pool, 1)
        assert pool.busy_with(Unit) == 0
    assert (answer.unit, answer.died) == (unit, "")
    assert answer.done is not None
    assert (answer.done.query_failure, answer.done.scratch_problem) == ("", "")
    results = {result.template: result for result in answer.done.results}
    assert len(results) == len(answer.done.results) == 4
    assert results["none"] == TemplateResult("none")
    assert [text.split("\t")[0] for text in results["hit"].records] == [">hit_1", ">hit_2"]
    assert results["refuse"].failure == "it says so"
    assert results["absent"].failure.startswith("missing")
    assert answer.done.cpu["Python"] > 0


def test_a_worker_goes_on_after_its_unit_and_others_are_started_for_more(node: Node) -> None:
    with pool_of(node) as pool:
        for _ in range(2):
            pool.give(node.unit("hit"))
            pool.give(Prewarm(node.place, ("none", "absent")))
            assert (pool.busy_with(Unit), pool.busy_with(Prewarm)) == (1, 1)
            given = {type(answer.unit) for answer in answers(pool, 2) if answer.done}
            assert given == {Unit, Prewarm}
        assert len(workers_of(os.getpid())) == 2
    assert workers_of(os.getpid()) == []
    assert (node.place.cache / "T-none").exists()


def test_a_query_that_cannot_be_used_is_said(node: Node) -> None:
    node.place.query("P1").write_bytes(structure(60, "refuse"))
    with pool_of(node) as pool:
        pool.give(node.unit("hit"))
        (answer,) = answers(pool, 1)
    assert answer.done is not None
    assert answer.done.query_failure == "it says so"
    assert answer.done.results == []


def test_scratch_that_is_gone_is_said_and_the_worker_lives(node: Node) -> None:
    content = node.place.query("P1").read_bytes()
    with pool_of(node) as pool:
        node.place.query("P1").unlink()
        pool.give(node.unit("hit"))
        (answer,) = answers(pool, 1)
        assert answer.done is not None
        assert "No such file" in answer.done.scratch_problem
        node.place.query("P1").write_bytes(content)
        pool.give(node.unit("hit"))
        (answer,) = answers(pool, 1)
        assert answer.done is not None
        assert answer.done.results


def test_a_worker_that_is_killed_is_told_and_its_program_is_ended(node: Node) -> None:
    with pool_of(node) as pool:
        pool.give(node.unit("die", "hit"))
        worker, program = node.at_work()
        (answer,) = answers(pool, 1)
        assert answer == Answer(node.unit("die", "hit"), None, "its worker was killed by signal 9")
        assert is_gone(worker)
        wait_until(lambda: is_gone(program), 2)
        pool.give(node.unit("hit"))
        (answer,) = answers(pool, 1)
        assert answer.done is not None, "a new worker does the next unit"


def test_a_worker_that_cannot_start_is_told(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    with pool_of(node) as pool:
        pool.give(node.unit("hit"))
        (answer,) = answers(pool, 1)
    assert answer.done is None
    assert answer.died == "its worker ended with exit status 1"


def test_an_idle_worker_that_is_killed_is_replaced_without_a_word(node: Node) -> None:
    with pool_of(node) as pool:
        pool.give(node.unit("hit"))
        answers(pool, 1)
        (worker,) = workers_of(os.getpid())
        worker.kill()
        assert pool.wait(PATIENCE) == []
        pool.give(node.unit("none"))
        (answer,) = answers(pool, 1)
    assert answer.died == ""


def test_the_end_of_the_pool_ends_workers_and_programs(node: Node) -> None:
    with pool_of(node) as pool:
        pool.give(node.unit("hang"))
        worker, program = node.at_work()
    assert is_gone(worker)
    wait_until(lambda: is_gone(program), 2)


def test_a_wake_up_ends_a_wait_without_an_answer(node: Node) -> None:
    wakeup, notify = socket.socketpair()
    with wakeup, notify:
        pool = Pool(node.start, wakeup)
        notify.send(b"\0")
        start = time.monotonic()
        assert pool.wait(30) == []
        assert time.monotonic() - start < 10
        pool.end()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1, signal.SIGHUP, signal.SIGTERM])
def test_signals_to_the_whole_job_are_the_launcher_s_business(
    node: Node, number: signal.Signals
) -> None:
    """It gives what runs a grace; a terminal and SLURM send them to every process."""
    with pool_of(node) as pool:
        pool.give(node.unit("hit"))
        answers(pool, 1)
        (worker,) = workers_of(os.getpid())
        worker.send_signal(number)
        pool.give(node.unit("hit"))
        (answer,) = answers(pool, 1)
        assert answer.done is not None
        assert workers_of(os.getpid()) == [worker]


LAUNCHER = """
import socket, sys, time
from pathlib import Path
from node.test_workers import Node
from dpam_hpc.node.workers import Pool
node = Node(Path(sys.argv[1]))
pool = Pool(node.start, socket.socketpair()[0])
pool.give(node.unit(sys.argv[2]))
if sys.argv[2] != "hang":
    while not pool.wait(1): pass
print("working", flush=True)
time.sleep(300)
"""


@contextmanager
def launcher(node: Node, template: str) -> Iterator[subprocess.Popen[str]]:
    """A process of its own with a pool and a worker, which is at work."""
    tests = Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": f"{tests.parent}:{tests}:{Path(__file__).parent}"}
    command = [sys.executable, "-c", LAUNCHER, str(node.root), template]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "working\n"
            yield process
        finally:
            process.kill()


def test_a_launcher_that_is_killed_takes_a_worker_and_its_program_with_it(node: Node) -> None:
    with launcher(node, "hang") as process:
        worker, program = node.at_work()
        assert not is_gone(worker)
        assert not is_gone(program)
        process.kill()
        wait_until(lambda: is_gone(worker) and is_gone(program), 2)


def test_a_launcher_that_is_killed_takes_an_idle_worker_with_it(node: Node) -> None:
    with launcher(node, "hit") as process:
        (worker,) = workers_of(process.pid)
        process.kill()
        wait_until(lambda: is_gone(worker.pid), 2)


def test_programs_that_went_with_their_scratch_are_no_fault_of_the_unit(tmp_path: Path) -> None:
    place = Place(tmp_path / "gone", {"dali_home": str(tmp_path / "gone" / "dali")})
    done = Worker(Setup(0, aligners.find("dali"), tmp_path)).do(Unit(place, "P", ("t",)))
    assert "no DALI" in done.scratch_problem and not done.query_failure


def test_failures_are_believed_of_programs_that_give_the_known_answer(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    (node.pdb_folder / "crash.pdb").write_bytes(structure(40, "crash"))
    worker = Worker(Setup(0, node.definition, node.pdb_folder))
    done = worker.do(node.unit("hit", "crash"))
    assert [result.failure for result in done.results if result.failure] == [
        "its import failed twice: fake: exit status 1"
    ]

    def prove(options: object, folder: Path) -> None:
        raise AlignerError("another answer")

    monkeypatch.setattr(worker._class, "prove", prove)
    (node.pdb_folder / "crash2.pdb").write_bytes(structure(40, "crash"))
    done = worker.do(node.unit("hit", "crash2"))
    assert not done.results and not done.query_failure
    assert "another answer" in done.scratch_problem
    assert worker.do(node.unit("hit", "refuse")).results, "where none failed none is doubted"
