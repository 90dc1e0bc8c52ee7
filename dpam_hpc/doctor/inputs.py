"""Checks of what a run is given: the aligner, the bundle, whose settings are believed."""

from __future__ import annotations

import os
import random
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from dpam_hpc import trust
from dpam_hpc.align import aligner as aligners
from dpam_hpc.bundle import REBUILD, Bundle, BundleInfo
from dpam_hpc.doctor.context import Context
from dpam_hpc.doctor.findings import Row, ok, problem, warning
from dpam_hpc.errors import ConfigError, DpamHpcError
from dpam_hpc.node.launcher import aligner_options
from dpam_hpc.settings import FILE_NAME
from dpam_hpc.target import OWN_FOLDER

SAMPLE = 20
"""Templates of a bundle that are read and compared; ``bundle verify`` reads all."""
MOST_COUNTED = 200_000


def aligner(context: Context) -> list[Row]:
    """It is there, starts, and gives the known answer; with an image its own is asked instead."""
    name = context.settings.aligner
    if context.settings.image and name == "dali":
        return [ok("DALI", "that of the image")]
    check = "DALI" if name == "dali" else name
    try:
        kind = aligners.load(aligners.find(name))
        options = aligner_options(context.settings)
        fingerprint = kind.fingerprint(options)
        with tempfile.TemporaryDirectory(prefix="dpam-hpc-") as folder:
            kind.prove(options, Path(folder) / "proof")
    except DpamHpcError as error:
        return [problem(check, error.what, error.hint or "docs/dali.md tells more")]
    context.fingerprint = fingerprint
    return [ok(check, f"gives the known answer to the byte (import {fingerprint[:12]})")]


@dataclass(frozen=True)
class BundleFacts:
    """A bundle, and the folder that it was made from as far as that is there; -1: not counted."""

    info: BundleInfo
    made: float
    differing: str = ""
    templates: int = -1
    changed: float = 0.0


def bundle(context: Context) -> list[Row]:
    """The bundle beside DALI and ECOD70."""
    path = context.settings.templates
    if path is None:
        remark = "none: each node imports templates as it needs them (dpam-hpc bundle build)"
        return [ok("bundle", remark)]
    data = context.settings.data_dir
    try:
        facts = gather_bundle(path, data / "ECOD70" if data else None)
    except DpamHpcError as error:
        return [problem("bundle", error.what, error.hint or REBUILD)]
    return judge_bundle(path, facts, context.settings.aligner, context.fingerprint)


def gather_bundle(path: Path, ecod: Path | None) -> BundleFacts:
    """Read some of it, with checksums; BundleError."""
    with closing(Bundle(path)) as opened:
        info = opened.info()
        made = path.stat().st_mtime
        names = opened.templates()
        some = random.sample(names, min(SAMPLE, len(names)))
        for name in some:
            opened.pdb_checksum(name)  # its row is read whole, and its checksum compared
        if ecod is None or not ecod.is_dir():
            return BundleFacts(info, made)
        differing = next(iter(opened.differing(ecod, some)), "")
    return BundleFacts(info, made, differing, _count(ecod), ecod.stat().st_mtime)


def judge_bundle(path: Path, facts: BundleFacts, aligner: str, fingerprint: str) -> list[Row]:
    """Pure; ``fingerprint``: how that of the aligner here begins, empty if it is not known."""
    info = facts.info
    day = time.strftime("%Y-%m-%d", time.localtime(facts.made))
    told = f"{path}: {info.templates:,} templates, {info.unusable:,} unusable, of {day}"
    if info.aligner != aligner or not info.fingerprint.startswith(fingerprint):
        here = f"{aligner} {fingerprint[:12]}".strip()
        made_by = f"{info.aligner} {info.fingerprint[:12]}"
        return [problem("bundle", f"{path} was made by {made_by}, here it is {here}", REBUILD)]
    if facts.differing:
        return [problem("bundle", f"{path} is of other PDB files: {facts.differing}", REBUILD)]
    if facts.templates >= 0 and facts.templates != info.templates:
        told += f"; ECOD70 has {facts.templates:,}"
        return [warning("bundle", told, f"{REBUILD}; what it lacks is imported on each node")]
    if facts.changed > facts.made:
        changed = time.strftime("%Y-%m-%d", time.localtime(facts.changed))
        remedy = "dpam-hpc bundle verify --data-dir DATA compares every template"
        return [warning("bundle", f"{told}; ECOD70 changed later, on {changed}", remedy)]
    return [ok("bundle", told)]


def _count(ecod: Path) -> int:
    """PDB files in a folder; -1 if there are very many, or it cannot be listed."""
    count = 0
    try:
        with os.scandir(ecod) as entries:
            for entry in entries:
                count += entry.name.endswith(".pdb")
                if count > MOST_COUNTED:
                    return -1
    except OSError:
        return -1
    return count


def trusted(context: Context) -> list[Row]:
    """Whose files would decide what this user runs."""
    work_dir = context.settings.work_dir
    rows = []
    for path in (work_dir / FILE_NAME, work_dir / OWN_FOLDER):
        try:
            # As they are read: a file through a link, the folder itself.
            status = path.stat() if path.name == FILE_NAME else path.lstat()
        except OSError:
            continue
        if why := trust.why_not(status):
            rows.append(untrusted(path, why))
        else:
            rows.append(ok("trust", f"{path} is written by you alone"))
    return rows or [ok("trust", f"nothing in {work_dir} would decide what you run")]


def untrusted(path: Path, why: str) -> Row:
    """Pure."""
    told = f"{path} {why}, and would decide what you run"
    mode = f"chmod go-w {quote(str(path))}"
    remedy = f"{mode}, if it is yours; else remove it or use a working folder of your own"
    return problem("trust", told, remedy)


def settings_row(error: ConfigError) -> Row:
    """Settings that cannot be used, where the run's would be read."""
    remedy = error.hint or "set it right"
    return problem("settings", error.what, remedy)
