"""The loop, over an aligner whose templates say themselves what they align with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpam_hpc.align import structure
from dpam_hpc.align.aligner import (
    Aligner,
    Alignment,
    Options,
    Pair,
    ProgramFailed,
    TooShort,
    Unusable,
)
from dpam_hpc.align.iterate import TemplateResult, align_templates
from tests.pure.pdb import atom, residues

ROTATION = ("1.0\t0.0\t0.0", "0.0\t1.0\t0.0", "0.0\t0.0\t1.0")
BEYOND = b"beyond"


def template(*rounds: Iterable[int], lost: str = "") -> bytes:
    """A template that aligns with the first of these sets of residues that a query has whole.

    ``lost`` is what upstream's parser loses of each alignment.
    """
    return json.dumps([[list(numbers) for numbers in rounds], lost]).encode()


class ScriptedAligner:
    """Looks at the pair alone; keeps what it was asked."""

    name: ClassVar[str] = "scripted"
    hits_suffix: ClassVar[str] = "_hits"
    step: ClassVar[str] = "scripted"

    @classmethod
    def fingerprint(cls, options: Options) -> str:
        return ""

    @classmethod
    def stage_in(cls, options: Options, folder: Path) -> Options:
        return options

    @classmethod
    def prove(cls, options: Options, folder: Path) -> None:
        pass

    def __init__(self, error: Exception | None = None) -> None:
        self.prepared: list[bytes] = []
        self.waves: list[int] = []
        self._error = error

    def prepare(self, pdb: bytes) -> bytes:
        self.prepared.append(pdb)
        if self._error is not None:
            raise self._error
        return pdb

    def align(self, pairs: Sequence[Pair]) -> list[Alignment | None]:
        self.waves.append(len(pairs))
        return [self._align(pair) for pair in pairs]

    def _align(self, pair: Pair) -> Alignment | None:
        numbers = structure.read(pair.query).residues
        if pair.template == BEYOND:
            return _alignment(range(1, len(numbers) + 2))
        rounds, lost = json.loads(pair.template)
        for aligned in rounds:
            if set(aligned) <= set(numbers):
                return _alignment((numbers.index(number) + 1 for number in aligned), lost)
        return None

    def cpu_seconds(self) -> dict[str, float]:
        return {}

    def close(self) -> None:
        pass


def _alignment(query_indices: Iterable[int], lost: str = "") -> Alignment:
    pairs = tuple((q, t) for t, q in enumerate(query_indices, 1))
    return Alignment("5.0", ROTATION, "0.0\t0.0\t0.0", pairs, 150, (lost,) if lost else ())


def align(aligner: Aligner, pdb: bytes, **templates: bytes) -> dict[str, TemplateResult]:
    """The loop's results by template."""
    return {result.template: result for result in align_templates(aligner, pdb, pdb, templates)}


def align_one(pdb: bytes, template: bytes, aligner: Aligner | None = None) -> TemplateResult:
    """The loop's result for one template."""
    return align(aligner or ScriptedAligner(), pdb, T=template)["T"]


def numbers_left(aligner: ScriptedAligner) -> tuple[int, ...]:
    """The residues of the query of the last round but the first."""
    return structure.read(aligner.prepared[-1]).residues


def test_rounds_go_on_with_what_is_left() -> None:
    found = align_one(residues(range(101, 201)), template(range(111, 141), range(161, 191)))
    assert not found.failure and not found.lost
    first, second = (record.splitlines() for record in found.records)
    assert first[0] == ">T_1\t5.0\t30\t100\t150"
    assert second[0] == ">T_2\t5.0\t30\t70\t150"
    assert first[1:5] == [*(f"rotation\t{row}" for row in ROTATION), "translation\t0.0\t0.0\t0.0"]
    assert first[5:] == [f"{number}\t{number - 110}" for number in range(111, 141)]
    assert second[5:] == [f"{number}\t{number - 160}" for number in range(161, 191)]


