"""A target's hits, read from its hits file, and its best templates laid over the query."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dpam_hpc.align import aligner as aligners
from dpam_hpc.align import hits
from dpam_hpc.align.aligner import Aligner, Point, Unusable
from dpam_hpc.bundle import Bundle
from dpam_hpc.errors import ConfigError, DpamHpcError
from dpam_hpc.report.values import content
from dpam_hpc.target import TEMPLATE_ID

BACKBONE = (" N  ", " CA ", " C  ", " O  ")
LAID_OVER = 5
LINES_OF_MOVE = 4


@dataclass(frozen=True)
class Hit:
    """A hit as its file has it; ``rows`` and ``shift`` move the template onto the query."""

    template: str
    round: int
    score: float
    query_residues: int
    template_residues: int
    rows: tuple[Point, Point, Point]
    shift: Point
    pairs: tuple[tuple[int, int], ...]

    def moved(self, point: Point) -> Point:
        """A template's point where it lies over the query."""
        x, y, z = (
            sum(a * b for a, b in zip(row, point, strict=True)) + by
            for row, by in zip(self.rows, self.shift, strict=True)
        )
        return x, y, z

    @property
    def segments(self) -> list[tuple[int, int]]:
        """First and last residue number of each stretch of the query without a gap."""
        found: list[tuple[int, int]] = []
        for residue in sorted(q for q, _ in self.pairs):
            if found and residue <= found[-1][1] + 1:
                found[-1] = (found[-1][0], residue)
            else:
                found.append((residue, residue))
        return found


@dataclass(frozen=True)
class LaidOver:
    """A template over the query: its atoms as PDB lines; ``rmsd`` of the aligned CA atoms."""

    hit: Hit
    pdb: str
    is_trace: bool
    rmsd: float | None


def read_hits(path: Path) -> list[Hit]:
    """The hits of a file, best first; ConfigError if it is missing or no hits file."""
    try:
        text = content(path)
        hits.count(text)
        found = list(_each(text.decode().splitlines()))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", "is the target done?") from None
    return sorted(found, key=lambda hit: (-hit.score, hit.template, hit.round))


def _each(lines: Sequence[str]) -> Iterator[Hit]:
    at = 0
    while at < len(lines):
        name, score, pairs, query, template = lines[at][1:].split()
        first, *rest = [_point(line) for line in lines[at + 1 : at + 1 + LINES_OF_MOVE]]
        end = at + 1 + LINES_OF_MOVE + int(pairs)
        named = [line.split() for line in lines[at + 1 + LINES_OF_MOVE : end]]
        head, _, number = name.rpartition("_")
        if not math.isfinite(float(score)):
            raise ValueError(f"line {at + 1}: a score of {score}")
        yield Hit(
            head, int(number), float(score), int(query), int(template),
            (first, rest[0], rest[1]), rest[2], tuple((int(q), int(t)) for q, t in named),
        )  # fmt: skip
        at = end


def _point(line: str) -> Point:
    x, y, z = (float(word) for word in line.split()[1:])
    if not math.isfinite(x + y + z):
        raise ValueError(f"{line!r} is no part of a transformation")
    return x, y, z


class Templates:
    """Where templates' structures are had: PDB files of ECOD70, else CA atoms of the bundle."""

    def __init__(self, data_dir: Path | None, bundle: Path | None, aligner: str) -> None:
        self._folder = data_dir / "ECOD70" if data_dir else None
        self._bundle: Bundle | None = None
        self._aligner: type[Aligner] | None = None
        with suppress(DpamHpcError, OSError):
            self._aligner = aligners.load(aligners.find(aligner or "dali"))
            self._bundle = Bundle(bundle) if bundle else None

    def laid_over(self, hit: Hit, query: dict[int, Point]) -> LaidOver | None:
        """A hit's template over the query; None where no structure of it is at hand."""
        if not TEMPLATE_ID.fullmatch(hit.template):
            return None
        atoms = self._atoms(hit.template)
        if atoms:
            lines = [_line(head, hit.moved(point)) for head, point in atoms]
            alphas = [point for head, point in atoms if head[12:16] == " CA "]
            return LaidOver(hit, "".join(lines), False, _rmsd(hit, alphas, query))
        alphas = self._trace(hit.template)
        if not alphas:
            return None
        heads = (f"ATOM  {n % 100000:5d}  CA  ALA A{n % 10000:4d}    " for n in range(1, 10**6))
        lines = [_line(next(heads), hit.moved(point)) for point in alphas]
        return LaidOver(hit, "".join(lines), True, _rmsd(hit, alphas, query))

    def _atoms(self, template: str) -> list[tuple[str, Point]]:
        if self._folder is None:
            return []
        with suppress(OSError, ValueError):
            return backbone(content(self._folder / f"{template}.pdb"))
        return []

    def _trace(self, template: str) -> list[Point]:
        if self._bundle is None or self._aligner is None:
            return []
        with suppress(DpamHpcError, Unusable, ValueError, IndexError):
            return aligners.trace(self._aligner, self._bundle.get(template) or b"")
        return []


def backbone(pdb: bytes) -> list[tuple[str, Point]]:
    """(columns before the coordinates, coordinates) of the first model's backbone; ValueError."""
    found = []
    seen: set[str] = set()
    for line in pdb.decode("ascii", "replace").splitlines():
        if line.startswith("ENDMDL"):
            break
        atom = line[12:16]
        if line.startswith("ATOM") and atom in BACKBONE:
            which = line[12:16] + line[21:27]
            if which not in seen:  # of alternate places the first
                seen.add(which)
                point = float(line[30:38]), float(line[38:46]), float(line[46:54])
                found.append((line[:16] + " " + line[17:30], point))
    return found


def query_of(pdb: bytes) -> tuple[str, dict[int, Point]]:
    """A query's backbone as PDB lines, and its CA atoms by residue number; ValueError."""
    atoms = backbone(pdb)
    alphas = {int(head[22:26]): point for head, point in atoms if head[12:16] == " CA "}
    return "".join(_line(head, point) for head, point in atoms), alphas


def _line(head: str, point: Point) -> str:
    x, y, z = point
    return (
        f"{head:30.30}{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00          {head[12:16].strip()[0]:>2}\n"
    )


def _rmsd(hit: Hit, alphas: Sequence[Point], query: dict[int, Point]) -> float | None:
    """Of the aligned CA atoms; None where the template's residues are counted otherwise."""
    if not hit.pairs or len(alphas) != hit.template_residues:
        return None
    if not all(q in query and 1 <= t <= len(alphas) for q, t in hit.pairs):
        return None
    squares = [math.dist(hit.moved(alphas[t - 1]), query[q]) ** 2 for q, t in hit.pairs]
    return math.sqrt(sum(squares) / len(squares))
