"""The kinds of faults: each strikes one start of the launcher, and is over when it has ended."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import psutil

if TYPE_CHECKING:
    from tests.faults.running import Start, World

LATEST = 4.0
"""Seconds after the start of the launcher, within which a fault begins."""
PART_OF_A_FILE = 512
REPLACED = ".replaced"


@dataclass(frozen=True)
class Fault(ABC):
    """``start``: which start of the launcher it strikes, from 0."""

    weight: ClassVar[float] = 1.0
    storage: ClassVar[str] = ""
    """What the shared folder must lie on."""
    start: int

    @classmethod
    @abstractmethod
    def draw(cls, dice: random.Random, start: int, longest: float) -> Fault:
        """One of this kind."""

    def fits(self, how: str, bundled: bool) -> bool:
        """Whether it can strike such a run."""
        return True

    def spec(self) -> dict[str, Any]:
        """What it does to the launcher's own calls (``hooked.Spec``)."""
        return {}

    def strike(self, start: Start) -> None:  # noqa: B027 a kind may have nothing to do here
        """Do it, while the launcher is at work; in a thread of its own."""

    def mend(self, world: World) -> None:  # noqa: B027 nor here
        """Set right what it broke, after the launcher has ended."""


@dataclass(frozen=True)
class AtAMoment(Fault):
    """One that begins ``at`` seconds after the launcher's start, if that is still there."""

    at: float

    def strike(self, start: Start) -> None:
        if start.is_alive_after(self.at):
            self.happen(start)

    @abstractmethod
    def happen(self, start: Start) -> None:
        """What begins then."""


@dataclass(frozen=True)
class Signal(AtAMoment):
    """A signal to the launcher or to one of its processes; STOP is followed by CONT."""

    weight: ClassVar[float] = 5.0
    who: str
    number: signal.Signals
    lasts: float

    @classmethod
    def draw(cls, dice: random.Random, start: int, longest: float) -> Fault:
        who = dice.choice(("launcher", "launcher", "worker", "program", "nursery"))
        number = dice.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP))
        lasts = dice.uniform(0.2, min(longest, 5.0))
        return cls(start, dice.uniform(0.1, LATEST), who, number, lasts)

    def __str__(self) -> str:
        text = f"{self.number.name} of {self.who} after {self.at:.2f} s"
        return text + (f" for {self.lasts:.1f} s" if self.number == signal.SIGSTOP else "")

    def happen(self, start: Start) -> None:
        process = start.process(self.who)
        if process is None:
            return
        with suppress(psutil.Error):
            process.send_signal(self.number)
            start.note(self)
        if self.number == signal.SIGSTOP:
            start.is_alive_after(self.lasts)
            with suppress(psutil.Error):
                process.send_signal(signal.SIGCONT)


@dataclass(frozen=True)
class DiesBetweenCalls(Fault):
    """The launcher is killed in place of one of its calls on the shared folder."""

    weight: ClassVar[float] = 5.0
    call: int

    @classmethod
    def draw(cls, dice: random.Random, start: int, longest: float) -> Fault:
        return cls(start, dice.randint(1, 160))

    def __str__(self) -> str:
        return f"the launcher is killed in place of its call {self.call} on the shared folder"

    def spec(self) -> dict[str, Any]:
        return {"kill_at": self.call}


@dataclass(frozen=True)
class CallsFail(Fault):
    """Some of the launcher's calls on the shared folder end with an error."""

    weight: ClassVar[float] = 4.0
    error: str
    calls: tuple[str, ...]
    first: int
    times: int

    @classmethod
    def draw(cls, dice: random.Random, start: int, longest: float) -> Fault:
        errors = ("EIO", "ESTALE", "EACCES", "EDQUOT", "ENOSPC", "ETIMEDOUT", "EROFS")
        calls = dice.choice(
            ((), ("open",), ("read",), ("write",), ("fsync",), ("close",), ("rename", "replace"),
             ("link",), ("stat", "fstat"), ("listdir", "scandir"), ("unlink", "remove"))
        )  # fmt: skip
        first = dice.randint(1, 120 if not calls else 30)
        return cls(start, dice.choice(errors), calls, first, dice.choice((1, 1, 3, 40)))

    def __str__(self) -> str:
        calls = " or ".join(self.calls) or "any call"
        return f"{self.error} of {calls}, {self.times} times from number {self.first} on"

    def spec(self) -> dict[str, Any]:
        return {
            "error": self.error, "calls": self.calls, "first": self.first, "times": self.times,
        }  # fmt: skip


