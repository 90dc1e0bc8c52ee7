"""Hostile names of folders and files, from the command line to the job that bash runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dpam_hpc import trust
from dpam_hpc.cli.status import logs
from dpam_hpc.journal import Journal
from dpam_hpc.run_dir import Plan, RunDir
from tests import replay
from tests.conftest import environment, lay_out

HOSTILE = "it's $(touch pwned) `touch pwned`; touch pwned & #{{x}} %j [b] -é"
SECRET = "a-secret-that-nobody-may-read"
EVIL = "import pathlib; pathlib.Path({!r}).touch()\n"


def submit(
    work: Path, data: Path, home: Path, scratch: Path, cwd: Path, *more: str
) -> subprocess.CompletedProcess[str]:
    """``dpam-hpc submit`` without a scheduler, and its job to the end."""
    code = "import sys; sys.path.remove(''); from dpam_hpc.cli import main; main()"
    return subprocess.run(
        [
            sys.executable, "-c", code, "submit", str(work), "--platform", "local", "--no-image",
            "--data-dir", str(data), "--dali-home", str(home), "--scratch-dir", str(scratch),
            "--min-free-gb", "0.01", "--dali-workers", "2", "--wait", *more,
        ],
        capture_output=True, text=True, timeout=100, cwd=cwd,
        env=environment(MY_TOKEN=SECRET, DPAM_HPC_NOTHING=SECRET, COLUMNS="300"),
    )  # fmt: skip


def test_names_reach_the_job_as_they_are_and_nothing_in_them_is_run(
    tmp_path: Path, stand_in: Path
) -> None:
    """Nor are modules taken from the folder where it was submitted, or secrets kept."""
    work = lay_out(tmp_path / HOSTILE, ("O05011",))
    data, home, scratch = (tmp_path / f"{name} {HOSTILE}" for name in ("data", "dali", "scratch"))
    data.symlink_to(replay.DATA)
    home.symlink_to(stand_in)
    scratch.mkdir()
    for name in ("$(touch pwned)", "-rf", "a;touch pwned", "`touch pwned`", "x\ny", "%j"):
        (work.root / f"{name}_hits4Dali").write_text("e1ejgA1\n")
    planted = tmp_path / "planted"
    for module in ("json", "typer", "socket", "random"):
        (work.root / f"{module}.py").write_text(EVIL.format(str(planted)))
    (work.root / "dpam_hpc").mkdir()
    (work.root / "dpam_hpc" / "__init__.py").write_text(EVIL.format(str(planted)))

    done = submit(work.root, data, home, scratch, work.root)

    assert done.returncode == 0, done.stderr + done.stdout
    assert "1/1 targets done" in done.stderr
    work.expect_whole()
    assert not planted.exists(), "a module was taken from the working folder"
    assert not list(tmp_path.rglob("pwned")) and not os.path.lexists("pwned")
    assert list(scratch.iterdir()) == []
    own = [path for path in (work.root / ".dpam-hpc").rglob("*") if path.is_file()]
    assert {"plan.json", "job.sh", "node.sh", "journal-0.jsonl"} <= {path.name for path in own}
    for path in own:
        assert SECRET not in path.read_text(), path
        assert not path.stat().st_mode & 0o022


@pytest.mark.parametrize("name", ["a\nb", 'a"b', "a\\b", "a\x1b[31mb", os.fsdecode(b"a\xff")])
def test_a_name_that_no_script_can_hold_is_refused(
    tmp_path: Path, stand_in: Path, name: str
) -> None:
    work = lay_out(tmp_path / name, ("O05011",))
    done = submit(work.root, replay.DATA, stand_in, tmp_path, tmp_path)
    assert done.returncode == 2, done.stderr
    assert "has a character that cannot be used in a job" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (work.root / ".dpam-hpc").exists()


def test_a_run_in_a_folder_whose_name_is_no_text(tmp_path: Path, stand_in: Path) -> None:
    """What is said of it, in files too, can be written."""
    work = lay_out(Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff[/b]")), ("O05011",))
    (work.root / "O05011.pdb").unlink()
    argv = [sys.executable, "-m", "dpam_hpc", "run", str(work.root), "--min-free-gb", "0.01"]
    argv += ["--data-dir", str(replay.DATA), "--dali-home", str(stand_in)]
    argv += ["--scratch-dir", str(tmp_path)]
    for more, code in (["--show-settings"], 0), ([], 3):
        done = subprocess.run(
            [*map(os.fsencode, argv), *more], capture_output=True, timeout=100, env=environment()
        )
        assert done.returncode == code, done.stderr
        assert b"Traceback" not in done.stderr
    failures = (work.root / "O05011_iterativeDali.failures.tsv").read_text()
    assert "missing: no O05011.pdb in" in failures


def test_a_log_gives_the_terminal_no_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Logs of others can be read too."""
    run = RunDir.create(tmp_path)
    plan = Plan("p", "slurm", "array", 1, 1, 60, run.write_targets([[("P", 1.0)]]), [], {}, {})
    run.write_plan(plan)
    run.add_job("1", 0, 1)
    (run.path / "logs" / "1_0.log").write_text("fine\n\x1b]0;evil\x07\x1b[2J\tline\n")
    trust.own_folder(run.path / "tasks")
    trust.own_folder(run.task_folder(0))
    opened = Journal(run.task_folder(0) / "journal-0.jsonl")
    opened.append({"target": "P", "state": "failed", "reason": "\x1b[31mred"})
    opened.close()
    logs("P", tmp_path)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "\x07" not in shown
    assert "fine\n" in shown and "\tline" in shown and "31mred" in shown
