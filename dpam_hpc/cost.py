"""What a target will cost: one model for the plan of a cluster run and for the order on a node.

CPU seconds = SECONDS x residues of the query squared x residues of all its templates together.
Fitted to the two AlphaFold models and two longer chains with hits in up to six rounds of
docs/exactness.md (0.8 to 1.3 times the prediction each): a longer query has dearer comparisons and
more rounds. ``correction`` scales it to what earlier runs measured.
"""

from __future__ import annotations

from collections.abc import Iterable

from dpam_hpc.journal import Record

SECONDS = 5.4e-9
BYTES_A_RESIDUE = 620
"""Of a PDB file of heavy atoms, by which a query's length is told without reading it."""
TYPICAL_TEMPLATE = 150
"""Residues of a template whose length is not known."""
TYPICAL_CANDIDATES = 300
"""Candidates of a target that is not read yet."""
ENOUGH_MEASURED = 20
"""Targets of earlier runs from which on their measured cost is believed."""
MAX_CORRECTION = 5.0


def residues(pdb_bytes: int) -> int:
    """A query's length from the size of its file."""
    return max(1, pdb_bytes // BYTES_A_RESIDUE)


def seconds(query_residues: float, template_residues: float) -> float:
    """CPU seconds of a target against templates of so many residues together."""
    return SECONDS * query_residues**2 * template_residues


def correction(records: Iterable[Record], mean_template: float = TYPICAL_TEMPLATE) -> float:
    """By how much earlier runs were dearer than predicted; 1 where too few were measured.

    Records do not tell the lengths of templates: they are taken for those of what is left.
    """
    measured = predicted = 0.0
    count = 0
    for record in records:
        if record.get("cpu") and record.get("residues") and record.get("candidates"):
            measured += sum(record["cpu"].values())
            templates = record["candidates"] * mean_template
            predicted += seconds(record["residues"], templates)
            count += 1
    if count < ENOUGH_MEASURED or not predicted:
        return 1.0
    return min(MAX_CORRECTION, max(1 / MAX_CORRECTION, measured / predicted))
