"""The SLURM room of dpam-hpc against a real SLURM."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dpam_hpc.errors import SchedulerError
from dpam_hpc.submit.scheduler import JobState, JobStatus
from dpam_hpc.submit.slurm import Slurm
from tests.slurm.cluster import Cluster

pytestmark = pytest.mark.slurm
HEAD = "#!/bin/bash\n#SBATCH --job-name=dpam-test\n#SBATCH --output=/dev/null\n"


@pytest.fixture
def slurm(cluster: Cluster) -> Iterator[Slurm]:
    yield Slurm(cluster.env_of_root)
    cluster.run(["scancel", "-Q", "--user=dpamhpc"])
    cluster.wait_for(lambda: not cluster.run(["squeue", "-h"]).stdout, "jobs to end")


def script(cluster: Cluster, body: str) -> Path:
    return cluster.script(HEAD + body)


def over(cluster: Cluster, slurm: Slurm, *jobs: str) -> list[JobStatus]:
    """The statuses of jobs when all are over."""

    def all_over() -> list[JobStatus]:
        found = slurm.status(jobs)
        return found if all(s.state.is_over for s in found) else []

    return cluster.wait_for(all_over, f"{jobs} to be over")


def test_jobs_that_end_well_and_badly_without_accounting(cluster: Cluster, slurm: Slurm) -> None:
    good = slurm.submit(script(cluster, f"touch {cluster.home}/ran\n"), ["--time=1"])
    bad = slurm.submit(script(cluster, "exit 3\n"), [])
    later = slurm.submit(script(cluster, "exit 0\n"), ["--begin=now+1hour"])
    assert [s.job for s in slurm.status([bad, later, good])] == [bad, later, good]
    done, failed = over(cluster, slurm, good, bad)
    assert (done.state, done.reason, done.index) == (JobState.COMPLETED, "", None)
    assert (failed.state, failed.reason) == (JobState.FAILED, "NonZeroExitCode")
    assert done.nodes in cluster.nodes
    assert (cluster.home / "ran").owner() == "dpamhpc"
    (waiting,) = slurm.status([later])
    assert (waiting.state, waiting.reason, waiting.nodes) == (JobState.PENDING, "BeginTime", "")


def test_an_array_in_all_its_states(cluster: Cluster, slurm: Slurm) -> None:
    held = script(cluster, '[ "$SLURM_ARRAY_TASK_ID" != 1 ] || exit 0\nsleep 100\n')
    job = slurm.submit(held, ["--array=1-40%2", "--cpus-per-task=2"])

    def in_state(state: JobState) -> list[int | None]:
        return [s.index for s in found if s.state is state]

    found: list[JobStatus] = []

    def next_has_started() -> bool:
        found[:] = slurm.status([job])
        return in_state(JobState.RUNNING) == [2, 3]

    cluster.wait_for(next_has_started, "the first element to end and the third to start")
    assert [s.index for s in found] == list(range(1, 41))
    assert in_state(JobState.COMPLETED) == [1]
    assert in_state(JobState.PENDING) == list(range(4, 41))
    assert slurm.status([f"{job}_30", f"{job}_99"])[1].state is JobState.UNKNOWN

    slurm.cancel([f"{job}_2"])
    cluster.wait_for(lambda: slurm.status([f"{job}_2"])[0].state is JobState.CANCELLED)
    slurm.cancel([job])
    found = over(cluster, slurm, job)
    assert len(found) == 40
    assert {s.state for s in found[1:]} == {JobState.CANCELLED}
    slurm.cancel([job])  # it is over


def test_a_held_job_is_held_until_it_is_released(cluster: Cluster, slurm: Slurm) -> None:
    job = slurm.submit(script(cluster, "exit 0\n"), ["--hold"])
    assert slurm.status([job]) == [JobStatus(job, None, JobState.HELD, "JobHeldUser")]
    slurm.release([job])
    assert over(cluster, slurm, job)[0].state is JobState.COMPLETED


def test_jobs_that_slurm_has_never_seen(cluster: Cluster, slurm: Slurm) -> None:
    for jobs in (["999991"], ["999991", "999992"], ["999991_3"]):
        assert {s.state for s in slurm.status(jobs)} == {JobState.UNKNOWN}
    slurm.cancel(["999991"])
    with pytest.raises(SchedulerError, match="Invalid job id specified"):
        slurm.release(["999991"])


def test_a_submission_can_be_tested(cluster: Cluster, slurm: Slurm) -> None:
    path = script(cluster, "exit 0\n")
    assert "to start at" in slurm.test(path, ["--partition=flex"])
    assert "to start at" in slurm.test(path, ["--array=0-3"])
    with pytest.raises(SchedulerError, match="node configuration is not available") as caught:
        slurm.test(path, ["--nodes=9"])
    assert "ask for less" in caught.value.hint
    assert not cluster.run(["squeue", "-h"]).stdout


def test_refused_submissions(cluster: Cluster, slurm: Slurm) -> None:
    path = script(cluster, "exit 0\n")
    for ask in (slurm.submit, slurm.test):
        with pytest.raises(SchedulerError, match="invalid partition specified: nope") as caught:
            ask(path, ["--partition=nope"])
        assert "sinfo" in caught.value.hint
    with pytest.raises(SchedulerError, match="Invalid job array specification"):
        slurm.submit(path, ["--array=0-5000"])
    with pytest.raises(SchedulerError, match="unrecognized option"):
        slurm.submit(path, ["--no-such-option"])


def test_options_of_the_submitting_shell_do_not_count(cluster: Cluster) -> None:
    ours = Slurm({**cluster.env_of_root, "SBATCH_PARTITION": "nope", "SQUEUE_FORMAT": "%i"})
    job = ours.submit(script(cluster, "exit 0\n"), [])
    assert over(cluster, ours, job)[0].state is JobState.COMPLETED


def test_a_site_without_job_arrays_says_so(cluster_without_arrays: Cluster) -> None:
    slurm = Slurm(cluster_without_arrays.env_of_root)
    path = script(cluster_without_arrays, "exit 0\n")
    for ask in (slurm.submit, slurm.test):
        with pytest.raises(SchedulerError, match=r"(?i)job array") as caught:
            ask(path, ["--array=0-3"])
        assert "no job arrays" in caught.value.hint
    assert over(cluster_without_arrays, slurm, slurm.submit(path, []))


def test_a_controller_that_is_down(cluster: Cluster, tmp_path: Path) -> None:
    text = cluster.conf.read_text().splitlines()
    port = [line for line in text if line.startswith("SlurmctldPort=")]
    silent = cluster.folder / "silent.conf"
    silent.write_text("\n".join("SlurmctldPort=1" if line in port else line for line in text))
    environment = {**cluster.env_of_root, "SLURM_CONF": str(silent)}
    with pytest.raises(SchedulerError) as caught:
        Slurm(environment, timeout=1).status(["1"])
    assert "try again later" in caught.value.hint


def test_a_job_can_run_the_command(cluster: Cluster, slurm: Slurm, user_python: Path) -> None:
    told = cluster.home / "version"
    command = user_python.with_name("dpam-hpc")
    job = slurm.submit(script(cluster, f"{command} --version > {told}\n"), [])
    assert over(cluster, slurm, job)[0].state is JobState.COMPLETED
    assert "dpam-hpc" in told.read_text()


def test_a_node_that_dies_gives_its_job_to_another(cluster: Cluster, slurm: Slurm) -> None:
    """What the tests of going on after a node's death rely on."""
    mark = cluster.home / "runs"
    job = slurm.submit(
        script(
            cluster, f'echo "$SLURMD_NODENAME" >> {mark}\n[ $(wc -l < {mark}) = 2 ] || sleep 99'
        ),
        ["--requeue"],
    )
    cluster.wait_for(mark.exists)
    first = mark.read_text().strip()
    cluster.kill_slurmd(first, with_steps=True)
    assert cluster.processes_of(first) == []
    cluster.declare_down(first)
    try:
        assert over(cluster, slurm, job)[0].state is JobState.COMPLETED
    finally:
        cluster.start_slurmd(first)
        cluster.wait_until_idle()
    assert mark.read_text().split()[1] != first
