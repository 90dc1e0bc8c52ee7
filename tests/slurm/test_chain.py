"""All of dpam's steps as a chain of jobs on a real SLURM; what --dependency=afterany waits for.

DPAM_HPC_DPAM names the ``dpam`` command of an installed dpam_c2, DPAM_HPC_GOLDEN the golden data,
DALI_HOME the real DALI: then the golden proteins go through real steps 7 and 8.
DPAM_HPC_WHOLE_IMAGE names an image with both: then they go through steps 1 and 4 to 13 in it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dpam_hpc.errors import ExitCode
from dpam_hpc.pipeline.steps import STEPS
from dpam_hpc.submit.slurm import Slurm
from tests import fake_dpam, mixed_dpam, replay
from tests.conftest import HITS, as_upstream
from tests.slurm.cluster import Cluster
from tests.slurm.test_survive import Site, preempt

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(300)]

DPAM = os.environ.get("DPAM_HPC_DPAM", "")
GOLDEN = os.environ.get("DPAM_HPC_GOLDEN", "")
DALI_HOME = os.environ.get("DALI_HOME", "")
IMAGE = os.environ.get("DPAM_HPC_WHOLE_IMAGE", "")
MODELS = ("A0A0K2WPR7", "O05011")
"""The golden proteins that are AlphaFold's models."""
A, B, C = replay.PROTEINS[:3]


@pytest.fixture
def slurm(cluster: Cluster) -> Iterator[Slurm]:
    yield Slurm(cluster.env_of_root)
    cluster.run(["scancel", "-Q", "--user=dpamhpc"])
    cluster.wait_for(lambda: not cluster.run(["squeue", "-h"]).stdout, "jobs to end")


@pytest.mark.parametrize("array", ["", "#SBATCH --array=0-1\n"])
def test_a_job_that_requeues_itself_is_not_over(cluster: Cluster, slurm: Slurm, array: str) -> None:
    """As the job scripts do it: scontrol requeue, then exit."""
    first = cluster.script(
        "#!/bin/bash\n#SBATCH --output=/dev/null\n#SBATCH --requeue\n"
        + array
        + "PATH=/usr/bin:$PATH\n"  # the tests' own commands are for root
        + 'echo "first ${SLURM_RESTART_COUNT:-0}" >> ~/order\n'
        "job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}\n"
        'if [ "${SLURM_RESTART_COUNT:-0}" = 0 ] && [ "${SLURM_ARRAY_TASK_ID:-0}" = 0 ]; then\n'
        '    timeout 60 scontrol requeue "${job:-$SLURM_JOB_ID}"\n    exit 75\nfi\nexit 3\n'
    )
    order = cluster.home / "order"
    order.unlink(missing_ok=True)
    second = cluster.script("#!/bin/bash\n#SBATCH --output=/dev/null\necho second >> ~/order\n")
    job = slurm.submit(first, [])
    slurm.submit(second, [], [job])
    cluster.wait_for(lambda: order.exists() and "second" in order.read_text(), "the second", 90)
    said = order.read_text().split("\n")
    assert said[-2] == "second"
    assert "first 1" in said[:-2], "it began again before that"
    assert said.count("first 0") == (2 if array else 1)


