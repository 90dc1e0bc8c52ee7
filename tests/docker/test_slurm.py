"""Arrays, node-local scratch and the death of a node, on a real SLURM."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import replay
from tests.apptainer import images
from tests.apptainer.images import Images
from tests.docker.cluster import NODES, SHARED, Cluster, wait_for
from tests.docker.conftest import HOME, Submission, submit_sample

# The first test also waits for the image that the nodes are made of.
pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800)]

STALLED = """\
#!/bin/sh
# No program starts any more once a target is finished, as long as the file "stall" is there.
while [ -e {stall} ] && find {folder} -name '*.iterativeDali.done' | grep -q .; do
    sleep 0.2
done
exec {home}/bin/"${{0##*/}}" "$@"
"""


def test_each_node_has_a_tmp_of_its_own_and_one_shared_folder(cluster: Cluster) -> None:
    cluster.run("n1", "touch", "/tmp/of-n1", f"{SHARED}/of-n1")
    cluster.run("n2", "test", "!", "-e", "/tmp/of-n1")
    cluster.run("n2", "test", "-e", f"{SHARED}/of-n1")


def test_a_node_has_the_root_of_the_apptainer_image(
    cluster: Cluster, built_if_possible: Images | None
) -> None:
    if built_if_possible is None:
        pytest.skip(f"no image of dpam-hpc: {images.why_none()}")
    for path in ("/opt/dpam-hpc/contents.json", "/opt/venv/bin/dpam-hpc", "/usr/bin/perl"):
        in_docker = cluster.run("n1", "sha256sum", path)
        assert in_docker == built_if_possible.inside("sha256sum", path).stdout
    assert cluster.run("n1", "sh", "-c", "command -v dpam-hpc").strip() == "/opt/venv/bin/dpam-hpc"
    assert "known answer" in cluster.run("n2", "dpam-hpc", "image", "self-test", timeout=120)


def test_an_array_ends_with_upstreams_bytes_and_leaves_no_scratch(
    cluster: Cluster, tmp_path: Path
) -> None:
    for node in NODES:  # what a run leaves behind that died with its node
        cluster.run(node, "mkdir", "/tmp/dh-0-dead")
        cluster.run(node, "touch", "/tmp/dh-0-dead/claim")
    submission = submit_sample(cluster, tmp_path, replay.PROTEINS, nodes=2)
    expect_end(submission)
    submission.fetch(tmp_path / "fetched").expect_whole()
    assert {job.node for job in cluster.jobs()} == set(NODES)
    assert submission.log().count("/tmp/dh-0-dead, left by a run that died") == 2
    for node in NODES:
        assert cluster.scratch_left(node) == []


def test_a_node_dies_and_its_job_ends_on_the_other(cluster: Cluster, tmp_path: Path) -> None:
    home, stall = stalling_home(cluster, tmp_path.name)
    before = {job.id for job in cluster.jobs()}
    submission = submit_sample(cluster, tmp_path, replay.PROTEINS, nodes=1, home=home)
    wait_for("a target is finished", submission.done, 120)
    (job,) = [job for job in cluster.jobs() if job.id not in before]
    assert job.state == "RUNNING"
    cluster.kill(job.node)
    try:
        cluster.run("ctl", "rm", stall)
        assert len(submission.done()) < len(replay.PROTEINS)
        expect_end(submission)
    finally:
        cluster.start(job.node)
    (again,) = [job for job in cluster.jobs() if job.id not in before]
    assert (again.id, again.restarts) == (job.id, 1)
    assert again.node != job.node
    submission.fetch(tmp_path / "fetched").expect_whole()
    assert cluster.scratch_left(again.node) == []
    assert cluster.scratch_left(job.node) != [], "the dead node's disk kept its scratch"


def stalling_home(cluster: Cluster, name: str) -> tuple[str, str]:
    """A DALI home whose programs wait in mid-run as long as a file is there; home and file."""
    home = f"{SHARED}/{name}-dali"
    stall = f"{home}/stall"
    cluster.run("ctl", "mkdir", "-p", f"{home}/bin")
    cluster.run("ctl", "touch", stall)
    text = STALLED.format(folder=f"{SHARED}/{name}", stall=stall, home=HOME)
    for program in replay.PROGRAMS:
        write = f"cat > {home}/bin/{program} <<'END'\n{text}END\nchmod 755 {home}/bin/{program}"
        cluster.run("ctl", "sh", "-c", write)
    return home, stall


def expect_end(submission: Submission) -> None:
    """All jobs end, and well; a busy machine has its time."""
    cluster = submission.cluster

    def ended() -> bool:
        return all(job.state not in ("PENDING", "RUNNING", "COMPLETING") for job in cluster.jobs())

    wait_for("all jobs ended", ended, 240)
    states = {job.state for job in cluster.jobs()}
    assert states == {"COMPLETED"}, f"{cluster.jobs()}\n{submission.log()}\n{cluster.logs()}"