@dataclass(frozen=True)
class CallHangs(Fault):
    """One of the launcher's calls on the shared folder does not return for a while."""

    weight: ClassVar[float] = 1.0
    call: int
    seconds: float

    @classmethod
    def draw(cls, dice: random.Random, start: int, longest: float) -> Fault:
        return cls(start, dice.randint(1, 120), min(longest, dice.choice((1.0, 5.0, 60.0))))

    def __str__(self) -> str:
        return f"call {self.call} on the shared folder hangs for {self.seconds:.0f} s"

    def spec(self) -> dict[str, Any]:
        return {"hang_at": self.call, "hang": self.seconds}


@dataclass(frozen=True)
class ClockJumps(Fault):
    """The launcher's clock is set, forward or back."""

    weight: ClassVar[float] = 1.5
    call: int
    seconds: float

    @classmethod
    def draw(cls, dice: random.Random, start: int, longest: float) -> Fault:
        seconds = dice.choice((-86400.0, -3600.0, -30.0, 30.0, 3600.0, 86400.0))
        return cls(start, dice.randint(1, 80), seconds)

    def __str__(self) -> str:
        return f"the clock jumps by {self.seconds:+.0f} s at call {self.call}"

    def spec(self) -> dict[str, Any]:
        return {"jump_at": self.call, "jump": self.seconds}


@dataclass(frozen=True)
class NodeDies(AtAMoment):
    """All processes of a node end at once; it comes back, with or without its scratch."""

    weight: ClassVar[float] = 3.0
    scratch_is_lost: bool
    elsewhere: bool

    @classmethod
    def draw(cls, dice: random.Random, start: int, longest: float) -> Fault:
        at = dice.uniform(0.1, LATEST)
        return cls(start, at, dice.random() < 0.5, dice.random() < 0.5)

    def __str__(self) -> str:
        scratch = "scratch is lost" if self.scratch_is_lost else "scratch is kept"
        then = "another goes on" if self.elsewhere else "it comes back"
        return f"the node dies after {self.at:.2f} s, {scratch}, {then}"

    def happen(self, start: Start) -> None:
        if start.kill_all():
            start.note(self)

    def mend(self, world: World) -> None:
        if self.scratch_is_lost:
            world.empty_scratch()
        # Of a task's lease another node knows by its rank alone; a run's ends with the boot.
        elsewhere = self.elsewhere and world.plan.how == "task"
        for lock in world.locks():
            with suppress(OSError, ValueError):
                holder = json.loads(lock.read_text())
                changed = {"host": "a-node-that-died"} if elsewhere else {"boot": "an-earlier-one"}
                lock.write_text(json.dumps(holder | changed))


@dataclass(frozen=True)
class TwoLaunchers(AtAMoment):
    """A launcher is out of sight for a while: another is started, then both are there."""

    weight: ClassVar[float] = 2.0
    lasts: float

    @classmethod
    def draw(cls, dice: random.Random, start: int, longest: float) -> Fault:
        return cls(start, dice.uniform(0.5, LATEST), dice.uniform(0.0, 3.0))

    def __str__(self) -> str:
        return f"out of sight after {self.at:.2f} s for {self.lasts:.1f} s, another is started"

    def happen(self, start: Start) -> None:
        launcher = start.process("launcher")
        if launcher is None:
            return
        with suppress(psutil.Error):
            launcher.suspend()
            start.note(self)
            try:
                start.start_another()
                start.is_alive_after(self.lasts)
            finally:
                launcher.resume()


