"""The seam between the iterative loop and a program that aligns two structures.

An aligner is a class named by an entry point of the group ``dpam_hpc.aligners``. It knows neither
targets nor folders of hits; the loop knows no program.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import ClassVar, Protocol, cast

from dpam_hpc.errors import AlignerError

ENTRY_POINTS = "dpam_hpc.aligners"
Options = Mapping[str, str]
Point = tuple[float, float, float]


class Unusable(Exception):
    """A structure that can never be aligned; the text is the reason for the failures file."""


class TooShort(Unusable):
    """A structure with too few residues to be aligned: for a residual query, no further hit."""


class ProgramFailed(Exception):
    """A program crashed, ran over its time limit, or gave an answer that cannot be right."""


@dataclass(frozen=True)
class Pair:
    """A query and a template, both as ``prepare`` returned them."""

    query: bytes
    template: bytes


@dataclass(frozen=True)
class Alignment:
    """The best alignment of a pair; every number that is copied into the hits is kept as text.

    ``equivalences`` are (query residue index, template residue index), both from 1.
    ``rotation`` is three tab-separated rows and moves the template onto the query.
    ``lost`` names what upstream's parser drops of this alignment (docs/exactness.md).
    """

    z: str
    rotation: tuple[str, ...]
    translation: str
    equivalences: tuple[tuple[int, int], ...]
    template_length: int
    lost: tuple[str, ...] = ()


class Aligner(Protocol):
    """What a class behind an entry point of ``dpam_hpc.aligners`` offers.

    ``hits_suffix`` follows a target's id in the name of its hits file, ``step`` is part of the
    names of its done marker and failures file.
    """

    name: ClassVar[str]
    hits_suffix: ClassVar[str]
    step: ClassVar[str]

    @classmethod
    def fingerprint(cls, options: Options) -> str:
        """Identify what ``prepare`` depends on, wherever it lies; AlignerError if it cannot run."""

    @classmethod
    def stage_in(cls, options: Options, folder: Path) -> Options:
        """Copy what each call needs into node-local ``folder``; the options that point there."""

    @classmethod
    def prove(cls, options: Options, folder: Path) -> None:
        """Align a pair with a known answer in ``folder``; AlignerError if the answer differs."""

    def __init__(self, options: Options, folder: Path) -> None:
        """Work in ``folder``, which is private to this object."""

    def prepare(self, pdb: bytes) -> bytes:
        """Import one structure, once; Unusable, TooShort or ProgramFailed."""

    def align(self, pairs: Sequence[Pair]) -> list[Alignment | None]:
        """Align each pair as if it were alone; None where there is no hit; ProgramFailed."""

    def cpu_seconds(self) -> dict[str, float]:
        """CPU seconds spent so far in each step of the aligner."""

    def close(self) -> None:
        """Give back what the object holds open."""


def find(name: str) -> str:
    """Where the aligner registered as ``name`` is defined: ``module:class``."""
    from importlib.metadata import entry_points  # slow to import, and no worker needs it

    found = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
    if name not in found:
        known = ", ".join(sorted(found)) or "none; is the package installed?"
        raise AlignerError(f"there is no aligner named {name!r}", f"known aligners: {known}")
    return found[name]


def programs(aligner: type[Aligner], options: Options) -> dict[str, str]:
    """The aligner's programs with the SHA-256 or version of each, if its class can tell.

    A class tells by a class method ``programs(options)``; the protocol does not ask for one.
    """
    tell = getattr(aligner, "programs", None)
    return dict(tell(options)) if tell else {}


def trace(aligner: type[Aligner], prepared: bytes) -> list[Point]:
    """The CA atoms of a structure as ``prepare`` returned it, if the aligner's class can tell.

    A class tells by a class method ``trace(prepared)``; the protocol does not ask for one.
    """
    tell = getattr(aligner, "trace", None)
    return list(tell(prepared)) if tell else []


def load(definition: str) -> type[Aligner]:
    """The aligner class defined at ``module:class``."""
    module, _, attribute = definition.partition(":")
    try:
        return cast("type[Aligner]", getattr(import_module(module), attribute))
    except (ImportError, AttributeError) as error:
        raise AlignerError(f"the aligner {definition} cannot be loaded: {error}") from None
