"""The hits file: its text, and the proof that a file on disk is whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dpam_hpc.align.aligner import Alignment


def record(
    template: str, round_number: int, query_residues: Sequence[int], alignment: Alignment
) -> str:
    """One hit: header, three rotation lines, one translation line, one line a pair.

    ``query_residues`` are the PDB residue numbers of this round's query, in the order of DALI's
    indices. Header: name, z, aligned pairs, query residues in this round, template residues.
    """
    lines = [
        f">{template}_{round_number}\t{alignment.z}\t{len(alignment.equivalences)}"
        f"\t{len(query_residues)}\t{alignment.template_length}"
    ]
    lines += [f"rotation\t{row}" for row in alignment.rotation]
    lines.append(f"translation\t{alignment.translation}")
    lines += [f"{query_residues[q - 1]}\t{t}" for q, t in alignment.equivalences]
    return "\n".join(lines) + "\n"


def in_upstream_order(templates: Iterable[str]) -> list[str]:
    """Templates as upstream's file names sort, where ``e1abA10`` comes before ``e1abA1``."""
    return sorted(templates, key=lambda template: f"{template}_hits")


def count(text: bytes) -> int:
    """Hits in ``text``; ValueError, naming the line, if a record is cut or has a stray line."""
    hits = 0
    expected: list[bytes] = []
    pairs = 0
    if text and not text.endswith(b"\n"):
        raise ValueError("the last line is cut")
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            raise ValueError(f"line {number} is empty")
        if line.startswith(b">"):
            if pairs or expected:
                raise ValueError(f"line {number}: the record before it is cut")
            if len(words) != 5:
                raise ValueError(f"line {number}: a header has 5 fields, not {len(words)}")
            hits += 1
            pairs = _number(words[2], number)
            expected = [b"translation", b"rotation", b"rotation", b"rotation"]
        elif expected:
            if words[0] != expected.pop() or len(words) != 4:
                raise ValueError(f"line {number} is no transformation")
        elif pairs:
            if len([_number(word, number) for word in words]) != 2:
                raise ValueError(f"line {number}: a pair has 2 numbers, not {len(words)}")
            pairs -= 1
        else:
            raise ValueError(f"line {number} belongs to no record")
    if pairs or expected:
        raise ValueError("the last record is cut")
    return hits


def _number(word: bytes, line: int) -> int:
    try:
        return int(word)
    except ValueError:
        raise ValueError(f"line {line}: {word[:20]!r} is no number") from None
