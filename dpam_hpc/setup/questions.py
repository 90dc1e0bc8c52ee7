"""The settings that set a folder up: what each means in a line, and what is wrong with a value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dpam_hpc.errors import DpamHpcError

MEANINGS = {
    "platform": "the site, as 'dpam-hpc platforms list' names it: how jobs are asked for there",
    "data_dir": "dpam's data folder, in which ECOD70/ lies",
    "image": "the Apptainer image to run in; without one the nodes use this Python, and DALI below",
    "dali_home": "DaliLite.v5's folder, as the nodes see it",
    "templates": "the template bundle, which saves importing templates anew on every node",
    "account": "the account that jobs are charged to",
    "partition": "the partition (queue) that jobs go to",
    "nodes": "nodes to use at a time; left out: as few as will do",
    "scratch_dir": "scratch on the nodes; left out: chosen there, node-local",
}  # fmt: skip
PATHS = ("data_dir", "image", "dali_home", "templates")


@dataclass(frozen=True)
class Found:
    """A value that was found, and where."""

    value: str
    where: str


@dataclass
class Question:
    """A setting, what was found for it (the best first), and what is to be done about it.

    ``sure``: the first one found is taken without asking. ``needed``: a run or a submission is not
    possible without; ``asked``: whether a person is asked where nothing was found.
    """

    name: str
    found: list[Found] = field(default_factory=list)
    sure: bool = False
    needed: bool = False
    asked: bool = True
    looked: str = ""
    check: Callable[[str], str] = lambda value: ""

    @property
    def meaning(self) -> str:
        """What the setting is, in a line."""
        return MEANINGS[self.name]

    def problem(self, value: str) -> str:
        """What is wrong with a value; empty if nothing is."""
        if any("\ud800" <= c <= "\udfff" for c in value):
            return "a name that is not UTF-8 cannot stand in a settings file"
        return self.check(value)

    @property
    def taken(self) -> Found | None:
        """What is taken without asking; None where it is to be asked."""
        return self.found[0] if self.found and self.sure else None


def check_platform(value: str) -> str:
    """Why it is no platform; empty if it is one."""
    from dpam_hpc.platforms import library

    if value == "auto":
        return ""
    try:
        library.named(value)
    except DpamHpcError as error:
        return error.what
    return ""


def check_data_dir(value: str) -> str:
    """Why it is no data folder."""
    path = Path(value)
    if not path.is_dir():
        return f"there is no folder {value}"
    return "" if (path / "ECOD70").is_dir() else f"there is no folder ECOD70 in {value}"


def check_dali(value: str) -> str:
    """Why there is no DALI."""
    from dpam_hpc.align.dali import install

    try:
        install.find(value)
    except DpamHpcError as error:
        return error.what
    return ""


def image_check(architecture: str) -> Callable[[str], str]:
    """A check of images for nodes of an architecture."""
    from dpam_hpc.image.identity import architecture as made_for

    def check(value: str) -> str:
        try:
            has = made_for(Path(value))
        except DpamHpcError as error:
            return error.what
        return "" if has == architecture else f"{value} is made for {has}, nodes are {architecture}"

    return check


def bundle_check(dali_home: str) -> Callable[[str], str]:
    """A check of bundles: can it be read, and was it made by that DALI (empty: not known here)."""
    from dpam_hpc.align.dali import install
    from dpam_hpc.bundle import Bundle

    def check(value: str) -> str:
        try:
            if not Path(value).is_file():
                return f"there is no file {value}"
            bundle = Bundle(Path(value))
            bundle.info()
            if dali_home:
                bundle.check_made_by("dali", install.import_fingerprint(install.find(dali_home)))
        except DpamHpcError as error:
            return error.what
        except OSError as error:
            return str(error)
        return ""

    return check


def name_check(kind: str, known: Sequence[str], who: str) -> Callable[[str], str]:
    """A check of names of accounts or partitions; any word will do where none is known."""

    def check(value: str) -> str:
        if not value.isprintable() or not value.strip():
            return f"that is no name of {kind}"
        if known and value not in known:
            return f"{who} knows no {kind} {value}: it has {', '.join(known)}"
        return ""

    return check
