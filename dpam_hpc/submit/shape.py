"""The shape of a run: how many tasks, of which targets, on how many nodes, for how long. Pure."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

from dpam_hpc.clock import clock
from dpam_hpc.errors import ConfigError

STARTUP = 300
"""Seconds a task takes beside its targets: the start of a node, stage-in, the known answer."""
MARGIN = 1.5
ROUND_TO = 300
DESIRED_TASK = 4 * 3600
"""Wall seconds of a task where nothing else decides: a loss by preemption costs little."""
DEFAULT_LIMIT = 24 * 3600
SHORTEST_TASK = 600
"""Wall seconds under which a task is not worth a node of its own."""


@dataclass(frozen=True)
class Limits:
    """What a site and the user allow; None where nothing is known. Times in seconds.

    ``max_nodes`` are those of one multi-node job, of which there may be ``max_jobs``; of an array
    those at a time.
    """

    max_runtime: int | None = None
    max_tasks: int | None = None
    max_nodes: int | None = None
    max_jobs: int = 1
    min_nodes: int = 1
    nodes: int | None = None
    time: int | None = None


@dataclass(frozen=True)
class Shape:
    """``tasks`` of equal cost, ``at_once`` of them at a time, each asking for ``time_limit``."""

    tasks: int
    at_once: int
    time_limit: int
    starts: int
    """How often a task is expected to need starting: more than once where its time is short."""


def shape(
    cpu_seconds: float,
    targets: int,
    cpus: int,
    limits: Limits,
    multi_node: bool,
    longest_target: float = 0.0,
) -> Shape:
    """As few and as large tasks as fit the limits; ConfigError where nothing fits.

    ``longest_target``: wall seconds that a task takes at least, however many processors it has.
    """
    longest = _longest(limits)
    wall = cpu_seconds / cpus
    most = min(
        x for x in (targets, limits.max_tasks, _most_nodes(limits) if multi_node else None) if x
    )
    if limits.nodes is not None:
        tasks = limits.nodes
    else:
        usable = max(SHORTEST_TASK, min(DESIRED_TASK, (longest - STARTUP) / MARGIN))
        tasks = math.ceil(wall / usable)
    tasks = max(1, limits.min_nodes if multi_node else 1, tasks)
    if multi_node and limits.min_nodes > targets:
        raise ConfigError(
            f"this queue takes jobs of {limits.min_nodes} nodes and more, for {targets} targets",
            "name another with --partition",
        )
    if limits.nodes is not None and most < limits.nodes and most != targets:
        raise ConfigError(
            f"--nodes {limits.nodes} is more than this queue allows ({most})",
            "dpam-hpc platforms show tells the limits",
        )
    tasks = min(tasks, most)
    wall_of_task = max(wall / tasks, longest_target)
    needed = math.ceil((wall_of_task * MARGIN + STARTUP) / ROUND_TO) * ROUND_TO
    time_limit = limits.time or min(longest, needed)
    starts = max(1, math.ceil((wall_of_task + STARTUP / 2) / time_limit))
    at_once = min(tasks, limits.max_nodes or tasks)
    return Shape(tasks, at_once, time_limit, starts)


def _longest(limits: Limits) -> int:
    longest = limits.max_runtime or DEFAULT_LIMIT
    if limits.time is not None:
        if limits.max_runtime and limits.time > limits.max_runtime:
            raise ConfigError(
                f"--time {clock(limits.time)} is more than this queue's {clock(longest)}",
                "name another with --partition, or leave --time out",
            )
        longest = limits.time
    return max(60, longest)


def _most_nodes(limits: Limits) -> int | None:
    return limits.max_nodes and limits.max_nodes * limits.max_jobs


def equal_tasks(costs: Sequence[tuple[str, float]], tasks: int) -> list[list[tuple[str, float]]]:
    """Targets to ``tasks`` of nearly equal cost: the dearest first, to the cheapest task so far.

    Each task has its targets dearest first, which is the order in which a node works.
    """
    order = sorted(range(len(costs)), key=lambda n: (-costs[n][1], costs[n][0]))
    loads = [(0.0, number) for number in range(tasks)]
    parts: list[list[tuple[str, float]]] = [[] for _ in range(tasks)]
    for n in order:
        load, number = loads[0]
        parts[number].append(costs[n])
        # Free targets (failures, no candidates) are spread too.
        heapq.heapreplace(loads, (load + max(costs[n][1], 1e-3), number))
    return parts
