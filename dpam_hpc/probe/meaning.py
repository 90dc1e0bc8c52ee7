"""What measured latencies mean: seconds a protein with this or that scratch; which to try first.

A pair asks so many operations of the scratch, of which each takes what was measured. Pairs share
the processors, and wait beside each other, as many as there are workers; together they cannot ask
for more operations a second than the place has served when many asked at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dpam_hpc import cost
from dpam_hpc.probe.keeping import Probe
from dpam_hpc.probe.measuring import Measured

SCRATCH_OPERATIONS = {"create": 1.6, "mkdir": 3.1, "read": 27.0, "stat": 14.0}
"""Of a pair in scratch, by the measured operation that takes as long: ``mkdir`` stands for removing
and linking, ``stat`` for single look-ups, reads and writes. Counted on ``benchmarks/slowfs.py`` by
DALI's own programs with a bundle: two proteins, from their 17th to their 64th candidate, with 0.1
and 0.3 hits a pair; where there are more hits there are more operations."""
NEARLY = 1.25
"""A place that takes so much longer for a protein as another is as good: their order is kept."""


@dataclass(frozen=True)
class Work:
    """A protein of a run: pairs, and CPU seconds of each."""

    pairs: float
    cpu_a_pair: float


TYPICAL_QUERY = 400
"""Residues of a protein of which nothing is known."""
TYPICAL = Work(
    cost.TYPICAL_CANDIDATES, cost.seconds(TYPICAL_QUERY, cost.TYPICAL_TEMPLATE)
)  # fmt: skip


def waits(place: Measured, operations: Mapping[str, float] = SCRATCH_OPERATIONS) -> float:
    """Seconds that a pair waits for the scratch at ``place``."""
    return sum(
        number * place.latency[kind].median / 1000
        for kind, number in operations.items()
        if kind in place.latency
    )


def seconds_a_protein(work: Work, place: Measured, cpus: int, workers: int) -> float:
    """Seconds of a protein on a node whose scratch is ``place``."""
    a_pair = work.cpu_a_pair / min(cpus, workers) + waits(place) / workers
    if place.at_once is not None and not place.is_local:
        # Of a disk of the node's own the processors are the limit, in the measurement too.
        served = sum(SCRATCH_OPERATIONS.values()) / place.at_once.operations_a_second
        a_pair = max(a_pair, served)
    return work.pairs * a_pair


@dataclass(frozen=True)
class Order:
    """Scratch candidates in the order in which a node tries them; why some are the last.

    ``by``: what decided on it; empty: the platform's file did.
    """

    candidates: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    by: str = ""


def order(candidates: Sequence[str], probe: Probe, work: Work = TYPICAL) -> Order:
    """The candidates by what was measured: the fastest first, what is shared or slow the last.

    What was not measured stays behind the one before it. The node looks at each all the same.
    """
    places = {name: place for name in candidates if (place := probe.place(name))}
    last = {name: why for name, each in places.items() if (why := why_last(each, probe.work))}
    ranks = _ranks({name: _seconds(work, each, probe) for name, each in places.items()})
    keys: dict[str, tuple[bool, int]] = {}
    before = (False, 0)
    for name in candidates:
        if name in places:
            before = (name in last, ranks[name])
        keys[name] = before
    remarks = [f"{name} is tried last: {why}" for name, why in last.items()]
    by = f"the probe of {probe.date} on {probe.host}"
    return Order(tuple(sorted(candidates, key=keys.__getitem__)), tuple(remarks), by)


def _seconds(work: Work, place: Measured, probe: Probe) -> float:
    return seconds_a_protein(work, place, probe.cpus, probe.workers)


def _ranks(seconds: Mapping[str, float]) -> dict[str, int]:
    """The rank of each place; those that are nearly as fast as the first of a rank share it."""
    ranks: dict[str, int] = {}
    rank, first = 0, 0.0
    for name in sorted(seconds, key=seconds.__getitem__):
        if seconds[name] > first * NEARLY:
            rank, first = rank + 1, seconds[name]
        ranks[name] = rank
    return ranks


def why_last(place: Measured, work: Measured | None) -> str:
    """What speaks against a candidate beside another one; empty if nothing."""
    if not place.is_local:
        return f"it lies on a shared file system ({place.filesystem})"
    if work is not None and waits(place) > waits(work):
        return "it is slower than the working folder"
    return ""
