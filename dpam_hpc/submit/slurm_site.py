"""What a site's SLURM offers a user: partitions and accounts, as far as it can be asked."""

from __future__ import annotations

from dpam_hpc.errors import SchedulerError
from dpam_hpc.submit import slurm_texts as texts
from dpam_hpc.submit.slurm import Slurm

SINFO = ["sinfo", "-h", "-o", "%R|%a"]
NO_DATABASE = ("accounting storage", "connection refused", "slurmdbd", "slurm_persist_conn")


def partitions(slurm: Slurm) -> dict[str, bool]:
    """The partitions that this user sees, and whether each takes jobs; SchedulerError."""
    done = slurm.ask(SINFO)
    if done.returncode:
        raise texts.refusal("sinfo", done.returncode, done.stdout, done.stderr)
    found: dict[str, bool] = {}
    for line in done.stdout.splitlines():
        name, bar, available = line.strip().rpartition("|")
        if bar:
            found[name] = available == "up"
    return found


def accounts(slurm: Slurm, user: str) -> list[str] | None:
    """The accounts of a user; None where the site keeps none, or none can be asked for."""
    argv = ["sacctmgr", "-n", "-P", "show", "associations", f"user={user}", "format=account"]
    try:
        done = slurm.ask(argv)
    except SchedulerError:
        return None
    if done.returncode or any(part in done.stderr.lower() for part in NO_DATABASE):
        return None
    return sorted({line.strip() for line in done.stdout.splitlines() if line.strip()})
