"""The TM-align aligner, over structures whose answer is known."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError
from importlib.resources import files
from pathlib import Path

import pytest

from dpam_hpc.align import structure, tmalign
from dpam_hpc.align.aligner import Alignment, Pair, ProgramFailed, TooShort, Unusable
from dpam_hpc.align.iterate import align_templates
from dpam_hpc.align.tmalign import TMAlignAligner, check_known_answer
from dpam_hpc.errors import AlignerError
from tests.pure.pdb import Point, atom, trace

pytest.importorskip("tmtools", reason="pip install tmtools")

KNOWN = files("dpam_hpc.align.dali") / "known_answer"
SMALL = (KNOWN / "query.pdb").read_bytes()
"""Beta-2 microglobulin, 99 residues."""
LARGE = (KNOWN / "template.pdb").read_bytes()
"""138 residues, of which 91 are much like SMALL."""

COS, SIN = math.cos(math.radians(40)), math.sin(math.radians(40))
TURN = ((COS, -SIN, 0.0), (SIN, COS, 0.0), (0.0, 0.0, 1.0))
SHIFT = (10.0, -20.0, 30.0)


def points(pdb: bytes) -> list[Point]:
    """The CA atoms' places."""
    lines = [line for line in pdb.splitlines() if line[12:16] == b" CA "]
    return [(float(x[30:38]), float(x[38:46]), float(x[46:54])) for x in lines]


def moved(place: Point, rotation: Sequence[Sequence[float]], shift: Sequence[float]) -> Point:
    """A place after a rotation and a shift."""
    x, y, z = (
        sum(r * p for r, p in zip(row, place, strict=True)) + by
        for row, by in zip(rotation, shift, strict=True)
    )
    return x, y, z


@pytest.fixture
def aligner(tmp_path: Path) -> TMAlignAligner:
    return TMAlignAligner({}, tmp_path)


def align(aligner: TMAlignAligner, query: bytes, template: bytes) -> Alignment | None:
    """The alignment of two PDB files."""
    (found,) = aligner.align([Pair(aligner.prepare(query), aligner.prepare(template))])
    return found


def hit(aligner: TMAlignAligner, query: bytes, template: bytes) -> Alignment:
    """The alignment of two PDB files that do align."""
    found = align(aligner, query, template)
    assert found is not None
    return found


def transformation(found: Alignment) -> tuple[list[list[float]], list[float]]:
    """The numbers of rotation and translation."""
    rows = [[float(number) for number in row.split("\t")] for row in found.rotation]
    return rows, [float(number) for number in found.translation.split("\t")]


def test_a_structure_with_itself(aligner: TMAlignAligner) -> None:
    found = hit(aligner, SMALL, SMALL)
    assert found.z == "1.0000"
    assert found.equivalences == tuple((at, at) for at in range(1, 100))
    assert found.template_length == 99
    assert found.lost == ()
    assert [row.replace("-0.0", "0.0") for row in found.rotation] == [
        "1.000000\t0.000000\t0.000000",
        "0.000000\t1.000000\t0.000000",
        "0.000000\t0.000000\t1.000000",
    ]
    assert found.translation.replace("-0.0", "0.0") == "0.000000\t0.000000\t0.000000"


def test_the_transformation_moves_the_template_onto_the_query(aligner: TMAlignAligner) -> None:
    template = points(SMALL)
    query = [moved(place, TURN, SHIFT) for place in template]
    found = hit(aligner, trace(query, first=101), SMALL)
    assert found.z == "1.0000"
    rotation, shift = transformation(found)
    for row, expected in zip([*rotation, shift], [*TURN, SHIFT], strict=True):
        assert row == pytest.approx(expected, abs=2e-3)
    for q, t in found.equivalences:
        assert math.dist(moved(template[t - 1], rotation, shift), query[q - 1]) < 0.01


def test_pairs_are_closer_than_5_angstrom(aligner: TMAlignAligner) -> None:
    found = hit(aligner, SMALL, LARGE)
    rotation, shift = transformation(found)
    query, template = points(SMALL), points(LARGE)
    assert len(found.equivalences) > 80
    for q, t in found.equivalences:
        assert math.dist(moved(template[t - 1], rotation, shift), query[q - 1]) < 5


def test_the_score_is_of_the_templates_length(aligner: TMAlignAligner) -> None:
    """Part of a domain is found in the whole, not the whole in a part of it."""
    part = structure.read(SMALL).keep(tuple(range(11, 51))).pdb()
    found = hit(aligner, SMALL, part)
    assert (found.z, found.template_length) == ("1.0000", 40)
    assert found.equivalences == tuple((at + 10, at) for at in range(1, 41))
    assert align(aligner, part, SMALL) is None


