"""Jobs that run from an image: interrupted as without one, and stopped if it is not the right one.

The image has a stand-in for DALI in it, and its user is the cluster's.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests import replay
from tests.apptainer.images import Images
from tests.apptainer.stand_in import HOME, READS_NOTHING
from tests.slurm.cluster import Cluster
from tests.slurm.test_survive import HITS, Site, expect_no_scratch, launchers, preempt

pytestmark = [pytest.mark.slurm, pytest.mark.apptainer, pytest.mark.timeout(1800)]


OPEN_BEFORE: set[str] = set()
"""Of the image, when the first test began: a starter that was killed leaves its mount."""


@pytest.fixture(scope="module")
def site(cluster: Cluster, user_python: Path, built: Images) -> Site:
    OPEN_BEFORE.update(holders(built.one))
    return Site(cluster, user_python, "array", built.one)


@pytest.fixture
def idle(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with nothing to do, now and afterwards."""
    cluster.wait_until_idle()
    yield cluster
    cluster.run(["scancel", "-Q", f"--user={cluster.user.environment['USER']}"])
    cluster.wait_for(lambda: not cluster.run(["squeue", "-h"]).stdout, "jobs to end")


def with_copy(cluster: Cluster, user_python: Path, built: Images) -> tuple[Site, Path]:
    """A site whose image may be changed."""
    folder = cluster.script("", "mark").parent
    image = folder / "image.sif"
    shutil.copyfile(built.one, image)
    cluster.user.own(folder)
    return Site(cluster, user_python, "array", image), image


def submit_and_then(site: Site, work: Path, change: Callable[[], object]) -> str:
    """Submit a folder, and change something before its jobs start."""
    job = site.submit(work, "--sbatch-arg=--hold")
    change()
    assert site.cluster.run(["scontrol", "release", job]).returncode == 0
    return job


def elements(cluster: Cluster, job: str) -> list[dict[str, str]]:
    """What SLURM says of each element of an array."""
    text = cluster.run(["scontrol", "--oneliner", "show", "job", job]).stdout
    found = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in text.splitlines()]
    assert len(found) == 2, text
    return found


def expect_refused(site: Site, work: Path, job: str, code: int) -> dict[str, Any]:
    """Its tasks have ended with an exit code, once each, and no protein was begun."""
    found = site.wait_until_over(work)
    for element in elements(site.cluster, job):
        assert element["JobState"] == "FAILED", element
        assert (element["ExitCode"], element["Restarts"]) == (f"{code}:0", "0"), element
    assert (found["done"], found["failed"], found["left"]) == (0, 0, len(replay.PROTEINS))
    assert not list(work.glob("*iterativ*"))
    assert not [path for path in work.rglob("journal-*.jsonl") if path.read_text()]
    expect_no_scratch(site)
    expect_no_process(site, work)
    return found


def holders(image: Path | None) -> set[str]:
    """Processes that have an image open: those that mount it, and the launcher that reads it."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it may end meanwhile
            if any(os.readlink(file) == str(image) for file in (process / "fd").iterdir()):
                found.add(f"{process.name} {(process / 'comm').read_text().strip()}")
    return found


def expect_no_process(site: Site, work: Path) -> None:
    """Neither a launcher nor what mounts its image is left on any node."""
    site.cluster.wait_for(lambda: not launchers(work), "the launchers to end")
    site.cluster.wait_for(
        lambda: holders(site.image) <= OPEN_BEFORE, "the mounts of the image to end"
    )
    site.cluster.wait_for(
        lambda: not any(map(site.cluster.processes_of, site.cluster.nodes)), "all of a job to end"
    )


def test_a_preempted_run_in_an_image_ends_with_the_reference_bytes(
    site: Site, idle: Cluster
) -> None:
    work = site.work(3)
    job = site.submit(work, "--partition", "flex")
    site.wait_for_work(work)
    assert any("squashfuse" in name for name in holders(site.image)), "nothing is shown below"
    preempt(site, work, job)
    site.finish(work)
    expect_no_process(site, work)
    expect_no_scratch(site)
    assert any(element["Restarts"] != "0" for element in elements(idle, job))


def test_inputs_that_are_links_are_seen_in_the_image(site: Site, idle: Cluster) -> None:
    work = site.work(1)
    models, data = site.folder / "models", site.folder / "linked"
    models.mkdir()
    data.mkdir()
    for file in [*work.glob("*.pdb"), *work.glob("*_hits4Dali")]:
        file.rename(models / file.name)
        file.symlink_to(models / file.name)
    shutil.copytree(replay.DATA / "ECOD70", site.folder / "templates")
    (data / "ECOD70").symlink_to("../templates")
    idle.user.own(models)
    site.submit(work, "--data-dir", str(data))
    site.finish(work)


def test_a_changed_image_stops_every_task(idle: Cluster, user_python: Path, built: Images) -> None:
    site, image = with_copy(idle, user_python, built)
    work = site.work(1)

    def change() -> None:
        with image.open("ab") as file:
            file.write(b"changed")

    job = submit_and_then(site, work, change)
    found = expect_refused(site, work, job, 9)
    for task in found["tasks"]:
        assert "is not the one that run" in task["said"]["reason"], task
    assert "is not the one that run" in site.call("status", work)
    # Told so, it takes the new one.
    again = json.loads(site.call("resume", work, "--json"))
    assert idle.run(["scontrol", "release", str(again["jobs"][0])]).returncode == 0  # held again
    assert any("is not that of run" in remark for remark in again["remarks"])
    site.finish(work)


def test_a_wrong_dali_in_an_image_stops_before_the_first_protein(
    idle: Cluster, user_python: Path, built: Images
) -> None:
    wrong = idle.script(READS_NOTHING, "dsspcmbi")
    binds = (f"{wrong}:{HOME}/bin/dsspcmbi",)
    site = Site(idle, user_python, "array", built.one, binds)
    work = site.work(1)
    job = site.submit(work)
    expect_refused(site, work, job, 4)
    assert "known pair" in site.call("status", work)


def test_an_image_that_is_gone_stops_every_task(
    idle: Cluster, user_python: Path, built: Images
) -> None:
    site, image = with_copy(idle, user_python, built)
    work = site.work(1)
    job = submit_and_then(site, work, image.unlink)
    expect_refused(site, work, job, 9)
    told = site.call("logs", "-C", work)
    assert f"the image {image} cannot be read on n" in told
    assert "dpam-hpc logs" in site.call("status", work)
    assert not list(work.glob(f"*{HITS}"))
