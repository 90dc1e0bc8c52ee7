"""``status --watch`` on terminals and elsewhere, with a SLURM that does as it is told."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from dpam_hpc import journal, run_dir
from dpam_hpc.run_dir import Job, Plan, RunDir
from tests import schemas
from tests.conftest import environment, run
from tests.submit import fake_slurm
from tests.submit.fake_slurm import FakeSlurm
from tests.terminal import Terminal

TASKS, TARGETS = 60, 400
GONE = "slurm_load_jobs error: Invalid job id specified\n"
SILENT = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"
ALL = ("status", "--watch", "--every", "1")


@dataclass
class Watched:
    """A submitted run of many tasks."""

    run: RunDir
    slurm: FakeSlurm

    @property
    def env(self) -> dict[str, str]:
        return environment(**self.slurm.environ, DPAM_HPC_SCHEDULER_TIMEOUT="20")

    @property
    def words(self) -> list[str]:
        return [*ALL, str(self.run.work_dir)]

    def finish(self, task: int, targets: int) -> None:
        """Leave what a launcher leaves."""
        folder = self.run.task_folder(task)
        folder.mkdir(parents=True)
        opened = journal.Journal(run_dir.next_journal(folder, []))
        for n in range(targets):
            opened.append({"target": f"P{task}x{n}", "state": "done"})
        opened.close()
        said = {"state": "running", "at": time.time(), "seconds": 60.0, "pairs": 12_000}
        said |= {"done": targets, "busy_fraction": 0.97, "free_bytes": 123e9, "node": "n"}
        self.run.write_progress(task, said)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    made = RunDir.create(tmp_path)
    parts = [[(f"P{task}x{n}", 30.0) for n in range(TARGETS)] for task in range(TASKS)]
    tasks = made.write_targets(parts)
    made.write_plan(
        Plan("generic", "slurm", "array", 9, 2, 3600, tasks, [Job("job.sh", 0, TASKS)], {}, {})
    )
    made.add_job("17", 0, TASKS)
    slurm = fake_slurm.make(tmp_path / "slurm")
    slurm.does("sacct")
    watched = Watched(made, slurm)
    for task in range(30, 40):
        watched.finish(task, TARGETS // 2)
    return watched


def queue(running: range) -> str:
    """Some tasks run, on nodes with long names, the others wait, for long reasons."""
    name = "a-node-with-a-name-that-is-longer-than-its-column"
    return "".join(
        f"17|{n}|RUNNING|{name}{n}|None\n"
        if n in running
        else f"17|{n}|PENDING||ReqNodeNotAvail, Reserved for maintenance until next Tuesday\n"
        for n in range(TASKS)
    )


def test_it_rewrites_one_screen_until_nothing_is_queued(watched: Watched) -> None:
    watched.slurm.does("squeue", queue(range(30, 40))).does("squeue", stderr=SILENT, exit=1)
    watched.slurm.does("squeue", queue(range(30, 33))).does("squeue", stderr=GONE, exit=1)
    with Terminal(*watched.words, env=watched.env) as terminal:
        terminal.until("10 of 60 tasks running")
        terminal.until("Ctrl-C stops watching")  # the last line: all of the screen is there
        first = terminal.lines
        terminal.until("what the scheduler says is not known")
        terminal.until("3 of 60 tasks running")
        assert terminal.end() == 0
    assert terminal.screen.wrapped == 0
    assert terminal.screen.pushed_out == 0, "it fits"
    assert b"\x1b[2J" not in terminal.raw, "it is not cleared, which would flicker"
    assert terminal.text.count("\x1b[?25l") == terminal.text.count("\x1b[?25h") > 0
    assert first[0] == f"run {watched.run.id} on generic"
    assert "8.3 %: 2000 of 24000" in first[1]
    rows_of_tasks = [line.split() for line in first[4:] if line.split()[0].isdecimal()]
    assert [row[0] for row in rows_of_tasks[:3]] == ["30", "31", "32"], "running ones first"
    assert rows_of_tasks[0][1] == "running"
    (rest,) = [line for line in first if line.startswith("and ")]
    assert rest.startswith(f"and {TASKS - len(rows_of_tasks)} more tasks: ")
    assert "next at" in first[-1]
    assert "nothing is queued any more" in terminal.lines[-1]
    assert len(first) == 23, "all of the height is used"
    assert rows_of_tasks[0][-3:] == ["97%", "123.0", "GB"]


def test_ctrl_c_stops_watching_quietly(watched: Watched) -> None:
    watched.slurm.does("squeue", queue(range(30, 40)))
    with Terminal(*watched.words, env=watched.env) as terminal:
        terminal.until("Ctrl-C stops watching")
        terminal.send("\x03")
        assert terminal.end() == 130
    assert "Traceback" not in terminal.text
    assert "Aborted" not in terminal.text
    assert terminal.text.rstrip().endswith("\x1b[?25h"), "the cursor is back"
    assert not [call for call in watched.slurm.calls() if call[0] == "scancel"]


def test_a_dumb_terminal_gets_lines_of_what_changed(watched: Watched) -> None:
    watched.slurm.does("squeue", queue(range(30, 40))).does("squeue", queue(range(30, 33)))
    watched.slurm.does("squeue", stderr=GONE, exit=1)
    with Terminal(*watched.words, env=watched.env, kind="dumb") as terminal:
        assert terminal.end() == 0
    assert b"\x1b" not in terminal.raw
    lines = terminal.text.splitlines()
    assert [line.split(", ")[2] for line in lines[:3]] == [
        "10/60 tasks running", "3/60 tasks running", "0/60 tasks running",
    ]  # fmt: skip
    assert lines[3:] == ["no job of it is known to be queued: dpam-hpc resume goes on"]


def test_json_is_a_document_a_line(watched: Watched) -> None:
    watched.slurm.does("squeue", queue(range(30, 40))).does("squeue", stderr=GONE, exit=1)
    done = run(*watched.words, "--json", env=watched.env)
    documents = [schemas.check("status", line) for line in done.stdout.splitlines()]
    assert [document["queued"] for document in documents] == [60, 0]
