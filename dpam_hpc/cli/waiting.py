"""``submit --wait`` and ``resume --wait``: until no job is queued any more."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dpam_hpc.errors import ConfigError, ExitCode, SchedulerError

if TYPE_CHECKING:
    from dpam_hpc.run_dir import RunDir
    from dpam_hpc.submit.scheduler import Scheduler

LOOK_FIRST, LOOK_EVERY = 0.5, 5.0
"""Seconds between two looks: at first, and in the long run."""


def wait(runs: Sequence[RunDir], scheduler: Scheduler) -> int:
    """Tell where runs stand until they are over; the exit code, ConfigError if targets are left.

    ``runs``: a run alone, or all stages of a chain.
    """
    from dpam_hpc.show.chain import Chain
    from dpam_hpc.show.run_screen import OneRun
    from dpam_hpc.show.status import look_at_all
    from dpam_hpc.show.watch import is_over, left

    view = Chain(runs) if runs[0].place else OneRun()
    pause = LOOK_FIRST
    while True:
        try:
            found = look_at_all(runs, scheduler)
        except SchedulerError as error:
            print(error.what, file=sys.stderr)
        else:
            print(view.one_line(found), file=sys.stderr, flush=True)
            if is_over(found):
                if left(found):
                    raise ConfigError(
                        f"the jobs of run {runs[0].chain} are over, and {left(found)} targets are"
                        " left",
                        "dpam-hpc status and logs tell why; dpam-hpc resume goes on",
                    )
                bad = any(each.with_failures for each in found)
                return ExitCode.FAILURES if bad else ExitCode.DONE
        time.sleep(pause)
        pause = min(LOOK_EVERY, 1.5 * pause)