class Chain(Site):
    """A site with a dpam, made up but for what ``real`` names."""

    def __init__(self, cluster: Cluster, python: Path, real: Path | None = None) -> None:
        super().__init__(cluster, python, "array")
        made_up = fake_dpam.make(self.folder / "bin", str(python))
        self.dpam = made_up
        if real is not None:
            self.dpam = mixed_dpam.make(self.folder / "mixed", made_up, real, str(python))
            self.runs_with = ("--dali-home", DALI_HOME)
        self.data = self.folder / "data"

    def chain(self, source: Path, *targets: str) -> Path:
        """A working folder with structures alone, and the data for them."""
        self.works += 1
        work = self.folder / f"work{self.works}"
        work.mkdir()
        for target in targets:
            shutil.copyfile(source / f"{target}.pdb", work / f"{target}.pdb")
            (work / f"{target}.json").write_text("[]")
        candidates = {target: source / f"{target}_hits4Dali" for target in targets}
        shutil.rmtree(self.data, ignore_errors=True)
        fake_dpam.make_data(self.data, candidates, source / "ECOD70")
        self.cluster.user.own(self.folder)
        return work

    def submit_all(self, work: Path, *more: str | Path) -> list[str]:
        printed = self.call(
            "submit", work, "--steps", "all", "--platform", "tests", "--data-dir", self.data,
            "--dpam", self.dpam, "--dali-workers", "2", "--time", "120", "--json",
            *self.runs_with, *more,
        )  # fmt: skip
        return [stage["jobs"][0] for stage in json.loads(printed)["stages"]]

    def wait_for_chain(self, work: Path, timeout: float = 200) -> dict[str, Any]:
        def over() -> dict[str, Any]:
            found = self.status(work)
            return found if not found["queued"] else {}

        return self.cluster.wait_for(over, "the chain to end", timeout)


def test_all_steps_run_as_a_chain_of_jobs(cluster: Cluster, user_python: Path) -> None:
    site = Chain(cluster, user_python)
    work = site.chain(replay.DATA, A, B, C)
    fake_dpam.behave(site.data, **{B: {"MAP_ECOD": "fail"}, C: {"SSE": "killed"}})
    site.cluster.user.own(site.folder)
    site.submit_all(work)
    found = site.wait_for_chain(work)
    assert (found["done"], found["failed"], found["left"]) == (1, 2, 0)
    assert [(s["stage"], s["done"], s["failed"], s["held"]) for s in found["stages"]] == [
        ("1-6", 2, 1, 0),
        ("7", 2, 0, 1),
        ("8-13", 1, 1, 1),
        ("15-24", 1, 0, 2),
    ]
    assert (work / f"{A}_domains").exists()
    assert (work / f"{A}{HITS}").read_bytes() == (replay.DATA / f"{A}{HITS}").read_bytes()
    fake_dpam.behave(site.data)
    site.call("resume", work, "--retry-failed")
    assert site.wait_for_chain(work)["left"] == 0
    for target in (A, B, C):
        assert (work / f"{target}_domains").exists(), target
        assert (work / f"{target}{HITS}").read_bytes() == (
            replay.DATA / f"{target}{HITS}"
        ).read_bytes()


def test_a_preempted_stage_goes_on_and_the_next_one_waits(
    cluster: Cluster, user_python: Path
) -> None:
    site = Chain(cluster, user_python)
    work = site.chain(replay.DATA, A, B, C)
    fake_dpam.behave(site.data, **{A: {"HHSEARCH": "cut-once"}})
    cluster.wait_until_idle()
    first, *_ = site.submit_all(work, "--partition", "flex")
    cluster.wait_for(lambda: (work / f"{A}.a3m").exists(), "a cut file")
    preempt(site, work, first)
    found = site.wait_for_chain(work)
    assert max(task["starts"] for task in found["stages"][0]["tasks"]) >= 2
    assert (found["done"], found["failed"], found["left"]) == (3, 0, 0)
    calls = fake_dpam.calls(site.data)
    of_a = [steps for target, steps in calls if target == A]
    assert of_a[:2] == [[STEPS[n].name for n in range(1, 7)], [STEPS[n].name for n in range(2, 7)]]
    assert (work / f"{A}.a3m").read_text().endswith("\n")


