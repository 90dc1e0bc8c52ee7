"""Where a run stands: by records alone; what the scheduler does not say is unknown."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from dpam_hpc import journal, run_dir
from dpam_hpc.run_dir import Job, Plan, RunDir
from dpam_hpc.show import status as report
from dpam_hpc.submit.scheduler import JobState, JobStatus


class Says:
    """A scheduler that says what it was told."""

    name = "slurm"

    def __init__(self, *known: JobStatus) -> None:
        self.known = list(known)
        self.asked: list[list[str]] = []

    def submit(self, script: Path, arguments: Sequence[str], after: Sequence[str] = ()) -> str:
        raise AssertionError

    test = submit

    def status(self, jobs: Sequence[str]) -> list[JobStatus]:
        self.asked.append(list(jobs))
        return self.known

    def cancel(self, jobs: Sequence[str]) -> None:
        raise AssertionError

    release = cancel

    def max_array_size(self) -> int | None:
        raise AssertionError


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """Two tasks, of three targets and of two, as one array."""
    made = RunDir.create(tmp_path)
    parts = [[("A", 30.0), ("B", 20.0), ("C", 10.0)], [("D", 30.0), ("E", 30.0)]]
    tasks = made.write_targets(parts)
    made.write_plan(
        Plan("generic", "slurm", "array", 2, 2, 3600, tasks, [Job("job.sh", 0, 2)], {}, {})
    )
    made.add_job("17", 0, 2)
    return made


def note(run: RunDir, task: int, *records: tuple[str, str], **more: Any) -> None:
    """A start of a task that leaves records of (target, state)."""
    folder = run.task_folder(task)
    folder.mkdir(parents=True, exist_ok=True)
    opened = journal.Journal(run_dir.next_journal(folder, run_dir.journals(folder)))
    for target, state in records:
        opened.append({"target": target, "state": state, **more})
    opened.close()


def printed(status: report.RunStatus) -> str:
    console = Console(width=150)
    with console.capture() as captured:
        console.print(report.table(status))
    return captured.get()


def test_a_run_that_nobody_knows_is_unknown_and_nothing_of_it_done(run: RunDir) -> None:
    says = Says(JobStatus("17", None, JobState.UNKNOWN))
    found = report.look(run, says)
    assert says.asked == [["17"]], "one question for all"
    assert [task.state for task in found.tasks] == ["unknown", "unknown"]
    assert (found.targets, found.done, found.failed, found.left, found.queued) == (5, 0, 0, 5, 0)
    assert "dpam-hpc resume goes on" in printed(found)


def test_completed_jobs_make_nothing_done(run: RunDir) -> None:
    known = [JobStatus("17", n, JobState.COMPLETED) for n in (0, 1)]
    found = report.look(run, Says(*known))
    assert found.done == 0
    assert [task.state for task in found.tasks] == ["completed", "completed"]
    assert found.jobs == {"completed": 2}


def test_done_is_by_record_whatever_the_scheduler_says(run: RunDir) -> None:
    note(run, 1, ("D", "done"), ("E", "failed"))
    found = report.look(run, Says(JobStatus("17", 1, JobState.TIMEOUT)))
    assert (found.done, found.failed, found.left) == (1, 1, 3)
    assert [task.state for task in found.tasks] == ["unknown", "finished"]


def test_elements_of_an_array_go_to_their_tasks(run: RunDir) -> None:
    known = [
        JobStatus("17", 0, JobState.RUNNING, nodes="n7"),
        JobStatus("17", 1, JobState.PENDING, reason="Priority"),
    ]
    found = report.look(run, Says(*known))
    assert [(t.state, t.reason, t.node) for t in found.tasks] == [
        ("running", "", "n7"),
        ("pending", "Priority", ""),
    ]
    assert found.queued == 2
    assert "pending (Priority)" in printed(found)
    assert "dpam-hpc resume" not in printed(found)


def test_a_job_of_many_nodes_is_all_its_tasks(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path)
    tasks = run.write_targets([[(f"P{n}", 1.0)] for n in range(5)])
    jobs = [Job("job-0.sh", 0, 3), Job("job-1.sh", 3, 2)]
    run.write_plan(Plan("p", "slurm", "multi-node", 3, 2, 3600, tasks, jobs, {}, {}))
    run.add_job("17", 0, 3)
    run.add_job("18", 3, 2)
    known = [
        JobStatus("17", None, JobState.RUNNING, nodes="n[1-3]"),
        JobStatus("18", None, JobState.PENDING),
    ]
    found = report.look(run, Says(*known))
    assert [task.state for task in found.tasks] == ["running"] * 3 + ["pending"] * 2
    assert [task.node for task in found.tasks] == [""] * 5, "which node is whose is not known"
    assert found.queued == 2


def test_records_of_several_starts_count_once(run: RunDir) -> None:
    note(run, 0, ("A", "done"), ("B", "failed"))
    note(run, 0, ("B", "done"))
    # The second start found A finished, by its record.
    run.write_progress(0, {"state": "interrupted", "restart": 1, "skipped": 1, "done": 1})
    found = report.look(run, None)
    assert (found.tasks[0].done, found.tasks[0].failed, found.tasks[0].left) == (2, 0, 1)
    assert found.tasks[0].starts == 2
    assert found.tasks[0].state == "unknown"


def test_what_was_found_finished_without_a_record_is_done(run: RunDir) -> None:
    note(run, 0, ("A", "done"))
    run.write_progress(0, {"state": "running", "restart": 1, "skipped": 2, "found": 1})
    found = report.look(run, None)
    assert (found.tasks[0].done, found.tasks[0].left) == (2, 1)


def test_a_target_that_is_begun_again_is_not_done(run: RunDir) -> None:
    note(run, 0, ("A", "done"), ("B", "done"))
    note(run, 0, ("A", "redo"))
    assert report.look(run, None).tasks[0].done == 1


def test_targets_with_failures_are_counted_apart(run: RunDir) -> None:
    note(run, 0, ("A", "done"), failures=2)
    note(run, 0, ("B", "failed"))
    found = report.look(run, None)
    assert (found.done, found.failed, found.with_failures) == (1, 1, 2)
    assert "2 targets have failures" in printed(found)


def test_the_folder_alone_is_enough(run: RunDir) -> None:
    note(run, 0, ("A", "done"), ("B", "done"), ("C", "done"))
    found = report.look(run, None)
    assert (found.done, found.queued, found.jobs) == (3, 0, {})
    assert [task.state for task in found.tasks] == ["finished", "unknown"]


def test_a_prediction_is_made_of_what_runs_now(run: RunDir) -> None:
    note(run, 0, ("A", "done"))
    said = {"state": "running", "at": time.time(), "seconds": 50.0, "done": 1, "pairs": 100}
    run.write_progress(0, said)
    known = [JobStatus("17", n, JobState.RUNNING) for n in (0, 1)]
    found = report.look(run, Says(*known))
    assert found.pairs_per_second == pytest.approx(2.0)
    assert found.seconds_left == pytest.approx(100.0)  # two more as the first
    run.write_progress(0, {**said, "at": time.time() - 3600})
    stale = report.look(run, Says(*known))
    assert stale.pairs_per_second == 0.0
    assert stale.seconds_left == pytest.approx(30.0)  # task 1, as predicted, on 2 processors
    assert report.look(run, None).seconds_left is None


def test_why_tasks_failed_is_told_once_for_each_reason(run: RunDir) -> None:
    for task in (0, 1):
        (run.task_folder(task)).mkdir(parents=True, exist_ok=True)
        run.write_progress(task, {"state": "failed", "reason": "the image is another"})
    told = " ".join(printed(report.look(run, None)).split())
    assert "task 0, 1 failed: the image is another" in told
    run.write_progress(1, {"state": "starting"})
    failed = [JobStatus("17", n, JobState.FAILED) for n in (0, 1)]
    told = " ".join(printed(report.look(run, Says(*failed))).split())
    assert "task 0 failed: the image is another" in told
    assert "task 1 failed: its launcher could not say why; dpam-hpc logs" in told


def test_json_has_what_the_table_has(run: RunDir) -> None:
    note(run, 0, ("A", "done"))
    content = report.content(report.look(run, None))
    assert (content["targets"], content["done"], content["left"]) == (5, 1, 4)
    assert [task["left"] for task in content["tasks"]] == [2, 2]


def test_many_tasks_are_shown_unfinished_first(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path)
    tasks = run.write_targets([[(f"P{n}", 1.0)] for n in range(50)])
    plan = Plan("p", "slurm", "array", 3, 2, 60, tasks, [Job("job.sh", 0, 50)], {}, {})
    run.write_plan(plan)
    for n in range(45):
        note(run, n, (f"P{n}", "done"))
    text = printed(report.look(run, None))
    assert "and 10 more tasks" in text
    assert [line.split()[0] for line in text.splitlines()[3:8]] == ["45", "46", "47", "48", "49"]
