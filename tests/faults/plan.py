"""What a fault run is: a sample, how it is run, and one to three faults, all drawn from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from tests import replay
from tests.faults import kinds
from tests.faults.kinds import Fault

FEWEST_CANDIDATES, MOST_CANDIDATES = 1, 4
FEWEST_TARGETS, MOST_TARGETS = 2, 5


@dataclass(frozen=True)
class Plan:
    """One run; ``targets``: name, protein of the sample, candidates.

    ``how``: "run", or "task" of a submitted run. ``storage`` of the shared folder: "disk", "small"
    (one that can be filled) or "slow" (a file system of its own, that fails and hangs).
    """

    seed: int
    how: str
    sharded: bool
    bundled: bool
    storage: str
    workers: int
    targets: tuple[tuple[str, str, tuple[str, ...]], ...]
    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        layout = "sharded" if self.sharded else "flat"
        bundle = "bundle" if self.bundled else "no bundle"
        head = f"{self.how}, {layout}, {bundle}, {self.storage}, {self.workers} workers"
        return f"seed {self.seed}: {head}, {len(self.targets)} targets: " + "; ".join(
            f"start {fault.start}: {fault}" for fault in self.faults
        )


def draw(seed: int, longest: float, can_mount: bool, can_slow: bool) -> Plan:
    """The plan of a seed; nothing in it takes longer than ``longest`` seconds.

    ``can_mount``, ``can_slow``: whether this machine can mount a small disk, and the slow one. What
    it cannot is drawn again, so a seed is the same run on machines that can the same.
    """
    dice = random.Random(f"plan {seed}")
    how = dice.choice(("run", "task"))
    sharded, bundled = dice.random() < 0.5, dice.random() < 0.5
    drawn = [_draw_fault(dice, longest) for _ in range(dice.randint(1, 3))]
    faults = [fault for fault in drawn if fault.fits(how, bundled)]
    kinds_of_storage = {fault.storage for fault in faults} - {""}
    storage = min(kinds_of_storage, default=dice.choice(("disk", "slow")))
    faults = [fault for fault in faults if fault.storage in ("", storage)]
    possible = {"disk": True, "small": can_mount, "slow": can_slow}
    if not faults or not possible[storage]:
        return draw(seed + 1_000_000, longest, can_mount, can_slow)
    first = min(fault.start for fault in faults)
    faults = [replace(fault, start=fault.start - first) for fault in faults]
    targets = tuple(
        (f"P{number}", protein, tuple(sorted(dice.sample(names, min(len(names), many)))))
        for number in range(dice.randint(FEWEST_TARGETS, MOST_TARGETS))
        for protein in [dice.choice(replay.PROTEINS)]
        for names in [(replay.DATA / f"{protein}_hits4Dali").read_text().split()]
        for many in [dice.randint(FEWEST_CANDIDATES, MOST_CANDIDATES)]
    )
    return Plan(seed, how, sharded, bundled, storage, dice.randint(1, 4), targets, tuple(faults))


def _draw_fault(dice: random.Random, longest: float) -> Fault:
    kind = dice.choices(kinds.ALL, [kind.weight for kind in kinds.ALL])[0]
    return kind.draw(dice, dice.choice((0, 0, 1)), longest)
