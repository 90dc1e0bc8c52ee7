"""``--on-node``: the doctor and the probe on a node of a real SLURM."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dpam_hpc.errors import ExitCode
from tests import replay
from tests.slurm.cluster import Cluster
from tests.slurm.test_survive import Site

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def site(cluster: Cluster, user_python: Path) -> Site:
    found = Site(cluster, user_python, "array")
    for name in ("config", "state"):
        (found.folder / name).mkdir()
        found.environment[f"XDG_{name.upper()}_HOME"] = str(found.folder / name)
    return found


@pytest.fixture
def work(site: Site, cluster: Cluster) -> Iterator[Path]:
    cluster.wait_until_idle()
    yield site.work(1)
    assert not cluster.run(["squeue", "-h"]).stdout


def ask(site: Site, verb: str, work: Path, *more: str, expect: int = 0) -> str:
    dali = site.runs_with if verb == "doctor" else ()
    return site.call(
        verb, work, "--platform", "tests", "--data-dir", replay.DATA, "--on-node", *dali, *more,
        expect=expect,
    )  # fmt: skip


def test_the_doctor_on_a_node(site: Site, work: Path, cluster: Cluster) -> None:
    report: dict[str, Any] = json.loads(ask(site, "doctor", work, "--json"))
    assert report["job"].isdecimal()
    assert report["worst"] != "problem", report
    rows = {row["check"]: row for row in report["rows"]}
    job, _, node = rows["job"]["found"].partition(" on ")
    assert job == report["job"] and node in cluster.nodes
    assert rows["DALI"]["level"] == "ok"
    scratch = [row["found"] for row in report["rows"] if row["check"] == "scratch"]
    assert any(found.startswith(f"{site.scratch}: ") for found in scratch)
    assert not (work / ".dpam-hpc" / "on-node").exists()
    told = ask(site, "doctor", work)
    assert f", job {int(report['job']) + 1}, " in told.splitlines()[0]


def test_a_problem_on_the_node_is_the_exit_code(site: Site, work: Path) -> None:
    told = site.call(
        "doctor", work, "--platform", "tests", "--on-node", "--dali-home", site.folder,
        expect=ExitCode.PROBLEM,
    )  # fmt: skip
    assert "there is no DALI here" in told and "--data-dir" in told


def test_a_probe_of_a_node_decides_on_scratch(site: Site, work: Path) -> None:
    found = json.loads(ask(site, "probe", work, "--seconds", "1", "--json"))
    assert found["job"].isdecimal() and found["platform"] == "tests"
    (kept,) = (site.folder / "state" / "dpam-hpc" / "probes").iterdir()
    assert json.loads(kept.read_text()) == found
    by_name = {place["name"]: place for place in found["places"]}
    assert by_name[str(site.scratch)]["latency"]["create"]["median"] > 0
    assert not list(site.scratch.iterdir())
    planned = site.call(
        "submit", work, "--platform", "tests", "--data-dir", replay.DATA, "--dry-run",
        *site.runs_with,
    )  # fmt: skip
    day = time.strftime("%Y-%m-%d", time.localtime(found["at"]))
    assert f"tried as the probe of {day} on {found['host']} has measured" in planned


def test_a_job_that_does_not_start(site: Site, work: Path, cluster: Cluster) -> None:
    (work / "dpam-hpc.toml").write_text('sbatch_arg = ["--begin=now+1hour"]\n')
    cluster.user.own(work)
    done = cluster.run(
        [site.command, "doctor", work, "--platform", "tests", "--on-node", "--wait", "3"],
        **site.environment,
    )
    assert done.returncode == ExitCode.SCHEDULER
    assert "did not start in 3 s (pending: BeginTime); it is cancelled" in done.stderr
    assert "--wait SECONDS" in done.stderr and "--partition" in done.stderr
    cluster.wait_for(lambda: not cluster.run(["squeue", "-h"]).stdout, "the job to be cancelled")


def test_a_job_that_gives_no_answer(site: Site, work: Path, cluster: Cluster) -> None:
    templates = site.folder / "config" / "dpam-hpc" / "templates"
    templates.mkdir(parents=True)
    own = templates / "tests-on-node.sh.j2"
    own.write_text("#!/bin/bash\n#SBATCH --output={{ log|pattern }}\necho out of luck\nexit 3\n")
    cluster.user.own(site.folder)
    done = cluster.run(
        [site.command, "doctor", work, "--platform", "tests", "--on-node"], **site.environment
    )
    own.unlink()
    assert done.returncode == ExitCode.SCHEDULER
    assert "ended without an answer (failed: NonZeroExitCode)" in done.stderr
    assert "out of luck" in done.stderr
    assert f"the nodes must see {work}" in done.stderr
