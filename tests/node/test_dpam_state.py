"""dpam's own state files: what it wrote is kept, step 7 is added."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from dpam_hpc.dpam_state import StateFiles, TargetState
from dpam_hpc.errors import ExitCode, StorageError

STATE = {
    "prefix": "P1",
    "working_dir": "/somewhere",
    "completed_steps": ["PREPARE", "HHSEARCH"],
    "failed_steps": {"ITERATIVE_DALI": "exit 1", "ANALYZE_DALI": "no hits", "SSE": "no mkdssp"},
    "metadata": {"length": 40},
}


def files(folder: Path) -> StateFiles:
    """The state files of a folder, with a folder beside it for their halves."""
    own = folder.with_name(f"{folder.name}-own")
    own.mkdir(exist_ok=True)
    made = StateFiles(folder, own)
    assert not list(own.iterdir())
    return made


def marked(folder: Path, state: Any = None, again: bool = False) -> Any:
    """P1's state after step 7 was noted."""
    path = folder / ".P1.dpam_state.json"
    if state is not None:
        path.write_text(json.dumps(state))
    files(folder).mark_target("P1", again)
    assert os.listdir(folder) == [path.name]
    return json.loads(path.read_text())


def test_a_target_without_a_state_gets_one(tmp_path: Path) -> None:
    assert marked(tmp_path) == {
        "prefix": "P1",
        "working_dir": str(tmp_path),
        "completed_steps": ["ITERATIVE_DALI"],
        "failed_steps": {},
        "metadata": {},
    }


def test_what_dpam_knows_is_kept(tmp_path: Path) -> None:
    state = marked(tmp_path, STATE | {"more": 1})
    assert state == STATE | {
        "more": 1,
        "completed_steps": ["PREPARE", "HHSEARCH", "ITERATIVE_DALI"],
        "failed_steps": {"ANALYZE_DALI": "no hits", "SSE": "no mkdssp"},
    }


def test_noting_it_twice_changes_nothing(tmp_path: Path) -> None:
    assert marked(tmp_path, STATE) == marked(tmp_path)


def test_dpams_older_list_of_failed_steps_is_read(tmp_path: Path) -> None:
    state = marked(tmp_path, STATE | {"failed_steps": ["ITERATIVE_DALI", "SSE"]})
    assert state["failed_steps"] == {"SSE": ""}


def test_later_steps_are_dropped_where_the_hits_are_new(tmp_path: Path) -> None:
    steps = ["PREPARE", "ITERATIVE_DALI", "ANALYZE_DALI", "GENERATE_PDBS"]
    assert marked(tmp_path, STATE | {"completed_steps": steps})["completed_steps"] == [
        "PREPARE", "ANALYZE_DALI", "GENERATE_PDBS", "ITERATIVE_DALI",
    ]  # fmt: skip
    state = marked(tmp_path, STATE | {"completed_steps": steps}, again=True)
    assert state["completed_steps"] == ["PREPARE", "ITERATIVE_DALI"]
    assert state["failed_steps"] == {}


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"completed_steps"'])
def test_a_broken_state_is_left_alone_and_named(tmp_path: Path, text: str) -> None:
    for name in (".P1.dpam_state.json", "_batch_state.json"):
        (tmp_path / name).write_text(text)
    with pytest.raises(StorageError, match=r"\.P1\.dpam_state\.json") as caught:
        files(tmp_path).mark_target("P1", False)
    assert caught.value.exit_code == ExitCode.STORAGE
    assert caught.value.hint
    with pytest.raises(StorageError, match=r"_batch_state\.json"):
        files(tmp_path).mark_batch(["P1"], False)
    for path in tmp_path.iterdir():
        assert path.read_text() == text


