"""What SLURM tells a user of accounts and partitions; nothing where it does not answer."""

from __future__ import annotations

import os
import pwd
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dpam_hpc import command
from dpam_hpc.printable import printable
from dpam_hpc.submit.environment import clean_environment

SECONDS = 10.0
"""That a command may take: a question is not worth more."""
SINFO_FORMAT = "%P|%a|%l|%D|%c"
"""Partition (the default one with *), whether it is up, time limit, nodes, processors of a node."""
RECENT = "now-30days"


@dataclass(frozen=True)
class PartitionFacts:
    """A partition that jobs can be sent to."""

    name: str
    is_default: bool
    told: str


def partitions(environ: Mapping[str, str] = os.environ) -> list[PartitionFacts]:
    """Those that are up, the default one first."""
    text = _ask(["sinfo", "-h", "-o", SINFO_FORMAT], environ)
    return parse_partitions(text)


def parse_partitions(text: str) -> list[PartitionFacts]:
    """Partitions in what sinfo printed; a line for each kind of node, of which the first counts."""
    found: dict[str, PartitionFacts] = {}
    for line in text.splitlines():
        fields = line.strip().split("|")
        if len(fields) != SINFO_FORMAT.count("|") + 1 or not fields[0] or fields[1] != "up":
            continue
        name, _, limit, nodes, cpus = fields
        bare = name.removesuffix("*")
        told = f"{nodes} nodes of {cpus} processors, limit {limit}"
        found.setdefault(bare, PartitionFacts(bare, name != bare, printable(told)))
    return sorted(found.values(), key=lambda each: (not each.is_default, each.name))


def accounts(environ: Mapping[str, str] = os.environ) -> list[tuple[str, str]]:
    """(account, how it is known), the one used most in the last 30 days first."""
    user = _user()
    used = parse_names(
        _ask(["sacct", "-X", "-n", "-P", "-S", RECENT, "-u", user, "-o", "Account"], environ)
    )
    may = parse_names(
        _ask(
            ["sacctmgr", "-n", "-P", "show", "associations", f"user={user}", "format=account"],
            environ,
        )
    )
    often = [name for name, _ in used.most_common() if name in may or not may]
    told = {name: f"{used[name]} job{'s'[: used[name] > 1]} of yours in 30 days" for name in often}
    told |= {name: "sacctmgr" for name in sorted(may) if name not in told}
    return list(told.items())


def parse_names(text: str) -> Counter[str]:
    """Names, one a line, and how often each is there."""
    return Counter(name for line in text.splitlines() if (name := line.strip()))


def _ask(argv: Sequence[str], environ: Mapping[str, str]) -> str:
    """What a command prints; nothing if it is missing, fails, or takes too long."""
    try:
        done = command.capture(argv, timeout=SECONDS, env=clean_environment(environ))
    except (OSError, command.TimedOut):
        return ""
    return "" if done.returncode else done.stdout


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
