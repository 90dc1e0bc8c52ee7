"""What there is to do in a working folder: each target's inputs and predicted cost, in one pass."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from dpam_hpc import cost
from dpam_hpc.bundle import Bundle
from dpam_hpc.target import CANDIDATES_SUFFIX, WorkFolder

READERS = 16
AT_ONCE = 4096
"""Targets read ahead of what is counted: bounds the memory, however many there are."""


@dataclass
class Survey:
    """Targets with their predicted CPU seconds; ``problems`` of those that will be failures."""

    costs: list[tuple[str, float]] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    pairs: int = 0


class Templates:
    """Which templates there are, and their lengths as far as dpam's ECOD_length tells."""

    def __init__(self, data_dir: Path | None, bundle: Path | None) -> None:
        self.lengths = dict.fromkeys(_known(data_dir, bundle), cost.TYPICAL_TEMPLATE)
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
        lines = path.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        words = line.split()
        if len(words) >= 3 and words[2].isdigit():
            yield words[0], int(words[2])
            yield words[1], int(words[2])


def survey(
    folder: WorkFolder,
    targets: Sequence[str],
    templates: Templates,
    correction: float = 1.0,
    on_count: Callable[[int, int], None] = lambda done, total: None,
) -> Survey:
    """Look at every target: two files each, the query's size and the candidates' text."""
    found = Survey()
    lengths = templates.lengths

    def look(target: str) -> tuple[int, bytes | str]:
        try:
            size = _query_size(folder, target)
        except OSError:
            return 0, f"no {target}.pdb"
        try:
            with open(folder.candidates_folder / f"{target}{CANDIDATES_SUFFIX}", "rb") as file:
                return size, file.read()
        except OSError as error:
            return size, f"{target}{CANDIDATES_SUFFIX}: {error.strerror}"

    waiting = iter(targets)
    done = 0
    with ThreadPoolExecutor(READERS) as readers:
        while batch := list(islice(waiting, AT_ONCE)):
            answers = readers.map(look, batch, chunksize=64)
            for target, (size, text) in zip(batch, answers, strict=True):
                _count(found, target, size, text, lengths, correction)
            done += len(batch)
            on_count(done, len(targets))
    return found


def _count(
    found: Survey,
    target: str,
    size: int,
    text: bytes | str,
    lengths: dict[str, int],
    correction: float,
) -> None:
    if isinstance(text, str):
        found.problems.append((target, text))
        found.costs.append((target, 0.0))
        return
    candidates = text.decode(errors="replace").split()
    found.pairs += len(candidates)
    known = [lengths[name] for name in candidates if name in lengths]
    if len(known) < len(candidates):
        unknown = sorted(set(candidates) - lengths.keys())
        found.problems.append((target, f"unknown templates: {_some(unknown)}"))
    if candidates and size == 0:
        found.problems.append((target, f"{target}.pdb is empty"))
    seconds = cost.seconds(cost.residues(size), sum(known)) * correction
    found.costs.append((target, seconds))


def _query_size(folder: WorkFolder, target: str) -> int:
    last: OSError | None = None
    for place in folder.query_folders:
        try:
            return os.stat(place / f"{target}.pdb").st_size
        except OSError as error:
            last = error
    raise last or FileNotFoundError(target)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
