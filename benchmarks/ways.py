"""Ways to do step 7 on the same inputs, and runs of them in an order that alternates.

CPU seconds are those of a whole command with all its children.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import measuring
import upstream
from measuring import Inputs, Measured

from dpam_hpc.align.dali.aligner import DaliAligner
from dpam_hpc.errors import ExitCode


@dataclass
class Way:
    """A way to do the step: its command, given a working folder and the targets in it."""

    name: str
    argv: Callable[[Path, Sequence[str]], list[str]]
    environment: Mapping[str, str] = field(default_factory=dict)
    hits_suffix: str = DaliAligner.hits_suffix
    ours: bool = True


@dataclass(frozen=True)
class Outcome:
    """One run; hits by target, with 0 in field 5 of each header. Upstream counts no failures."""

    measured: Measured
    hits: dict[str, bytes]
    failures: int | None

    @property
    def count(self) -> int:
        """Hits of all targets."""
        return sum(content.count(b">") for content in self.hits.values())

    def numbers(self) -> dict[str, Any]:
        """What is written to the results' file."""
        numbers = {name: value for name, value in asdict(self.measured).items() if name != "stdout"}
        return {**numbers, "cpu": self.measured.cpu, "hits": self.count}


def by_dpam_hpc(
    name: str, inputs: Inputs, dali_home: Path, workers: int, *options: str, **more: Any
) -> Way:
    """``dpam-hpc run``; ``more`` are fields of the way."""

    def argv(work: Path, targets: Sequence[str]) -> list[str]:
        command = [*measuring.dpam_hpc(), "run", str(work), "--data-dir", str(inputs.data)]
        command += ["--dali-home", str(dali_home.absolute()), "--dali-workers", str(workers)]
        named = [word for target in targets for word in ("--target", target)]
        return [*command, *options, *named, "--json"]

    return Way(name, argv, **more)


def by_dali_pl(name: str, inputs: Inputs, dali_home: Path, workers: int) -> Way:
    """One ``dali.pl`` a pair and round, through the project's loop (``upstream.py``)."""

    def argv(work: Path, targets: Sequence[str]) -> list[str]:
        command = [sys.executable, upstream.__file__, str(work), str(inputs.data), *targets]
        return [*command, "--dali-home", str(dali_home.absolute()), "--workers", str(workers)]

    return Way(name, argv, ours=False)


def by_dpam(
    name: str, inputs: Inputs, dali_home: Path, workers: int, checkout: Path, python: Path
) -> Way:
    """dpam_c2's own step."""

    def argv(work: Path, targets: Sequence[str]) -> list[str]:
        command = [str(python.absolute()), "-c", upstream.RUN_STEP, str(work), str(inputs.data)]
        return [*command, str(workers), *targets]

    variables = {"DALI_HOME": str(dali_home.absolute()), "PYTHONPATH": str(checkout.absolute())}
    return Way(name, argv, variables, ours=False)


def run(way: Way, inputs: Inputs, before: Sequence[str] = (), copies: int = 1) -> Outcome:
    """Run a way in a fresh folder, its command behind the words ``before``."""
    with measuring.fresh_folder() as folder:
        work = folder / "work"
        targets = inputs.lay_out(work, copies)
        measured = measuring.measure(
            [*before, *way.argv(work, targets)],
            cwd=folder,
            environment=measuring.environment(folder, **way.environment),
            accepted=(0, ExitCode.FAILURES) if way.ours else (0,),
        )
        hits = {}
        for target in targets:
            content = (work / f"{target}{way.hits_suffix}").read_bytes()
            hits[target] = measuring.without_template_length(content)
        return Outcome(measured, hits, measured.summary()["failures"] if way.ours else None)


def run_all(
    chosen: Sequence[Way],
    inputs: Inputs,
    repeat: int,
    around: Callable[[Way], AbstractContextManager[None]] | None = None,
) -> dict[str, list[Outcome]]:
    """Every way ``repeat`` times, in an order that alternates, each run within ``around``."""
    outcomes: dict[str, list[Outcome]] = {way.name: [] for way in chosen}
    for turn in range(repeat):
        for way in chosen if turn % 2 == 0 else reversed(chosen):
            if around is None:
                outcomes[way.name].append(run(way, inputs))
            else:
                with around(way):
                    outcomes[way.name].append(run(way, inputs))
    return outcomes


def median_cpu(outcomes: Sequence[Outcome]) -> float:
    """CPU seconds of a way."""
    return statistics.median(outcome.measured.cpu for outcome in outcomes)


def median_wall(outcomes: Sequence[Outcome]) -> float:
    """Seconds of a way by the clock."""
    return statistics.median(outcome.measured.wall for outcome in outcomes)


def spread(values: Sequence[float]) -> str:
    """Median, and the least and the largest, as a table shows them."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"
