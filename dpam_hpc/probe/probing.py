"""All places of a run on this machine, measured one after the other."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from dpam_hpc.errors import ConfigError
from dpam_hpc.node.launcher import space_needed
from dpam_hpc.platforms.detect import host_name
from dpam_hpc.platforms.model import Platform, expanded
from dpam_hpc.probe.keeping import Probe
from dpam_hpc.probe.measuring import Budget, Measured, Role, measure
from dpam_hpc.settings import SubmitSettings
from dpam_hpc.target import WorkFolder

EXPLICIT, SYSTEM = "--scratch-dir", "the system's temporary folder"


def places(
    settings: SubmitSettings, platform: Platform, environment: Mapping[str, str] = os.environ
) -> Iterator[tuple[Role, str, Path | None]]:
    """(role, name, folder) of each place; None where a variable in the name is not set."""
    if settings.scratch_dir is not None:
        yield "scratch", EXPLICIT, settings.scratch_dir
    seen = set()
    for name in platform.scratch.candidates:
        path = expanded(name, environment)
        seen.add(path)
        yield "scratch", name, Path(path) if path else None
    system = tempfile.gettempdir()
    if system not in seen:
        yield "scratch", SYSTEM, Path(system)
    yield "work", "WORK_DIR", settings.work_dir.absolute()
    if settings.data_dir is not None:
        yield "data", "ECOD70", settings.data_dir.absolute() / "ECOD70"


def room_needed(settings: SubmitSettings) -> int:
    """Bytes of scratch that a run of this folder may fill."""
    try:
        targets = sum(1 for _ in WorkFolder.at(settings.work_dir).targets())
    except (OSError, ConfigError):
        targets = 0
    return space_needed(settings, targets or None)


def probe(
    settings: SubmitSettings,
    platform: Platform,
    seconds: float,
    *,
    job: str = "",
    environment: Mapping[str, str] = os.environ,
    on_place: Callable[[str], None] = lambda name: None,
) -> Probe:
    """Measure each place for so many seconds."""
    budget = Budget.whole(seconds)
    need = room_needed(settings)
    found: list[Measured] = []
    for role, name, folder in places(settings, platform, environment):
        if folder is None:
            found.append(Measured(role, name, "", "", False, problem="is not set here"))
            continue
        known = next((p for p in found if p.role == role and p.path == str(folder)), None)
        if known is not None:
            found.append(replace(known, name=name))
            continue
        on_place(f"{name} ({folder})" if name != str(folder) else name)
        found.append(measure(role, name, folder, budget, need))
    return Probe(
        platform.name, host_name(), time.time(), settings.cpus, settings.workers, found, job=job
    )
