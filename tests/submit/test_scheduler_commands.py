"""SLURM's commands as programs that answer, refuse, hang, talk nonsense, or are not there."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dpam_hpc.errors import SchedulerError
from dpam_hpc.submit.local import Local
from dpam_hpc.submit.scheduler import JobState, JobStatus, Scheduler
from dpam_hpc.submit.slurm import Slurm
from tests.submit import fake_slurm
from tests.submit.fake_slurm import FakeSlurm

DISABLED = "Slurm accounting storage is disabled\n"
INVALID_ID = "slurm_load_jobs error: Invalid job id specified\n"


@pytest.fixture
def fake(tmp_path: Path) -> FakeSlurm:
    return fake_slurm.make(tmp_path / "slurm")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "task.sh"
    path.write_text("#!/bin/bash\n#SBATCH --job-name=dpam-7\ntrue\n")
    return path


def slurm(fake: FakeSlurm, timeout: float = 10, **more: str) -> Slurm:
    return Slurm({**fake.environ, **more}, timeout=timeout)


def test_a_submission(fake: FakeSlurm, script: Path) -> None:
    fake.does("sbatch", "17\n")
    assert slurm(fake).submit(script, ["--array=0-3"]) == "17"
    assert fake.calls() == [["sbatch", "--parsable", "--array=0-3", str(script)]]


def test_commands_get_a_clean_environment(fake: FakeSlurm, script: Path) -> None:
    fake.does("sbatch", "17\n")
    slurm(fake, SBATCH_PARTITION="x", SLURM_JOB_ID="1", SLURM_CONF="/c", TMPDIR="/t").submit(
        script, []
    )
    (environment,) = fake.environments()
    environment.pop("LC_CTYPE", None)  # set by Python
    assert environment == {**fake.environ, "SLURM_CONF": "/c", "SLURM_BITSTR_LEN": "0"}


def test_a_submission_without_an_answer_may_have_made_a_job(fake: FakeSlurm, script: Path) -> None:
    fake.does("sbatch", "17\n", seconds=60)
    start = time.monotonic()
    with pytest.raises(SchedulerError, match="sbatch ran over its time limit") as caught:
        slurm(fake, timeout=0.5).submit(script, [])
    assert time.monotonic() - start < 10
    assert "squeue --me --name=dpam-7" in caught.value.hint


def test_a_refused_submission(fake: FakeSlurm, script: Path) -> None:
    fake.does("sbatch", stderr="sbatch: error: invalid partition specified: nope\n", exit=1)
    for ask in (slurm(fake).submit, slurm(fake).test):
        with pytest.raises(SchedulerError, match="invalid partition specified: nope") as caught:
            ask(script, [])
        assert "sinfo" in caught.value.hint


def test_a_script_that_is_not_there_is_not_submitted(fake: FakeSlurm, tmp_path: Path) -> None:
    fake.does("sbatch", "17\n")
    with pytest.raises(SchedulerError, match="batch script cannot be read"):
        slurm(fake).submit(tmp_path / "absent.sh", [])
    assert fake.calls() == []


@pytest.mark.parametrize("stdout", ["", "\x00\x1b[31m\n", "Submitted batch job 17\n"])
def test_a_submission_that_names_no_job(fake: FakeSlurm, script: Path, stdout: str) -> None:
    fake.does("sbatch", stdout)
    with pytest.raises(SchedulerError, match="named no job") as caught:
        slurm(fake).submit(script, [])
    assert "dpam-7" in caught.value.hint


def test_bytes_that_are_no_text(fake: FakeSlurm, script: Path) -> None:
    fake.does("sbatch")
    program = fake.folder / "bin" / "sbatch"
    program.write_text("#!/bin/sh\nprintf '\\377\\376 17\\n'\n")
    with pytest.raises(SchedulerError, match="named no job"):
        slurm(fake).submit(script, [])


def test_missing_commands(fake: FakeSlurm, script: Path) -> None:
    scheduler = slurm(fake)
    for ask, name in (
        (lambda: scheduler.submit(script, []), "sbatch"),
        (lambda: scheduler.test(script, []), "sbatch"),
        (lambda: scheduler.status(["1"]), "squeue"),
        (lambda: scheduler.cancel(["1"]), "scancel"),
        (lambda: scheduler.release(["1"]), "scontrol"),
    ):
        with pytest.raises(SchedulerError, match=f"there is no {name} on PATH") as caught:
            ask()
        assert "login node" in caught.value.hint


def test_a_command_that_cannot_be_started(fake: FakeSlurm) -> None:
    fake.does("squeue")
    (fake.folder / "bin" / "squeue").write_bytes(b"\x7fELF")
    with pytest.raises(SchedulerError, match="squeue cannot be started"):
        slurm(fake).status(["1"])


def test_one_question_for_all_jobs(fake: FakeSlurm) -> None:
    fake.does("squeue", "3|N/A|RUNNING|n1|None\n1|N/A|PENDING||Priority\n")
    assert slurm(fake).status(["1", "3"]) == [
        JobStatus("1", None, JobState.PENDING, "Priority"),
        JobStatus("3", None, JobState.RUNNING, nodes="n1"),
    ]
    assert len(fake.calls()) == 1


def test_no_jobs_need_no_question(fake: FakeSlurm) -> None:
    scheduler = slurm(fake)
    assert scheduler.status([]) == []
    scheduler.cancel([])
    scheduler.release([])


def test_a_job_that_no_command_knows_is_unknown(fake: FakeSlurm) -> None:
    fake.does("squeue", stderr=INVALID_ID, exit=1).does("sacct", stderr=DISABLED, exit=1)
    scheduler = slurm(fake)
    for _ in range(2):
        assert scheduler.status(["9", "8_2"]) == [
            JobStatus("9", None, JobState.UNKNOWN),
            JobStatus("8", 2, JobState.UNKNOWN),
        ]
    assert [call[0] for call in fake.calls()] == [
        "squeue",
        "sacct",
        "squeue",
    ]  # no use to ask again


@pytest.mark.parametrize("fault", ["missing", "slow", "refuses", "nonsense"])
def test_without_accounting_what_the_queue_forgot_is_unknown(fake: FakeSlurm, fault: str) -> None:
    fake.does("squeue", "1|N/A|RUNNING|n1|None\n")
    if fault == "slow":
        fake.does("sacct", "2|COMPLETED|n1|None\n", seconds=60)
    elif fault == "refuses":
        fake.does("sacct", stderr="sacct: error: slurmdbd: Connection refused\n", exit=1)
    elif fault == "nonsense":
        fake.does("sacct", "COMPLETED\n")
    assert slurm(fake, timeout=2).status(["1", "2"]) == [
        JobStatus("1", None, JobState.RUNNING, nodes="n1"),
        JobStatus("2", None, JobState.UNKNOWN),
    ]


def test_accounting_tells_what_the_queue_forgot(fake: FakeSlurm) -> None:
    fake.does("squeue", "1|2|RUNNING|n1|None\n1|3|PENDING||Priority\n")
    fake.does(
        "sacct",
        "1_0|COMPLETED|n1|None\n1_1|FAILED|n2|NonZeroExitCode\n1_2|PENDING||None\n"
        "1_[3]|PENDING|None assigned|Priority\n2|TIMEOUT|n1|None\n",
    )
    assert slurm(fake).status(["2", "1"]) == [
        JobStatus("2", None, JobState.TIMEOUT, nodes="n1"),
        JobStatus("1", 0, JobState.COMPLETED, nodes="n1"),
        JobStatus("1", 1, JobState.FAILED, "NonZeroExitCode", "n2"),
        JobStatus("1", 2, JobState.RUNNING, nodes="n1"),  # the controller knows better
        JobStatus("1", 3, JobState.PENDING, "Priority"),
    ]
    assert slurm(fake).status(["1_3"]) == [JobStatus("1", 3, JobState.PENDING, "Priority")]


@pytest.mark.parametrize("fault", ["slow", "refuses", "nonsense"])
def test_a_queue_out_of_order_is_an_error(fake: FakeSlurm, fault: str) -> None:
    if fault == "slow":
        fake.does("squeue", "1|N/A|RUNNING|n1|None\n", seconds=60)
    elif fault == "refuses":
        fake.does("squeue", stderr="slurm_load_jobs error: Unable to contact ...\n", exit=1)
    else:
        fake.does("squeue", "<html>\n")
    with pytest.raises(SchedulerError) as caught:
        slurm(fake, timeout=0.5).status(["1"])
    assert caught.value.hint


def test_cancel_and_release(fake: FakeSlurm) -> None:
    fake.does("scancel").does("scontrol")
    slurm(fake).cancel(["1", "2_3"])
    slurm(fake).release(["1"])
    assert fake.calls() == [["scancel", "1", "2_3"], ["scontrol", "release", "1"]]


def test_refused_cancel_and_release(fake: FakeSlurm) -> None:
    fake.does("scancel", stderr="scancel: error: Access/permission denied\n", exit=1)
    fake.does("scontrol", stderr="slurm_suspend error: Access/permission denied\n", exit=1)
    for ask in (slurm(fake).cancel, slurm(fake).release):
        with pytest.raises(SchedulerError, match="permission denied"):
            ask(["1"])


# Without a scheduler


def ended(local: Local, job: str) -> JobStatus:
    """The status of a job when it no longer runs."""
    for _ in range(200):
        (status,) = local.status([job])
        if not status.state.is_queued:
            return status
        time.sleep(0.05)
    raise AssertionError(f"{job} still runs")


@pytest.fixture
def local(tmp_path: Path) -> Local:
    (tmp_path / "logs").mkdir()
    return Local(tmp_path / "logs", {"PATH": os.environ["PATH"], "TMPDIR": "/t"}, timeout=10)


@pytest.mark.parametrize(
    ("exit", "state", "reason"),
    [(0, JobState.COMPLETED, ""), (3, JobState.FAILED, "exit status 3")],
)
def test_a_local_job(local: Local, script: Path, exit: int, state: JobState, reason: str) -> None:
    script.write_text(f"echo out; echo err >&2; echo tmp=$TMPDIR; exit {exit}\n")
    job = local.submit(script, [])
    assert ended(local, job) == JobStatus(job, None, state, reason)
    assert local.log(job).read_text() == "out\nerr\ntmp=\n"


def test_a_local_job_can_be_cancelled_in_order(local: Local, script: Path) -> None:
    script.write_text("trap 'echo told; exit 75' TERM\necho up\nsleep 60 & wait\n")
    job = local.submit(script, [])
    while "up" not in local.log(job).read_text():
        time.sleep(0.02)
    assert local.status([job])[0].state is JobState.RUNNING
    local.cancel([job])
    assert ended(local, job) == JobStatus(job, None, JobState.CANCELLED, "exit status 75")
    assert "told" in local.log(job).read_text()
    local.cancel([job])  # it is over


def test_a_local_job_waits_for_others_however_they_end(local: Local, script: Path) -> None:
    script.write_text("sleep 1; echo first; exit 3\n")
    first = local.submit(script, [])
    killed = script.with_name("killed.sh")
    killed.write_text("kill -9 0\n")
    second = local.submit(killed, [])
    third_script = script.with_name("third.sh")
    third_script.write_text("echo third\n")
    third = local.submit(third_script, [], [first, second])
    waiting = local.submit(third_script, [], [third])
    found = local.status([first, third, waiting])
    assert [s.state for s in found] == [JobState.RUNNING, JobState.PENDING, JobState.PENDING]
    local.cancel([waiting])
    assert ended(local, waiting).state is JobState.CANCELLED
    assert "third" not in local.log(waiting).read_text()
    assert ended(local, third).state is JobState.COMPLETED
    assert ended(local, first).state is JobState.FAILED, "it was over before the third began"
    with pytest.raises(SchedulerError, match="is no id"):
        local.submit(third_script, [], ["17; rm -rf"])


def test_a_local_job_that_left_nothing_is_unknown(local: Local, script: Path) -> None:
    script.write_text("kill -9 0\n")
    job = local.submit(script, [])
    assert ended(local, job).state is JobState.UNKNOWN
    with pytest.raises(SchedulerError, match="left no exit status"):
        local.cancel([job])


def test_another_process_of_that_number_is_not_the_job(local: Local) -> None:
    job = f"{os.getpid()}:1"
    assert local.status([job])[0].state is JobState.UNKNOWN


def test_what_local_cannot_do(local: Local, script: Path, tmp_path: Path) -> None:
    with pytest.raises(SchedulerError, match="no options"):
        local.submit(script, ["--qos=high"])
    with pytest.raises(SchedulerError, match="no batch script"):
        local.submit(tmp_path / "absent.sh", [])
    for ask in (local.status, local.cancel, local.release):
        with pytest.raises(SchedulerError, match="no id of a local job"):
            ask(["../x"])
    with pytest.raises(SchedulerError, match="cannot be made: Not a directory"):
        Local(script / "absent", timeout=10).submit(script, [])


def test_a_local_script_is_tested_by_bash(local: Local, script: Path) -> None:
    assert "at once" in local.test(script, [])
    script.write_text("if\n")
    with pytest.raises(SchedulerError, match="bash cannot read"):
        local.test(script, [])


def test_both_are_schedulers(fake: FakeSlurm, local: Local) -> None:
    schedulers: list[Scheduler] = [slurm(fake), local]
    assert [s.name for s in schedulers] == ["slurm", "local"]
