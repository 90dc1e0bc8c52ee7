"""What an image is made of, read from the file: nothing is started."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpam_hpc.errors import ImageError
from dpam_hpc.image import sif

CONTENTS_LABEL = "dpam-hpc.contents"
"""What the image is made of, as JSON: to be read without starting it."""
KINDS = {"Part": "parts", "Debian": "Debian packages", "Python": "Python packages"}


@dataclass(frozen=True)
class Inspection:
    """Contents (see ``choice.contents``), labels, and the SPDX document of an image."""

    contents: dict[str, Any]
    labels: dict[str, str]
    spdx: dict[str, Any]

    def packages(self, kind: str) -> list[tuple[str, str]]:
        """Name and version of each package of a kind: Part, Debian or Python."""
        begin = f"SPDXRef-{kind}-"
        return [
            (package["name"], package["versionInfo"])
            for package in self.spdx["packages"]
            if package["SPDXID"].startswith(begin)
        ]


def inspect(image: Path) -> Inspection:
    """Read an image; ImageError if it is not one of ours."""
    labels = _labels(image)
    try:
        contents = json.loads(labels[CONTENTS_LABEL])
        spdx = json.loads(sif.read_text(image, sif.SBOM))
    except (KeyError, ValueError):
        raise ImageError(
            f"{image} was not built by dpam-hpc image build", "apptainer inspect --all tells more"
        ) from None
    return Inspection(contents, labels, spdx)


def dpam_hpc_version(image: Path) -> str:
    """Which dpam-hpc an image has in it, as far as it says so; else empty."""
    try:
        return str(json.loads(_labels(image)[CONTENTS_LABEL])["dpam_hpc"])
    except (ImageError, KeyError, ValueError, TypeError):
        return ""


def _labels(image: Path) -> dict[str, str]:
    """The labels of any image; empty where it has none that can be read."""
    try:
        attributes = json.loads(sif.read_text(image, sif.JSON))["data"]["attributes"]
        labels = attributes.get("labels", {})
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return labels if isinstance(labels, dict) else {}
