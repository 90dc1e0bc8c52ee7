"""What a verb does on a compute node in place of here, by a short job; settings that it takes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dpam_hpc.platforms.model import Platform
    from dpam_hpc.settings import SubmitSettings

WAIT = 600.0
"""Seconds for a node to answer."""


def resolved(given: Mapping[str, Any]) -> SubmitSettings:
    """Settings as ``submit`` has them."""
    from dpam_hpc.settings import SubmitSettings, resolve_for

    return resolve_for(SubmitSettings, given).settings


def with_floor(settings: SubmitSettings, platform: Platform) -> SubmitSettings:
    """With the free room that the platform asks for, unless the user does."""
    if "min_free_gb" in settings.model_fields_set:
        return settings
    return settings.model_copy(update={"min_free_gb": platform.scratch.min_free_gb})


def ask_node(
    verb: str, settings: SubmitSettings, platform: Platform, wait: float,
    told: Sequence[str], *more: str,
) -> bytes:  # fmt: skip
    """What a verb prints as JSON on a compute node, by a job; ``told``: settings it takes."""
    from dpam_hpc.submit.on_node import OnNode
    from dpam_hpc.submit.platform_choice import renderer, scheduler_by_kind

    scheduler = scheduler_by_kind(platform.scheduler.type, settings.work_dir)
    command = [verb, *arguments_of(settings, platform, told), *more, "--json", "--is-node"]
    return OnNode(settings, platform, scheduler).ask(
        command, renderer(), wait, lambda text: print(text, file=sys.stderr, flush=True)
    )


def arguments_of(settings: SubmitSettings, platform: Platform, told: Sequence[str]) -> list[str]:
    """The settings as a command line: on the node no other source of them is needed."""
    words = [str(settings.work_dir.absolute()), "--platform", platform.name]
    for name in told:
        value = getattr(settings, name)
        if value is not None:
            text = str(value.absolute() if isinstance(value, Path) else value)
            words += ["--" + name.replace("_", "-"), text]
    return words