@dataclass(frozen=True)
class ScratchFills(AtAMoment):
    """Other users fill the scratch disk for a while."""

    weight: ClassVar[float] = 1.5
    storage: ClassVar[str] = "small"
    lasts: float

    @classmethod
    def draw(cls, dice: random.Random, start: int, longest: float) -> Fault:
        return cls(start, dice.uniform(0.3, LATEST), dice.uniform(0.2, min(longest, 4.0)))

    def __str__(self) -> str:
        return f"scratch is full after {self.at:.2f} s for {self.lasts:.1f} s"

    def happen(self, start: Start) -> None:
        start.note(self)
        start.world.fill(start.world.scratch)
        start.is_alive_after(self.lasts)
        start.world.unfill(start.world.scratch)

    def mend(self, world: World) -> None:
        world.unfill(world.scratch)


@dataclass(frozen=True)
class ScratchVanishes(AtAMoment):
    """Somebody tidies up the scratch disk."""

    @classmethod
    def draw(cls, dice: random.Random, start: int, longest: float) -> Fault:
        return cls(start, dice.uniform(0.5, LATEST))

    def __str__(self) -> str:
        return f"scratch is removed after {self.at:.2f} s"

    def happen(self, start: Start) -> None:
        start.world.empty_scratch()
        start.note(self)


@dataclass(frozen=True)
class SharedFills(AtAMoment):
    """The shared disk is full, until somebody makes room."""

    weight: ClassVar[float] = 1.5
    storage: ClassVar[str] = "small"

    @classmethod
    def draw(cls, dice: random.Random, start: int, longest: float) -> Fault:
        return cls(start, dice.uniform(0.0, LATEST))

    def __str__(self) -> str:
        return f"the shared disk is full after {self.at:.2f} s"

    def happen(self, start: Start) -> None:
        start.note(self)
        start.world.fill(start.world.shared)

    def mend(self, world: World) -> None:
        world.unfill(world.shared)


@dataclass(frozen=True)
class SharedFails(AtAMoment):
    """Operations on the shared file system fail, also those of the workers."""

    weight: ClassVar[float] = 3.0
    storage: ClassVar[str] = "slow"
    operation: str
    probability: float
    error: str
    lasts: float

    @classmethod
    def draw(cls, dice: random.Random, start: int, longest: float) -> Fault:
        operation = dice.choice(
            ("*", "*", "open", "read", "write", "fsync", "rename", "create", "getattr", "flush",
             "readdir", "link")
        )  # fmt: skip
        error = dice.choice(("EIO", "ESTALE", "EACCES", "EDQUOT", "ENOSPC"))
        probability = dice.choice((0.01, 0.1, 1.0))
        lasts = dice.uniform(0.5, min(longest, 8.0))
        return cls(start, dice.uniform(0.0, LATEST), operation, probability, error, lasts)

    def __str__(self) -> str:
        what = "any operation" if self.operation == "*" else self.operation
        return (
            f"{self.error} of {what} on the shared file system ({self.probability:.0%})"
            f" after {self.at:.2f} s for {self.lasts:.1f} s"
        )

    def happen(self, start: Start) -> None:
        start.note(self)
        start.world.control(f"fail {self.operation}:{self.probability}:{self.error}")
        start.is_alive_after(self.lasts)
        start.world.control("clear")

    def mend(self, world: World) -> None:
        world.control("clear")


@dataclass(frozen=True)
class SharedHangs(AtAMoment):
    """The shared file system answers nobody for a while."""

    weight: ClassVar[float] = 1.0
    storage: ClassVar[str] = "slow"
    seconds: float

    @classmethod
    def draw(cls, dice: random.Random, start: int, longest: float) -> Fault:
        seconds = min(longest, dice.choice((2.0, 5.0, 60.0)))
        return cls(start, dice.uniform(0.0, LATEST), seconds)

    def __str__(self) -> str:
        return f"the shared file system hangs after {self.at:.2f} s for {self.seconds:.0f} s"

    def happen(self, start: Start) -> None:
        start.world.control(f"hang {self.seconds}")
        start.note(self)


