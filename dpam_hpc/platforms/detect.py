"""Which platform this machine is: by environment, by host name, by the name SLURM gives itself."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from dpam_hpc import command
from dpam_hpc.errors import ConfigError
from dpam_hpc.platforms import library
from dpam_hpc.platforms.model import Platform

GENERIC, LOCAL = "generic", "local"
RULES = ("env_match", "hostnames", "clusters")
"""The rules, the strongest first."""
TIME_LIMIT = 10.0
"""Seconds that SLURM may take to answer."""


@dataclass(frozen=True)
class SlurmAnswer:
    """Whether SLURM is here, what it calls its cluster, and why that is not known."""

    is_here: bool
    cluster: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Verdict:
    """Which rule matched a platform (empty: none), and why or why not."""

    name: str
    rule: str
    why: str


@dataclass(frozen=True)
class Detection:
    """The platform, the rule that found it (empty: none did), the reason, and all verdicts."""

    platform: Platform
    rule: str
    reason: str
    verdicts: tuple[Verdict, ...]


def detect(
    platforms: Mapping[str, Platform],
    environment: Mapping[str, str],
    hostname: str,
    ask_slurm: Callable[[], SlurmAnswer],
) -> Detection:
    """The one platform that matches by the strongest rule that matches any.

    Where none matches it is ``generic`` with SLURM and ``local`` without, and the reason says so.
    A platform wins over one that it extends; ConfigError if two are left. ``ask_slurm`` is called
    only if neither environment nor host name decide.
    """
    verdicts = {
        name: _by_environment(platform, environment) or _by_hostname(platform, hostname)
        for name, platform in platforms.items()
    }
    answer = None
    if not any(verdicts.values()):
        answer = ask_slurm()
        verdicts = {name: _by_cluster(each, answer) for name, each in platforms.items()}
    told = tuple(
        verdicts[name] or Verdict(name, "", _why_not(platform, environment, hostname, answer))
        for name, platform in platforms.items()
    )
    for rule in RULES:
        matches = {each.name: each for each in told if each.rule == rule}
        below = {base for name in matches for base in _bases(platforms, name)}
        left = [each for name, each in matches.items() if name not in below]
        if len(left) == 1:
            reason = f"{left[0].why}{_over(matches, left[0].name)}"
            return Detection(platforms[left[0].name], rule, reason, told)
        if left:
            raise ConfigError(
                f"{len(left)} platforms match by {rule}: "
                + "; ".join(f"{each.name} ({each.why})" for each in left),
                "name one with --platform",
            )
    return _without_match(platforms, answer or SlurmAnswer(False), told)


def _without_match(
    platforms: Mapping[str, Platform], answer: SlurmAnswer, told: tuple[Verdict, ...]
) -> Detection:
    if answer.is_here:
        cluster = f"ClusterName {answer.cluster}" if answer.cluster else answer.problem
        reason = f"no platform matches, and SLURM is here ({cluster})"
        return Detection(platforms[GENERIC], "", reason, told)
    reason = f"no platform matches, and there is no SLURM ({answer.problem})"
    return Detection(platforms[LOCAL], "", reason, told)


def _by_environment(platform: Platform, environment: Mapping[str, str]) -> Verdict | None:
    """All variables must match; a variable that is not set matches nothing."""
    wanted = platform.env_match
    if not wanted or not all(
        name in environment and fnmatchcase(environment[name], pattern)
        for name, pattern in wanted.items()
    ):
        return None
    why = ", ".join(f"{name} is {environment[name]}" for name in wanted)
    return Verdict(platform.name, "env_match", why)


def _by_hostname(platform: Platform, hostname: str) -> Verdict | None:
    """One pattern must match the host's name, whole or up to its first dot, in any case."""
    names = {hostname.lower(), hostname.lower().partition(".")[0]}
    for pattern in platform.hostnames:
        if any(fnmatchcase(name, pattern.lower()) for name in names):
            return Verdict(platform.name, "hostnames", f"host {hostname} is {pattern}")
    return None


def _by_cluster(platform: Platform, answer: SlurmAnswer) -> Verdict | None:
    if answer.cluster and answer.cluster in platform.clusters:
        return Verdict(platform.name, "clusters", f"SLURM's ClusterName is {answer.cluster}")
    return None


def _why_not(
    platform: Platform, environment: Mapping[str, str], hostname: str, answer: SlurmAnswer | None
) -> str:
    reasons = [
        f"{name} is {environment[name]}, not {pattern}"
        if name in environment
        else f"{name} is not set"
        for name, pattern in platform.env_match.items()
        if not fnmatchcase(environment.get(name, "\0"), pattern) or name not in environment
    ]
    if platform.hostnames:
        reasons.append(f"host {hostname} is not {' or '.join(platform.hostnames)}")
    if platform.clusters:
        if answer is None:
            reasons.append("SLURM was not asked, as a stronger rule matches another platform")
        elif answer.cluster:
            wanted = " or ".join(platform.clusters)
            reasons.append(f"ClusterName is {answer.cluster}, not {wanted}")
        else:
            reasons.append(f"ClusterName is not known: {answer.problem}")
    return "; ".join(reasons) or "it has no rule"


def _bases(platforms: Mapping[str, Platform], name: str) -> list[str]:
    """The platforms that one extends, the nearest first."""
    bases: list[str] = []
    base = platforms[name].extends
    while base is not None and base not in bases and base in platforms:
        bases.append(base)
        base = platforms[base].extends
    return bases


def _over(matches: Mapping[str, Verdict], name: str) -> str:
    others = [other for other in matches if other != name]
    return f"; it extends {', '.join(others)}, which would match too" if others else ""


def here() -> Detection:
    """Which of all platforms this machine is; see ``detect``."""
    return detect(library.every(), os.environ, host_name(), ask_slurm)


def ask_slurm(
    environment: Mapping[str, str] = os.environ, time_limit: float = TIME_LIMIT
) -> SlurmAnswer:
    """Ask ``scontrol show config`` for the cluster's name, if scontrol is on PATH.

    It is killed after ``time_limit`` seconds; that and any error of it is told in ``problem``.
    """
    program = shutil.which("scontrol", path=environment.get("PATH"))
    if program is None:
        return SlurmAnswer(False, problem="scontrol is not on PATH")
    # SLURM_CLUSTERS would have another cluster answer.
    env = {name: value for name, value in environment.items() if name != "SLURM_CLUSTERS"}
    try:
        done = command.capture([program, "show", "config"], timeout=time_limit, env=env)
    except (OSError, command.TimedOut) as error:
        return SlurmAnswer(True, problem=str(error))
    if done.returncode:
        told = ((done.stdout + done.stderr).strip().splitlines() or ["it says nothing"])[-1]
        return SlurmAnswer(True, problem=f"scontrol: exit status {done.returncode}, {told}")
    cluster = cluster_name(done.stdout)
    return SlurmAnswer(True, cluster, "" if cluster else "scontrol names no cluster")


def cluster_name(text: str) -> str:
    """The ClusterName in what ``scontrol show config`` printed; empty if there is none."""
    found = re.search(r"^\s*ClusterName\s*=\s*(\S+)\s*$", text, re.MULTILINE)
    return found[1] if found and found[1] != "(null)" else ""


def host_name() -> str:
    """The name of this machine, with its domain where that can be had."""
    name = socket.gethostname()
    return name if "." in name else socket.getfqdn(name)
