"""What a target's hits are like, in a few figures: scores, and parts of the query they cover."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

PARTS = 16
"""Of a query, all of the same length."""
LEVELS = ".-=#"
"""Of a part: nothing is covered, less than a third, less than two thirds, more."""
BEFORE_PAIRS = 5
"""Lines of a hit before its pairs of residues."""


@dataclass(frozen=True)
class Coverage:
    """``scores``: hits by their score, whole numbers from 1 on, tenths under 1.

    ``covered`` residues lie in some hit; ``cover`` has a character of LEVELS for each part.
    """

    best: float
    scores: dict[str, int]
    covered: int
    cover: str


def coverage(records: Iterable[str], residues: Sequence[int]) -> Coverage | None:
    """Of hits as ``hits.record`` writes them, on a query of ``residues``; None without hits."""
    scores: list[float] = []
    named: set[str] = set()
    for record in records:
        lines = record.splitlines()
        scores.append(float(lines[0].split("\t")[1]))
        named.update(line.partition("\t")[0] for line in lines[BEFORE_PAIRS:])
    if not scores:
        return None
    covered = {int(number) for number in named}
    counted = Counter(score_class(score) for score in scores)
    return Coverage(max(scores), dict(counted), len(covered), picture(covered, residues))


def score_class(score: float) -> str:
    """Where a score is counted: DALI's z by whole numbers, a TM-score by tenths."""
    return str(math.floor(score)) if score >= 1 else str(math.floor(score * 10) / 10)


def picture(covered: set[int], residues: Sequence[int]) -> str:
    """A character for each part of the query."""
    total, hit = [0] * PARTS, [0] * PARTS
    for index, residue in enumerate(residues):
        part = index * PARTS // len(residues)
        total[part] += 1
        hit[part] += residue in covered
    return "".join(_level(h, t) for h, t in zip(hit, total, strict=True))


def _level(hit: int, total: int) -> str:
    if not hit:
        return LEVELS[0]
    return LEVELS[min(1 + 3 * hit // total, 3)]
