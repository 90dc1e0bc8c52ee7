"""Import: a PDB file becomes one ``.dat`` text a chain, by dsspcmbi, puu and puutos."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from dpam_hpc.align.aligner import Point, ProgramFailed, TooShort, Unusable
from dpam_hpc.align.dali.workbench import Workbench

MIN_RESIDUES = 30
MAX_RESIDUES = 4000
MAX_ELEMENTS = 200
MIN_ATOMS_PER_RESIDUE = 3
PUU_DEFAULTS = b"#lhetatm\nTRUE\n#printdepth\n-99\n#lsplit\nTRUE\n"
PUU_FILES = ("units.puu", "subunits.puu", "domains.puu")
ID = "mol1"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True)
class Chain:
    """One imported chain: its letter, its counts and its ``.dat`` text.

    ``elements`` of secondary structure; ``domains`` of the unfolding tree that FILTER95 reads.
    """

    letter: str
    residues: int
    elements: int
    domains: int
    dat: bytes

    def alphas(self) -> list[Point]:
        """Coordinates of the CA atoms: the last three words of the ``-acc`` lines."""
        rows = [line for line in self.dat.split(b"\n") if line.startswith(b"-acc")]
        points = [[float(word) for word in row.split()[-3:]] for row in rows[: self.residues]]
        return [(x, y, z) for x, y, z in points]


def pack(chains: list[Chain]) -> bytes:
    """Chains as one byte string: a JSON line about them, then the texts (docs/bundle.md)."""
    head = [[c.letter, c.residues, c.elements, c.domains, len(c.dat)] for c in chains]
    return json.dumps(head).encode() + b"\n" + b"".join(c.dat for c in chains)


def unpack(prepared: bytes) -> list[Chain]:
    """The inverse of ``pack``."""
    head, _, body = prepared.partition(b"\n")
    chains = []
    for letter, residues, elements, domains, size in json.loads(head):
        chains.append(Chain(letter, residues, elements, domains, body[:size]))
        body = body[size:]
    return chains


class Importer:
    """Imports one structure after the other in a folder of its own."""

    def __init__(self, programs: Path, folder: Path, time_factor: float) -> None:
        self.bench = Workbench(programs, folder, ("o.dssp", *PUU_FILES))
        self.bench.write("puu.default", PUU_DEFAULTS)
        self._time_factor = time_factor

    def prepare(self, pdb: bytes) -> bytes:
        """All chains of ``pdb`` that DALI aligns, packed; Unusable, TooShort or ProgramFailed."""
        letters = _chain_letters(pdb)
        self.bench.write("in.pdb", pdb)
        timeout = self._time_factor * (30 + len(pdb) / 1e4)
        self._run("dsspcmbi", "in.pdb", "o.dssp", writes=("o.dssp",), timeout=timeout)
        if not _residues_read(self.bench.output("o.dssp")):
            raise ProgramFailed(
                "dsspcmbi reads 0 residues: it is built wrong, or the file has none"
            )
        return pack([self._import_chain(letter, timeout) for letter in letters])

    def _import_chain(self, letter: str, timeout: float) -> Chain:
        name = ID + letter
        dat = f"{name}.dat"
        self.bench.add_output(dat)
        self._run("puu", name, "in.pdb", "o.dssp", writes=PUU_FILES, timeout=timeout)
        if not self.bench.output("units.puu"):
            raise ProgramFailed(f"puu wrote no units for chain {letter}")
        self._run("puutos", "units.puu", "o.dssp", "./", writes=(dat,), timeout=timeout)
        return _chain_of(letter, self.bench.output(dat))

    def _run(self, program: str, *arguments: str, writes: tuple[str, ...], timeout: float) -> None:
        self.bench.run("import", program, *arguments, writes=writes, timeout=timeout)


def _chain_letters(pdb: bytes) -> list[str]:
    """Letters of the chains with 30 residues or more, as DALI's own import picks them."""
    atoms = 0
    alphas: Counter[str] = Counter()
    for line in pdb.splitlines():
        if line.startswith(b"ENDMDL"):
            break
        if line.startswith(b"ATOM"):
            atoms += 1
            if line[13:17] == b"CA  ":
                alphas[line[21:22].decode("latin-1")] += 1
    if not atoms:
        raise TooShort("no ATOM lines")
    if atoms / (alphas.total() + 1) < MIN_ATOMS_PER_RESIDUE:
        raise Unusable("a CA-only model: DALI needs the backbone atoms")
    letters = sorted(letter for letter, count in alphas.items() if count >= MIN_RESIDUES)
    if not letters:
        longest = max(alphas.values(), default=0)
        raise TooShort(f"{longest} residues; DALI aligns chains of {MIN_RESIDUES} and more")
    odd = [letter for letter in letters if letter not in LETTERS]
    if odd:
        raise Unusable(f"chain {odd[0]!r} is no letter or digit, which DALI cannot name")
    too_long = max(alphas[letter] for letter in letters)
    if too_long > MAX_RESIDUES:
        raise Unusable(f"{too_long} residues; DALI is compiled for {MAX_RESIDUES} at most")
    return letters


def _residues_read(dssp: bytes) -> int:
    """Residues that dsspcmbi says it read; ProgramFailed if its table is cut short of that."""
    head, _, table = dssp.partition(b"  #  RESIDUE")
    for line in head.splitlines():
        if b"TOTAL NUMBER OF RESIDUES" in line:
            if not line[:5].strip().isdigit():
                raise ProgramFailed(f"dsspcmbi wrote a number of residues that is none: {line!r}")
            stated = int(line[:5])
            rows = [row for row in table.splitlines()[1:] if row[13:14] != b"!"]
            if stated != len(rows):
                raise ProgramFailed(f"dsspcmbi states {stated} residues and lists {len(rows)}")
            return stated
    return 0


def _chain_of(letter: str, dat: bytes) -> Chain:
    if not dat:
        raise ProgramFailed(f"puutos wrote no .dat for chain {letter}")
    first = dat.split(b"\n", 1)[0]
    try:
        residues, elements = int(first[10:15]), int(first[15:20])
        domains = int(dat[dat.rindex(b"\n>>>> ") + 11 :][:5])
    except ValueError:
        raise ProgramFailed(f"the .dat of chain {letter} begins {first[:30]!r}") from None
    if not residues:
        raise ProgramFailed(f"the .dat of chain {letter} has 0 residues: dsspcmbi is built wrong")
    if dat.count(b">>>> ") != 3 or not dat.endswith(b"\n"):
        raise ProgramFailed(f"the .dat of chain {letter} is cut")
    if elements > MAX_ELEMENTS:
        raise Unusable(
            f"{elements} secondary structure elements; DALI is compiled for {MAX_ELEMENTS}"
        )
    return Chain(letter, residues, elements, domains, dat)
