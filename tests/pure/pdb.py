"""PDB lines for tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Point = tuple[float, float, float]


def atom(
    residue: int,
    at: Point = (1.0, 2.0, 3.0),
    *,
    name: str = " CA ",
    amino: str = "ALA",
    chain: str = "A",
    insertion: str = " ",
    alternate: str = " ",
    record: str = "ATOM",
) -> bytes:
    """One line of a PDB file."""
    place = "".join(f"{x:8.3f}" for x in at)
    line = (
        f"{record:6}{1:5} {name}{alternate}{amino} {chain}{residue:4}{insertion}   {place}"
        "  1.00  0.00           C\n"
    )
    return line.encode()


def residues(numbers: Iterable[int]) -> bytes:
    """A structure with one atom a residue."""
    return b"".join(atom(number) for number in numbers)


def trace(points: Sequence[Point], first: int = 1) -> bytes:
    """A structure of CA atoms in these places."""
    return b"".join(atom(number, point) for number, point in enumerate(points, first))
