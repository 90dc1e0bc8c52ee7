"""The hits file: its text, its order, and that nothing damaged passes for whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpam_hpc.align import hits
from dpam_hpc.align.aligner import Alignment

ROTATION = ("1.000000\t0.000000\t0.000000", "0.0\t1.0\t0.0", "-0.000000\t0.0\t1.0")
FIRST = b"""\
>e1abA1_1\t12.0\t3\t40\t138
rotation\t1.000000\t0.000000\t0.000000
rotation\t0.0\t1.0\t0.0
rotation\t-0.000000\t0.0\t1.0
translation\t10.5\t-2.25\t0.000000
7\t1
8\t2
12\t5
"""
SECOND = FIRST.replace(b"e1abA1_1", b"e1abA1_2")
WHOLE = FIRST + SECOND


def alignment(*pairs: tuple[int, int], z: str = "12.0") -> Alignment:
    """An alignment of these pairs of indices."""
    return Alignment(z, ROTATION, "10.5\t-2.25\t0.000000", pairs, 138)


def test_a_record_names_residues_of_the_query_by_number_and_of_the_template_by_index() -> None:
    query = [7, 8, 9, 12, *range(20, 56)]
    text = hits.record("e1abA1", 1, query, alignment((1, 1), (2, 2), (4, 5)))
    assert text.encode() == FIRST


@pytest.mark.parametrize(
    ("templates", "ordered"),
    [
        (["e1abA2", "e1abA1", "e1abA10"], ["e1abA10", "e1abA1", "e1abA2"]),
        (["e1abA1", "e1abA1a"], ["e1abA1", "e1abA1a"]),
        (["000000010", "000000009", "000000100"], ["000000009", "000000010", "000000100"]),
        ([], []),
    ],
)
def test_templates_sort_as_upstreams_file_names(templates: list[str], ordered: list[str]) -> None:
    assert hits.in_upstream_order(templates) == ordered
    assert hits.in_upstream_order(reversed(templates)) == ordered


def test_whole_files_are_counted() -> None:
    assert hits.count(b"") == 0
    assert hits.count(FIRST) == 1
    assert hits.count(WHOLE) == 2


def test_a_file_cut_anywhere_but_between_records_is_refused() -> None:
    between = {0: 0, len(FIRST): 1, len(WHOLE): 2}
    for size in range(len(WHOLE) + 1):
        if size in between:
            assert hits.count(WHOLE[:size]) == between[size]
        else:
            with pytest.raises(ValueError, match="cut"):
                hits.count(WHOLE[:size])


@pytest.mark.parametrize("gone", range(len(WHOLE.splitlines())))
def test_a_file_without_one_of_its_lines_is_refused(gone: int) -> None:
    lines = WHOLE.splitlines(keepends=True)
    with pytest.raises(ValueError, match=r"line|record"):
        hits.count(b"".join(lines[:gone] + lines[gone + 1 :]))


@pytest.mark.parametrize("twice", range(len(WHOLE.splitlines())))
def test_a_file_with_one_line_twice_is_refused(twice: int) -> None:
    lines = WHOLE.splitlines(keepends=True)
    with pytest.raises(ValueError):
        hits.count(b"".join(lines[: twice + 1] + lines[twice:]))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"7\t1\n", b"\n"),
        (b"7\t1\n", b"seven\t1\n"),
        (b"7\t1\n", b"7\n"),
        (b"7\t1\n", b"7\t18\t2\n"),
        (b"7\t1\n8\t2\n", b"7\t1\t8\t2\n"),
        (b"7\t1\n", b"\0\0\0\0\n"),
        (b"\t40\t138", b"\t40"),
        (b"\t3\t40", b"\tthree\t40"),
        (b"\t3\t40", b"\t-3\t40"),
        (b"rotation\t0.0\t1.0\t0.0", b"rotation\t0.0\t1.0"),
        (b"translation", b"rotation"),
    ],
)
def test_a_damaged_line_is_refused(old: bytes, new: bytes) -> None:
    with pytest.raises(ValueError):
        hits.count(WHOLE.replace(old, new, 1))


def test_a_record_without_pairs_needs_its_transformation() -> None:
    lines = FIRST.replace(b"\t3\t40", b"\t0\t40").splitlines(keepends=True)
    assert hits.count(b"".join(lines[:5]) + SECOND) == 2
    with pytest.raises(ValueError, match="cut"):
        hits.count(b"".join(lines[:4]) + SECOND)


indices = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 9999)), max_size=40)
number = st.decimals(-999, 999, places=6).map(str)
row = st.tuples(number, number, number).map("\t".join)


@given(
    st.lists(st.tuples(indices, st.tuples(row, row, row), row), max_size=4),
    st.lists(st.integers(-99, 9999), min_size=40, max_size=40, unique=True),
)
def test_what_is_recorded_is_counted_and_read_back(
    found: list[tuple[list[tuple[int, int]], tuple[str, str, str], str]], query: list[int]
) -> None:
    records = [
        hits.record("e1", at, query, Alignment("2.0", rotation, translation, tuple(pairs), 50))
        for at, (pairs, rotation, translation) in enumerate(found, 1)
    ]
    assert hits.count("".join(records).encode()) == len(found)
    for record, (pairs, rotation, translation) in zip(records, found, strict=True):
        _, *lines = (line.partition("\t") for line in record.splitlines())
        assert tuple(rest for _, _, rest in lines[:4]) == (*rotation, translation)
        assert [(int(q), int(t)) for q, _, t in lines[4:]] == [(query[q - 1], t) for q, t in pairs]