@pytest.mark.real
@pytest.mark.skipif(
    not (DPAM and GOLDEN and DALI_HOME),
    reason="set DPAM_HPC_DPAM, DPAM_HPC_GOLDEN and DALI_HOME (docs/testing.md)",
)
def test_the_golden_proteins_go_through_real_steps_7_and_8(
    cluster: Cluster, user_python: Path
) -> None:
    golden = Path(GOLDEN)
    targets = sorted(path.name.removesuffix(HITS) for path in (golden / "hits").iterdir())
    assert len(targets) >= 4
    site = Chain(cluster, user_python, Path(DPAM))
    work = site.chain(golden, *targets)
    mixed_dpam.lay_reference_data(site.data, golden)
    cluster.user.own(site.folder)
    site.submit_all(work)
    found = site.wait_for_chain(work, 280)
    assert (found["done"], found["failed"], found["left"]) == (len(targets), 0, 0)

    reference = site.folder / "reference"
    reference.mkdir()
    for target in targets:
        shutil.copyfile(golden / "hits" / f"{target}{HITS}", reference / f"{target}{HITS}")
        shutil.copyfile(golden / f"{target}.pdb", reference / f"{target}.pdb")
        done = subprocess.run(
            [DPAM, "run", target, "--steps", "ANALYZE_DALI", "--flat",
             "--working-dir", reference, "--data-dir", site.data],
            capture_output=True, text=True, timeout=100,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        ours = (work / f"{target}_good_hits").read_bytes()
        assert ours == (reference / f"{target}_good_hits").read_bytes(), target
        assert len(ours.splitlines()) > 8, "hits that were scored"
        assert b"\t1.0\t1.0\t" not in ours.splitlines()[1], "with percentiles of their own"
    real = [steps for target, steps in mixed_dpam.real_calls(site.folder / "mixed")]
    assert real == [["ANALYZE_DALI"]] * len(targets)


@pytest.mark.real
@pytest.mark.apptainer
@pytest.mark.timeout(1800)
@pytest.mark.skipif(
    not (IMAGE and GOLDEN), reason="set DPAM_HPC_WHOLE_IMAGE and DPAM_HPC_GOLDEN (docs/testing.md)"
)
def test_the_golden_proteins_go_through_steps_1_to_13_from_the_image(
    cluster: Cluster, user_python: Path
) -> None:
    """With the image's own DALI and dpam; what steps 2 and 3 leave is made up.

    Of structures with gaps dpam's step 11 counts DSSP's chain breaks as residues, and fails.
    """
    golden, image = Path(GOLDEN), Path(IMAGE)
    targets = sorted(path.name.removesuffix(HITS) for path in (golden / "hits").iterdir())
    site = Site(cluster, user_python, "array", image)
    work, reference = site.folder / "work", site.folder / "reference"
    work.mkdir()
    reference.mkdir()
    data = fake_dpam.make_data(site.folder / "data", {}, golden / "ECOD70")
    mixed_dpam.lay_reference_data(data, golden)
    for target in targets:
        mixed_dpam.lay_inputs(work, golden, target)
        shutil.copyfile(golden / "hits" / f"{target}{HITS}", reference / f"{target}{HITS}")
    cluster.user.own(site.folder)
    done = cluster.run(
        [site.command, "submit", work, "--steps", "1,4-13", "--platform", "tests",
         "--data-dir", data, "--image", image, "--dali-workers", "2", "--time", "120", "--wait"],
        timeout=1700, **site.environment,
    )  # fmt: skip
    logs = [p.read_text() for p in work.glob(".dpam-hpc/runs/*/logs/**/*") if p.is_file()]
    assert done.returncode == ExitCode.FAILURES, "\n".join([done.stdout, done.stderr, *logs])
    found = site.status(work)
    assert [(s["stage"], s["done"], s["failed"], s["held"]) for s in found["stages"]] == [
        ("1,4-6", len(targets), 0, 0),
        ("7", len(targets), 0, 0),
        ("8-13", len(MODELS), len(targets) - len(MODELS), 0),
    ]
    for target in targets:
        hits = (work / f"{target}{HITS}").read_text()
        assert as_upstream(hits) == (golden / "hits" / f"{target}{HITS}").read_text(), target
        alone = cluster.run(
            ["apptainer", "exec", "--containall", "--no-home", "--bind", site.folder, image,
             "dpam", "run", target, "--steps", "ANALYZE_DALI", "--flat",
             "--working-dir", reference, "--data-dir", data],
            timeout=100,
        )  # fmt: skip
        assert alone.returncode == 0, alone.stdout + alone.stderr
        good = (work / f"{target}_good_hits").read_bytes()
        assert good == (reference / f"{target}_good_hits").read_bytes(), target
        assert (work / f"{target}.step13_domains").exists() == (target in MODELS), target
