"""The TM-align aligner: the same loop by TM-align (PyPI's ``tmtools``), inside the worker.

A TM-score is no DALI z, so its hits go into files of their own. Nothing here imports numpy before
the first alignment, and the proof runs in a process of its own: the launcher stays without it.
"""

from __future__ import annotations

import math
import os
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

from dpam_hpc import command
from dpam_hpc.align import structure
from dpam_hpc.align.aligner import (
    Alignment,
    Options,
    Pair,
    Point,
    ProgramFailed,
    TooShort,
    Unusable,
)
from dpam_hpc.errors import AlignerError

MIN_RESIDUES = 30
"""As DALI's, so that the loop ends where it ends with DALI."""

MIN_TM_SCORE = 0.5
"""Above it two structures mostly share a fold, below it mostly not (Xu & Zhang 2010,
Bioinformatics 26:889, doi 10.1093/bioinformatics/btq066)."""

CA_STEP, GAPS = 3.8, 500.0
"""Angstrom that a stretched chain gains a residue, and that its gaps may add. TM-align's search
widens by half an angstrom at a time: coordinates that lie further apart would keep it for hours."""

EQUIVALENT = ":"
"""TM-align's mark for an aligned pair closer than 5 angstrom."""

LETTERS = {
    b"ALA": "A", b"ARG": "R", b"ASN": "N", b"ASP": "D", b"CYS": "C", b"GLN": "Q", b"GLU": "E",
    b"GLY": "G", b"HIS": "H", b"ILE": "I", b"LEU": "L", b"LYS": "K", b"MET": "M", b"PHE": "F",
    b"PRO": "P", b"SER": "S", b"THR": "T", b"TRP": "W", b"TYR": "Y", b"VAL": "V",
}  # fmt: skip
RECORD = struct.Struct("<i3d")
HOW_TO_GET = "pip install tmtools, into the environment that dpam-hpc runs in"
PROOF_SECONDS = 300.0


@dataclass(frozen=True)
class _Trace:
    """The CA atoms of one chain: the letter, residue index (from 1) and place of each."""

    sequence: str
    indices: tuple[int, ...]
    points: tuple[Point, ...]

    def pack(self) -> bytes:
        """A line with the sequence, then for each CA its index and x, y, z (docs/bundle.md)."""
        records = (
            RECORD.pack(index, *point)
            for index, point in zip(self.indices, self.points, strict=True)
        )
        return self.sequence.encode() + b"\n" + b"".join(records)

    @classmethod
    def unpack(cls, prepared: bytes) -> _Trace:
        """The inverse of ``pack``."""
        sequence, _, body = prepared.partition(b"\n")
        records = list(RECORD.iter_unpack(body))
        return cls(
            sequence.decode(),
            tuple(index for index, *_ in records),
            tuple((x, y, z) for _, x, y, z in records),
        )


