"""A target: one protein to process; where its inputs lie and where its outputs go.

The layouts are dpam_c2's: flat (everything in the working folder) or sharded (a folder a step).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dpam_hpc.errors import ConfigError

CANDIDATES_SUFFIX = "_hits4Dali"
OWN_FOLDER = ".dpam-hpc"
"""Of a working folder: where what is no output of dpam's lies: lock, journal, submitted runs."""
JOURNAL = "journal.jsonl"
"""In it: the journal of ``run``."""
# So long that the names of all files made of it stay under the 255 bytes of a name.
TARGET_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
TEMPLATE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,199}")


@dataclass(frozen=True)
class OutputNames:
    """How an aligner's output files are named after a target's id."""

    hits_suffix: str
    step: str

    def hits(self, target: str) -> str:
        """The hits file."""
        return f"{target}{self.hits_suffix}"

    def done(self, target: str) -> str:
        """The done marker, as dpam looks for it."""
        return f"{target}.{self.step}.done"

    def failures(self, target: str) -> str:
        """The failures file: only where something failed or was lost."""
        return f"{target}_{self.step}.failures.tsv"


@dataclass(frozen=True)
class WorkFolder:
    """A working folder of dpam, flat or sharded."""

    root: Path
    sharded: bool

    @classmethod
    def at(cls, root: Path) -> WorkFolder:
        """The working folder ``root``: sharded if dpam's step 6 has a folder of its own there."""
        if not root.is_dir():
            raise ConfigError(f"there is no folder {root}", "name dpam's working folder")
        return cls(root.absolute(), (root / "step06_candidates").is_dir())

    @property
    def candidates_folder(self) -> Path:
        """Where the lists of candidates lie."""
        return self.root / "step06_candidates" if self.sharded else self.root

    @property
    def query_folders(self) -> tuple[Path, ...]:
        """Where a query may lie, in the order in which to look."""
        return (self.root / "step01_prepare", self.root) if self.sharded else (self.root,)

    @property
    def output_folder(self) -> Path:
        """Where hits, markers and failures go."""
        return self.root / "step07_dali" if self.sharded else self.root

    def targets(self) -> Iterator[str]:
        """Ids of all targets with a list of candidates, unsorted; one listing, no file read."""
        with os.scandir(self.candidates_folder) as entries:
            for entry in entries:
                target = entry.name.removesuffix(CANDIDATES_SUFFIX)
                if target != entry.name and TARGET_ID.fullmatch(target):
                    yield target


def read_targets_file(path: Path) -> list[str]:
    """Ids from a text file, one a line, blank lines and lines with # left out."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the list of targets {path} cannot be read: {error}") from None
    named = [word for line in lines if (word := line.strip()) and not word.startswith("#")]
    if not named:
        raise ConfigError(f"the list of targets {path} names none", "leave it out to take all")
    return named


def chosen_targets(folder: WorkFolder, named: list[str]) -> list[str]:
    """The targets of a run, sorted, each once: ``named``, or all of the folder."""
    targets = sorted(set(named)) if named else sorted(folder.targets())
    bad = [target for target in targets if not TARGET_ID.fullmatch(target)]
    if bad:
        shown = ", ".join(repr(target) for target in bad[:5])
        raise ConfigError(
            f"{len(bad)} names are no target ids: {shown}",
            "an id has letters, digits and . _ + - alone, 200 at most, and begins with a letter or"
            " digit",
        )
    if not targets:
        raise ConfigError(
            f"there are no targets in {folder.candidates_folder}",
            f"a target P has its candidates in P{CANDIDATES_SUFFIX}: run dpam's steps 1 to 6 first",
        )
    return targets
