"""The iterative loop: align, record, cut the aligned part out of the query, align again.

It knows no program. Upstream (dpam_c2, step 7) runs it for one template at a time; here all
templates of a unit go through it in waves, which gives the same bytes because an aligner aligns
each pair as if it were alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dpam_hpc.align import hits, structure
from dpam_hpc.align.aligner import Aligner, Alignment, Pair, TooShort, Unusable

MIN_ALIGNED = 20
MIN_RESIDUES_LEFT = 20
MIN_GAP = 5
GAP_FRACTION = 0.05


@dataclass
class TemplateResult:
    """What became of one template: its records, what upstream's parser lost, or why it failed."""

    template: str
    records: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    failure: str = ""


@dataclass(frozen=True)
class _Query:
    """What is left of the target in a round, and the same as the aligner prepared it."""

    structure: structure.Structure
    prepared: bytes


def align_templates(
    aligner: Aligner, pdb: bytes, prepared: bytes, templates: Mapping[str, bytes]
) -> list[TemplateResult]:
    """All hits of a target (``pdb``, and as ``prepared``) on prepared ``templates``, all rounds.

    ProgramFailed names no template: the caller decides whether to try them one by one.
    """
    whole = _Query(structure.read(pdb), prepared)
    residuals: dict[tuple[int, ...], _Query | None] = {}
    results = {template: TemplateResult(template) for template in templates}
    wave = dict.fromkeys(templates, whole)
    while wave:
        alignments = aligner.align(
            [Pair(query.prepared, templates[template]) for template, query in wave.items()]
        )
        next_wave = {}
        for (template, query), alignment in zip(wave.items(), alignments, strict=True):
            result = results[template]
            if alignment is not None:
                result.lost += [
                    f"round {len(result.records) + 1}: {segment}" for segment in alignment.lost
                ]
            if alignment is None or len(alignment.equivalences) < MIN_ALIGNED:
                continue
            residues = query.structure.residues
            if not all(1 <= q <= len(residues) for q, _ in alignment.equivalences):
                result.failure = (
                    f"the aligner names query residues beyond the {len(residues)} of the file"
                )
                continue
            result.records.append(
                hits.record(template, len(result.records) + 1, residues, alignment)
            )
            segments = _aligned_segments(residues, alignment)
            left = _outside(segments, residues)
            if len(left) < MIN_RESIDUES_LEFT:
                continue
            if segments[0][0] < 0:
                result.lost.append(
                    f"rounds after {len(result.records)}: upstream stops at residue numbers under 0"
                )
                continue
            if left not in residuals:
                try:
                    residuals[left] = _residual(aligner, query.structure, left)
                except Unusable as error:
                    result.failure = f"what is left of the query after a hit: {error}"
                    continue
            residual = residuals[left]
            if residual is not None:
                next_wave[template] = residual
        wave = next_wave
    return list(results.values())


def _residual(
    aligner: Aligner, query: structure.Structure, residues: tuple[int, ...]
) -> _Query | None:
    """The query reduced to ``residues``, or None where the aligner finds it too short."""
    residual = query.keep(residues)
    try:
        return _Query(residual, aligner.prepare(residual.pdb()))
    except TooShort:
        return None


def _aligned_segments(residues: Sequence[int], alignment: Alignment) -> list[tuple[int, int]]:
    """First and last residue number of each aligned segment, closed over small gaps."""
    aligned = sorted(residues[q - 1] for q, _ in alignment.equivalences)
    gap = max(MIN_GAP, len(aligned) * GAP_FRACTION)
    segments: list[tuple[int, int]] = []
    for residue in aligned:
        if segments and residue <= segments[-1][1] + gap:
            segments[-1] = (segments[-1][0], residue)
        else:
            segments.append((residue, residue))
    return segments


def _outside(segments: list[tuple[int, int]], residues: Sequence[int]) -> tuple[int, ...]:
    """The residue numbers that lie in no segment."""
    removed = {residue for first, last in segments for residue in range(first, last + 1)}
    return tuple(residue for residue in residues if residue not in removed)
