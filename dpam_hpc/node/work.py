"""What the launcher asks of a worker, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dpam_hpc.align.aligner import Options
from dpam_hpc.align.iterate import TemplateResult


@dataclass(frozen=True)
class Place:
    """A claimed scratch folder as the workers use it: theirs, the shared cache, the queries.

    ``bundle`` is the template bundle to read from there, if the run has one.
    """

    root: Path
    options: Options
    bundle: Path | None = None

    def make(self) -> None:
        """Make the empty folders that the workers share."""
        (self.root / "queries").mkdir(mode=0o700)
        (self.cache / "locks").mkdir(mode=0o700, parents=True)

    @property
    def cache(self) -> Path:
        """Prepared structures."""
        return self.root / "cache"

    def query(self, target: str) -> Path:
        """A staged query."""
        return self.root / "queries" / f"{target}.pdb"


@dataclass(frozen=True)
class Setup:
    """What a worker needs to know once."""

    number: int
    aligner: str
    pdb_folder: Path


@dataclass(frozen=True)
class Unit:
    """A target and some of its templates: what one worker does in one go."""

    place: Place
    target: str
    templates: tuple[str, ...]


@dataclass(frozen=True)
class Prewarm:
    """Templates to be imported before anybody needs them."""

    place: Place
    templates: tuple[str, ...]


@dataclass
class Done:
    """A worker's answer; ``query_failure`` or ``scratch_problem`` say why there are no results."""

    results: list[TemplateResult] = field(default_factory=list)
    query_failure: str = ""
    scratch_problem: str = ""
    seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)