def test_other_folds_are_no_hit(aligner: TMAlignAligner) -> None:
    helix = [
        (2.3 * math.cos(math.radians(100 * at)), 2.3 * math.sin(math.radians(100 * at)), 1.5 * at)
        for at in range(60)
    ]
    assert align(aligner, SMALL, trace(helix)) is None
    assert align(aligner, trace(helix), trace(helix)) is not None


def test_each_pair_is_aligned_as_if_alone(aligner: TMAlignAligner) -> None:
    small, large = aligner.prepare(SMALL), aligner.prepare(LARGE)
    pairs = [Pair(small, large), Pair(large, small), Pair(small, small)]
    assert aligner.align(pairs) == [aligner.align([pair])[0] for pair in pairs]
    assert aligner.align([]) == []


def test_cpu_seconds_are_those_of_tm_align(aligner: TMAlignAligner) -> None:
    assert aligner.cpu_seconds() == {"tmalign": 0.0}
    hit(aligner, SMALL, LARGE)
    once = aligner.cpu_seconds()["tmalign"]
    assert once > 0
    hit(aligner, SMALL, LARGE)
    assert aligner.cpu_seconds()["tmalign"] > once
    aligner.close()


def test_the_loop_finds_a_domain_as_often_as_it_is_there(aligner: TMAlignAligner) -> None:
    """Two copies, numbered from 7 and from 206, with a stretched chain of 100 between them."""
    linker = [(60.0 + 3.5 * at, 40.0, 40.0) for at in range(100)]
    second = [moved(place, TURN, (150.0, 60.0, -40.0)) for place in points(SMALL)]
    query = trace(points(SMALL), first=7) + trace(linker, first=106) + trace(second, first=206)
    templates = {"small": aligner.prepare(SMALL)}
    (small,) = align_templates(aligner, query, aligner.prepare(query), templates)
    assert not small.failure
    heads = [record.splitlines()[0].split("\t") for record in small.records]
    assert [(name, z, residues) for name, z, _, residues, _ in heads] == [
        (">small_1", "1.0000", "298"),
        (">small_2", "1.0000", "199"),
    ]
    pairs = [record.splitlines()[5:] for record in small.records]
    assert sorted(pairs) == sorted(
        [f"{at + first - 1}\t{at}" for at in range(1, 100)] for first in (7, 206)
    )


def test_a_residue_without_ca_shifts_no_index(aligner: TMAlignAligner) -> None:
    lines = SMALL.splitlines(keepends=True)
    gone = b"".join(x for x in lines if not (x[12:16] == b" CA " and x[22:26] == b"  30"))
    assert len(gone) < len(SMALL)
    found = hit(aligner, gone, SMALL)
    assert found.equivalences == tuple((at, at) for at in range(1, 100) if at != 30)
    assert hit(aligner, SMALL, gone).equivalences == found.equivalences
    assert hit(aligner, SMALL, gone).template_length == 98


def in_a_row(numbers: Sequence[int], chain: str = "A") -> bytes:
    """CA atoms one angstrom apart."""
    return b"".join(atom(number, (float(number), 0, 0), chain=chain) for number in numbers)


FIRST_30 = in_a_row(range(1, 31))


@pytest.mark.parametrize(
    "pdb",
    [
        FIRST_30.replace(b"\n", b"\r\n"),
        b"HEADER x\n" + FIRST_30 + b"TER\nEND\n",
        FIRST_30 + atom(1, (9, 9, 9), alternate="B"),
        FIRST_30 + atom(2, (9, 9, 9), insertion="A"),
        FIRST_30 + in_a_row(range(31, 60), chain="B"),
        in_a_row(range(1, 31), chain="B"),
        FIRST_30 + atom(99, (9, 9, 9), record="HETATM"),
        FIRST_30 + atom(30, (9, 9, 9), name=" CB "),
        FIRST_30 + b"ENDMDL\n" + in_a_row(range(1, 31), chain="A"),
        atom(4, (9, 9, 9), chain="N", name=" P  ") + FIRST_30,
        FIRST_30 + atom(30, (9, 9, 9), name="CA  "),
    ],
)
def test_what_is_no_ca_of_the_first_chain_changes_nothing(
    pdb: bytes, aligner: TMAlignAligner
) -> None:
    assert aligner.prepare(pdb) == aligner.prepare(FIRST_30)


def test_unknown_residues_are_aligned_as_well(aligner: TMAlignAligner) -> None:
    odd = SMALL.replace(b"ILE", b"MSE")
    assert aligner.prepare(odd) != aligner.prepare(SMALL)
    assert hit(aligner, odd, SMALL) == hit(aligner, SMALL, SMALL)


