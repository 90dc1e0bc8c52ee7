"""A target's hits as its page shows them, and its templates where the hits say that they lie."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest

from dpam_hpc import bundle
from dpam_hpc.align import hits as hits_file
from dpam_hpc.align.dali.importing import Chain, pack
from dpam_hpc.align.tmalign import TMAlignAligner
from dpam_hpc.bundle import BundledTemplate
from dpam_hpc.errors import ConfigError
from dpam_hpc.report import superposition
from dpam_hpc.report.superposition import Hit, Templates, backbone, query_of, read_hits
from tests.replay import DATA

SAMPLE = ("A0A0K2WPR7", "O05011", "r1bd2X")
HITS = "_iterativdDali_hits"


def best_of(template: str) -> Hit:
    """Of the query r1bd2X, which holds the templates e1bd2A2 and e1bd2B1 themselves."""
    return next(hit for hit in read_hits(DATA / f"r1bd2X{HITS}") if hit.template == template)


def alphas_of(target: str) -> dict[int, tuple[float, float, float]]:
    return query_of((DATA / f"{target}.pdb").read_bytes())[1]


@pytest.mark.parametrize("target", SAMPLE)
def test_hits_are_read_as_they_were_written(target: str) -> None:
    path = DATA / f"{target}{HITS}"
    found = read_hits(path)
    assert len(found) == hits_file.count(path.read_bytes())
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)
    for hit in found:
        covered = {n for first, last in hit.segments for n in range(first, last + 1)}
        assert covered == {q for q, _ in hit.pairs}
        for row in hit.rows:
            assert math.hypot(*row) == pytest.approx(1.0, abs=1e-4), "it turns, and no more"


def test_a_template_lies_on_its_copy_in_the_query() -> None:
    best = best_of("e1bd2A2")
    laid = Templates(DATA, None, "dali").laid_over(best, alphas_of("r1bd2X"))
    assert laid is not None and not laid.is_trace
    assert laid.rmsd is not None and laid.rmsd < 0.01
    assert backbone(laid.pdb.encode())[1][0][12:16] == " CA "


def test_where_there_is_no_pdb_file_the_bundle_has_the_trace(tmp_path: Path) -> None:
    best = best_of("e1bd2A2")
    pdb = (DATA / "ECOD70/e1bd2A2.pdb").read_bytes()
    imported = TMAlignAligner({}, tmp_path).prepare(pdb)
    path = tmp_path / "b"
    bundle.write(path, "tmalign", "f", [BundledTemplate("e1bd2A2", pdb, imported)])
    laid = Templates(tmp_path, path, "tmalign").laid_over(best, alphas_of("r1bd2X"))
    assert laid is not None and laid.is_trace
    assert laid.rmsd is not None and laid.rmsd < 0.01
    atoms = backbone(laid.pdb.encode())
    assert len(atoms) == best.template_residues and {h[12:16] for h, _ in atoms} == {" CA "}


def test_the_trace_of_dalis_own_import() -> None:
    rows = [
        b"-acc    1  A   7   101       1.500      -9.000      17.300",
        b"-acc    2  A   8   122    -100.250     211.900     -11.400",
    ]
    dat = b">>>> mol1A    2\n" + b"\n".join(rows) + b"\n"
    chain = Chain("A", 2, 0, 0, dat)
    assert chain.alphas() == [(1.5, -9.0, 17.3), (-100.25, 211.9, -11.4)]
    from dpam_hpc.align import aligner
    from dpam_hpc.align.dali.aligner import DaliAligner

    assert aligner.trace(DaliAligner, pack([chain])) == chain.alphas()


def test_a_template_that_is_nowhere_is_left_out(tmp_path: Path) -> None:
    best = read_hits(DATA / f"r1bd2X{HITS}")[0]
    assert Templates(tmp_path, tmp_path / "none", "dali").laid_over(best, {}) is None
    assert Templates(None, None, "no-such-aligner").laid_over(best, {}) is None


def test_a_template_id_is_no_path(tmp_path: Path) -> None:
    text = (DATA / f"r1bd2X{HITS}").read_text().replace(">e1bd2A2_", ">../../e1bd2A2_")
    path = tmp_path / "hits"
    path.write_text(text)
    (tmp_path / "ECOD70").mkdir()
    shutil.copy(DATA / "ECOD70/e1bd2A2.pdb", tmp_path)
    assert Templates(tmp_path, None, "dali").laid_over(read_hits(path)[0], {}) is None


@pytest.mark.parametrize("content", [b"x\n", b">a_1\t1\t0\t9\t9\n", b"\xff", None])
def test_what_is_no_hits_file_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "hits"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="hits"):
        read_hits(path)


@pytest.mark.parametrize("old, new", [("3.5", "nan"), ("-0.102815", "inf"), ("_1\t", "_x\t")])
def test_numbers_that_are_none_are_an_error(tmp_path: Path, old: str, new: str) -> None:
    text = (DATA / f"A0A0K2WPR7{HITS}").read_text()
    assert old in text
    path = tmp_path / "hits"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError):
        read_hits(path)


def test_of_alternate_places_the_first_is_taken() -> None:
    line = b"ATOM      2  CA AALA A   7      %5.1f   0.000   0.000\n"
    (only,) = backbone(line % 11.0 + (line % 12.0).replace(b"AALA", b"BALA"))
    assert only[1] == (11.0, 0.0, 0.0)
    assert superposition.query_of(line % 11.0)[1] == {7: (11.0, 0.0, 0.0)}