def test_indices_count_sorted_residue_numbers_whatever_the_order_of_the_file() -> None:
    found = align_one(residues([*range(60, 100), *range(-10, 30)]), template(range(25)))
    assert [line.split("\t")[0] for line in found.records[0].splitlines()[5:]] == [
        str(number) for number in range(25)
    ]


def test_no_hit() -> None:
    assert align_one(residues(range(1, 101)), template()) == TemplateResult("T")


@pytest.mark.parametrize(("aligned", "records"), [(19, 0), (20, 1)])
def test_fewer_than_20_aligned_is_no_hit(aligned: int, records: int) -> None:
    aligner = ScriptedAligner()
    found = align_one(residues(range(1, 101)), template(range(1, aligned + 1)), aligner)
    assert len(found.records) == records
    assert len(aligner.waves) == 1 + records


@pytest.mark.parametrize(("left", "rounds"), [(19, 1), (20, 2)])
def test_fewer_than_20_residues_left_end_it(left: int, rounds: int) -> None:
    aligner = ScriptedAligner()
    found = align_one(residues(range(1, 51 + left)), template(range(1, 51)), aligner)
    assert len(found.records) == 1
    assert len(aligner.waves) == rounds


@pytest.mark.parametrize(
    ("aligned", "step", "closed"),
    [
        (20, 5, True),
        (20, 6, False),
        (100, 5, True),
        (100, 6, False),
        (120, 6, True),
        (120, 7, False),
        (130, 6, True),  # the cut is 6.5
        (130, 7, False),
        (140, 7, True),
        (140, 8, False),
    ],
)
def test_gaps_close_up_to_5_or_5_percent_of_the_aligned(
    aligned: int, step: int, closed: bool
) -> None:
    """``step`` leads from the last residue before the gap to the first behind it."""
    half = aligned // 2
    first, second = range(1, half + 1), range(half + step, half + step + half)
    aligner = ScriptedAligner()
    align_one(residues(range(1, 301)), template([*first, *second]), aligner)
    gap = [] if closed else range(first[-1] + 1, second[0])
    assert numbers_left(aligner) == (*gap, *range(second[-1] + 1, 301))


def test_gaps_are_measured_in_residue_numbers_not_in_residues() -> None:
    """One residue lies between 30 and 36, which are six numbers apart."""
    aligner = ScriptedAligner()
    query = residues([*range(1, 31), 33, *range(36, 101)])
    align_one(query, template([*range(1, 31), *range(36, 66)]), aligner)
    assert numbers_left(aligner) == (33, *range(66, 101))


def test_equivalences_need_no_order() -> None:
    aligner = ScriptedAligner()
    align_one(residues(range(1, 101)), template([*range(60, 29, -1), *range(1, 11)]), aligner)
    assert numbers_left(aligner) == (*range(11, 30), *range(61, 101))


def test_a_residual_query_is_the_atom_lines_of_the_residues_left_in_order() -> None:
    names = (" N  ", " CA ", " O  ")
    before, cut, behind = (
        [atom(number, name=name) for number in numbers for name in names]
        for numbers in (range(80, 60, -1), range(1, 31), range(31, 61))
    )
    lines = [b"HEADER x\n", *before, *cut, b"HETATM water\n", *behind, b"TER\n", b"END\n"]
    aligner = ScriptedAligner()
    align_one(b"".join(lines), template(range(1, 31)), aligner)
    assert aligner.prepared == [b"".join(before + behind)]


def test_templates_with_the_same_rest_share_its_import() -> None:
    aligner = ScriptedAligner()
    found = align(
        aligner,
        residues(range(1, 101)),
        A=template(range(1, 41), range(51, 91)),
        B=template(range(1, 41)),
        C=template(range(2, 41)),
        D=template(),
    )
    assert {name: len(result.records) for name, result in found.items()} == {
        "A": 2, "B": 1, "C": 1, "D": 0,
    }  # fmt: skip
    assert aligner.waves == [4, 3, 1]
    # What A and B leave, what C leaves, and what A leaves of the first in its second round.
    rests = [structure.read(pdb).residues for pdb in aligner.prepared]
    assert rests == [
        tuple(range(41, 101)), (1, *range(41, 101)), (*range(41, 51), *range(91, 101)),
    ]  # fmt: skip


