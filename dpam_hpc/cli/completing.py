"""What a shell is offered when Tab is pressed; nothing here may take long, or fail aloud."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import islice
from pathlib import Path

import typer

LOOKED_AT = 20_000
"""Targets of a working folder: a few hundredths of a second."""


def platform_names(incomplete: str) -> list[str]:
    """Platforms, and auto."""
    from dpam_hpc.errors import DpamHpcError
    from dpam_hpc.platforms import library

    with suppress(DpamHpcError, OSError):
        return [name for name in ["auto", *library.names()] if name.startswith(incomplete)]
    return []


def target_ids(ctx: typer.Context, incomplete: str) -> list[str]:
    """Targets of the working folder that the line names, else of this folder."""
    from dpam_hpc.errors import DpamHpcError
    from dpam_hpc.target import WorkFolder

    # Of a line that ends with an option's name the parser leaves the arguments unassigned.
    named = ctx.params.get("work_dir") or next((a for a in ctx.args if os.path.isdir(a)), ".")
    folder = Path(str(named))
    with suppress(DpamHpcError, OSError):
        found = islice(WorkFolder.at(folder).targets(), LOOKED_AT)
        return sorted(target for target in found if target.startswith(incomplete))
    return []
