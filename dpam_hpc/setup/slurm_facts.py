"""What SLURM tells a user of accounts and partitions; nothing where it does not answer."""

from __future__ import annotations

import psutil

from dpam_hpc.errors import SchedulerError
from dpam_hpc.submit import slurm_site
from dpam_hpc.submit.slurm import Slurm
from dpam_hpc.submit.slurm_site import PartitionFacts

SECONDS = 10.0
"""That a command may take: a question is not worth more."""


def partitions() -> list[PartitionFacts]:
    """Those that are up, the default one first."""
    try:
        return [each for each in slurm_site.partitions(Slurm(timeout=SECONDS)) if each.is_up]
    except SchedulerError:
        return []


def accounts() -> list[tuple[str, str]]:
    """(account, how it is known), the one used most in the last 30 days first."""
    slurm = Slurm(timeout=SECONDS)
    user = psutil.Process().username()  # LOGNAME may be left from another user
    used = slurm_site.recent_accounts(slurm, user)
    may = slurm_site.accounts(slurm, user) or []
    often = [name for name, _ in used.most_common() if name in may or not may]
    told = {name: f"{used[name]} job{'s'[: used[name] > 1]} of yours in 30 days" for name in often}
    told |= {name: "sacctmgr" for name in may if name not in told}
    return list(told.items())
