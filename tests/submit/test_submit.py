"""The verbs submit, status, cancel, resume, init, with a SLURM that does as it is told."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dpam_hpc.errors import SchedulerError
from dpam_hpc.journal import Journal
from dpam_hpc.platforms import library
from dpam_hpc.run_dir import RunDir
from dpam_hpc.submit import submission
from dpam_hpc.submit.render import Renderer
from dpam_hpc.submit.slurm import Slurm
from tests import replay
from tests.conftest import environment, lay_out, run
from tests.images import AARCH64, X86_64, sif
from tests.submit import fake_slurm, golden
from tests.submit.fake_slurm import FakeSlurm

TARGETS = ("A0A0K2WPR7", "O05011")
REFUSED = "sbatch: error: Batch job submission failed: Invalid account\n"
GONE = "slurm_load_jobs error: Invalid job id specified\n"
ASK = ("status", "cancel", "resume")


@dataclass
class Login:
    """A login node: a working folder, a SLURM, an empty home."""

    root: Path
    slurm: FakeSlurm
    timeout: float = 20
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        return self.root / "w"

    def call(self, *arguments: str | Path, exit: int = 0) -> subprocess.CompletedProcess[str]:
        """Run ``dpam-hpc`` and expect an exit code."""
        env = environment(
            **{
                **self.slurm.environ,
                "XDG_CONFIG_HOME": str(self.root / "config"),
                "DPAM_HPC_SCHEDULER_TIMEOUT": str(self.timeout),
                "COLUMNS": "200",
                **self.variables,
            }
        )
        done = run(*arguments, env=env)
        assert done.returncode == exit, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def submit(
        self, *arguments: str | Path, platform: str = "generic", exit: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """``submit`` of the working folder with the sample's templates."""
        return self.call(
            "submit", self.work, "--platform", platform, "--data-dir", replay.DATA, *arguments,
            exit=exit,
        )  # fmt: skip

    def runs(self) -> list[RunDir]:
        return RunDir.all(self.work)

    def submitted(self) -> list[str]:
        """The script of each submission."""
        return [Path(call[-1]).name for call in self.slurm.calls() if call[:2] == SBATCH]

    def finish(self, *targets: str) -> None:
        """Leave what a launcher leaves of finished targets, in the first task's journal."""
        task = self.runs()[-1].task_folder(0)
        task.mkdir(parents=True, exist_ok=True)
        journal = Journal(task / "journal-0.jsonl")
        for target in targets:
            (self.work / f"{target}.iterativeDali.done").write_text("done\n")
            journal.append({"target": target, "state": "done", "step": "iterativeDali"})
        journal.close()


SBATCH = ["sbatch", "--parsable"]


@pytest.fixture
def login(tmp_path: Path) -> Login:
    lay_out(tmp_path / "w", TARGETS)
    slurm = fake_slurm.make(tmp_path / "slurm")
    slurm.does("sbatch", "17\n").does("squeue", "").does("sacct").does("scancel")
    slurm.does("scontrol", "MaxArraySize = 1001\n")
    return Login(tmp_path, slurm)


def queued(state: str = "RUNNING", job: str = "17") -> str:
    return f"{job}|N/A|{state}|n1|None\n"


def test_a_submission_is_planned_noted_and_told(login: Login) -> None:
    said = login.submit("--cpus", "8").stdout
    (run,) = login.runs()
    assert f"run {run.id} submitted: job 17" in said
    assert [job["job"] for job in run.jobs()] == ["17"]
    plan = run.plan()
    assert sorted(t for task in plan.tasks for t, _ in run.targets(task)) == sorted(TARGETS)
    assert plan.settings["data_dir"] == str(replay.DATA)
    assert login.submitted() == ["job.sh"]
    assert f"launch {run.path} --task" in (run.path / "node.sh").read_text()


