"""Look around: which site this is, where data, DALI, image and bundle lie, what SLURM offers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import islice
from pathlib import Path

from dpam_hpc import trust
from dpam_hpc.errors import ConfigError, DpamHpcError
from dpam_hpc.platforms import detect, library
from dpam_hpc.platforms.model import Platform
from dpam_hpc.settings import DALI_INSTALLED, installed_dali
from dpam_hpc.setup import slurm_facts
from dpam_hpc.setup.questions import (
    Found,
    Question,
    bundle_check,
    check_dali,
    check_data_dir,
    check_platform,
    image_check,
    name_check,
)

LOOKED_AT = 20_000
"""Entries of a folder: a working folder may hold a million files."""


def platform() -> Question:
    """Which site this is; sure where a rule of its file says so, or where there is no SLURM."""
    question = Question("platform", check=check_platform, looked="no platform's rule matches")
    try:
        found = detect.here()
    except ConfigError as error:  # two match
        question.looked = error.what
        question.found = [Found(name, "it may be") for name in library.names()]
        return question
    question.sure = bool(found.rule) or found.platform.name == detect.LOCAL
    question.found = [Found(found.platform.name, found.reason)]
    if not question.sure:
        known, _ = library.sound()
        question.found += [
            Found(name, each.descr)
            for name, each in known.items()
            if each.scheduler.type == "slurm" and name != found.platform.name
        ]
    return question


def data_dir(work_dir: Path) -> Question:
    """dpam's data folder: the working folder itself, in it, beside it."""
    places: tuple[tuple[Iterable[Path], str], ...] = (
        ((work_dir,), "the working folder"),
        (_folders(work_dir), "in the working folder"),
        ((work_dir.parent,), "above the working folder"),
        (_folders(work_dir.parent), "beside the working folder"),
    )
    found: dict[str, str] = {}
    for folders, where in places:
        for folder in folders:
            if (folder / "ECOD70").is_dir():
                found.setdefault(str(folder), where)
    return _of_paths(
        "data_dir", list(found.items()), check_data_dir, needed=True,
        looked="no ECOD70/ in the working folder, in a folder of it, or beside it",
    )  # fmt: skip


def dali_home(environ: Mapping[str, str] = os.environ) -> Question:
    """DALI where it may lie; what settings name has been taken before."""
    built = installed_dali()  # known before, unless no settings could be had
    places = [(built, DALI_INSTALLED)] if built.is_dir() and not trust.why_not(built.stat()) else []
    places += [(Path.home() / "src/Dali_v5/DaliLite.v5", "where dpam looks")]
    places += [
        (Path(folder), "on PATH")
        for folder in environ.get("PATH", "").split(os.pathsep)
        if folder and (Path(folder) / "serialcompare").exists()
    ]
    found = [(str(path), where) for path, where in places if path.is_dir()]
    return _of_paths(
        "dali_home",
        found,
        check_dali,
        needed=True,
        looked="no DALI_HOME, and none on PATH: dpam-hpc dali install builds one",
    )


def image(work_dir: Path, data: str, site: Platform) -> Question:
    """An image for the site's nodes."""
    return _of_paths(
        "image", _files(".sif", work_dir, data), image_check(site.node_architecture()),
        looked="no FILE.sif in the working folder, beside it, or in the data folder", decides=True,
    )  # fmt: skip


def templates(work_dir: Path, data: str, dali: str) -> Question:
    """A bundle that was made by this DALI."""
    return _of_paths(
        "templates", _files(".bundle", work_dir, data), bundle_check(dali),
        looked="no FILE.bundle in the working folder, beside it, or in the data folder",
        decides=True,
    )  # fmt: skip


def account(site: Platform) -> Question:
    """What the site wants charged: asked where it is required, or where there are several."""
    known = slurm_facts.accounts() if "account" in site.scheduler.placeholders() else []
    names = [name for name, _ in known]
    return Question(
        "account", [Found(*each) for each in known], sure=len(known) == 1,
        needed="account" in site.scheduler.requires,
        asked="account" in site.scheduler.requires or len(known) > 1,
        looked="SLURM names no account of yours", check=name_check("account", names, "SLURM"),
    )  # fmt: skip


def partition(site: Platform) -> Question:
    """Where jobs go: asked where the site requires it and has no default."""
    question = Question("partition", looked="SLURM tells no partition")
    if "partition" in site.scheduler.placeholders():
        known = slurm_facts.partitions()
        question.found = [
            Found(each.name, each.told + (", the default" if each.is_default else ""))
            for each in known
        ]
        names = [each.name for each in known] or list(site.partitions)
        question.check = name_check("partition", names, "SLURM" if known else site.name)
    question.needed = "partition" in site.missing({"account": "a", "time": "t"})
    question.asked = question.needed
    question.sure = len(question.found) == 1 and question.needed
    return question


def _of_paths(
    name: str,
    places: list[tuple[str, str]],
    check: Callable[[str], str],
    *,
    looked: str,
    needed: bool = False,
    decides: bool = False,
) -> Question:
    """A question about a path: what does not pass the check is told, and not offered.

    ``decides``: it decides what is run; so what others could have put there is offered, not taken.
    """
    question = Question(name, check=check, needed=needed, looked=looked)
    doubts = []
    for value, where in places:
        if reason := question.problem(value):
            question.looked = reason
        else:
            doubt = f"it {why}" if decides and (why := trust.why_not(os.stat(value))) else ""
            doubts += [doubt] if doubt else []
            question.found.append(Found(value, f"{where}; {doubt}" if doubt else where))
    question.sure = len(question.found) == 1 and not doubts
    return question


def _files(suffix: str, work_dir: Path, data: str) -> list[tuple[str, str]]:
    """Files with a name's end in the usual places, the nearest first."""
    places = [(work_dir, "in the working folder"), (work_dir.parent, "beside the working folder")]
    if data:
        places.append((Path(data), "in the data folder"))
    found: dict[str, str] = {}
    for folder, where in places:
        for entry in _entries(folder):
            if entry.name.endswith(suffix) and entry.is_file():
                found.setdefault(entry.path, where)
    return list(found.items())


def _folders(folder: Path) -> Iterator[Path]:
    return (Path(e.path) for e in _entries(folder) if e.is_dir() and not e.name.startswith("."))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(islice(entries, LOOKED_AT), key=lambda entry: entry.name)
    except OSError:
        return []


def is_cluster(site: Platform | None) -> bool:
    """Whether jobs are submitted there."""
    return site is not None and site.scheduler.type != "local"


@cache
def known_site(name: str) -> Platform | None:
    """The platform of that name, or the one that is detected; None if it cannot be told."""
    try:
        return library.named(name) if name not in ("", "auto") else detect.here().platform
    except DpamHpcError:
        return None
