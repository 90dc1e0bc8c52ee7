"""Reading PDB files: what is kept, and that each bad one gets its reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpam_hpc.align import structure
from dpam_hpc.align.aligner import Unusable
from tests.pure.pdb import atom, residues

GOOD = residues(range(1, 41))
LINE = atom(1)


def with_columns(first: int, text: bytes) -> bytes:
    """An ATOM line with ``text`` from a column on, counted from 1."""
    at = first - 1
    return LINE[:at] + text + LINE[at + len(text) :]


def test_read_keeps_atom_lines_alone_and_sorts_the_numbers() -> None:
    first, second, water = atom(9), atom(-3), atom(500, record="HETATM")
    pdb = b"HEADER x\n" + first + water + b"ANISOU\n" + second + atom(9) + b"TER\nEND\n"
    read = structure.read(pdb)
    assert read.residues == (-3, 9)
    assert read.lines == ((9, first), (-3, second), (9, atom(9)))
    assert read.pdb() == first + second + atom(9)


def test_read_takes_all_models_and_chains_as_upstream_does() -> None:
    pdb = b"MODEL        1\n" + atom(1) + b"ENDMDL\nMODEL        2\n" + atom(2, chain="B")
    assert structure.read(pdb).residues == (1, 2)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_read_ends_every_line_with_a_newline(line_end: bytes) -> None:
    assert structure.read(GOOD.replace(b"\n", line_end)) == structure.read(GOOD)


@pytest.mark.parametrize("number", [b"   x", b"    ", b"1.5 ", b"****"])
def test_read_names_a_residue_number_that_is_none(number: bytes) -> None:
    with pytest.raises(Unusable, match=r"residue number '.{4}' is no number"):
        structure.read(GOOD + with_columns(23, number))


def test_read_names_a_line_cut_before_its_residue_number() -> None:
    with pytest.raises(Unusable, match="residue number '' is no number"):
        structure.read(GOOD + LINE[:20])


@given(st.sets(st.integers(-50, 60)), st.lists(st.integers(-50, 60), unique=True))
def test_keep_is_a_selection_in_the_order_of_the_file(kept: set[int], numbers: list[int]) -> None:
    there = tuple(sorted(kept & set(numbers)))
    whole = structure.read(b"".join(atom(n) + atom(n, name=" CB ") for n in numbers))
    part = whole.keep(there)
    assert part.residues == there
    assert part.lines == tuple(line for line in whole.lines if line[0] in kept)
    assert part == structure.read(part.pdb())


BAD = {
    "empty": (b"", "the file is empty"),
    "blank": (b" \n\n", "the file is empty"),
    "binary": (GOOD[:200] + b"\0\x8b" + GOOD[200:], "binary"),
    "no ATOM lines": (b"HEADER\n" + atom(1, record="HETATM") + b"END\n", "no ATOM lines"),
    "a web page": (b"<html>404 Not Found</html>\n", "no ATOM lines"),
    "atoms behind the first model": (b"ENDMDL\n" + GOOD, "no ATOM lines"),
    "NaN": (GOOD + with_columns(39, b"     nan"), "line 41 has no readable coordinates"),
    "infinite": (with_columns(47, b"    -inf") + GOOD, "line 1 has no readable coordinates"),
    "asterisks": (b"REMARK\n" + with_columns(31, b"********"), "line 2 has no readable"),
    "blank coordinate": (with_columns(31, b"        "), "line 1 has no readable coordinates"),
    "cut before the coordinates": (GOOD + LINE[:40], "line 41 has no readable coordinates"),
    "cut within the last one": (GOOD + LINE[:53], "line 41 has no readable coordinates"),
    "cut within the last, line end": (GOOD + LINE[:52] + b"\n" + GOOD, "line 41 has no readable"),
}


@pytest.mark.parametrize("pdb_reason", BAD.values(), ids=BAD.keys())
def test_check_names_what_is_wrong(pdb_reason: tuple[bytes, str]) -> None:
    pdb, reason = pdb_reason
    for check in (structure.check, structure.check_query):
        with pytest.raises(Unusable, match=reason):
            check(pdb)


@pytest.mark.parametrize(
    "pdb",
    [
        GOOD,
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.rstrip(b"\n"),
        b"HEADER x\n" + GOOD + b"TER\nEND\n",
        GOOD + LINE[:54] + b"\n",
        GOOD + atom(41, chain="B"),
        GOOD + atom(40, insertion="A"),
        GOOD + b"ENDMDL\n" + with_columns(31, b"********"),
    ],
)
def test_check_lets_pass_what_dali_can_read(pdb: bytes) -> None:
    structure.check(pdb)


@pytest.mark.parametrize(
    "pdb",
    [
        GOOD,
        GOOD.replace(b"\n", b"\r\n"),
        b"MODEL        1\n" + GOOD + b"ENDMDL\nEND\n",
        b"REMARK MODEL\nMODEL        1\n" + GOOD,
        GOOD + atom(7, chain="B", record="HETATM"),
    ],
)
def test_check_query_gives_the_structure(pdb: bytes) -> None:
    assert structure.check_query(pdb) == structure.read(GOOD)


@pytest.mark.parametrize(
    ("pdb", "reason"),
    [
        (GOOD + atom(41, chain="B"), r"2 chains \(A, B\), not one"),
        (GOOD + atom(41, chain=" "), "2 chains"),
        (b"MODEL        1\n" + GOOD + b"ENDMDL\nMODEL        2\n" + GOOD, "several models"),
        (b"MODEL        1\r\n" + GOOD + b"ENDMDL\r\nMODEL        2\r\n" + GOOD, "several models"),
        (GOOD + atom(40, insertion="A"), "insertion codes"),
        (GOOD + with_columns(23, b" 4x "), "residue number ' 4x ' is no number"),
    ],
)
def test_check_query_refuses_what_has_no_single_numbering(pdb: bytes, reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        structure.check_query(pdb)
