"""What a target's record tells of its hits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dpam_hpc.align import hits
from dpam_hpc.align.aligner import Alignment
from dpam_hpc.align.coverage import LEVELS, PARTS, coverage, picture, score_class

ROTATION = ("1\t0\t0", "0\t1\t0", "0\t0\t1")


def hit(z: str, numbers: range, aligned: range) -> str:
    pairs = tuple((index, index) for index in aligned)
    return hits.record("e1", 1, numbers, Alignment(z, ROTATION, "0\t0\t0", pairs, 99))


def test_hits_are_counted_by_their_scores_and_residues_once() -> None:
    numbers = range(11, 171)  # 160 residues, ten a part
    records = [hit("9.9", numbers, range(1, 21)), hit("2.1", numbers, range(11, 31))]
    found = coverage([*records, hit("2.9", numbers, range(151, 154))], numbers)
    assert found is not None
    assert (found.best, found.scores) == (9.9, {"9": 1, "2": 2})
    assert found.covered == 33
    assert found.cover == "###" + "." * 12 + "-"


def test_without_hits_there_is_nothing_to_tell() -> None:
    assert coverage([], range(1, 100)) is None


def test_a_tm_score_is_counted_by_tenths() -> None:
    scores = (0.5, 0.5999, 0.9, 1.0, 2.0, 17.99)
    assert [score_class(s) for s in scores] == ["0.5", "0.5", "0.9", "1", "2", "17"]


def test_levels_are_thirds() -> None:
    residues = range(PARTS * 9)
    for number, level in ((0, "."), (1, "-"), (2, "-"), (3, "="), (5, "="), (6, "#"), (9, "#")):
        assert picture(set(range(number)), residues) == level + "." * (PARTS - 1), number


@given(st.sets(st.integers(-50, 400)), st.sets(st.integers(-50, 400), min_size=1))
def test_a_picture_is_of_the_whole_query(covered: set[int], residues: set[int]) -> None:
    made = picture(covered, sorted(residues))
    assert len(made) == PARTS and set(made) <= set(LEVELS)
    assert (set(made) == {"."}) == (not covered & residues)
    assert (set(made) <= {"#", "."}) or not residues <= covered
