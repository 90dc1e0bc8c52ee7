"""Targets: which layout a folder has, which targets are in it, which ids are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpam_hpc.errors import ConfigError
from dpam_hpc.target import (
    TARGET_ID,
    TEMPLATE_ID,
    OutputNames,
    WorkFolder,
    chosen_targets,
    read_targets_file,
)


def test_a_folder_is_sharded_if_step_6_has_its_own(tmp_path: Path) -> None:
    (tmp_path / "step01_prepare").mkdir()
    flat = WorkFolder.at(tmp_path)
    assert not flat.sharded
    assert flat.candidates_folder == flat.output_folder == tmp_path
    assert flat.query_folders == (tmp_path,)

    (tmp_path / "step06_candidates").mkdir()
    sharded = WorkFolder.at(tmp_path)
    assert sharded.sharded
    assert sharded.candidates_folder == tmp_path / "step06_candidates"
    assert sharded.output_folder == tmp_path / "step07_dali"
    assert sharded.query_folders == (tmp_path / "step01_prepare", tmp_path)


def test_looking_at_a_folder_makes_nothing(tmp_path: Path) -> None:
    WorkFolder.at(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_relative_folder_holds_wherever_one_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path)
    assert WorkFolder.at(Path("work")).root == tmp_path / "work"


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("absent", "file"):
        with pytest.raises(ConfigError, match=name):
            WorkFolder.at(tmp_path / name)


def test_outputs_are_named_as_dpam_looks_for_them() -> None:
    names = OutputNames("_iterativdDali_hits", "iterativeDali")
    assert names.hits("P1") == "P1_iterativdDali_hits"
    assert names.done("P1") == "P1.iterativeDali.done"
    assert names.failures("P1") == "P1_iterativeDali.failures.tsv"


@pytest.mark.parametrize("sharded", [False, True])
def test_targets_are_those_with_candidates(tmp_path: Path, sharded: bool) -> None:
    lists = tmp_path / "step06_candidates" if sharded else tmp_path
    lists.mkdir(exist_ok=True)
    for name in ("P2_hits4Dali", "P1_hits4Dali", "_hits4Dali", "P3_hits4Dali.bak", "a b_hits4Dali"):
        (lists / name).touch()
    assert chosen_targets(WorkFolder.at(tmp_path), []) == ["P1", "P2"]


def test_named_targets_are_sorted_and_unique(tmp_path: Path) -> None:
    assert chosen_targets(WorkFolder.at(tmp_path), ["P2", "P1", "P2"]) == ["P1", "P2"]


def test_a_folder_without_targets_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no targets") as caught:
        chosen_targets(WorkFolder.at(tmp_path), [])
    assert "_hits4Dali" in caught.value.hint


BAD = ["../P1", "P1/..", "/P1", "a b", "P1;rm", "", ".", "-P1", ".P1", "P1\n", "P$1", "Pä", "P1\0"]


def test_all_names_that_are_no_ids_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        chosen_targets(WorkFolder.at(tmp_path), ["P1", *BAD[:3]])
    for name in BAD[:3]:
        assert repr(name) in caught.value.what
    assert "3 names" in caught.value.what


@pytest.mark.parametrize("name", BAD)
def test_what_could_leave_the_folder_or_reach_a_shell_is_no_id(name: str) -> None:
    assert not TARGET_ID.fullmatch(name)
    assert not TEMPLATE_ID.fullmatch(name)


def test_an_id_of_a_template_has_no_underscore() -> None:
    """Step 8 of dpam takes the name up to the first one."""
    assert TARGET_ID.fullmatch("AF-P1_F1-model_v4.1+x")
    assert TEMPLATE_ID.fullmatch("e6zu5LII1")
    assert TEMPLATE_ID.fullmatch("000000003")
    assert not TEMPLATE_ID.fullmatch("e1_2")


def test_a_list_of_targets_may_have_blank_lines_and_remarks(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("# mine\nP2\n\n  P1 \r\n#P3\n")
    assert read_targets_file(path) == ["P2", "P1"]


@pytest.mark.parametrize("content", [None, b"\xff\xfeP1"])
def test_a_list_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "list.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"list\.txt"):
        read_targets_file(path)


@pytest.mark.parametrize("text", ["", "\n", "# nothing left to do\n"])
def test_an_empty_list_does_not_stand_for_all_targets(tmp_path: Path, text: str) -> None:
    (tmp_path / "P1_hits4Dali").touch()
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(ConfigError):
        chosen_targets(WorkFolder.at(tmp_path), read_targets_file(path))