@pytest.mark.parametrize("name", library.names(golden.SHIPPED))
def test_a_dry_run_shows_scripts_and_leaves_nothing(name: str, login: Login) -> None:
    before = sorted(login.work.iterdir())
    partition = ["--partition", "main"] if name == "leda" else []
    said = login.submit("--dry-run", "--json", *partition, platform=name).stdout
    plan = json.loads(said)
    assert plan["platform"] == name
    assert plan["targets"] == 2
    assert sum(task["targets"] for task in plan["tasks"]) == 2
    assert {"job.sh", "node.sh"} == set(plan["scripts"])
    assert ("--array" in plan["scripts"]["job.sh"]) == (name not in ("local", "tacc-frontera"))
    assert sorted(login.work.iterdir()) == before
    assert login.submitted() == []


def test_a_dry_run_for_people_has_the_same_scripts(login: Login) -> None:
    said = login.submit("--dry-run").stdout
    assert "==> job.sh <==\n#!/bin/bash\n#SBATCH --job-name=" in said
    assert "==> node.sh <==" in said


def test_a_test_only_submission_asks_and_makes_nothing(login: Login) -> None:
    (login.slurm.folder / "sbatch.json").unlink()
    login.slurm.does("sbatch", stderr="sbatch: Job 17 to start at 2030-01-01T00:00:00\n")
    assert "to start at 2030" in login.submit("--test-only").stderr
    assert login.runs() == []
    assert ["sbatch", "--test-only"] in [call[:2] for call in login.slurm.calls()]


def test_an_image_for_other_processors_is_refused(login: Login) -> None:
    image = sif(login.root / "x86.sif", X86_64)
    said = login.submit("--image", image, platform="tacc-vista", exit=2).stderr
    assert f"{image} is made for x86_64, and the nodes of tacc-vista are aarch64" in said
    login.submit("--image", sif(image, AARCH64), "--dry-run", platform="tacc-vista")
    image.write_bytes(b"\x7fELF" + bytes(200))
    said = login.submit("--image", image, "--dry-run", platform="tacc-vista", exit=2).stderr
    assert "is no Apptainer image (SIF)" in said


def test_the_image_is_identified_and_noted(login: Login) -> None:
    image = sif(login.root / "dpam.sif")
    expected = {
        "path": str(image),
        "sha256": hashlib.sha256(image.read_bytes()).hexdigest(),
        "architecture": platform.machine(),
        "bytes": image.stat().st_size,
    }
    dry = json.loads(login.submit("--image", image, "--dry-run", "--json").stdout)
    assert dry["image"] == expected
    assert login.runs() == []
    login.submit("--image", image)
    (run,) = login.runs()
    assert json.loads((run.path / "plan.json").read_text())["image"] == expected
    assert f"made_for={platform.machine()}\n" in (run.path / "node.sh").read_text()
    assert json.loads(login.submit("--dry-run", "--json").stdout)["image"] is None


def test_resume_takes_another_image_and_tells_so(login: Login) -> None:
    image = sif(login.root / "dpam.sif")
    login.submit("--image", image)
    before = login.runs()[0].plan().image
    assert before is not None
    assert "is not that of run" not in login.call("resume", login.work, "--dry-run").stdout
    image.write_bytes(image.read_bytes() + b"more")
    dry = login.call("resume", login.work, "--dry-run").stdout
    login.finish(TARGETS[0])
    said = login.call("resume", login.work).stdout
    first, second = login.runs()
    now = second.plan().image
    assert now is not None and now.sha256 == hashlib.sha256(image.read_bytes()).hexdigest()
    for text in (dry, said):
        assert f"the image {image} is not that of run {first.id}" in text
        assert now.sha256[:12] in text and before.sha256[:12] in text
    # It is known now.
    assert "is not that of run" not in login.call("resume", login.work).stdout


def test_a_plan_that_knows_of_no_image_is_resumed(login: Login) -> None:
    login.submit("--image", sif(login.root / "dpam.sif"))
    path = login.runs()[0].path / "plan.json"
    content = json.loads(path.read_text())
    del content["image"]
    path.write_text(json.dumps(content))
    assert "is not that of run" not in login.call("resume", login.work).stdout
    assert login.runs()[-1].plan().image is not None


