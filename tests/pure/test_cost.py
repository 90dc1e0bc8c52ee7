"""The prediction of a target's cost: what it must never do, whatever was measured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpam_hpc import cost

SIZES = st.integers(1, 20_000)


def record(times: float, residues: int = 200, candidates: int = 100) -> dict[str, object]:
    predicted = cost.seconds(residues, candidates * cost.TYPICAL_TEMPLATE)
    cpu = {"wolf": predicted * times / 3, "dalicon": predicted * times * 2 / 3}
    return {"residues": residues, "candidates": candidates, "cpu": cpu}


@given(SIZES, SIZES, SIZES, SIZES)
def test_more_residues_are_never_cheaper(query: int, more: int, templates: int, most: int) -> None:
    assert cost.seconds(query, templates) > 0
    assert cost.seconds(query + more, templates) > cost.seconds(query, templates)
    assert cost.seconds(query, templates + most) > cost.seconds(query, templates)


@given(st.integers(0, 10**9), st.integers(0, 10**6))
def test_a_larger_file_is_never_a_shorter_query(size: int, more: int) -> None:
    assert 1 <= cost.residues(size) <= cost.residues(size + more)


def test_length_by_size_is_near_for_a_real_model() -> None:
    from tests.replay import DATA

    model = DATA / "O05011.pdb"
    atoms = [line for line in model.read_text().splitlines() if line.startswith("ATOM")]
    length = len({line[22:27] for line in atoms})
    assert cost.residues(model.stat().st_size) == pytest.approx(length, rel=0.25)


@pytest.mark.parametrize("times", [0.4, 1.0, 2.5])
def test_correction_is_what_was_measured(times: float) -> None:
    assert cost.correction([record(times)] * cost.ENOUGH_MEASURED) == pytest.approx(times)


@pytest.mark.parametrize(("times", "told"), [(1e6, 5.0), (1e-6, 0.2)])
def test_correction_is_bounded(times: float, told: float) -> None:
    assert cost.correction([record(times)] * 50) == pytest.approx(told)


def test_few_records_correct_nothing() -> None:
    assert cost.correction([]) == 1.0
    assert cost.correction([record(3.0)] * (cost.ENOUGH_MEASURED - 1)) == 1.0


def test_records_without_measurements_do_not_count() -> None:
    empty: list[dict[str, object]] = [
        {"state": "redo"},
        {"cpu": {}, "residues": 10, "candidates": 5},
        {"cpu": {"wolf": 5.0}, "residues": 0, "candidates": 0},
    ]
    enough = [record(2.0)] * cost.ENOUGH_MEASURED
    assert cost.correction(empty * 20) == 1.0
    assert cost.correction(empty + enough) == pytest.approx(2.0)


def test_correction_knows_how_long_templates_are() -> None:
    records = [record(1.0)] * cost.ENOUGH_MEASURED
    assert cost.correction(records, 2 * cost.TYPICAL_TEMPLATE) == pytest.approx(0.5)
