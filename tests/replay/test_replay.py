"""The exact DALI path, to the byte, on recorded answers of the real programs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpam_hpc.align.aligner import ProgramFailed
from dpam_hpc.align.dali.aligner import DaliAligner
from dpam_hpc.align.dali.compare import Comparison
from dpam_hpc.align.iterate import align_templates
from dpam_hpc.errors import AlignerError

from . import DATA, LONGEST_SHEBANG, PROTEINS, align, make_home, prepare_templates, standin

ALL = 1000


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("dali") / "home")


@pytest.fixture(scope="module")
def aligner(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaliAligner]:
    aligner = DaliAligner({"dali_home": str(home)}, tmp_path_factory.mktemp("work") / "aligner")
    yield aligner
    aligner.close()


@pytest.fixture(scope="module")
def templates(aligner: DaliAligner) -> dict[str, bytes]:
    return prepare_templates(aligner)


@pytest.mark.parametrize("chunk", [1, 3, ALL])
@pytest.mark.parametrize("protein", PROTEINS)
def test_hits_are_upstreams_to_the_byte(
    protein: str, chunk: int, aligner: DaliAligner, templates: dict[str, bytes]
) -> None:
    expected = (DATA / f"{protein}_iterativdDali_hits").read_text()
    assert align(aligner, protein, templates, chunk) == expected


def test_known_answer_from_copied_programs(home: Path, tmp_path: Path) -> None:
    options = DaliAligner.stage_in({"dali_home": str(home)}, tmp_path)
    DaliAligner.prove(options, tmp_path / "work")


@pytest.mark.parametrize(
    "dssp", ["", "    0  0 TOTAL NUMBER OF RESIDUES", " 0  0 TOTAL NUMBER OF RESIDUES", "\0\xff"]
)
def test_a_dsspcmbi_that_reads_nothing_is_an_error(dssp: str, tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    program = home / "bin" / "dsspcmbi"
    program.unlink()
    (tmp_path / "dssp").write_text(dssp)
    program.write_text(f'#!/bin/sh\ncat {tmp_path}/dssp > "$2"\n')
    program.chmod(0o755)
    with pytest.raises(AlignerError, match="known pair"):
        DaliAligner.prove({"dali_home": str(home)}, tmp_path / "work")


def test_unknown_structure_fails(aligner: DaliAligner) -> None:
    pdb = (DATA / "ECOD70" / "e1bd2B1.pdb").read_bytes().replace(b"  1.00 ", b"  0.99 ", 1)
    with pytest.raises(ProgramFailed, match=r"exit status 97.*dsspcmbi was never recorded"):
        aligner.prepare(pdb)


def test_unknown_pair_fails(aligner: DaliAligner, templates: dict[str, bytes]) -> None:
    pairs = {"e1bd2B1": templates["e1bd2A2"]}
    query = DATA / "ECOD70" / "e1bd2B1.pdb"
    with pytest.raises(ProgramFailed, match=r"exit status 97.*WOLF was never recorded"):
        align_templates(aligner, query.read_bytes(), templates["e1bd2B1"], pairs)


def test_two_pairs_under_one_name_in_dalicon_fail(
    aligner: DaliAligner, templates: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_name(self: Comparison, name: str) -> str:
        alias = f"Z{name[1:]}"
        if not (self._dat / f"{alias}.dat").is_symlink():
            os.symlink(f"{name}.dat", self._dat / f"{alias}.dat")
        return alias

    monkeypatch.setattr(Comparison, "_alias", one_name)
    with pytest.raises(ProgramFailed, match=r"exit status 97.*DALICON was never recorded"):
        align(aligner, "A0A0K2WPR7", templates, ALL)


class _NoAnswers(standin.Answers):
    def __init__(self) -> None:
        pass

    def get(self, question: standin.Question) -> bytes:
        return b""


def test_filter95_takes_the_domains_of_the_structure_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, count in {"P000A": 9, "P001A": 3}.items():
        Path(f"{name}.dat").write_text(
            f">>>> {name}   50\n>>>> {name}    9\n>>>> {name}{count:5}\n"
        )
    forward = b" refineP000AP001A  7 1000 1 1 2 3 4\n"
    reverse = b" refineP001AP000A  7 1000 1 1 2 3 4\n refineP001AP000A 10 1000 1 1 2 3 4\n"
    arguments = ["./", "./", "FILTER95"]

    alone = standin.run("serialcompare", arguments, reverse, _NoAnswers())
    assert alone == {}
    after = standin.run("serialcompare", arguments, forward + reverse, _NoAnswers())
    assert after == {standin.OUTPUT: b"   99.9999999     P001AP000A  7 1000 1 1 2 3 4\n"}


@pytest.mark.parametrize("folder", ["with 'two spaces", "long" * (LONGEST_SHEBANG // 4)])
def test_python_in_a_folder_that_no_shebang_can_name(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / folder / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(python))
    program = make_home(tmp_path / "home") / "bin" / "dsspcmbi"
    done = subprocess.run(
        [program, DATA / "ECOD70" / "e1bd2B1.pdb", "o.dssp"], cwd=tmp_path, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0
    assert (tmp_path / "o.dssp").read_text().startswith("==== Secondary Structure Definition")
