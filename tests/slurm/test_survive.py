"""Runs on a real SLURM that are preempted, killed, cancelled, or lose a node: the same bytes.

A short choice runs by default; DPAM_HPC_INTERRUPTIONS=20 draws that many from a seed
(DPAM_HPC_SEED), which takes some fifteen minutes.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import replay
from tests.slurm.cluster import Cluster

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(240)]

PLATFORM = """
schema = 1
name = "tests"
descr = "nodes of the tests"
default_partition = "normal"
[scheduler]
type = "slurm"
submit_mode = "{mode}"
access = ["--partition={{partition}}"]
exclusive = true
[partitions.normal]
cpus_per_node = 2
[partitions.flex]
cpus_per_node = 2
preempt_mode = "requeue"
grace_time = 10
[partitions.cancel]
cpus_per_node = 2
preempt_mode = "cancel"
grace_time = 10
[scratch]
candidates = ["{scratch}"]
min_free_gb = 0.01
[container]
bind_paths = {bind_paths}
"""
HITS = "_iterativdDali_hits"


class Site:
    """A cluster as its user has it: dpam-hpc, a stand-in for DALI, working folders.

    With an ``image`` jobs run from it, with the DALI in it; ``bind_paths`` are the platform's.
    """

    def __init__(
        self,
        cluster: Cluster,
        python: Path,
        mode: str,
        image: Path | None = None,
        bind_paths: tuple[str, ...] = (),
    ) -> None:
        self.cluster = cluster
        self.folder = cluster.script("", "mark").parent
        self.command = python.parent / "dpam-hpc"
        self.image = image
        if image is None:
            home = replay.make_home(self.folder / "dali", python=str(python))
            self.runs_with: tuple[str | Path, ...] = ("--dali-home", home)
        else:
            self.runs_with = ("--image", image)
        self.scratch = self.folder / "scratch"
        self.scratch.mkdir()
        platforms = self.folder / "platforms"
        platforms.mkdir()
        text = PLATFORM.format(
            mode=mode, scratch=self.scratch, bind_paths=json.dumps(list(bind_paths))
        )
        (platforms / "tests.toml").write_text(text)
        self.environment: dict[str, Any] = {"DPAM_HPC_PLATFORM_PATH": str(platforms)}
        self.works = 0
        self.lost = ""
        cluster.user.own(self.folder)

    def work(self, copies: int) -> Path:
        """A working folder with each target of the sample ``copies`` times."""
        self.works += 1
        work = self.folder / f"work{self.works}"
        work.mkdir()
        for protein in replay.PROTEINS:
            for n in range(copies):
                shutil.copy(replay.DATA / f"{protein}.pdb", work / f"{protein}-{n}.pdb")
                candidates = replay.DATA / f"{protein}_hits4Dali"
                shutil.copy(candidates, work / f"{protein}-{n}_hits4Dali")
        self.cluster.user.own(self.folder)
        return work

    def call(self, *arguments: str | Path, expect: int = 0, timeout: float = 120) -> str:
        """Run ``dpam-hpc`` as the user; what it printed."""
        done = self.cluster.run(
            [self.command, *arguments], timeout=timeout, COLUMNS="200", **self.environment
        )
        assert done.returncode == expect, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def submit(self, work: Path, *more: str) -> str:
        """Submit a folder; the job's id."""
        printed = self.call(
            "submit", work, "--platform", "tests", "--data-dir", replay.DATA,
            "--nodes", "2", "--dali-workers", "2", "--time", "10", "--json", *self.runs_with, *more,
        )  # fmt: skip
        return str(json.loads(printed)["jobs"][0])

    def status(self, work: Path) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.call("status", work, "--json"))
        return found

    def wait_for_work(self, work: Path) -> None:
        """Until some target is done and others are not."""
        self.cluster.wait_for(lambda: list(work.glob(f"*{HITS}")), "a first target", 60)

    def wait_until_over(self, work: Path) -> dict[str, Any]:
        """Until no job of the folder's last run is queued."""

        def over() -> dict[str, Any]:
            found = self.status(work)
            return found if not found["queued"] else {}

        return self.cluster.wait_for(over, "the run to end", 150)

    def finish(self, work: Path) -> None:
        """Go on until all is done, and see that nothing differs and nothing is left."""
        for _ in range(4):
            if self.wait_until_over(work)["left"] == 0:
                break
            self.call("resume", work)
        assert self.wait_until_over(work)["left"] == 0
        for target in work.glob("*_hits4Dali"):
            name = target.name.removesuffix("_hits4Dali")
            reference = (replay.DATA / f"{name.partition('-')[0]}{HITS}").read_bytes()
            assert (work / f"{name}{HITS}").read_bytes() == reference, name
        assert not [p for p in work.iterdir() if p.name.endswith(".part")]


