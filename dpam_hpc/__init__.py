"""dpam-hpc: exact iterative DALI for domain parsing, on one machine and on clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dpam_hpc.node.launcher import IterativeDali
    from dpam_hpc.settings import RunSettings

__version__ = "0.1.0"
__all__ = ["IterativeDali", "RunSettings", "__version__"]


def __getattr__(name: str) -> Any:
    """Load the library's names when they are asked for: a worker process needs neither."""
    if name == "IterativeDali":
        from dpam_hpc.node.launcher import IterativeDali

        return IterativeDali
    if name == "RunSettings":
        from dpam_hpc.settings import RunSettings

        return RunSettings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
