"""A run's folder: what is read back after crashes, and in which order."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dpam_hpc import journal, run_dir
from dpam_hpc.errors import ConfigError
from dpam_hpc.image.identity import ImageIdentity
from dpam_hpc.pipeline.steps import Stage
from dpam_hpc.run_dir import Job, Plan, RunDir, Task


def plan(tasks: list[Task] | None = None) -> Plan:
    return Plan(
        platform="generic",
        scheduler="slurm",
        mode="array",
        nodes=1,
        cpus=16,
        time_limit=3600,
        tasks=tasks or [Task(1, 2.0)],
        jobs=[Job("job.sh", 0, 1)],
        settings={"work_dir": "/w"},
        submit={"platform": "generic"},
    )


def test_targets_are_read_by_task(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path)
    parts = [[("P1", 2.0), ("P2", 1.5)], [], [("Q_-+.9", 0.25)]]
    tasks = run.write_targets(parts)
    assert [(task.targets, task.seconds) for task in tasks] == [(2, 3.5), (0, 0.0), (1, 0.25)]
    run.write_plan(plan(tasks))
    again = RunDir(run.path).plan()
    assert [run.targets(task) for task in again.tasks] == parts
    assert (again.targets, again.seconds) == (3, 3.75)


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path)
    written = plan()
    run.write_plan(written)
    assert run.plan() == written
    assert [path.name for path in run.path.iterdir() if path.name.startswith(".")] == []


def test_the_image_of_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path)
    image = ImageIdentity(Path("/images/dpam.sif"), "a" * 64, "x86_64", 10**9)
    run.write_plan(replace(plan(), image=image))
    assert run.plan().image == image


def test_a_plan_without_an_entry_for_the_image_has_none(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path)
    run.write_plan(plan())
    path = run.path / "plan.json"
    content = json.loads(path.read_text())
    assert content.pop("image", "no entry") is None
    path.write_text(json.dumps(content))
    assert run.plan().image is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"schema": 2}', '{"schema": 1}', '{"schema": 1, "tasks": 3}']
)
def test_what_is_no_plan_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(ConfigError, match=r"plan\.json is no plan of a run"):
        RunDir(tmp_path).plan()


def test_runs_are_in_the_order_of_their_planning(tmp_path: Path) -> None:
    made = []
    for _ in range(12):  # several in one second
        run = RunDir.create(tmp_path)
        run.write_plan(plan())
        made.append(run.path)
    assert [run.path for run in RunDir.all(tmp_path)] == made
    assert RunDir.latest(tmp_path).path == made[-1]
    assert RunDir.latest(tmp_path).work_dir == tmp_path


def test_a_folder_without_a_plan_is_no_run(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path)
    with pytest.raises(ConfigError, match="nothing was submitted from"):
        RunDir.latest(tmp_path)
    run.write_plan(plan())
    RunDir.create(tmp_path)
    assert RunDir.latest(tmp_path).path == run.path


def test_jobs_are_read_in_order(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path)
    assert run.jobs() == []
    run.add_job("17", 0, 4)
    run.add_job("18", 4, 2)
    assert [(job["job"], job["first"], job["tasks"]) for job in run.jobs()] == [
        ("17", 0, 4),
        ("18", 4, 2),
    ]


def test_torn_lines_of_jobs_hide_no_other_job(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path)
    run.add_job("17", 0, 4)
    with (run.path / "jobs.jsonl").open("ab") as file:
        file.write(b'{"job": "18", "fir')
    assert [job["job"] for job in run.jobs()] == ["17"]
    run.add_job("19", 4, 2)
    assert [job["job"] for job in run.jobs()] == ["17", "19"]


def write_journal(path: Path, *targets: str, torn: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = journal.Journal(path)
    opened.append_all({"target": target, "state": "done"} for target in targets)
    opened.close()
    with path.open("a") as file:
        file.write(torn)


def test_journals_are_by_number_not_by_name(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    folder = run.task_folder(3)
    assert run_dir.next_journal(folder, []) == folder / "journal-0.jsonl"
    for number in (0, 1, 2, 9, 10):
        write_journal(folder / f"journal-{number}.jsonl", f"P{number}", torn='{"target": "X')
    found = run_dir.journals(folder)
    assert [path.name for path in found] == [f"journal-{n}.jsonl" for n in (0, 1, 2, 9, 10)]
    assert run_dir.next_journal(folder, found) == folder / "journal-11.jsonl"
    assert [record["target"] for record in run.records(3)] == ["P0", "P1", "P2", "P9", "P10"]


def test_a_journal_of_which_nothing_was_written_yet_is_empty(tmp_path: Path) -> None:
    folder = RunDir(tmp_path).task_folder(0)
    folder.mkdir(parents=True)
    (folder / "journal-0.jsonl").write_bytes(b"")
    (folder / "journal-1.jsonl").write_bytes(b'{"dpam-hpc jou')
    assert list(RunDir(tmp_path).records(0)) == []


def test_started_tasks_are_by_number(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert run.started() == []
    for name in ("10", "9", "0", "notes"):
        (tmp_path / "tasks" / name).mkdir(parents=True)
    assert run.started() == [0, 9, 10]


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"'])
def test_progress_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    run = RunDir(tmp_path)
    assert run.progress(0) == {}
    run.task_folder(0).mkdir(parents=True)
    (run.task_folder(0) / "progress.json").write_text(text)
    assert run.progress(0) == {}
    run.write_progress(0, {"state": "running"})
    assert run.progress(0) == {"state": "running"}
    run.write_progress(0, {"reason": "no luck:\n  \x1b[31mred"})
    assert run.progress(0) == {"reason": "no luck: \N{REPLACEMENT CHARACTER}[31mred"}
    assert [path.name for path in run.task_folder(0).iterdir()] == ["progress.json"]


def test_cancelled(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert not run.is_cancelled
    run.cancel()
    assert run.is_cancelled


def test_plan_json_is_json_for_others_too(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path)
    run.write_plan(plan())
    content = json.loads((run.path / "plan.json").read_text())
    assert content["schema"] == run_dir.SCHEMA
    assert content["tasks"] == [{"targets": 1, "seconds": 2.0, "offset": 0, "length": 0}]


def test_what_was_submitted_last_may_be_a_chain(tmp_path: Path) -> None:
    assert RunDir.last(tmp_path) == []
    single = RunDir.create(tmp_path, "20260101-000000-aaaa")
    single.write_plan(plan())
    assert [run.id for run in RunDir.last(tmp_path)] == [single.id]
    assert (single.chain, single.place) == (single.id, 0)
    for place in (10, 2, 1):
        RunDir.create(tmp_path, f"20260101-000001-bbbb.s{place}").write_plan(plan())
    assert [run.place for run in RunDir.last(tmp_path)] == [1, 2, 10]
    assert {run.chain for run in RunDir.last(tmp_path)} == {"20260101-000001-bbbb"}


@pytest.mark.parametrize(
    "stage", [{"numbers": []}, {"numbers": [14]}, {"numbers": [8], "cpus": 0}, {"numbers": ["x"]}]
)
def test_a_stage_that_is_none_makes_no_plan(tmp_path: Path, stage: dict[str, object]) -> None:
    run = RunDir.create(tmp_path)
    run.write_plan(plan())
    path = run.path / "plan.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "stage": stage}))
    with pytest.raises(ConfigError, match="is no plan of a run"):
        run.plan()


def test_a_stage_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path)
    stage = Stage((8, 9), 1, 2000, 3, True, ("/opt/my dpam",))
    run.write_plan(replace(plan(), stage=stage))
    assert run.plan().stage == stage