@pytest.fixture(scope="module")
def site(cluster: Cluster, user_python: Path) -> Site:
    return Site(cluster, user_python, "array")


def expect_no_scratch(site: Site) -> None:
    left = [path.name for path in site.scratch.iterdir()]
    assert not left, left


def launchers(work: Path) -> list[int]:
    """Processes of the launchers of a folder's runs."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"launch" in words and any(str(work).encode() in word for word in words):
                found.append(int(entry.name))
    return found


def kill_launcher(site: Site, work: Path, job: str) -> None:
    pids = launchers(work)
    assert pids
    os.kill(pids[0], signal.SIGKILL)


def cancel(site: Site, work: Path, job: str) -> None:
    site.cluster.run(["scancel", job])


def cancel_by_name(site: Site, work: Path, job: str) -> None:
    assert "cancelled" in site.call("cancel", work)


def preempt(site: Site, work: Path, job: str) -> None:
    urgent = site.cluster.script("#!/bin/bash\n#SBATCH -o /dev/null\nsleep 3\n")
    done = site.cluster.run(
        ["sbatch", "--partition=urgent", "--nodes=4", "--exclusive", "--time=1", urgent]
    )
    assert done.returncode == 0, done.stderr
    time.sleep(2)


def lose_node(site: Site, work: Path, job: str) -> None:
    node = _node_at_work(site, work)
    site.cluster.kill_slurmd(node, with_steps=True)
    site.cluster.declare_down(node)
    site.cluster.start_slurmd(node)


def lose_sight_of_node(site: Site, work: Path, job: str) -> None:
    """The launcher there goes on while its successor starts elsewhere."""
    node = _node_at_work(site, work)
    site.cluster.kill_slurmd(node, with_steps=False)
    site.cluster.declare_down(node)
    site.lost = node


def _node_at_work(site: Site, work: Path) -> str:
    nodes = [task["node"] for task in site.status(work)["tasks"] if task["state"] == "running"]
    assert nodes
    return str(nodes[0])


Interruption = Callable[[Site, Path, str], None]
ALL: list[tuple[str, Interruption]] = [
    ("flex", preempt), ("cancel", preempt), ("normal", cancel), ("normal", cancel_by_name),
    ("normal", kill_launcher), ("normal", lose_node), ("normal", lose_sight_of_node),
]  # fmt: skip


def drawn() -> list[tuple[str, Interruption, float]]:
    """The interruptions of this test run: partition, what happens, after how many seconds."""
    count = int(os.environ.get("DPAM_HPC_INTERRUPTIONS", "0"))
    if not count:
        return [("flex", preempt, 0.0)]
    draw = random.Random(int(os.environ.get("DPAM_HPC_SEED", "1")))
    kinds = (ALL * count)[:count]
    return [(partition, what, draw.uniform(0, 4)) for partition, what in kinds]


def test_an_array_ends_with_the_reference_bytes(site: Site) -> None:
    work = site.work(1)
    site.submit(work)
    found = site.wait_until_over(work)
    assert (found["done"], found["left"]) == (3, 0)
    site.finish(work)
    expect_no_scratch(site)
    assert "is in task" in site.call("logs", "O05011-0", "-C", work)
    run = next((work / ".dpam-hpc" / "runs").iterdir())
    per_task = [list(folder.iterdir()) for folder in (run / "tasks").iterdir()]
    assert all(len(files) <= 3 for files in per_task), "a handful of files a task"


def test_where_there_are_no_arrays_one_job_has_many_nodes(
    cluster_without_arrays: Cluster, user_python: Path
) -> None:
    site = Site(cluster_without_arrays, user_python, "array")  # which SLURM says it has not
    work = site.work(1)
    site.submit(work)
    site.finish(work)
    expect_no_scratch(site)


@pytest.mark.parametrize(("partition", "interrupt", "after"), drawn())
def test_an_interrupted_run_ends_with_the_same_bytes(
    site: Site, partition: str, interrupt: Interruption, after: float
) -> None:
    site.cluster.wait_until_idle()
    work = site.work(3)
    job = site.submit(work, "--partition", partition)
    site.wait_for_work(work)
    time.sleep(after)
    interrupt(site, work, job)
    if interrupt is lose_sight_of_node:
        site.cluster.wait_for(lambda: not launchers(work) or site.status(work)["left"] == 0)
        site.cluster.start_slurmd(site.lost)
    site.finish(work)
    site.cluster.wait_for(lambda: not launchers(work), "the launchers to end")
    expect_no_scratch(site)
