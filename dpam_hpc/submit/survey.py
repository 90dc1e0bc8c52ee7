"""What there is to do in a working folder: each target's inputs and predicted cost, in one pass."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dpam_hpc import cost
from dpam_hpc.bundle import Bundle
from dpam_hpc.cost import TYPICAL_CANDIDATES, TYPICAL_TEMPLATE
from dpam_hpc.submit.looking import look_at_all
from dpam_hpc.target import CANDIDATES_SUFFIX, WorkFolder

COUNTED_AT_ONCE = 32

Look = tuple[float, int, int, list[str]]
"""Of a target: predicted CPU seconds, pairs, residues of its templates, what is wrong with it."""


@dataclass
class Survey:
    """Targets with their predicted CPU seconds; ``problems`` of those that will be failures."""

    costs: list[tuple[str, float]] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    pairs: int = 0
    template_residues: int = 0

    @property
    def mean_template(self) -> float:
        """Residues of a candidate, on average."""
        return self.template_residues / self.pairs if self.template_residues else TYPICAL_TEMPLATE

    def corrected(self, factor: float) -> Survey:
        """The same with all predictions scaled."""
        return replace(self, costs=[(target, seconds * factor) for target, seconds in self.costs])


class Templates:
    """Which templates there are, and their lengths as far as dpam's ECOD_length tells."""

    def __init__(self, data_dir: Path | None, bundle: Path | None) -> None:
        self.lengths = dict.fromkeys(_known(data_dir, bundle), TYPICAL_TEMPLATE)
        if data_dir is not None:
            for name, residues in _ecod_lengths(data_dir / "ECOD_length"):
                if name in self.lengths:
                    self.lengths[name] = residues


def _known(data_dir: Path | None, bundle: Path | None) -> Iterable[str]:
    if bundle is not None:
        return Bundle(bundle).templates()
    if data_dir is None:
        return []
    with os.scandir(data_dir / "ECOD70") as entries:
        return [entry.name[:-4] for entry in entries if entry.name.endswith(".pdb")]


def _ecod_lengths(path: Path) -> Iterable[tuple[str, int]]:
    """Lines are: number, name, residues; templates go by their number, in some sets by name."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        words = line.split()
        if len(words) >= 3 and re.fullmatch("[0-9]{1,9}", words[2]):
            yield words[0], int(words[2])
            yield words[1], int(words[2])


def survey(
    folder: WorkFolder,
    targets: Sequence[str],
    templates: Templates,
    on_count: Callable[[int, int], None] = lambda done, total: None,
    *,
    to_come: bool = False,
) -> Survey:
    """Look at every target: two files each, the query's size and the candidates' text.

    ``to_come``: earlier steps are still to write both, so that their absence is no problem.
    """
    found = Survey()

    def look(target: str) -> Look:
        return _look(folder, target, templates.lengths, to_come)

    for target, (seconds, pairs, residues, problems) in zip(
        targets, look_at_all(look, targets), strict=True
    ):
        found.costs.append((target, seconds))
        found.pairs += pairs
        found.template_residues += residues
        found.problems += [(target, problem) for problem in problems]
        if len(found.costs) % COUNTED_AT_ONCE == 0 or len(found.costs) == len(targets):
            on_count(len(found.costs), len(targets))
    return found


def _look(folder: WorkFolder, target: str, lengths: dict[str, int], to_come: bool) -> Look:
    try:
        size = query_size(folder, target, or_cif=to_come)
    except OSError:
        return 0.0, 0, 0, [f"no {target}.pdb"]
    name = f"{target}{CANDIDATES_SUFFIX}"
    try:
        path = f"{folder.candidates_folder}/{name}"
        with open(path, "rb", buffering=0, opener=_without_waiting) as file:
            candidates = file.read().decode(errors="replace").split()
    except OSError as error:
        if to_come and isinstance(error, FileNotFoundError):
            residues = TYPICAL_CANDIDATES * TYPICAL_TEMPLATE
            return cost.seconds(cost.residues(size), residues), TYPICAL_CANDIDATES, 0, []
        return 0.0, 0, 0, [f"{name}: {error.strerror}"]
    problems = []
    try:
        residues = sum(map(lengths.__getitem__, candidates))
    except KeyError:
        residues = sum(lengths.get(name, 0) for name in candidates)
        unknown = sorted(set(candidates) - lengths.keys())
        problems.append(f"unknown templates: {_some(unknown)}")
    if candidates and size == 0:
        problems.append(f"{target}.pdb is empty")
    return cost.seconds(cost.residues(size), residues), len(candidates), residues, problems


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # one that is a pipe would be waited for


def query_size(folder: WorkFolder, target: str, *, or_cif: bool = False) -> int:
    """Bytes of a query's PDB file, or of the CIF file, of which dpam makes it; OSError."""
    last: OSError | None = None
    places = [f"{place}/{target}.pdb" for place in folder.query_folders]
    for path in (*places, *([f"{folder.root}/{target}.cif"] if or_cif else [])):
        try:
            return os.stat(path).st_size
        except OSError as error:
            last = error
    raise last or FileNotFoundError(target)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
