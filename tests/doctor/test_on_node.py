"""One command on a node: the script, and a job where there is no scheduler."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dpam_hpc.errors import ConfigError, SchedulerError
from dpam_hpc.platforms.model import Platform
from dpam_hpc.settings import SubmitSettings
from dpam_hpc.submit.local import Local
from dpam_hpc.submit.on_node import OnNode
from dpam_hpc.submit.render import Renderer
from dpam_hpc.submit.scheduler import JobState, JobStatus
from tests.conftest import environment, lay_out
from tests.doctor.site import Site
from tests.ordinary_user import User, make_command
from tests.submit.golden import shipped

ODD = "it's a \\ $(touch owned) `touch owned` %j folder"


def on_node(platform: Platform, work: Path, **settings: Any) -> OnNode:
    given = SubmitSettings(work_dir=work, **settings)
    return OnNode(given, platform, Local(work / ".dpam-hpc" / "local"))


def script(asked: OnNode, *command: str) -> str:
    return asked._write(command, Renderer()).read_text()


def test_a_script_asks_for_one_node_as_a_run_does(tmp_path: Path) -> None:
    text = script(on_node(shipped("leda"), tmp_path, partition="main", account="lab"), "doctor")
    head = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    assert head[:6] == [
        "#SBATCH --job-name=dpam-hpc-doctor",
        "#SBATCH --partition=main",
        "#SBATCH --account=lab",
        "#SBATCH --nodes=1",
        "#SBATCH --ntasks=1",
        "#SBATCH --exclusive",
    ]
    assert "#SBATCH --time=00:10:00" in head


def test_a_queue_of_many_nodes_gets_as_many_as_it_takes(tmp_path: Path) -> None:
    frontera = shipped("tacc-frontera")
    assert frontera.partitions["normal"].min_nodes == 3
    asked = on_node(frontera, tmp_path, partition="normal")
    assert "#SBATCH --nodes=3\n" in script(asked, "doctor")


@pytest.mark.parametrize("name", ["leda", "tacc-vista", "local"])
def test_scripts_pass_shellcheck(tmp_path: Path, name: str) -> None:
    work = tmp_path / ODD
    work.mkdir()
    image = {"image": tmp_path / "an image.sif"}
    asked = on_node(shipped(name), work, partition="main", **image)
    path = asked._write(["doctor", ODD], Renderer())
    # SC2016: names with $ in them.
    checked = subprocess.run(
        [Path(sys.executable).with_name("shellcheck"), "--exclude=SC2016", path],
        capture_output=True, text=True,
    )  # fmt: skip
    assert checked.stdout == ""


def test_what_the_site_requires_is_asked_for_first(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="platform leda requires --partition"):
        on_node(shipped("leda"), tmp_path).ask(["doctor"], Renderer(), 1)
    with pytest.raises(ConfigError, match="--output"):
        on_node(shipped("generic"), tmp_path, sbatch_arg=["--output=x"]).ask(
            ["doctor"], Renderer(), 1
        )


class Silent:
    """A scheduler whose jobs stay in a state."""

    name = "silent"

    def __init__(self, state: JobState) -> None:
        self.state = state
        self.cancelled: list[str] = []

    def submit(self, script: Path, arguments: object) -> str:
        return "7"

    def status(self, jobs: object) -> list[JobStatus]:
        return [JobStatus("7", None, self.state, "Resources")]

    def cancel(self, jobs: list[str]) -> None:
        self.cancelled += jobs


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (JobState.PENDING, r"job 7 did not start in 0 s \(pending: Resources\); it is cancelled"),
        (JobState.RUNNING, r"job 7 gave no answer in 0 s \(running: Resources\)"),
        (JobState.UNKNOWN, r"job 7 gave no answer in 0 s \(unknown: Resources\)"),
    ],
)
def test_a_job_is_not_waited_for_without_end(tmp_path: Path, state: JobState, told: str) -> None:
    scheduler: Any = Silent(state)
    asked = OnNode(SubmitSettings(work_dir=tmp_path), shipped("generic"), scheduler)
    with pytest.raises(SchedulerError, match=told) as error:
        asked.ask(["doctor"], Renderer(), 0.1)
    assert "--wait" in error.value.hint
    assert scheduler.cancelled == ["7"]


class Busy(Silent):
    """It does not say where a job stands, but for the times when it does."""

    def __init__(self, silent: int) -> None:
        super().__init__(JobState.RUNNING)
        self.folder = Path("/nowhere")
        self._silent = silent

    def status(self, jobs: object) -> list[JobStatus]:
        self._silent -= 1
        if self._silent >= 0:
            raise SchedulerError("squeue is silent")
        (self.folder / "answer.json").write_text("{}")
        return super().status(jobs)


def test_a_scheduler_that_is_busy_does_not_end_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpam_hpc.submit.on_node.LOOK_EVERY", 0.01)
    scheduler: Any = Busy(3)
    asked = OnNode(SubmitSettings(work_dir=tmp_path), shipped("generic"), scheduler)
    scheduler.folder = asked.folder
    assert asked.ask(["doctor"], Renderer(), 60) == b"{}"
    assert scheduler.cancelled == []
    assert not asked.folder.parent.exists()


def test_a_scheduler_that_stays_silent_is_told_at_the_end(tmp_path: Path) -> None:
    scheduler: Any = Busy(1000)
    asked = OnNode(SubmitSettings(work_dir=tmp_path), shipped("generic"), scheduler)
    with pytest.raises(SchedulerError, match="squeue is silent"):
        asked.ask(["doctor"], Renderer(), 0.1)
    assert scheduler.cancelled == ["7"]


class Refusing(Silent):
    def submit(self, script: Path, arguments: object) -> str:
        raise SchedulerError("no")


def test_a_submission_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    scheduler: Any = Refusing(JobState.PENDING)
    asked = OnNode(SubmitSettings(work_dir=tmp_path), shipped("generic"), scheduler)
    with pytest.raises(SchedulerError, match="no"):
        asked.ask(["doctor"], Renderer(), 1)
    assert not asked.folder.parent.exists()


def test_what_is_no_number_of_seconds_is_not_waited_for(tmp_path: Path) -> None:
    scheduler: Any = Silent(JobState.PENDING)
    asked = OnNode(SubmitSettings(work_dir=tmp_path), shipped("generic"), scheduler)
    with pytest.raises(SchedulerError, match="did not start"):
        asked.ask(["doctor"], Renderer(), math.nan)


def test_a_command_that_is_refused_there_says_why(tmp_path: Path) -> None:
    asked = on_node(shipped("local"), tmp_path)
    with pytest.raises(SchedulerError, match=r"printed no answer; .* ends:(.|\n)*No such option"):
        asked.ask(["doctor", "--no-such-option"], Renderer(), 60)


def test_without_a_scheduler_a_job_is_a_process_of_this_machine(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder whose name is a trap, by a Python that has this checkout."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    user = User(None, environment(HOME=str(tmp_path)))
    command = make_command(user, tmp_path / "venv")
    assert command is not None
    work = lay_out(tmp_path / ODD, ("O05011",)).root
    done = subprocess.run(
        [
            command, "doctor", work, "--platform", "local", "--on-node", "--json",
            "--data-dir", site.settings["data_dir"], "--dali-home", site.settings["dali_home"],
        ],
        env=user.environment, capture_output=True, text=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode in (0, 10), done.stderr
    report = json.loads(done.stdout)
    rows = {row["check"]: row["level"] for row in report["rows"]}
    assert (rows["DALI"], rows["WORK_DIR"]) == ("ok", "ok")
    assert not list(tmp_path.rglob("owned"))
