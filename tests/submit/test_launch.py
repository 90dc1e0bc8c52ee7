"""Tasks at work, by ``launch`` and by ``submit --platform local``, with the stand-in for DALI."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from dpam_hpc import journal
from dpam_hpc.errors import LockedError
from dpam_hpc.image.identity import identify
from dpam_hpc.node import task
from dpam_hpc.node.shutdown import Shutdown
from dpam_hpc.run_dir import Job, Plan, RunDir, Task
from tests import replay
from tests.conftest import COMMAND, Work, environment, lay_out, run
from tests.images import sif

TARGETS = ("A0A0K2WPR7", "O05011")
PATIENCE = 100.0


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return lay_out(tmp_path / "my work", TARGETS)


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    # The folder of the code is on the path of the jobs' Python too, by where they are started.
    return environment(XDG_CONFIG_HOME=str(tmp_path / "config"), COLUMNS="200")


@pytest.fixture
def submit(
    work: Work, stand_in: Path, scratch: Path, env: dict[str, str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``submit --platform local``."""

    def submit(*more: str) -> subprocess.CompletedProcess[str]:
        return run(
            "submit", work.root, "--platform", "local", "--data-dir", replay.DATA,
            "--dali-home", stand_in, "--scratch-dir", scratch, "--min-free-gb", "0.01",
            "--dali-workers", "2", "--grace", "1", *more, env=env, timeout=PATIENCE,
        )  # fmt: skip

    return submit


@pytest.fixture
def planned(work: Work, stand_in: Path, scratch: Path) -> RunDir:
    """A run of one task whose launcher the test starts by itself."""
    return make_plan(RunDir.create(work.root), work, stand_in, scratch)


def make_plan(made: RunDir, work: Work, stand_in: Path, scratch: Path) -> RunDir:
    tasks = made.write_targets([[(target, 1.0) for target in TARGETS]])
    settings = {
        "work_dir": str(work.root),
        "data_dir": str(replay.DATA),
        "dali_home": str(stand_in),
        "scratch_dir": str(scratch),
        "min_free_gb": 0.01,
        "dali_workers": 2,
        "grace": 1.0,
    }
    jobs = [Job("job.sh", 0, 1)]
    made.write_plan(Plan("local", "local", "array", 1, 2, 60, tasks, jobs, settings, {}))
    return made


def launch(run_dir: RunDir, *more: str) -> subprocess.CompletedProcess[str]:
    return run("launch", run_dir.path, "--task", "0", *more, env=environment(), timeout=PATIENCE)


def start(run_dir: RunDir, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "launch", str(run_dir.path), "--task", "0", *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip


def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.02)


def launcher_of(run_dir: RunDir) -> int:
    """The process that works off the run's first task, as soon as it holds its lease."""
    lock = run_dir.task_folder(0) / "run.lock"
    until(lambda: lock.exists() and lock.read_text().endswith("}"))
    return int(json.loads(lock.read_text())["pid"])


def outcomes(run_dir: RunDir) -> list[tuple[str, str]]:
    found = run_dir.records(0)
    return [(record["target"], record["state"]) for record in found if record["target"]]


def of_launchers(run_dir: RunDir) -> list[journal.Record]:
    """What the launchers noted of themselves."""
    return [record for record in run_dir.records(0) if record["target"] == journal.LAUNCHER]


