"""Checks of SLURM: its commands, whether it answers, partition and account."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

import psutil

from dpam_hpc.doctor.context import Context
from dpam_hpc.doctor.findings import Row, ok, problem, warning
from dpam_hpc.errors import SchedulerError
from dpam_hpc.platforms.model import Platform
from dpam_hpc.settings import SubmitSettings
from dpam_hpc.submit import slurm_site
from dpam_hpc.submit.environment import scheduler_timeout
from dpam_hpc.submit.slurm import Slurm

COMMANDS = ("sbatch", "squeue", "scontrol", "scancel")
SECONDS = 15.0
"""For an answer: a busy controller answers within a few."""
SHOWN = 8


@dataclass(frozen=True)
class Facts:
    """What SLURM says; ``silent``: why it does not answer. None: it cannot be asked for that."""

    missing: Sequence[str] = ()
    silent: str = ""
    remedy: str = ""
    partitions: Mapping[str, bool] | None = None
    accounts: Sequence[str] | None = None


def slurm(context: Context) -> list[Row]:
    """All of it, where the platform has SLURM; a compute node need not have its commands."""
    if context.platform.scheduler.type != "slurm":
        return [ok("scheduler", f"platform {context.platform.name} has none: tasks run here")]
    if context.on_node:
        node = context.environment.get("SLURMD_NODENAME", "this node")
        return [ok("job", f"{context.environment.get('SLURM_JOB_ID', 'none')} on {node}")]
    return judge(gather(context.environment), context.settings, context.platform)


def gather(environment: Mapping[str, str]) -> Facts:
    """Ask SLURM, each command once and for a limited time."""
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if missing:
        return Facts(missing)
    scheduler = Slurm(environment, timeout=min(SECONDS, scheduler_timeout(environment)))
    try:
        scheduler.max_array_size()
    except SchedulerError as error:
        return Facts(silent=error.what, remedy=error.hint)
    user = psutil.Process().username()  # LOGNAME may be left from another user
    facts = Facts(accounts=slurm_site.accounts(scheduler, user))
    try:
        known = slurm_site.partitions(scheduler)
        return replace(facts, partitions={each.name: each.is_up for each in known})
    except SchedulerError:
        return facts


def judge(facts: Facts, settings: SubmitSettings, platform: Platform) -> list[Row]:
    """Pure."""
    if facts.missing:
        return [
            problem(
                "SLURM",
                f"there is no {', no '.join(facts.missing)} on PATH",
                "work on a login node of the cluster, or load the site's module for SLURM;"
                " --platform local works on this machine alone",
            )
        ]
    if facts.silent:
        remedy = "try again later: the controller is busy or down; `scontrol ping` tells"
        return [problem("SLURM", facts.silent, facts.remedy or remedy)]
    rows = [ok("SLURM", f"{', '.join(COMMANDS)} are here, and it answers")]
    wanted = {"account": settings.account, "partition": settings.partition, "time": "given"}
    missing = platform.missing(wanted)
    partition = settings.partition or platform.default_partition or ""
    rows.append(_partition(partition, "partition" in missing, facts.partitions, platform.name))
    rows.append(_account(settings.account, "account" in missing, facts.accounts, platform.name))
    return rows


def _partition(name: str, is_missing: bool, known: Mapping[str, bool] | None, platform: str) -> Row:
    offered = _some(known or ())
    if is_missing:
        told = f"platform {platform} requires one, and none is given"
        return problem("partition", told, f"give --partition NAME{offered or ' (sinfo -s)'}")
    if not name:
        return ok("partition", "none is given: SLURM's default")
    if known is None:
        return ok("partition", f"{name}; SLURM could not be asked whether it is there")
    if name not in known:
        near = get_close_matches(name, list(known), 1)
        hint = f"--partition {near[0]}, perhaps?" if near else "name another with --partition"
        return problem("partition", f"SLURM knows no partition {name}", f"{hint}{offered}")
    if not known[name]:
        return warning("partition", f"{name} is not up", f"name another with --partition{offered}")
    return ok("partition", f"{name} is up")


def _account(name: str, is_missing: bool, known: Sequence[str] | None, platform: str) -> Row:
    offered = _some(known or ())
    if is_missing:
        told = f"platform {platform} requires one, and none is given"
        return problem("account", told, f"give --account NAME{offered}")
    if not name:
        return ok("account", "none is given: SLURM's default")
    if not known:
        return ok("account", f"{name}; this SLURM could not be asked for yours")
    if name.lower() not in map(str.lower, known):
        return problem("account", f"you have no account {name}", f"give --account{offered}")
    return ok("account", name)


def _some(names: Sequence[str] | Mapping[str, bool]) -> str:
    listed = sorted(names)
    more = ", ..." if len(listed) > SHOWN else ""
    return f" (there are {', '.join(listed[:SHOWN])}{more})" if listed else ""
