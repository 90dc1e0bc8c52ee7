"""A launcher's place: where in the shared folder it keeps lock and journal, what it is allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dpam_hpc import target
from dpam_hpc.journal import Journal
from dpam_hpc.node.run_lock import RUN_LEASE, Lease


@dataclass(frozen=True)
class Station:
    """The place of a ``run`` or, as ``task.py`` makes it, of a task of a submitted run.

    ``open_journal`` is called when the lock is held, and no earlier start writes any more; its
    records are those of all starts. ``rank`` grows with each start. ``deadline`` is when the job's
    time is up, in seconds since the epoch. ``keep_bundle`` tells at the end whether the node's copy
    of the bundle is left for tasks to come. ``begins_once``: what ``redo`` has begun an earlier
    start's journal tells, and it is not begun anew. ``scratch_by``: what decided on the order
    of the candidates, if it was not the platform's file. ``about``: what else the journal is to
    hold of this start.
    """

    folder: Path
    open_journal: Callable[[], Journal]
    lease: Lease = RUN_LEASE
    rank: int = 0
    scratch_candidates: tuple[str, ...] = ()
    scratch_by: str = ""
    last_resort: Path | None = None
    deadline: float | None = None
    keep_bundle: Callable[[], bool] = lambda: False
    begins_once: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_run(
        cls,
        work_dir: Path,
        about: Mapping[str, Any] | None = None,
        scratch_candidates: tuple[str, ...] = (),
        scratch_by: str = "",
    ) -> Station:
        """The one of all runs in ``work_dir``."""
        folder = work_dir / target.OWN_FOLDER
        return cls(
            folder,
            lambda: Journal(folder / target.JOURNAL),
            scratch_candidates=scratch_candidates,
            scratch_by=scratch_by,
            about=about or {},
        )
