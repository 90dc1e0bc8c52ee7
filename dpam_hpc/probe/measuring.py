"""A place measured: what its file system is, and how fast; by ``operations.py``, a program."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from dpam_hpc import command, trust
from dpam_hpc.errors import DpamHpcError, StorageError
from dpam_hpc.node import scratch
from dpam_hpc.patience import TookTooLong, within
from dpam_hpc.target import OWN_FOLDER

Role = Literal["scratch", "work", "data"]
Number = Annotated[float, Field(ge=0, le=1e15)]
Count = Annotated[int, Field(ge=0, le=10**18)]
"""As a probe that was kept is checked: no infinity, and what is not a number is none."""
WORKERS = 64
LARGEST = 256 << 20
"""Bytes of the large file at most; of what is free no more than a tenth."""
LATE = 20.0
"""Seconds that a measurement may last beyond what it was given: then it is killed."""


@dataclass(frozen=True)
class Latency:
    """Milliseconds of an operation: half of the calls took less, and 95 of 100."""

    median: Number
    p95: Number
    calls: Count

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """Of so many calls."""
        ordered = sorted(seconds)
        p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
        median = statistics.median(ordered)
        return cls(round(1000 * median, 4), round(1000 * p95, 4), len(ordered))


@dataclass(frozen=True)
class AtOnce:
    """What many processes did at once: operations a second of all together, latency of one."""

    workers: Count
    operations_a_second: Annotated[float, Field(gt=0, le=1e15)]
    latency: Latency


@dataclass(frozen=True)
class Measured:
    """A place, and what was measured there; ``problem``: why nothing was.

    ``name`` is what it is called where it is named: a scratch candidate of the platform, an option.
    ``latency`` is by kind of operation: create, mkdir, read, stat. MB are a million bytes.
    """

    role: Role
    name: str
    path: str
    filesystem: str
    is_local: bool
    free_bytes: Count = 0
    latency: dict[str, Latency] = field(default_factory=dict)
    write_mb_s: Number = 0.0
    read_mb_s: Number = 0.0
    at_once: AtOnce | None = None
    problem: str = ""


@dataclass(frozen=True)
class Budget:
    """Seconds for latencies, for the large file, and for what many do at once; 0: left out."""

    latency: float
    throughput: float = 0.0
    at_once: float = 0.0

    @classmethod
    def whole(cls, seconds: float) -> Budget:
        """All of it in so many seconds."""
        return cls(0.4 * seconds, 0.3 * seconds, 0.3 * seconds)

    @property
    def seconds(self) -> float:
        """After which a measurement hangs."""
        return self.latency + self.throughput + self.at_once + LATE


def measure(role: Role, name: str, folder: Path, budget: Budget, need: int = 0) -> Measured:
    """Measure a place in a private folder there, which is removed; data are only read.

    ``need``: bytes that must be free where work is to be done.
    """
    place = Measured(role, name, str(folder), "unknown", False)
    try:
        # Whether it answers at all: what follows makes and removes a folder there.
        place = within(LATE, lambda: _looked_at(place, folder, need))
        if place.problem or role == "data":
            answer = {} if place.problem else _operate(folder, budget, is_read_only=True)
            return _with(place, answer)
        with _room_in(folder / OWN_FOLDER if role == "work" else folder) as own:
            return _with(place, _operate(own, budget, is_read_only=False))
    except (OSError, DpamHpcError, command.TimedOut, TookTooLong) as error:
        told = error.strerror if isinstance(error, OSError) else str(error)
        return replace(place, problem=f"cannot be measured: {told or error}")


@contextmanager
def _room_in(folder: Path) -> Iterator[Path]:
    """A private folder there, also if the folder itself has to be made; both are removed."""
    is_working_folder = folder.name == OWN_FOLDER
    if is_working_folder:
        trust.own_folder(folder)
    scratch.sweep([folder])
    own = scratch.Scratch(folder)
    try:
        yield own.folder
    finally:
        within(LATE, own.remove)
        if is_working_folder:
            with suppress(OSError):  # not empty: there were runs before
                folder.rmdir()


def _looked_at(place: Measured, folder: Path, need: int) -> Measured:
    """What can be said of a place before anything is made there."""
    kind = scratch.mount_type(folder)
    if place.role == "data":
        problem = "" if folder.is_dir() else "is no folder"
    else:
        problem = scratch.problem(folder, need if place.role == "scratch" else 0)
    free = 0
    with suppress(OSError):
        free = scratch.free_bytes(folder)
    return replace(
        place,
        filesystem=kind,
        is_local=kind in scratch.LOCAL_TYPES,
        free_bytes=free,
        problem=problem,
    )


def _operate(folder: Path, budget: Budget, *, is_read_only: bool) -> dict[str, Any]:
    order = {
        "folder": str(folder.absolute()), "read_only": is_read_only, "latency": budget.latency,
        "throughput": budget.throughput, "at_once": budget.at_once, "workers": WORKERS,
        "bytes": min(LARGEST, scratch.free_bytes(folder) // 10),
    }  # fmt: skip
    program = Path(__file__).with_name("operations.py")
    argv = [sys.executable, "-I", "-S", str(program), json.dumps(order)]
    # In the folder: a sweep ends what works in one that nobody holds any more.
    done = command.capture(argv, timeout=budget.seconds, cwd=folder)
    if done.returncode:
        raise StorageError(done.stderr.strip() or f"exit status {done.returncode}")
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def _with(place: Measured, answer: Mapping[str, Any]) -> Measured:
    many, large = answer.get("at_once"), answer.get("throughput", {})
    return replace(
        place,
        latency={kind: Latency.of(took) for kind, took in answer.get("latency", {}).items()},
        write_mb_s=round(large.get("write", 0.0) / 1e6, 1),
        read_mb_s=round(large.get("read", 0.0) / 1e6, 1),
        at_once=_at_once(many) if many and many["operations"] else None,
    )


def _at_once(many: Mapping[str, Any]) -> AtOnce:
    rate = many["operations"] / many["seconds"]
    return AtOnce(many["workers"], round(rate, 1), Latency.of(many["latency"]))