@dataclass(frozen=True)
class JournalDamaged(AtAMoment):
    """The journals lose their end, or have garbage there, after the launcher was killed."""

    weight: ClassVar[float] = 2.0
    cut: float
    garbage: bytes

    @classmethod
    def draw(cls, dice: random.Random, start: int, longest: float) -> Fault:
        garbage = dice.choice((b"", b"\0" * 100, b'{"target": "P0", "state"', dice.randbytes(77)))
        return cls(start, dice.uniform(0.5, LATEST), dice.choice((0.0, dice.random())), garbage)

    def __str__(self) -> str:
        end = f" and {len(self.garbage)} bytes of garbage" if self.garbage else ""
        return f"killed after {self.at:.2f} s, the journals without {self.cut:.0%}{end}"

    def happen(self, start: Start) -> None:
        if start.kill_all():
            start.note(self)

    def mend(self, world: World) -> None:
        for path in world.journals():
            content = path.read_bytes()
            head = content.find(b"\n") + 1
            kept = max(head, round(len(content) * (1 - self.cut)))
            path.write_bytes(content[:kept] + self.garbage)


@dataclass(frozen=True)
class BundleDamaged(AtAMoment):
    """A part of the bundle holds other bytes, until it is put back."""

    weight: ClassVar[float] = 2.0
    where: float

    @classmethod
    def draw(cls, dice: random.Random, start: int, longest: float) -> Fault:
        return cls(start, dice.uniform(0.0, LATEST), dice.random())

    def fits(self, how: str, bundled: bool) -> bool:
        return bundled

    def __str__(self) -> str:
        return f"the bundle is damaged at {self.where:.0%} after {self.at:.2f} s"

    def happen(self, start: Start) -> None:
        start.note(self)
        bundle = start.world.bundle
        with bundle.open("r+b") as file:
            file.seek(round(self.where * (bundle.stat().st_size - PART_OF_A_FILE)))
            file.write(random.Random(self.where).randbytes(PART_OF_A_FILE))

    def mend(self, world: World) -> None:
        world.restore_bundle()


@dataclass(frozen=True)
class TemplateReplaced(AtAMoment):
    """A template's file is written anew, is away, or is garbage for a while."""

    weight: ClassVar[float] = 2.0
    which: float
    by: str

    @classmethod
    def draw(cls, dice: random.Random, start: int, longest: float) -> Fault:
        by = dice.choice(("itself", "nothing", "garbage"))
        return cls(start, dice.uniform(0.0, LATEST), dice.random(), by)

    def __str__(self) -> str:
        return f"a template is replaced by {self.by} after {self.at:.2f} s"

    def happen(self, start: Start) -> None:
        start.note(self)
        path = self._path(start.world)
        if self.by == "nothing":
            path.unlink(missing_ok=True)
        else:
            other = path.with_name(REPLACED)
            content = path.read_bytes() if self.by == "itself" else b"\0garbage\n" * 99
            other.write_bytes(content)
            os.replace(other, path)

    def mend(self, world: World) -> None:
        path = self._path(world)
        path.with_name(REPLACED).unlink(missing_ok=True)
        shutil.copy(world.pristine / path.name, path)

    def _path(self, world: World) -> Path:
        names = sorted({name for _, _, candidates in world.plan.targets for name in candidates})
        return world.data / "ECOD70" / f"{names[int(self.which * len(names))]}.pdb"


ALL: tuple[type[Fault], ...] = (
    Signal, DiesBetweenCalls, CallsFail, CallHangs, ClockJumps, NodeDies, TwoLaunchers,
    ScratchFills, ScratchVanishes, SharedFills, SharedFails, SharedHangs, JournalDamaged,
    BundleDamaged, TemplateReplaced,
)  # fmt: skip