def test_a_local_run_ends_with_the_reference_bytes(
    work: Work, submit: Callable[..., subprocess.CompletedProcess[str]], env: dict[str, str]
) -> None:
    done = submit("--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    work.expect_whole()
    (made,) = RunDir.all(work.root)
    found = json.loads(run("status", work.root, "--json", env=env).stdout)
    assert (found["done"], found["left"], found["queued"]) == (2, 0, 0)
    assert found["tasks"][0]["state"] == "finished"
    assert "task 0 of" in run("logs", "-C", work.root, env=env).stdout
    said = run("resume", work.root, env=env)
    assert said.stdout == f"nothing is left of run {made.id}\n"


def test_a_killed_local_run_is_resumed(
    work: Work, submit: Callable[..., subprocess.CompletedProcess[str]], env: dict[str, str]
) -> None:
    done = submit()
    assert done.returncode == 0, done.stderr
    (first,) = RunDir.all(work.root)
    os.kill(launcher_of(first), signal.SIGKILL)
    until(lambda: json.loads(run("status", work.root, "--json", env=env).stdout)["queued"] == 0)
    done = run("resume", work.root, "--wait", env=env, timeout=PATIENCE)
    if "nothing is left" not in done.stdout:  # it was quicker than the test
        assert len(RunDir.all(work.root)) == 2
    assert done.returncode == 0, done.stdout + done.stderr
    work.expect_whole()


def test_a_cancelled_local_run_ends_and_is_resumed(
    work: Work, submit: Callable[..., subprocess.CompletedProcess[str]], env: dict[str, str]
) -> None:
    submit()
    (first,) = RunDir.all(work.root)
    pid = launcher_of(first)
    done = run("cancel", work.root, env=env)
    assert done.returncode == 0, done.stderr
    until(lambda: json.loads(run("status", work.root, "--json", env=env).stdout)["queued"] == 0)
    assert not psutil.pid_exists(pid), "the job is not over before its launcher is"
    done = run("resume", work.root, "--wait", env=env, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    work.expect_whole()


def test_a_deadline_that_is_near_begins_nothing(planned: RunDir, work: Work) -> None:
    done = launch(planned, "--deadline", str(time.time() + 1))
    assert done.returncode == 75, done.stderr
    assert "interrupted by the time that is left to the job" in done.stderr
    assert outcomes(planned) == []
    assert [path.name for path in work.root.glob("*_iterativdDali_hits")] == []
    assert planned.progress(0)["state"] == "interrupted"
    done = launch(planned, "--restart", "1", "--deadline", str(time.time() + 10**6))
    assert done.returncode == 0, done.stderr
    work.expect_whole()


def test_a_time_limit_in_which_nothing_fits_is_an_error_and_no_requeue(planned: RunDir) -> None:
    settings = {**planned.plan().settings, "grace": 1000.0}
    planned.write_plan(replace(planned.plan(), time_limit=5, settings=settings))
    done = launch(planned, "--deadline", str(time.time() + 100))
    assert done.returncode == 2, done.stderr
    assert "fits into the time of a job (5 s)" in done.stderr


def test_what_interruptions_cost_adds_up(planned: RunDir, work: Work) -> None:
    planned.task_folder(0).mkdir(parents=True)
    planned.write_progress(0, {"state": "interrupted", "wasted": 12.5})
    assert launch(planned).returncode == 0
    assert planned.progress(0)["wasted"] == 12.5
    status = run("status", work.root, env=environment()).stdout
    assert "12 CPU seconds lost by interruptions" in status


def test_a_task_goes_on_from_its_earlier_starts(planned: RunDir, work: Work) -> None:
    assert launch(planned).returncode == 0
    first = planned.task_folder(0) / "journal-0.jsonl"
    lines = first.read_text().splitlines(keepends=True)
    assert json.loads(lines[1])["state"] == journal.START
    kept = json.loads(lines[2])["target"]
    (other,) = set(TARGETS) - {kept}
    # As if it had been killed while it noted the second target.
    first.write_text("".join(lines[:3]) + lines[3][:30])
    work.root.joinpath(f"{other}.iterativeDali.done").unlink()
    (work.root / f"{kept}_iterativdDali_hits").touch()
    before = (work.root / f"{kept}_iterativdDali_hits").stat().st_mtime_ns
    done = launch(planned, "--restart", "1", "--job", "4711", "--node", "n7")
    assert done.returncode == 0, done.stderr
    work.expect_whole()
    assert (work.root / f"{kept}_iterativdDali_hits").stat().st_mtime_ns == before
    second = journal.read(planned.task_folder(0) / "journal-1.jsonl")
    assert [record["target"] for record in second] == ["", other, ""]
    noted = of_launchers(planned)
    assert [record["state"] for record in noted] == ["start", "start", "end"]
    about = {name: noted[1][name] for name in ("job", "node", "restart")}
    assert about == {"job": "4711", "node": "n7", "restart": 1}
    assert outcomes(planned) == [(kept, "done"), (other, "done")]
    assert (planned.progress(0)["skipped"], planned.progress(0)["found"]) == (1, 0)


def test_a_task_of_redo_begins_anew_once(planned: RunDir, work: Work) -> None:
    assert launch(planned).returncode == 0
    plan = planned.path / "plan.json"
    content = json.loads(plan.read_text())
    content["settings"]["redo"] = True
    plan.write_text(json.dumps(content))
    assert launch(planned, "--restart", "1").returncode == 0
    assert [state for _, state in outcomes(planned)] == ["done"] * 2 + ["redo"] * 2 + ["done"] * 2
    assert launch(planned, "--restart", "2").returncode == 0
    assert len(outcomes(planned)) == 6
    work.expect_whole()


def test_a_cancelled_run_is_not_begun(planned: RunDir) -> None:
    planned.cancel()
    done = launch(planned)
    assert done.returncode == 75
    assert "was cancelled" in done.stderr
    assert not planned.task_folder(0).exists()


def test_a_task_that_the_run_does_not_have(planned: RunDir) -> None:
    done = run("launch", planned.path, "--task", "1", env=environment())
    assert done.returncode == 2
    assert "has no task 1" in done.stderr


# -- with an image --------------------------------------------------------------------------------

APPTAINER = """#!/bin/bash
# What is in the image: this very Python, and a DALI of its own.
if [ -e "$0.changes" ]; then echo changed >> {image}; rm "$0.changes"; fi
while [ "$1" != dpam-hpc ]; do shift; done
shift
export PATH={dali}/bin:$PATH HOME=/nonexistent
exec {python} -m dpam_hpc "$@"
"""


def in_image(planned: RunDir, path: Path) -> Path:
    """Plan the run with an image, and a second task, on which the others do not wait."""
    plan = planned.plan()
    sif(path)
    planned.write_plan(replace(plan, image=identify(path), tasks=[*plan.tasks, Task(0, 0.0)]))
    return path


def test_in_another_image_no_protein_is_begun(
    planned: RunDir, work: Work, scratch: Path, tmp_path: Path
) -> None:
    image = in_image(planned, tmp_path / "dpam.sif")
    before = identify(image).short
    sif(image, more=b"changed")
    done = launch(planned)
    assert done.returncode == 9, done.stderr
    for part in (str(image), identify(image).short, before, "  -> dpam-hpc resume takes the new"):
        assert part in done.stderr
    assert outcomes(planned) == []
    left = {path.name for path in planned.task_folder(0).iterdir()}
    assert left == {"progress.json"}, "no lease was taken, no journal begun"
    assert planned.progress(0)["state"] == "failed"
    assert "is not the one" in planned.progress(0)["reason"]
    assert list(work.root.glob("*_iterativdDali_hits")) == list(scratch.iterdir()) == []
    sif(image)
    assert launch(planned, "--restart", "1").returncode == 0
    work.expect_whole()


def test_launchers_of_a_node_read_the_image_once_until_the_last_task(
    planned: RunDir, scratch: Path, tmp_path: Path
) -> None:
    image = in_image(planned, tmp_path / "dpam.sif")
    assert launch(planned).returncode == 0
    (mark,) = scratch.iterdir()
    assert mark.is_file()
    # Whoever reads it now finds another: only the mark tells that it was read.
    before = image.stat()
    with image.open("r+b") as file:
        file.seek(60)
        file.write(b"changed")
    os.utime(image, ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert launch(planned, "--restart", "1").returncode == 0
    planned.task_folder(1).mkdir()
    assert launch(planned, "--restart", "2").returncode == 0
    assert list(scratch.iterdir()) == []
    assert launch(planned, "--restart", "3").returncode == 9


@pytest.fixture
def container(tmp_path: Path, stand_in: Path) -> tuple[Path, Path]:
    """An image, and the program that runs it."""
    image = sif(tmp_path / "my image.sif")
    program = tmp_path / "bin" / "apptainer"
    program.parent.mkdir()
    words = {"image": image, "dali": stand_in, "python": sys.executable}
    quoted = {name: shlex.quote(str(word)) for name, word in words.items()}
    program.write_text(APPTAINER.format(**quoted))
    program.chmod(0o755)
    return image, program


def test_an_image_that_changes_after_the_submission_is_refused_and_resumed(
    work: Work, scratch: Path, container: tuple[Path, Path], env: dict[str, str]
) -> None:
    image, program = container
    env |= {"PATH": f"{program.parent}:{env['PATH']}", "DALI_HOME": "/absent/dali of the host"}
    program.with_name("apptainer.changes").touch()
    done = run(
        "submit", work.root, "--platform", "local", "--data-dir", replay.DATA, "--image", image,
        "--scratch-dir", scratch, "--min-free-gb", "0.01", "--dali-workers", "2", "--wait",
        env=env, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    (first,) = RunDir.all(work.root)
    assert "is not the one" in run("logs", "-C", work.root, env=env).stdout
    job = first.jobs()[0]["job"]
    assert (work.root / f".dpam-hpc/local/local-{job}.exit").read_text() == "9\n"
    assert outcomes(first) == []
    done = run("resume", work.root, "--wait", env=env, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"is not that of run {first.id}" in done.stdout
    work.expect_whole()  # by the image's own DALI


def test_a_second_launcher_of_a_task_waits_and_is_refused(
    planned: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start(planned)
    try:
        launcher_of(planned)
        first.send_signal(signal.SIGSTOP)  # it holds its lease, however quick it would be
        monkeypatch.setattr(task, "LEASE", replace(task.LEASE, patience=1.0))
        shutdown = Shutdown()
        with pytest.raises(LockedError, match="is being worked on by another"):
            task.work_off(planned, 0, task.Start(), shutdown)
        shutdown.close()
    finally:
        first.send_signal(signal.SIGCONT)
        _, stderr = first.communicate(timeout=PATIENCE)
    assert first.returncode == 0, stderr
    assert sorted(outcomes(planned)) == [(target, "done") for target in sorted(TARGETS)]


def test_a_later_start_takes_over_from_one_that_lives(planned: RunDir, work: Work) -> None:
    first = start(planned)
    launcher_of(planned)
    first.send_signal(signal.SIGSTOP)
    done = launch(planned, "--restart", "1")
    assert done.returncode == 0, done.stderr
    first.send_signal(signal.SIGCONT)
    _, stderr = first.communicate(timeout=PATIENCE)
    assert first.returncode in (0, 5), stderr
    work.expect_whole()


def test_a_target_held_back_in_a_chain_is_done_by_a_later_start(
    work: Work, stand_in: Path, scratch: Path
) -> None:
    planned = make_plan(
        RunDir.create(work.root, "20260101-000000-0000.s2"), work, stand_in, scratch
    )
    candidates = work.root / "O05011_hits4Dali"
    content = candidates.read_text()
    candidates.unlink()
    launch(planned)
    assert sorted(outcomes(planned)) == [("A0A0K2WPR7", "done"), ("O05011", "held")]
    told = planned.task_folder(0) / "failures.tsv"
    assert "held back, step 6 is not done" in told.read_text()

    candidates.write_text(content)
    assert launch(planned).returncode == 0
    assert outcomes(planned)[-1] == ("O05011", "done")
    assert not told.exists()