class TMAlignAligner:
    """TM-align as the loop's aligner; it has no options.

    The number in the z field is the TM-score normalised by the template's length, four decimals:
    it says how much of the template's fold the query holds, whatever else the query holds, and a
    short rest of a query cannot reach it by chance. A hit has at least ``MIN_TM_SCORE``.

    Equivalences are the pairs closer than 5 angstrom after superposition. TM-align also aligns
    pairs up to about 10 angstrom apart; those are not recorded and not cut out of the query.
    """

    name: ClassVar[str] = "tmalign"
    hits_suffix: ClassVar[str] = "_iterativeTMalign_hits"
    step: ClassVar[str] = "iterativeTMalign"

    @classmethod
    def fingerprint(cls, options: Options) -> str:
        """The version of tmtools; AlignerError if it is not installed."""
        try:
            return f"{cls.name} {version('tmtools')}"
        except PackageNotFoundError:
            raise AlignerError("TM-align is not here: no package tmtools", HOW_TO_GET) from None

    @classmethod
    def programs(cls, options: Options) -> dict[str, str]:
        """The version of tmtools."""
        return {"tmtools": version("tmtools")}

    @classmethod
    def trace(cls, prepared: bytes) -> list[Point]:
        """Its CA atoms."""
        return list(_Trace.unpack(prepared).points)

    @classmethod
    def stage_in(cls, options: Options, folder: Path) -> Options:
        """Nothing to copy: tmtools is imported from where Python finds it."""
        return options

    @classmethod
    def prove(cls, options: Options, folder: Path) -> None:
        """Run ``check_known_answer`` in a process of its own, which may crash; AlignerError."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        said = folder / "said"
        with said.open("wb") as output:
            try:
                completed = command.run(
                    [sys.executable, "-m", __name__],
                    timeout=PROOF_SECONDS,
                    stdout=output.fileno(),
                    stderr=output.fileno(),
                )
            except command.TimedOut as error:
                raise AlignerError(f"TM-align does not answer: {error}", HOW_TO_GET) from None
        if completed.returncode:
            last = said.read_text(errors="replace").strip().rpartition("\n")[2]
            why = last or f"the process ended with status {completed.returncode}"
            raise AlignerError(f"TM-align fails on the known pair: {why}", HOW_TO_GET)

    def __init__(self, options: Options, folder: Path) -> None:
        self._seconds = 0.0

    def prepare(self, pdb: bytes) -> bytes:
        """The first model's and chain's CA atoms, packed; Unusable or TooShort."""
        return _trace(pdb).pack()

    def align(self, pairs: Sequence[Pair]) -> list[Alignment | None]:
        """Align each pair by itself; None where the TM-score is under ``MIN_TM_SCORE``."""
        tm_align = _load()
        alignments = []
        for pair in pairs:
            template, query = _Trace.unpack(pair.template), _Trace.unpack(pair.query)
            start = time.process_time()
            result = tm_align(template.points, query.points, template.sequence, query.sequence)
            self._seconds += time.process_time() - start
            alignments.append(_alignment(result, template, query))
        return alignments

    def cpu_seconds(self) -> dict[str, float]:
        """CPU seconds of TM-align itself."""
        return {self.name: self._seconds}

    def close(self) -> None:
        """Nothing is held open."""


def _load() -> Any:
    """``tmtools.tm_align``, whose first call imports numpy."""
    # numpy's OpenBLAS starts a thread a core in every worker, and nothing here uses one.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from tmtools import tm_align

    return tm_align


def _trace(pdb: bytes) -> _Trace:
    """One CA a residue number, the first in the file, of the chain with the first CA.

    Indices count the residue numbers of *all* ATOM lines, as the loop does, so that a residue
    without a CA does not shift those behind it.
    """
    indices = {residue: at for at, residue in enumerate(structure.read(pdb).residues, 1)}
    chain = b""
    atoms: dict[int, tuple[str, Point]] = {}
    for line in pdb.splitlines():
        if line.startswith(b"ENDMDL"):
            break
        if not line.startswith(b"ATOM") or line[12:16] != b" CA ":
            continue
        chain = chain or line[21:22]
        residue = int(line[22:26])
        if line[21:22] == chain and residue not in atoms:
            atoms[residue] = (LETTERS.get(line[17:20], "X"), _point(line))
    if len(atoms) < MIN_RESIDUES:
        raise TooShort(f"{len(atoms)} residues; {MIN_RESIDUES} are needed, as with DALI")
    letters, points = zip(*atoms.values(), strict=True)
    reach = GAPS + CA_STEP * len(points)
    if not all(math.dist(points[0], point) <= reach for point in points):
        raise Unusable(f"{len(points)} residues, some over {reach:.0f} angstrom away: no protein")
    return _Trace("".join(letters), tuple(indices[residue] for residue in atoms), points)


def _point(line: bytes) -> Point:
    try:
        return float(line[30:38]), float(line[38:46]), float(line[46:54])
    except ValueError:
        raise Unusable(
            f"CA of residue {line[22:26].decode()} has no readable coordinates"
        ) from None


def _alignment(result: Any, template: _Trace, query: _Trace) -> Alignment | None:
    """TM-align's result for ``template`` moved onto ``query``."""
    score = float(result.tm_norm_chain1)
    if not math.isfinite(score):
        raise ProgramFailed(f"TM-align gives a TM-score of {score}")
    if score < MIN_TM_SCORE:
        return None
    return Alignment(
        z=f"{score:.4f}",
        rotation=tuple("\t".join(f"{number:.6f}" for number in row) for row in result.u),
        translation="\t".join(f"{number:.6f}" for number in result.t),
        equivalences=tuple((query.indices[q], template.indices[t]) for q, t in _equivalent(result)),
        template_length=len(template.points),
    )


def _equivalent(result: Any) -> Iterator[tuple[int, int]]:
    """Positions (query, template), from 0, of the pairs that TM-align marks as equivalent."""
    q = t = 0
    for in_template, in_query, mark in zip(result.seqxA, result.seqyA, result.seqM, strict=True):
        if mark == EQUIVALENT:
            yield q, t
        q += in_query != "-"
        t += in_template != "-"


def check_known_answer(aligner: TMAlignAligner) -> None:
    """Align a made-up chain onto itself, turned and shifted; AlignerError if the answer differs."""
    here = [_coil(at) for at in range(60)]
    # A third of a turn about the diagonal takes (x, y, z) to (y, z, x).
    there = [(y + 10.0, z - 20.0, x + 30.0) for x, y, z in here]
    pair = Pair(aligner.prepare(_pdb(there)), aligner.prepare(_pdb(here)))
    (found,) = aligner.align([pair])
    if found is None or found.z != "1.0000":
        raise AlignerError(f"TM-score {found.z if found else 'under 0.5'} of a chain with itself")
    moved = [*found.rotation, found.translation]
    numbers = [float(number) for row in moved for number in row.split("\t")]
    expected = [0, 1, 0, 0, 0, 1, 1, 0, 0, 10, -20, 30]
    if any(abs(a - b) > 0.01 for a, b in zip(numbers, expected, strict=True)):
        raise AlignerError(f"a chain onto itself, turned and shifted: {numbers}, not {expected}")
    if found.equivalences != tuple((at, at) for at in range(1, 61)):
        raise AlignerError("a chain with itself: residues are not aligned with themselves")


def _coil(at: int) -> Point:
    """A CA of two helices at an angle."""
    turn, rise = math.radians(100 * at), 1.5 * at
    if at < 30:
        return 2.3 * math.cos(turn), 2.3 * math.sin(turn), rise
    return 10 + 2.3 * math.cos(turn), 0.5 * (rise - 45) + 2.3 * math.sin(turn), 0.8 * (90 - rise)


def _pdb(points: Sequence[Point]) -> bytes:
    return b"".join(
        b"ATOM  %5d  CA  ALA A%4d    %8.3f%8.3f%8.3f\n" % (at, at, *point)
        for at, point in enumerate(points, 1)
    )


def main() -> int:
    """Prove TM-align here; what is wrong goes to standard output."""
    try:
        check_known_answer(TMAlignAligner({}, Path()))
    except (AlignerError, ImportError) as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
