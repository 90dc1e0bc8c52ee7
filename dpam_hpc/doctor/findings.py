"""What the doctor found: a row a check, and all of them as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from functools import cache
from typing import Annotated

from pydantic import Field, TypeAdapter

from dpam_hpc import __version__

SCHEMA = 1


class Level(str, Enum):
    """How it stands: nothing to do, better to do something, a run would fail or be wrong."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Row:
    """A check: what was found, and the one thing to do where that is not as it should be."""

    check: str
    level: Level
    found: str
    remedy: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        if self.level is not Level.OK and not self.remedy:
            raise ValueError(f"{self.check}: a {self.level.value} without a remedy")


def ok(check: str, found: str) -> Row:
    """Nothing to do."""
    return Row(check, Level.OK, found)


def warning(check: str, found: str, remedy: str) -> Row:
    """A run goes on, slower or with a risk."""
    return Row(check, Level.WARNING, found, remedy)


def problem(check: str, found: str, remedy: str) -> Row:
    """A run would fail, or be wrong."""
    return Row(check, Level.PROBLEM, found, remedy)


def grouped(group: str, rows: Iterable[Row]) -> list[Row]:
    """The rows under a heading."""
    return [replace(row, group=group) for row in rows]


@dataclass(frozen=True)
class Findings:
    """All rows, of one machine; ``job``: the scheduler's, where a node was asked by one."""

    platform: str
    reason: str
    host: str
    rows: list[Row]
    job: str = ""
    at: Annotated[float, Field(ge=0, le=1e11)] = field(default_factory=time.time)
    version: str = __version__
    schema: int = SCHEMA

    @property
    def worst(self) -> Level:
        """The level of the worst row."""
        return worst(self.rows)

    def as_json(self) -> str:
        """For programs; docs/schemas/doctor.schema.json."""
        content = asdict(self)
        counts = {level.value: sum(r.level is level for r in self.rows) for level in Level}
        return json.dumps({**content, "worst": self.worst, "counts": counts}, indent=1)


def worst(rows: Sequence[Row]) -> Level:
    """The worst level of some rows."""
    order = list(Level)
    return max((row.level for row in rows), key=order.index, default=Level.OK)


def from_json(text: bytes) -> Findings:
    """What ``as_json`` wrote; ValueError."""
    findings = _adapter().validate_json(text)
    if findings.schema != SCHEMA:
        raise ValueError(f"schema {findings.schema}, not {SCHEMA}")
    return findings


@cache
def _adapter() -> TypeAdapter[Findings]:
    return TypeAdapter(Findings)
