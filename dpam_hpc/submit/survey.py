"""What there is to do in a working folder: each target's inputs and predicted cost, in one pass."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dpam_hpc import cost
from dpam_hpc.bundle import Bundle
from dpam_hpc.cost import TYPICAL_CANDIDATES, TYPICAL_TEMPLATE
from dpam_hpc.submit import links
from dpam_hpc.submit.looking import look_at_all
from dpam_hpc.target import CANDIDATES_SUFFIX, WorkFolder

COUNTED_AT_ONCE = 32


@dataclass(frozen=True)
class Look:
    """Of a target: predicted CPU seconds, pairs, residues of its templates, what is wrong with it.

    ``behind`` are folders that links among its files lead to.
    """

    seconds: float = 0.0
    pairs: int = 0
    template_residues: int = 0
    problems: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()


@dataclass
class Survey:
    """Targets with their predicted CPU seconds; ``problems`` of those that will be failures.

    ``behind`` are folders that links among the inputs lead to.
    """

    costs: list[tuple[str, float]] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    pairs: int = 0
    template_residues: int = 0
    behind: set[str] = field(default_factory=set)

    def add(self, target: str, seen: Look) -> None:
        """Take in what was seen of a target."""
        self.costs.append((target, seen.seconds))
        self.problems += [(target, problem) for problem in seen.problems]
        self.pairs += seen.pairs
        self.template_residues += seen.template_residues
        self.behind.update(seen.behind)

    @property
    def mean_template(self) -> float:
        """Residues of a candidate, on average."""
        return self.template_residues / self.pairs if self.template_residues else TYPICAL_TEMPLATE

    def corrected(self, factor: float) -> Survey:
        """The same with all predictions scaled."""
        return replace(self, costs=[(target, seconds * factor) for target, seconds in self.costs])


class Templates:
    """Which templates there are, and their lengths as far as dpam's ECOD_length tells.

    ``behind`` are folders that links among them lead to.
    """

    def __init__(self, data_dir: Path | None, bundle: Path | None) -> None:
        self.behind: set[str] = set()
        if data_dir is not None:
            self.behind.update(links.behind_folder(data_dir / "ECOD70"))
        self.lengths = dict.fromkeys(self._known(data_dir, bundle), TYPICAL_TEMPLATE)
        if data_dir is not None:
            for name, residues in _ecod_lengths(data_dir / "ECOD_length"):
                if name in self.lengths:
                    self.lengths[name] = residues

    def _known(self, data_dir: Path | None, bundle: Path | None) -> Iterable[str]:
        if bundle is not None:
            return Bundle(bundle).templates()
        if data_dir is None:
            return []
        names = []
        with os.scandir(data_dir / "ECOD70") as entries:
            for entry in entries:
                if entry.name.endswith(".pdb"):
                    names.append(entry.name[:-4])
                    if entry.is_symlink():  # which the listing tells
                        self.behind.update(links.behind_file(entry.path))
        return names


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

    for target, seen in zip(targets, look_at_all(look, targets), strict=True):
        found.add(target, seen)
        if len(found.costs) % COUNTED_AT_ONCE == 0 or len(found.costs) == len(targets):
            on_count(len(found.costs), len(targets))
    return found


def _look(folder: WorkFolder, target: str, lengths: dict[str, int], to_come: bool) -> Look:
    try:
        size, behind = query(folder, target, or_cif=to_come)
    except OSError:
        return Look(problems=(f"no {target}.pdb",))
    name = f"{target}{CANDIDATES_SUFFIX}"
    try:
        text, more = _read(f"{folder.candidates_folder}/{name}")
    except OSError as error:
        if to_come and isinstance(error, FileNotFoundError):
            residues = TYPICAL_CANDIDATES * TYPICAL_TEMPLATE
            seconds = cost.seconds(cost.residues(size), residues)
            return Look(seconds, TYPICAL_CANDIDATES, behind=behind)
        return Look(problems=(f"{name}: {error.strerror}",))
    candidates = text.decode(errors="replace").split()
    problems = []
    try:
        residues = sum(map(lengths.__getitem__, candidates))
    except KeyError:
        residues = sum(lengths.get(name, 0) for name in candidates)
        unknown = sorted(set(candidates) - lengths.keys())
        problems.append(f"unknown templates: {_some(unknown)}")
    if candidates and size == 0:
        problems.append(f"{target}.pdb is empty")
    seconds = cost.seconds(cost.residues(size), residues)
    return Look(seconds, len(candidates), residues, tuple(problems), behind + more)


def query(folder: WorkFolder, target: str, *, or_cif: bool = False) -> tuple[int, tuple[str, ...]]:
    """Bytes of a query's PDB file, and the folders behind it if it is a link; OSError.

    ``or_cif``: or of the CIF file, of which dpam makes it.
    """
    last: OSError | None = None
    places = [f"{place}/{target}.pdb" for place in folder.query_folders]
    for path in (*places, *([f"{folder.root}/{target}.cif"] if or_cif else [])):
        try:
            found = os.lstat(path)
            if not stat.S_ISLNK(found.st_mode):
                return found.st_size, ()
            return os.stat(path).st_size, tuple(links.behind_file(path))
        except OSError as error:
            last = error
    raise last or FileNotFoundError(target)


def _read(path: str) -> tuple[bytes, tuple[str, ...]]:
    """A file's content, and the folders behind it if it is a link; a pipe is not waited for."""
    behind: list[str] = []

    def opened(name: str, flags: int) -> int:
        flags |= os.O_NONBLOCK
        try:
            return os.open(name, flags | os.O_NOFOLLOW)  # one operation, unless it is a link
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
        behind.extend(links.behind_file(name))
        return os.open(name, flags)

    with open(path, "rb", buffering=0, opener=opened) as file:
        return file.read(), tuple(behind)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