def test_the_hosts_dali_is_not_for_an_image_unless_it_is_asked_for(login: Login) -> None:
    image = sif(login.root / "dpam.sif")
    login.variables["DALI_HOME"] = "/host/dali"

    def node_script(*arguments: str | Path) -> str:
        said = login.submit(*arguments, "--dry-run", "--json").stdout
        return str(json.loads(said)["scripts"]["node.sh"])

    assert "/host/dali" not in node_script("--image", image)
    asked = node_script("--image", image, "--dali-home", "/host/dali")
    assert "--bind /host/dali:/host/dali:ro " in asked
    login.variables["DPAM_HPC_DALI_HOME"] = "/host/dali"
    assert node_script("--image", image) == asked
    del login.variables["DPAM_HPC_DALI_HOME"]
    login.submit("--image", image)
    assert login.runs()[0].plan().settings["dali_home"] is None
    login.submit()
    assert login.runs()[1].plan().settings["dali_home"] == "/host/dali"


def test_everything_in_the_way_is_told_at_once(login: Login) -> None:
    said = login.call(
        "submit", login.work, "--platform", "leda", "--data-dir", login.root / "absent",
        "--image", login.root / "absent.sif", "--time", "soon", "--sbatch-arg=--array=1",
        "--sbatch-arg=-pfast", "--account", "a\nb", exit=2,
    ).stderr  # fmt: skip
    for part in (
        "requires --partition",
        "--array=1: --array is set by dpam-hpc",
        "-pfast: --partition is set by dpam-hpc",
        "'soon' is no time",
        "--account 'a\\nb' has characters",
        f"there is no folder {login.root}/absent/ECOD70",
        "absent.sif cannot be read: No such file or directory",
        "nothing was submitted",
    ):
        assert part in said
    assert login.runs() == []
    assert login.slurm.calls() == []


@pytest.mark.parametrize("platform", ["local", "generic"])
def test_a_working_folder_that_is_not_there_is_not_made(platform: str, login: Login) -> None:
    absent = login.root / "absent"
    said = login.call(
        "submit", absent, "--platform", platform, "--data-dir", replay.DATA, exit=2
    ).stderr
    assert f"there is no folder {absent}" in said
    assert not absent.exists()


def test_what_is_queued_is_not_submitted_twice(login: Login) -> None:
    login.submit()
    (login.slurm.folder / "squeue.json").unlink()
    login.slurm.does("squeue", queued())
    said = login.submit(exit=2).stderr
    assert f"run {login.runs()[0].id} is submitted already: job 17" in said
    assert len(login.runs()) == 1
    said = login.submit(platform="tacc-ls6", exit=2).stderr
    assert "is submitted already: job 17" in said


def test_a_run_of_no_scheduler_before_hinders_no_submission(login: Login) -> None:
    login.submit()
    path = login.runs()[0].path / "plan.json"
    path.write_text(path.read_text().replace('"scheduler": "slurm"', '"scheduler": "local"'))
    jobs = login.runs()[0].path / "jobs.jsonl"
    jobs.write_text(jobs.read_text().replace('"17"', '"999999:1"'))
    login.submit()
    assert len(login.runs()) == 2


def test_finished_targets_are_not_submitted_again(login: Login) -> None:
    login.submit()
    login.finish(TARGETS[0])
    assert json.loads(login.submit("--dry-run", "--json").stdout)["done_before"] == 1
    login.finish(*TARGETS)
    said = login.submit("--dry-run", exit=2).stderr
    assert "all 2 targets are done or failed" in said
    assert json.loads(login.submit("--dry-run", "--json", "--redo").stdout)["targets"] == 2


def test_ids_are_noted_though_a_later_job_is_refused(login: Login) -> None:
    case = golden.cases()["tacc-frontera-several-jobs"]
    prepared = golden.Case(case.platform, 5, 2, str(login.work)).prepared()
    run = submission.write(prepared, Renderer())
    (login.slurm.folder / "sbatch.json").unlink()
    login.slurm.does("sbatch", "17\n").does("sbatch", stderr=REFUSED, exit=1)
    with pytest.raises(SchedulerError, match="Invalid account"):
        submission.submit(run, Slurm(login.slurm.environ, timeout=20))
    assert [(job["job"], job["first"], job["tasks"]) for job in run.jobs()] == [("17", 0, 2)]
    assert login.submitted() == ["job-0.sh", "job-1.sh"]


@contextmanager
def within(seconds: float) -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds


def set_to(login: Login, name: str, how: str) -> None:
    """Let a command hang, fail, or be missing."""
    (login.slurm.folder / f"{name}.json").unlink()
    if how == "missing":
        (login.slurm.folder / "bin" / name).unlink()
    elif how == "fails":
        login.slurm.does(
            name, stderr=f"{name}: error: Unable to contact slurm controller\n", exit=1
        )
    else:
        login.slurm.does(name, seconds=300)
        login.timeout = 3


SAID = {"missing": "there is no {} on PATH", "fails": "Unable to contact", "hangs": "time limit"}


@pytest.mark.parametrize("how", SAID)
def test_a_submission_that_sbatch_does_not_take(how: str, login: Login) -> None:
    set_to(login, "sbatch", how)
    with within(60):
        said = login.submit(platform="tacc-frontera", exit=8).stderr
    assert SAID[how].format("sbatch") in said
    (run,) = login.runs()
    assert run.jobs() == []
    if how == "hangs":
        assert f"squeue --me --name=dpam-hpc-{run.id}" in said
    else:
        assert (run.path / "refused").exists()
    # It is no hindrance to the next.
    (login.slurm.folder / "sbatch.json").unlink(missing_ok=True)
    login.slurm.does("sbatch", "18\n")
    login.timeout = 20
    login.submit()
    assert [job["job"] for job in login.runs()[-1].jobs()] == ["18"]


@pytest.mark.parametrize("how", SAID)
def test_verbs_with_a_scheduler_that_does_not_answer(how: str, login: Login) -> None:
    login.submit()
    login.finish(TARGETS[0])
    set_to(login, "squeue", how)
    with within(90):
        done = login.call("status", login.work, "--json")
        assert json.loads(done.stdout)["done"] == 1, "the folder tells it"
        assert SAID[how].format("squeue") in json.loads(done.stdout)["problem"]
        said = login.call("status", login.work).stdout
        assert "1/2 targets done" in said
        said = login.call("resume", login.work, exit=8).stderr
        assert SAID[how].format("squeue") in said
    assert len(login.runs()) == 1
    set_to(login, "scancel", how)
    with within(30):
        said = login.call("cancel", login.work, exit=8).stderr
    assert SAID[how].format("scancel") in said
    assert login.runs()[0].is_cancelled, "it does not requeue itself any more"


def test_status_tells_what_slurm_says(login: Login) -> None:
    login.submit("--nodes", "2")
    (login.slurm.folder / "squeue.json").unlink()
    login.slurm.does("squeue", "17|0|RUNNING|n7|None\n17|1|PENDING||Priority\n")
    found = json.loads(login.call("status", login.work, "--json").stdout)
    assert [(task["state"], task["node"]) for task in found["tasks"]] == [
        ("running", "n7"),
        ("pending", ""),
    ]
    assert (found["queued"], found["done"], found["left"]) == (2, 0, 2)


def test_a_job_that_nobody_knows_is_unknown(login: Login) -> None:
    login.submit()
    (login.slurm.folder / "squeue.json").unlink()
    login.slurm.does("squeue", stderr=GONE, exit=1)
    found = json.loads(login.call("status", login.work, "--json").stdout)
    assert [task["state"] for task in found["tasks"]] == ["unknown"]
    assert found["done"] == 0
    assert "dpam-hpc resume goes on" in login.call("status", login.work).stdout


@pytest.mark.parametrize("verb", [*ASK, "logs"])
def test_without_a_run_every_verb_says_so(verb: str, login: Login) -> None:
    where = ["-C", login.work] if verb == "logs" else [login.work]
    assert "nothing was submitted from" in login.call(verb, *where, exit=2).stderr


def test_cancel_and_resume_with_what_is_left(login: Login) -> None:
    login.submit("--cpus", "8", "--account", "abc")
    first = login.runs()[0]
    login.call("cancel", login.work)
    assert ["scancel", "17"] in login.slurm.calls()
    assert first.is_cancelled
    login.finish(TARGETS[0])
    (login.slurm.folder / "sbatch.json").unlink()
    login.slurm.does("sbatch", "18\n")
    content = json.loads(login.call("resume", login.work, "--json", "--time", "2:00:00").stdout)
    assert content["jobs"] == ["18"]
    second = login.runs()[-1]
    assert second.id == content["run"] != first.id
    plan = second.plan()
    assert [t for task in plan.tasks for t, _ in second.targets(task)] == [TARGETS[1]]
    assert (plan.time_limit, plan.cpus) == (7200, 8)
    assert "#SBATCH --account=abc\n" in (second.path / "job.sh").read_text()
    login.finish(TARGETS[1])
    assert f"nothing is left of run {second.id}" in login.call("resume", login.work).stdout


