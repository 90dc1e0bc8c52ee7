"""Proteins of known lengths for benchmarks, made of a few: queries and templates take both parts.

A protein is a query with some candidates. Queries are the inputs' own, in turn, and templates of
``SHORTEST`` residues and more; candidates are drawn from all other templates, with a seed.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from measuring import Inputs

from dpam_hpc.align import structure
from dpam_hpc.target import CANDIDATES_SUFFIX

SHORTEST = 100
ECOD_LENGTH = "ECOD_length"


def make(inputs: Inputs, work: Path, count: int, candidates: int, seed: int) -> list[str]:
    """Fill ``work`` with so many proteins; their names, in an order that is drawn too."""
    work.mkdir(parents=True)
    drawn = random.Random(seed)
    templates = lengths(inputs)
    long_enough = sorted(name for name, length in templates.items() if length >= SHORTEST)
    names = []
    for number in range(count):
        if number % 2 == 0:
            query = sorted(inputs.candidates)[number // 2 % len(inputs.candidates)]
            file = inputs.data / f"{query}.pdb"
        else:
            query = long_enough[number // 2 % len(long_enough)]
            file = inputs.data / "ECOD70" / f"{query}.pdb"
        others = sorted(set(templates) - {query})
        chosen = drawn.sample(others, min(candidates, len(others)))
        name = f"{query}-{number}"
        shutil.copyfile(file, work / f"{name}.pdb")
        text = "".join(f"{template}\n" for template in chosen)
        (work / f"{name}{CANDIDATES_SUFFIX}").write_text(text)
        names.append(name)
    drawn.shuffle(names)
    return names


def lengths(inputs: Inputs) -> dict[str, int]:
    """Residues of each template that can be aligned."""
    found = {}
    for name in inputs.templates:
        residues = len(
            structure.read((inputs.data / "ECOD70" / f"{name}.pdb").read_bytes()).residues
        )
        found[name] = residues
    return found


def write_lengths(data: Path, found: dict[str, int]) -> None:
    """What dpam's data folder says of its templates' lengths."""
    lines = (f"{number}\t{name}\t{length}\n" for number, (name, length) in enumerate(found.items()))
    (data / ECOD_LENGTH).write_text("".join(lines))


def named(names: Sequence[str]) -> list[str]:
    """Options that choose targets."""
    return [word for name in names for word in ("--target", name)]