spans = st.tuples(st.integers(1, 130), st.integers(1, 60)).map(lambda s: range(s[0], s[0] + s[1]))
segments = st.lists(spans, min_size=1, max_size=3).map(lambda found: sorted(set().union(*found)))
scripts = st.lists(segments, max_size=4).map(lambda rounds: template(*rounds))


@given(st.lists(scripts | st.just(BEYOND), min_size=1, max_size=6))
def test_several_templates_at_once_give_what_each_gives_alone(scripts: list[bytes]) -> None:
    query = residues(range(1, 151))
    templates = {f"T{at}": script for at, script in enumerate(scripts)}
    together = align(ScriptedAligner(), query, **templates)
    assert list(together) == list(templates)
    for name, script in templates.items():
        assert together[name] == align(ScriptedAligner(), query, **{name: script})[name]


def test_a_rest_that_is_too_short_to_the_aligner_is_no_failure() -> None:
    aligner = ScriptedAligner(TooShort("29 residues"))
    found = align_one(residues(range(1, 101)), template(range(1, 51), range(61, 91)), aligner)
    assert len(found.records) == 1
    assert not found.failure
    assert aligner.waves == [1]


def test_a_rest_that_is_unusable_is_a_named_failure_of_those_who_left_it() -> None:
    aligner = ScriptedAligner(Unusable("250 secondary structure elements"))
    both = {"A": template(range(1, 51), range(61, 91)), "B": template(range(1, 91))}
    found = align(aligner, residues(range(1, 101)), **both)
    assert len(found["A"].records) == 1
    assert found["A"].failure == (
        "what is left of the query after a hit: 250 secondary structure elements"
    )
    assert len(found["B"].records) == 1
    assert not found["B"].failure


def test_a_program_that_fails_on_a_rest_fails_the_wave() -> None:
    with pytest.raises(ProgramFailed, match="puu"):
        align_one(
            residues(range(1, 101)), template(range(1, 51)), ScriptedAligner(ProgramFailed("puu"))
        )


def test_an_index_beyond_the_residues_is_a_named_failure() -> None:
    found = align(ScriptedAligner(), residues(range(1, 51)), A=BEYOND, B=template(range(1, 31)))
    assert found["A"].failure == ("the aligner names query residues beyond the 50 of the file")
    assert not found["A"].records
    assert not found["B"].failure
    assert len(found["B"].records) == 1


def test_lost_segments_are_noted_with_their_round() -> None:
    script = template(range(1, 41), range(51, 91), lost="1060 -1244 <=> 1 - 185")
    found = align_one(residues(range(1, 101)), script)
    assert len(found.records) == 2
    assert found.lost == [f"round {at}: 1060 -1244 <=> 1 - 185" for at in (1, 2)]


def test_lost_segments_are_noted_where_nothing_else_is_left_of_a_hit() -> None:
    found = align_one(residues(range(1, 101)), template([], lost="1060 -1244 <=> 1 - 185"))
    assert found == TemplateResult("T", lost=["round 1: 1060 -1244 <=> 1 - 185"])


@pytest.mark.parametrize(("first", "rounds"), [(-1, 1), (0, 2), (1, 2)])
def test_upstream_stops_where_it_would_cut_out_numbers_under_0(first: int, rounds: int) -> None:
    aligner = ScriptedAligner()
    script = template(range(first, 41), range(51, 91))
    found = align_one(residues(range(-5, 101)), script, aligner)
    assert len(found.records) == rounds
    assert found.lost == (
        [] if rounds == 2 else ["rounds after 1: upstream stops at residue numbers under 0"]
    )