def test_a_full_disk_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_text

    def write_half(path: Path, text: str) -> None:
        write(path, text[: len(text) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = marked(tmp_path, STATE)
    monkeypatch.setattr(Path, "write_text", write_half)
    with pytest.raises((OSError, StorageError), match="No space"):
        files(tmp_path).mark_target("P1", True)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == [".P1.dpam_state.json"]
    assert marked(tmp_path) == before


def test_the_half_of_a_state_that_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / ".P1.dpam_state.json.0a1b2c3d.dpam.part").write_text("{")
    (own / "journal.jsonl").write_text("")
    StateFiles(tmp_path, own)
    assert os.listdir(own) == ["journal.jsonl"]


BATCH = {
    "HHSEARCH": {"P1": "complete", "P2": "complete"},
    "ITERATIVE_DALI": {"P2": "failed: exit 1", "P3": "complete"},
    "ANALYZE_DALI": {"P1": "complete", "P2": "failed: no hits", "P3": "complete"},
}


def batch_marked(folder: Path, state: Any, again: bool = False) -> Any:
    """The folder's state after step 7 of P1 and P2 was noted."""
    path = folder / "_batch_state.json"
    path.write_text(json.dumps(state))
    files(folder).mark_batch(iter(["P1", "P2"]), again)
    assert os.listdir(folder) == [path.name]
    return json.loads(path.read_text())


def test_a_batch_state_is_brought_up_to_date(tmp_path: Path) -> None:
    done = {"P1": "complete", "P2": "complete", "P3": "complete"}
    assert batch_marked(tmp_path, BATCH) == BATCH | {"ITERATIVE_DALI": done}
    assert batch_marked(tmp_path, BATCH, again=True) == BATCH | {
        "ITERATIVE_DALI": done,
        "ANALYZE_DALI": {"P3": "complete"},
    }


def test_steps_that_read_hits_which_change_are_dropped_before(tmp_path: Path) -> None:
    path = tmp_path / "_batch_state.json"
    path.write_text(json.dumps(BATCH))
    files(tmp_path).begin_batch_again(["P2"])
    assert json.loads(path.read_text()) == {
        "HHSEARCH": {"P1": "complete", "P2": "complete"},
        "ITERATIVE_DALI": {"P3": "complete"},
        "ANALYZE_DALI": {"P1": "complete", "P3": "complete"},
    }
    path.unlink()
    files(tmp_path).begin_batch_again(["P2"])
    assert os.listdir(tmp_path) == []


def test_a_batch_state_without_step_7_gets_it(tmp_path: Path) -> None:
    state = batch_marked(tmp_path, {"HHSEARCH": {"P9": "complete"}})
    assert state["ITERATIVE_DALI"] == {"P1": "complete", "P2": "complete"}


def test_no_batch_state_is_made(tmp_path: Path) -> None:
    """It would hide from dpam what the targets' own states say."""
    files(tmp_path).mark_batch(["P1"], True)
    assert os.listdir(tmp_path) == []
    assert batch_marked(tmp_path, {}) == {}


def test_steps_that_are_begun_are_told_from_those_that_ended(tmp_path: Path) -> None:
    (tmp_path / ".P1.dpam_state.json").write_text(json.dumps(STATE))
    states = files(tmp_path)
    assert states.of_target("P2") == TargetState()
    states.begin_steps("P1", ["PREPARE"], "run.s1", 2)
    assert states.of_target("P1") == TargetState(frozenset({"PREPARE"}), "run.s1", 2)
    path = tmp_path / ".P1.dpam_state.json"
    during = json.loads(path.read_text())
    assert during["failed_steps"] == {}, "dpam's exit code is of this call alone"
    during["completed_steps"].append("HHSEARCH")  # as dpam does
    path.write_text(json.dumps(during))
    assert states.of_target("P1").completed == {"PREPARE", "HHSEARCH"}
    states.end_steps("P1", ["PREPARE", "HHSEARCH"], {"FOLDSEEK": "why"})
    after = json.loads(path.read_text())
    assert after["metadata"] == {"length": 40}
    assert after["completed_steps"] == ["HHSEARCH", "PREPARE"]
    assert after["failed_steps"] == {"FOLDSEEK": "why"}
    assert states.of_target("P1").begun == ""


@pytest.mark.parametrize("begun", [3, "x", "", " ", "run ten", None])
def test_a_begun_entry_of_others_breaks_nothing(tmp_path: Path, begun: Any) -> None:
    state = {**STATE, "metadata": {"dpam_hpc_begun": begun}}
    (tmp_path / ".P1.dpam_state.json").write_text(json.dumps(state))
    assert files(tmp_path).of_target("P1").begun in ("", "run")


@pytest.mark.parametrize("left", ["", "{", '{"completed_steps": ["PREP'])
def test_what_a_killed_dpam_left_of_its_state_loses_only_its_own_steps(
    tmp_path: Path, left: str
) -> None:
    """dpam truncates its file before it writes it."""
    made = files(tmp_path)
    made.begin_steps("P1", ["PREPARE"], "run-1", 2)
    state = tmp_path / ".P1.dpam_state.json"
    state.write_text(left)
    assert made.of_target("P1") == TargetState(frozenset({"PREPARE"}), "run-1", 2)
    made.begin_steps("P1", ["PREPARE"], "run-2", 2)
    assert json.loads(state.read_text())["completed_steps"] == ["PREPARE"]
    made.end_steps("P1", ["PREPARE", "HHSEARCH"], {})
    assert made.of_target("P1") == TargetState(frozenset({"PREPARE", "HHSEARCH"}))
    assert list((tmp_path / ".dpam-hpc" / "begun").iterdir()) == []
    state.write_text(left)
    with pytest.raises(StorageError, match="is no JSON"):
        made.of_target("P1")


def test_steps_of_a_stage_in_the_batch_state(tmp_path: Path) -> None:
    path = tmp_path / "_batch_state.json"
    path.write_text(json.dumps({"SSE": {"P1": "complete", "P2": "complete"}, "PREPARE": {}}))
    states = files(tmp_path)
    states.begin_batch_again(["P1"], ["SSE", "DISORDER"])
    assert json.loads(path.read_text())["SSE"] == {"P2": "complete"}
    states.mark_batch(["P1"], False, ["SSE", "DISORDER"])
    found = json.loads(path.read_text())
    assert found["SSE"] == {"P2": "complete", "P1": "complete"}
    assert found["DISORDER"] == {"P1": "complete"}
