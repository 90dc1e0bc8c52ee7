"""What all checks know: the settings, the platform, whether this is the node of a job."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from dpam_hpc.platforms.model import Platform
from dpam_hpc.settings import SubmitSettings


@dataclass
class Context:
    """The run that is asked about; ``fingerprint``: how that of the aligner begins, once proved."""

    settings: SubmitSettings
    platform: Platform
    on_node: bool = False
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    fingerprint: str = ""

    @property
    def works_here(self) -> bool:
        """Whether this machine is one that targets are worked on; else it only submits."""
        return self.on_node or self.platform.scheduler.type == "local"
