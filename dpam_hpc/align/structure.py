"""The part of a PDB file that iterative DALI looks at: its ATOM lines."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dpam_hpc.align.aligner import Unusable


@dataclass(frozen=True)
class Structure:
    """ATOM lines with the residue number of each; ``residues`` sorted, each once."""

    lines: tuple[tuple[int, bytes], ...]
    residues: tuple[int, ...]

    def keep(self, residues: tuple[int, ...]) -> Structure:
        """The ATOM lines of ``residues`` alone, in their order."""
        kept = set(residues)
        return Structure(tuple(line for line in self.lines if line[0] in kept), residues)

    def pdb(self) -> bytes:
        """The ATOM lines as a PDB file, with no TER or END, as upstream writes a residual query."""
        return b"".join(line for _, line in self.lines)


def read(pdb: bytes) -> Structure:
    """All ATOM lines of ``pdb``; Unusable where upstream's reader would raise."""
    lines = []
    for line in pdb.replace(b"\r\n", b"\n").replace(b"\r", b"\n").splitlines(keepends=True):
        if line.startswith(b"ATOM"):
            try:
                lines.append((int(line[22:26]), line))
            except ValueError:
                number = line[22:26].decode("ascii", "replace")
                raise Unusable(f"residue number {number!r} is no number") from None
    return Structure(tuple(lines), tuple(sorted({residue for residue, _ in lines})))


def check(pdb: bytes) -> None:
    """Unusable if a line of the first model cannot be read; the reason names the line."""
    if not pdb.strip():
        raise Unusable("the file is empty")
    if b"\0" in pdb:
        raise Unusable("the file is binary, not a PDB file")
    atoms = 0
    for number, line in enumerate(pdb.splitlines(), 1):
        if line.startswith(b"ENDMDL"):
            break
        if not line.startswith(b"ATOM"):
            continue
        atoms += 1
        try:
            finite = all(math.isfinite(float(line[at : at + 8])) for at in (30, 38, 46))
        except ValueError:
            finite = False
        if not finite or len(line) < 54:
            raise Unusable(f"line {number} has no readable coordinates")
    if not atoms:
        raise Unusable("the file has no ATOM lines")


def check_query(pdb: bytes) -> Structure:
    """A query's structure: besides ``check``, one chain and one model, numbered without letters."""
    check(pdb)
    structure = read(pdb)
    chains = sorted({line[21:22].decode("latin-1") for _, line in structure.lines})
    if len(chains) > 1:
        raise Unusable(f"the query has {len(chains)} chains ({', '.join(chains)}), not one")
    lines = iter(pdb.splitlines())
    # The first look ends at the end of the first model, the second begins behind it.
    if any(x.startswith(b"ENDMDL") for x in lines) and any(x.startswith(b"ATOM") for x in lines):
        raise Unusable("the query has several models, not one")
    if any(line[26:27].strip() for _, line in structure.lines):
        raise Unusable("the query has insertion codes: its residue numbers name no single residue")
    return structure
