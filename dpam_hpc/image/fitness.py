"""Whether an image is fit for a platform's nodes and this version, by its file alone."""

from __future__ import annotations

from pathlib import Path

from dpam_hpc import __version__
from dpam_hpc.errors import ImageError
from dpam_hpc.image.identity import architecture
from dpam_hpc.image.inspecting import dpam_hpc_version


def check(image: Path, needs: str, platform: str) -> str:
    """What it is made for; ImageError unless that is what the nodes of ``platform`` need."""
    has = architecture(image)
    if has != needs:
        raise ImageError(
            f"{image} is made for {has}, and the nodes of {platform} are {needs}",
            f"build it on a machine with {needs}: dpam-hpc image build",
        )
    made_by = dpam_hpc_version(image)
    if made_by and made_by != __version__:
        # What one writes into the run folder the other may read in another way.
        raise ImageError(
            f"{image} has dpam-hpc {made_by} in it, and this is {__version__}",
            "build it anew (dpam-hpc image build), or submit with the same version",
        )
    return has