def test_resume_of_a_redo_takes_no_earlier_outcome_for_its_own(login: Login) -> None:
    login.submit()
    login.finish(*TARGETS)
    login.submit("--redo")
    login.finish(TARGETS[1])
    content = json.loads(login.call("resume", login.work, "--json").stdout)
    assert content["targets"] == 1
    again = login.runs()[-1]
    assert [t for task in again.plan().tasks for t, _ in again.targets(task)] == [TARGETS[0]]
    assert again.plan().settings["redo"] is True


def test_resume_lets_held_jobs_go_on(login: Login) -> None:
    login.submit()
    (login.slurm.folder / "squeue.json").unlink()
    login.slurm.does("squeue", "17|0|PENDING||launch failed requeued held\n")
    login.slurm.does("scontrol")
    assert "held jobs are released" in login.call("resume", login.work).stdout
    assert ["scontrol", "release", "17_0"] in login.slurm.calls()
    assert len(login.runs()) == 1


def test_resume_with_nonsense_is_an_error_of_one_line(login: Login) -> None:
    login.submit()
    said = login.call("resume", login.work, "--nodes", "-1", exit=2).stderr
    assert "cannot go on with these settings" in said


def test_settings_in_the_folder_are_enough(login: Login) -> None:
    (login.work / "dpam-hpc.toml").write_text(
        f'data_dir = {json.dumps(str(replay.DATA))}\npartition = "long"\nnodes = 2\n'
    )
    said = login.call("submit", login.work, "--platform", "leda", "--json").stdout
    content = json.loads(said)
    assert content["jobs"] == ["17"]
    assert len(content["tasks"]) == 2
    script = (login.runs()[0].path / "job.sh").read_text()
    assert "#SBATCH --partition=long\n" in script


def test_init_writes_what_submit_takes(login: Login) -> None:
    login.call(
        "init", login.work, "--data-dir", replay.DATA, "--platform", "leda", "--partition", 'a"b\\c'
    )
    written = (login.work / "dpam-hpc.toml").read_text()
    script = json.loads(login.call("submit", login.work, "--dry-run", "--json").stdout)["scripts"]
    assert '#SBATCH "--partition=a\\"b\\\\c"\n' in script["job.sh"]
    said = login.call("init", login.work, exit=2).stderr
    assert "is there already" in said
    assert (login.work / "dpam-hpc.toml").read_text() == written
    login.call("init", login.work, "--force")
    assert 'partition = "a\\"b\\\\c"' in (login.work / "dpam-hpc.toml").read_text(), "it is kept"
    (login.work / "dpam-hpc.toml").unlink()
    login.call("init", login.work)
    lines = (login.work / "dpam-hpc.toml").read_text().splitlines()
    assert all(not line or line.startswith("#") for line in lines)
    # Every setting that is proposed is one.
    proposed = [line[2:] for line in lines if line.startswith("# ") and " = " in line]
    (login.work / "dpam-hpc.toml").write_text("\n".join(x for x in proposed if '""' not in x))
    login.submit("--dry-run")


def test_a_template_of_the_users_is_taken_and_named_where_it_is_wrong(login: Login) -> None:
    folder = login.root / "config" / "dpam-hpc" / "templates"
    folder.mkdir(parents=True)
    own = folder / "generic.sh.j2"
    own.write_text(
        '{% extends "slurm-array.sh.j2" %}{% block prepare %}\necho mine\n{% endblock %}'
    )
    login.submit()
    assert "\necho mine\n" in (login.runs()[0].path / "job.sh").read_text()
    own.write_text('{% extends "slurm-array.sh.j2" %}{% block prepare %}{{ mine }}{% endblock %}')
    said = login.submit(exit=2).stderr
    assert f"{own}:1" in said
    assert len(login.runs()) == 1
