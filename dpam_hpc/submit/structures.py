"""A working folder before dpam's steps: which structures it has, and in which layout."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from dpam_hpc.pipeline.outputs import STRUCTURES
from dpam_hpc.pipeline.steps import STEPS
from dpam_hpc.target import TARGET_ID, WorkFolder


def layout(work_dir: Path) -> WorkFolder:
    """A working folder before step 6: sharded if step 1 has a folder there, and nothing is flat."""
    folder = WorkFolder.at(work_dir)
    if folder.sharded or not (folder.root / STEPS[1].folder).is_dir():
        return folder
    return folder if any(folder.targets()) else replace(folder, sharded=True)


def structures(folder: WorkFolder) -> list[str]:
    """Targets by their structures; domains that step 20 has cut out of one are none."""
    places = {folder.root, *(place for place in folder.query_folders if place.is_dir())}
    found: set[str] = set()
    names: set[str] = set()
    for place in places:
        with os.scandir(place) as entries:
            names.update(entry.name for entry in entries)
    for name in names:
        target, dot, ending = name.rpartition(".")
        if dot + ending in STRUCTURES and TARGET_ID.fullmatch(target):
            whole, _, domain = target.rpartition("_D")
            cut_out = domain.isdecimal() and f"{whole}.step19_merge_candidates" in names
            if not cut_out:
                found.add(target)
    return sorted(found)