def test_prepared_is_compact_and_the_same_every_time(aligner: TMAlignAligner) -> None:
    prepared = aligner.prepare(SMALL)
    assert prepared == TMAlignAligner({}, Path()).prepare(SMALL)
    assert prepared.startswith(b"IQRTPKIQVYSRHPAENGKSNFLNCYVSGFHPSDIEVDLLKNGERIEK")
    assert len(prepared) == 99 * 29 + 1


@pytest.mark.parametrize(
    "pdb", [b"", b"HEADER\n", FIRST_30[: -len(atom(1))], b"ENDMDL\n" + FIRST_30]
)
def test_fewer_than_30_residues_are_too_short(pdb: bytes, aligner: TMAlignAligner) -> None:
    aligner.prepare(FIRST_30)
    with pytest.raises(TooShort, match="30 are needed"):
        aligner.prepare(pdb)


NAN = math.nan


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (atom(31, (NAN, 0, 0)), "no protein"),
        (atom(31, (0, math.inf, 0)), "no protein"),
        (atom(31, (0, 0, 9999)), "no protein"),
        (atom(31)[:40], "CA of residue   31 has no readable coordinates"),
        (atom(31).replace(b"   2.000", b"********"), "CA of residue   31 has no readable"),
        (atom(31).replace(b"  31", b"  x1"), "residue number '  x1' is no number"),
    ],
    ids=["nan", "inf", "far", "cut", "asterisks", "number"],
)
def test_a_ca_that_is_nowhere_is_unusable(
    last: bytes, reason: str, aligner: TMAlignAligner
) -> None:
    for pdb in (FIRST_30 + last, last.rstrip(b"\n") + b"\n" + FIRST_30):
        with pytest.raises(Unusable, match=reason):
            aligner.prepare(pdb)


def test_a_score_that_is_no_number_is_a_program_that_failed(
    aligner: TMAlignAligner, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Result:
        tm_norm_chain1 = NAN

    monkeypatch.setattr(tmalign, "_load", lambda: lambda *_: Result())
    with pytest.raises(ProgramFailed, match="nan"):
        align(aligner, SMALL, SMALL)


def test_the_fingerprint_is_of_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tmalign, "version", lambda name: f"1.2.3 of {name}")
    assert TMAlignAligner.fingerprint({}) == "tmalign 1.2.3 of tmtools"


def test_without_tmtools_a_hint_tells_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(tmalign, "version", missing)
    with pytest.raises(AlignerError, match="tmtools") as caught:
        TMAlignAligner.fingerprint({})
    assert "pip install" in caught.value.hint


def test_options_stay_as_they_are(tmp_path: Path) -> None:
    options = {"dali_home": "/x"}
    assert TMAlignAligner.stage_in(options, tmp_path) == options
    assert not list(tmp_path.iterdir())


def test_the_proof_leaves_the_launcher_without_numpy(tmp_path: Path) -> None:
    """In a fresh process: fingerprint, proof and import of a structure."""
    script = (
        "import sys, pathlib; from dpam_hpc.align.tmalign import TMAlignAligner as T;"
        "T.fingerprint({}); T.prove({}, pathlib.Path(sys.argv[1]) / 'proof');"
        "T({}, pathlib.Path()).prepare(pathlib.Path(sys.argv[2]).read_bytes());"
        "sys.exit('numpy' in sys.modules)"
    )
    pdb = tmp_path / "small.pdb"
    pdb.write_bytes(SMALL)
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path, pdb], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("exit 1", "the process ended with status 1"),
        ("kill -ILL $$", "the process ended with status -4"),
        ("echo first; echo ImportError: numpy >&2; exit 1", "ImportError: numpy"),
    ],
)
def test_a_proof_that_fails_or_crashes_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, said: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{body}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(AlignerError, match=f"known pair: {said}"):
        TMAlignAligner.prove({}, tmp_path / "proof")


class Backwards(TMAlignAligner):
    """Moves the query onto the template."""

    def align(self, pairs: Sequence[Pair]) -> list[Alignment | None]:
        return super().align([Pair(pair.template, pair.query) for pair in pairs])


class Blind(TMAlignAligner):
    """Finds nothing."""

    def align(self, pairs: Sequence[Pair]) -> list[Alignment | None]:
        return [None for _ in pairs]


def test_the_known_answer_tells_wrong_from_right() -> None:
    check_known_answer(TMAlignAligner({}, Path()))
    with pytest.raises(AlignerError, match="turned and shifted"):
        check_known_answer(Backwards({}, Path()))
    with pytest.raises(AlignerError, match=r"under 0\.5"):
        check_known_answer(Blind({}, Path()))
