"""In which order scratch is tried: by the platform's probe, where one was kept and is heard."""

from __future__ import annotations

from collections.abc import Sequence

from dpam_hpc.errors import ConfigError
from dpam_hpc.platforms import detect
from dpam_hpc.platforms.model import Platform
from dpam_hpc.probe import keeping, meaning
from dpam_hpc.probe.meaning import Order


def for_platform(platform: Platform, candidates: Sequence[str]) -> Order:
    """The candidates in the order measured on the platform, with what there is to say of it."""
    # Where there is no scheduler each machine is a platform by itself.
    host = detect.host_name() if platform.scheduler.type == "local" else None
    probe, why_not = keeping.heard(platform.name, host)
    if probe is None:
        return Order(tuple(candidates), (why_not,) if why_not else ())
    return meaning.order(candidates, probe)


def for_this_machine(candidates: Sequence[str]) -> Order:
    """The same for whatever platform this is, which is looked for only if any probe was kept."""
    if not keeping.any_kept():
        return Order(tuple(candidates))
    try:
        return for_platform(detect.here().platform, candidates)
    except ConfigError:
        return Order(tuple(candidates))
