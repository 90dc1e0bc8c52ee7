"""What a site's SLURM offers a user: partitions and accounts, as far as it can be asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dpam_hpc.errors import SchedulerError
from dpam_hpc.printable import printable
from dpam_hpc.submit import slurm_texts as texts
from dpam_hpc.submit.slurm import Slurm

SINFO_FORMAT = "%P|%a|%l|%D|%c"
"""Partition (the default one with *), whether it is up, time limit, nodes, processors of a node."""
RECENT = "now-30days"
NO_DATABASE = ("accounting storage", "connection refused", "slurmdbd", "slurm_persist_conn")


@dataclass(frozen=True)
class PartitionFacts:
    """A partition that this user sees; ``is_up``: it takes jobs."""

    name: str
    is_default: bool
    is_up: bool
    told: str


def partitions(slurm: Slurm) -> list[PartitionFacts]:
    """All, the default one first; SchedulerError."""
    done = slurm.ask(["sinfo", "-h", "-o", SINFO_FORMAT])
    if done.returncode:
        raise texts.refusal("sinfo", done.returncode, done.stdout, done.stderr)
    return parse_partitions(done.stdout)


def parse_partitions(text: str) -> list[PartitionFacts]:
    """Partitions in what sinfo printed; a line for each kind of node, of which the first counts."""
    found: dict[str, PartitionFacts] = {}
    for line in text.splitlines():
        fields = [" ".join(field.split()) for field in line.split("|")]
        bare = fields[0].removesuffix("*")
        if len(fields) != SINFO_FORMAT.count("|") + 1 or not bare:
            continue
        name, available, limit, nodes, cpus = fields
        told = printable(f"{nodes} nodes of {cpus} processors, limit {limit}")
        found.setdefault(bare, PartitionFacts(bare, name != bare, available == "up", told))
    return sorted(found.values(), key=lambda each: (not each.is_default, each.name))


def accounts(slurm: Slurm, user: str) -> list[str] | None:
    """The accounts of a user; None where the site keeps none, or none can be asked for."""
    argv = ["sacctmgr", "-n", "-P", "show", "associations", f"user={user}", "format=account"]
    found = _names(slurm, argv)
    return None if found is None else sorted(found)


def recent_accounts(slurm: Slurm, user: str) -> Counter[str]:
    """How many jobs of the last 30 days each account was charged; empty where that is not told."""
    argv = ["sacct", "-X", "-n", "-P", "-S", RECENT, "-u", user, "-o", "Account"]
    return _names(slurm, argv) or Counter()


def _names(slurm: Slurm, argv: Sequence[str]) -> Counter[str] | None:
    """Names that a command prints, one a line; None where it does not answer."""
    try:
        done = slurm.ask(argv)
    except SchedulerError:
        return None
    if done.returncode or any(part in done.stderr.lower() for part in NO_DATABASE):
        return None
    return Counter(name for line in done.stdout.splitlines() if (name := line.strip()))
