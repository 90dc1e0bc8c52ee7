"""SLURM's commands and answers, as recorded from SLURM 22.05."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpam_hpc.errors import ConfigError, SchedulerError
from dpam_hpc.submit import slurm_texts as texts
from dpam_hpc.submit.environment import DEFAULT_TIMEOUT, clean_environment, scheduler_timeout
from dpam_hpc.submit.scheduler import JobState, JobStatus
from dpam_hpc.submit.user_flags import user_flags_problem

SCRIPT = Path("/run/task.sh")
INVALID_ID = "slurm_load_jobs error: Invalid job id specified\n"


def test_commands() -> None:
    assert texts.sbatch(SCRIPT, ["--array=0-3"]) == [
        "sbatch", "--parsable", "--array=0-3", "/run/task.sh",
    ]  # fmt: skip
    assert texts.sbatch_test(SCRIPT, []) == ["sbatch", "--test-only", "/run/task.sh"]
    assert texts.squeue(["1", "2_3"]) == [
        "squeue", "-h", "-r", "-t", "all", "-o", "%F|%K|%T|%N|%r", "--jobs=1,2_3",
    ]  # fmt: skip
    assert texts.sacct(["1", "2"]) == [
        "sacct", "-n", "-P", "-X", "--format=JobID,State,NodeList,Reason", "--jobs=1,2",
    ]  # fmt: skip
    assert texts.scancel(["1", "2_3"]) == ["scancel", "1", "2_3"]
    assert texts.scontrol_release(["1", "2"]) == ["scontrol", "release", "1,2"]


@pytest.mark.parametrize("job", ["", "-u", "1,2", "1 ", "1\n", "1;lab", "1_[2-3]", "1_", "²"])
def test_what_is_no_id_reaches_no_command(job: str) -> None:
    for build in (texts.squeue, texts.sacct, texts.scancel, texts.scontrol_release):
        with pytest.raises(SchedulerError, match="is no SLURM job id"):
            build(["1", job])


@pytest.mark.parametrize(
    ("stdout", "job"),
    [
        ("17\n", "17"),
        ("17;frontera\n", "17"),
        ("\n--> Verifying quota (1 of 2)... OK\n*** Welcome, 12 users ***\n17\n", "17"),
    ],
)
def test_the_id_of_a_new_job(stdout: str, job: str) -> None:
    assert texts.submitted_id(0, stdout, "", "name") == job


@pytest.mark.parametrize("stdout", ["", "\n", "Submitted batch job 17\n", "17\n18\n", "17 18\n"])
def test_a_submission_that_names_no_job_may_have_made_one(stdout: str) -> None:
    with pytest.raises(SchedulerError, match="ended well but named no job") as caught:
        texts.submitted_id(0, stdout, "", "dpam-x")
    assert "squeue --me --name=dpam-x" in caught.value.hint


@pytest.mark.parametrize(
    ("code", "stderr", "what", "hint"),
    [
        (
            1,
            "sbatch: error: invalid partition specified: nope\n"
            "sbatch: error: Batch job submission failed: Invalid partition name specified\n",
            "sbatch: invalid partition specified: nope; "
            "Batch job submission failed: Invalid partition name specified",
            "sinfo",
        ),
        (
            1,
            "sbatch: error: Batch job submission failed: Invalid job array specification\n",
            "sbatch: Batch job submission failed: Invalid job array specification",
            "takes no job arrays",
        ),
        (
            1,
            "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job "
            "submit limit, user's size and/or time limits)\n",
            "sbatch: Batch job submission failed: Job violates accounting/QOS policy (job submit "
            "limit, user's size and/or time limits)",
            "limit of the site",
        ),
        (
            255,
            "sbatch: unrecognized option '--bogus'\nTry \"sbatch --help\" for more information\n",
            "sbatch: unrecognized option '--bogus'; Try \"sbatch --help\" for more information",
            "does not have",
        ),
        (1, "", "sbatch: exit status 1, and no word", ""),
        (1, "sbatch: error: \x1b[31m\x00something else\n", "sbatch: [31m something else", ""),
    ],
)
def test_a_refusal_is_told_with_what_to_do(code: int, stderr: str, what: str, hint: str) -> None:
    with pytest.raises(SchedulerError) as caught:
        texts.submitted_id(code, "", stderr, "name")
    assert caught.value.what == what
    assert hint in caught.value.hint
    assert caught.value.exit_code == 8


def test_a_test_of_a_submission() -> None:
    said = "Job 6 to start at 2026-12-17T19:39:45 using 1 processors on nodes n1 in partition main"
    assert texts.tested(0, "", f"sbatch: {said}\n") == said
    with pytest.raises(SchedulerError, match="Requested node configuration is not available"):
        texts.tested(1, "", "allocation failure: Requested node configuration is not available\n")


def test_the_queue() -> None:
    stdout = (
        "2|4|PENDING||JobArrayTaskLimit\n"
        "2|2|RUNNING|n3|None\n"
        "3|N/A|CANCELLED||JobHeldUser\n"
        "1|N/A|COMPLETED|n1|None\n"
        "4|N/A|PENDING|(null)|ReqNodeNotAvail, UnavailableNodes:n1|n2\n"
    )
    assert texts.queued(0, stdout, "") == [
        JobStatus("2", 4, JobState.PENDING, "JobArrayTaskLimit"),
        JobStatus("2", 2, JobState.RUNNING, nodes="n3"),
        JobStatus("3", None, JobState.CANCELLED, "JobHeldUser"),
        JobStatus("1", None, JobState.COMPLETED, nodes="n1"),
        JobStatus("4", None, JobState.PENDING, "ReqNodeNotAvail, UnavailableNodes:n1|n2"),
    ]


def test_pending_elements_that_stand_in_one_line() -> None:
    waiting = texts.queued(0, "2|3,5-7%2|PENDING||Priority\n", "")
    assert [s.index for s in waiting] == [3, 5, 6, 7]
    assert {s.state for s in waiting} == {JobState.PENDING}


def test_an_id_that_the_queue_does_not_know_is_absent() -> None:
    assert texts.queued(1, "", INVALID_ID) == []
    assert texts.queued(0, "", "") == []


@pytest.mark.parametrize(
    "line", ["Welcome", "1|N/A|RUNNING|n1", "x|N/A|RUNNING|n1|None", "1|1-|PENDING||None", "\0|"]
)
def test_a_queue_that_cannot_be_read_is_an_error(line: str) -> None:
    with pytest.raises(SchedulerError, match="answered what cannot be read"):
        texts.queued(0, f"1|N/A|RUNNING|n1|None\n{line}\n", "")


def test_a_queue_out_of_order_is_an_error() -> None:
    with pytest.raises(SchedulerError, match="Unable to contact slurm controller") as caught:
        texts.queued(
            1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"
        )
    assert "try again later" in caught.value.hint


def test_accounts() -> None:
    stdout = (
        "1|COMPLETED|n1|None\n"
        "2|FAILED|n1|None\n"
        "4|PENDING|None assigned|JobHeldUser\n"
        "5|CANCELLED by 1002|n4|None\n"
        "3_1|COMPLETED|n2|None\n"
        "3_3|RUNNING|n2|JobArrayTaskLimit\n"
        "3_[4-5,7%2]|PENDING|None assigned|JobArrayTaskLimit\n"
        "6_[0-1%2]|CANCELLED by 1002|None assigned|JobArrayTaskLimit\n"
        "7|OUT_OF_ME+|n1|None\n"
        "8|OUT_OF_MEMORY|n[1-2]|None\n"
    )
    limit = "JobArrayTaskLimit"
    assert texts.accounted(0, stdout, "") == [
        JobStatus("1", None, JobState.COMPLETED, nodes="n1"),
        JobStatus("2", None, JobState.FAILED, nodes="n1"),
        JobStatus("4", None, JobState.HELD, "JobHeldUser"),
        JobStatus("5", None, JobState.CANCELLED, nodes="n4"),
        JobStatus("3", 1, JobState.COMPLETED, nodes="n2"),
        JobStatus("3", 3, JobState.RUNNING, limit, "n2"),
        *(JobStatus("3", index, JobState.PENDING, limit) for index in (4, 5, 7)),
        *(JobStatus("6", index, JobState.CANCELLED, limit) for index in (0, 1)),
        JobStatus("7", None, JobState.UNKNOWN, "OUT_OF_ME+", "n1"),
        JobStatus("8", None, JobState.OUT_OF_MEMORY, nodes="n[1-2]"),
    ]


def test_no_accounts_are_not_no_jobs() -> None:
    assert texts.accounted(1, "", "Slurm accounting storage is disabled\n") is None
    assert texts.accounted(0, "", "") == []
    with pytest.raises(SchedulerError, match="Connection refused"):
        texts.accounted(1, "", "sacct: error: slurmdbd: Connection refused\n")
    with pytest.raises(SchedulerError, match="cannot be read"):
        texts.accounted(0, "what is this\n", "")


@pytest.mark.parametrize(
    ("word", "reason", "state"),
    [
        ("PENDING", "Priority", JobState.PENDING),
        ("PENDING", "JobHeldUser", JobState.HELD),
        ("PENDING", "launch failed requeued held", JobState.HELD),
        ("PENDING", "launch_failed_requeued_held", JobState.HELD),
        ("PENDING", "job requeued in held state", JobState.HELD),
        ("PENDING", "JobHoldMaxRequeue", JobState.HELD),
        ("PENDING", "DependencyNeverSatisfied", JobState.PENDING),
        ("REQUEUE_HOLD", "", JobState.HELD),
        ("CANCELLED by 0", "", JobState.CANCELLED),
        ("CANCELLED+", "", JobState.CANCELLED),
        ("CONFIGURING", "", JobState.PENDING),
        ("PREEMPTED", "", JobState.PREEMPTED),
        ("", "", JobState.UNKNOWN),
        ("completed", "", JobState.UNKNOWN),
        ("LAUNCH_FAILED_AS_NEVER_SEEN", "", JobState.UNKNOWN),
    ],
)
def test_states(word: str, reason: str, state: JobState) -> None:
    assert texts.state_of(word, reason) is state


def test_a_state_is_queued_or_over_or_unknown() -> None:
    for state in JobState:
        assert state.is_queued + state.is_over + (state is JobState.UNKNOWN) == 1
    assert JobState.HELD.is_queued
    assert JobState.PREEMPTED.is_over


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", [3]),
        ("0-5%2", [0, 1, 2, 3, 4, 5]),
        ("[1,4-8:2]", [1, 4, 6, 8]),
        ("[2-5%2]", [2, 3, 4, 5]),
        ("1,2,...", [1, 2]),
    ],
)
def test_indices(text: str, expected: list[int]) -> None:
    assert texts.indices(text) == expected


@pytest.mark.parametrize("text", ["", "a", "1-", "1-2-3", "1-4:0", "-1"])
def test_what_are_no_indices(text: str) -> None:
    with pytest.raises(ValueError, match="no array indices"):
        texts.indices(text)


@given(st.integers(-1, 256), st.text(), st.text())
def test_no_answer_is_taken_for_completed_or_breaks_a_parser(
    code: int, stdout: str, stderr: str
) -> None:
    for parse in (texts.queued, texts.accounted):
        try:
            found = parse(code, stdout, stderr) or []
        except SchedulerError as error:
            assert "\n" not in error.what
        else:
            assert "COMPLETED" in stdout or all(s.state != JobState.COMPLETED for s in found)


def test_cancelling_what_is_over_is_no_error() -> None:
    texts.cancelled(0, "", "")
    over = "scancel: error: Kill job error on job id 1: Invalid job id specified\n"
    done = "scancel: error: Kill job error on job id 2: Job/step already completing or completed\n"
    texts.cancelled(1, "", over + done)
    with pytest.raises(SchedulerError, match="permission denied") as caught:
        texts.cancelled(
            1, "", over + "scancel: error: Kill job error on job id 3: Access/permission denied\n"
        )
    assert "of yours" in caught.value.hint
    with pytest.raises(SchedulerError, match="no word"):
        texts.cancelled(1, "", "")


def test_releasing_what_is_not_there_is_an_error() -> None:
    texts.released(0, "", "")
    with pytest.raises(SchedulerError, match="Invalid job id specified for job 999"):
        texts.released(
            1,
            "",
            "Invalid job id specified for job 999\nslurm_suspend error: Invalid job id specified\n",
        )


@pytest.mark.parametrize(
    ("script", "arguments", "name"),
    [
        ("#!/bin/bash\n", [], "task.sh"),
        ("#!/bin/bash\n#SBATCH --job-name=a\n", [], "a"),
        ('#!/bin/bash\n#SBATCH  -J "a"\n', [], "a"),
        ("#!/bin/bash\n#SBATCH --job-name a\n", ["--job-name=b"], "b"),
        ("#!/bin/bash\n# SBATCH --job-name=a\n", ["-Jb", "-N2"], "b"),
    ],
)
def test_the_name_of_a_job(script: str, arguments: list[str], name: str) -> None:
    assert texts.job_name(script, SCRIPT, arguments) == name


def test_a_clean_environment() -> None:
    kept = {
        "PATH": "/bin", "HOME": "/h", "USER": "u", "LC_ALL": "C", "TZ": "UTC",
        "SLURM_CONF": "/etc/slurm.conf", "SLURM_CLUSTERS": "a", "MODULEPATH": "/m",
        "LMOD_CMD": "x", "BASH_FUNC_module%%": "() { :; }", "TACC_SYSTEM": "frontera",
        "SCRATCH": "/s", "XDG_CONFIG_HOME": "/c", "DPAM_HPC_PLATFORM_PATH": "/p",
    }  # fmt: skip
    dropped = {
        "SBATCH_PARTITION": "x", "SQUEUE_FORMAT": "%i", "SCANCEL_USER": "root", "SLURM_JOB_ID": "1",
        "SLURM_CPUS_PER_TASK": "1", "SLURM_CONF_BACKUP": "x", "OMP_NUM_THREADS": "1",
        "APPTAINER_BIND": "/", "SINGULARITY_BIND": "/", "PYTHONPATH": "/", "LD_PRELOAD": "x",
        "TMPDIR": "/t", "XDG_RUNTIME_DIR": "/run/user/1", "SACCT_FORMAT": "x", "path": "x",
    }  # fmt: skip
    assert clean_environment(kept | dropped) == kept


def test_the_time_limit_of_commands() -> None:
    assert scheduler_timeout({}) == DEFAULT_TIMEOUT
    assert scheduler_timeout({"DPAM_HPC_SCHEDULER_TIMEOUT": "2.5"}) == 2.5
    for wrong in ("x", "0", "-1", "nan", "inf"):
        with pytest.raises(ConfigError, match="DPAM_HPC_SCHEDULER_TIMEOUT"):
            scheduler_timeout({"DPAM_HPC_SCHEDULER_TIMEOUT": wrong})


@pytest.mark.parametrize(
    "argument",
    [
        "--qos=high", "--account=a", "-Aa", "-ppriority", "--mem=4G", "--time=1:00:00",
        "--exclusive", "--constraint=a&b", "--comment=two words", "--nodelist=n1", "--nice=5", "-H",
        "--mail-type=END", "--wait-all-nodes=1", "--gres=gpu:1",
    ],
)  # fmt: skip
def test_options_of_the_users_own(argument: str) -> None:
    assert user_flags_problem([argument]) == []


@pytest.mark.parametrize(
    ("argument", "option"),
    [
        ("--array=0-3", "--array"), ("-a0-3", "--array"), ("--arr=1", "--array"),
        ("-N4", "--nodes"), ("-HN4", "--nodes"), ("-n", "--ntasks"), ("--nodes", "--nodes"),
        ("-o/dev/null", "--output"), ("--out=x", "--output"), ("-e", "--error"),
        ("-Jx", "--job-name"), ("--sig=USR1", "--signal"), ("-D/", "--chdir"), ("-W", "--wait"),
        ("--wrap=rm -r x", "--wrap"), ("--export=NONE", "--export"),
        ("--no-requeue", "--no-requeue"),
    ],
)  # fmt: skip
def test_options_that_are_ours(argument: str, option: str) -> None:
    assert user_flags_problem([argument]) == [f"{argument}: {option} is set by dpam-hpc"]


def test_all_problems_are_told_at_once() -> None:
    problems = user_flags_problem(["--qos=high", "-N4", "other.sh", "--mem 4G", "--", "--a\0=1"])
    assert len(problems) == 5
    assert "-N4" in problems[0]
    assert "no option" in problems[1]
    assert "--name=value" in problems[2]


def test_what_is_owned_can_be_told() -> None:
    assert user_flags_problem(["-N4", "--qos=a"], {"--qos"}) == [
        "--qos=a: --qos is set by dpam-hpc"
    ]
    assert user_flags_problem(["--mem=1G"], {"--mem-per-cpu"}) == []
    assert len(user_flags_problem(["--mem-per=1G"], {"--mem-per-cpu"})) == 1


@pytest.mark.parametrize(
    ("told", "size"),
    [
        ("MaxArraySize            = 1001\nMaxDBDMsgs = 20\n", 1001),
        ("MaxArraySize            = 0\n", 0),
        ("ClusterName = x\n", None),
    ],
)
def test_the_largest_array_is_as_the_controller_says(told: str, size: int | None) -> None:
    assert texts.max_array_size(0, f"Configuration data as of ...\n{told}", "") == size


def test_a_controller_that_does_not_answer_says_nothing_of_arrays() -> None:
    with pytest.raises(SchedulerError, match="Unable to contact"):
        texts.max_array_size(1, "", "slurm_load_ctl_conf error: Unable to contact controller")


def test_a_job_that_waits_for_others() -> None:
    assert texts.after([]) == []
    assert texts.after(["17", "18"]) == ["--dependency=afterany:17:18"]
    with pytest.raises(SchedulerError):
        texts.after(["17,afterok:18"])
