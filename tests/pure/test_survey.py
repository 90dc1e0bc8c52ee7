"""What there is to do in a folder: costs by sizes and lengths, and what is wrong with targets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dpam_hpc import cost
from dpam_hpc.submit.survey import Survey, Templates, survey
from dpam_hpc.target import WorkFolder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with three templates; of two the length is known, of one under its name."""
    folder = tmp_path / "data"
    (folder / "ECOD70").mkdir(parents=True)
    for name in ("000000001", "e1abcA1", "T3"):
        (folder / "ECOD70" / f"{name}.pdb").write_text("")
    (folder / "ECOD70" / "README").write_text("no template")
    (folder / "ECOD_length").write_text(
        "000000001 e9xyzB1 100\n000000002 e1abcA1 250\nbroken line\n000000007 eGone 90\nT3 T3 x\n"
    )
    return folder


def look(data: Path, root: Path, *targets: str, sharded: bool = False) -> Survey:
    return survey(WorkFolder(root, sharded), targets, Templates(data, None))


def add(folder: Path, target: str, size: int | None, candidates: str | None) -> None:
    folder.mkdir(exist_ok=True)
    if size is not None:
        (folder / f"{target}.pdb").write_bytes(b"x" * size)
    if candidates is not None:
        (folder / f"{target}_hits4Dali").write_text(candidates)


def test_lengths_of_templates_by_number_and_by_name(data: Path) -> None:
    assert Templates(data, None).lengths == {
        "000000001": 100,
        "e1abcA1": 250,
        "T3": cost.TYPICAL_TEMPLATE,
    }


def test_without_lengths_all_templates_are_typical(data: Path) -> None:
    (data / "ECOD_length").unlink()
    assert set(Templates(data, None).lengths.values()) == {cost.TYPICAL_TEMPLATE}


def test_cost_is_by_the_querys_size_and_its_templates(data: Path, tmp_path: Path) -> None:
    size = 200 * cost.BYTES_A_RESIDUE
    add(tmp_path / "w", "P1", size, "000000001\ne1abcA1\nT3\n")
    add(tmp_path / "w", "P2", 2 * size, "T3\n")
    found = look(data, tmp_path / "w", "P1", "P2")
    expected = [cost.seconds(200, 100 + 250 + 150), cost.seconds(400, 150)]
    assert [target for target, _ in found.costs] == ["P1", "P2"]
    assert [seconds for _, seconds in found.costs] == pytest.approx(expected)
    assert (found.pairs, found.problems) == (4, [])


def test_correction_scales_all(data: Path, tmp_path: Path) -> None:
    add(tmp_path / "w", "P1", 62_000, "T3\n")
    once = look(data, tmp_path / "w", "P1")
    assert once.corrected(2.0).costs == [("P1", 2 * once.costs[0][1])]
    assert once.corrected(2.0).pairs == once.pairs


def test_mean_length_of_candidates(data: Path, tmp_path: Path) -> None:
    add(tmp_path / "w", "P1", 620, "000000001 e1abcA1")
    add(tmp_path / "w", "P2", 620, "000000001")
    assert look(data, tmp_path / "w", "P1", "P2").mean_template == pytest.approx(450 / 3)
    assert look(data, tmp_path / "w").mean_template == cost.TYPICAL_TEMPLATE


def test_what_is_wrong_with_targets_is_told_and_they_stay(data: Path, tmp_path: Path) -> None:
    root = tmp_path / "w"
    add(root, "NOQUERY", None, "T3\n")
    add(root, "NOLIST", 620, None)
    add(root, "EMPTY", 0, "T3\n")
    add(root, "STRANGE", 620, "T3 U1 U2 U3 U4 U5 U6 U7\n")
    add(root, "NONE", 620, "\n")
    found = look(data, root, "NOQUERY", "NOLIST", "EMPTY", "STRANGE", "NONE")
    assert dict(found.problems) == {
        "NOQUERY": "no NOQUERY.pdb",
        "NOLIST": "NOLIST_hits4Dali: No such file or directory",
        "EMPTY": "EMPTY.pdb is empty",
        "STRANGE": "unknown templates: U1, U2, U3, U4, U5 and 2 more",
    }
    assert [target for target, _ in found.costs] == [
        "NOQUERY",
        "NOLIST",
        "EMPTY",
        "STRANGE",
        "NONE",
    ]
    assert dict(found.costs)["NONE"] == 0.0


def test_sharded_queries_are_found_in_both_places(data: Path, tmp_path: Path) -> None:
    root = tmp_path / "w"
    root.mkdir()
    add(root / "step06_candidates", "P1", None, "T3\n")
    add(root / "step06_candidates", "P2", None, "T3\n")
    add(root / "step01_prepare", "P1", 6200, None)
    add(root, "P2", 6200, None)
    found = look(data, root, "P1", "P2", sharded=True)
    assert found.problems == []
    assert found.costs[0][1] == found.costs[1][1] > 0


def test_counting_tells_how_far_it_is(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpam_hpc.submit.survey.COUNTED_AT_ONCE", 2)
    told: list[tuple[int, int]] = []
    names = [f"P{n}" for n in range(5)]
    for name in names:
        add(tmp_path / "w", name, 620, "T3\n")
    folder = WorkFolder(tmp_path / "w", False)
    found = survey(folder, names, Templates(data, None), lambda *n: told.append(n))
    assert told == sorted(told)
    assert told[-1] == (5, 5)
    assert [target for target, _ in found.costs] == names


def test_a_folder_in_place_of_candidates_is_named_and_closed(data: Path, tmp_path: Path) -> None:
    add(tmp_path / "w", "P", 620, "T3\n")
    candidates = tmp_path / "w" / "P_hits4Dali"
    candidates.unlink()
    candidates.mkdir()
    before = len(os.listdir("/proc/self/fd"))
    found = survey(WorkFolder(tmp_path / "w", False), ["P"], Templates(data, None))
    assert found.problems == [("P", "P_hits4Dali: Is a directory")]
    assert len(os.listdir("/proc/self/fd")) == before
