"""What ``submit`` tells of a plan: a table for people, the same as JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dpam_hpc.clock import clock
from dpam_hpc.show.document import document
from dpam_hpc.submit.shape import STARTUP

if TYPE_CHECKING:
    from dpam_hpc.submit.prepared import Prepared

PROBLEMS_SHOWN = 5


def print_plan(prepared: Prepared) -> None:
    """The plan as people read it."""
    from rich.console import Console
    from rich.table import Table

    shape, found = prepared.shape, prepared.found
    loads = [sum(seconds for _, seconds in part) for part in prepared.parts]
    where = f", partition {prepared.settings.partition}" if prepared.settings.partition else ""
    before = f" ({prepared.done_before} more are done or failed)" if prepared.done_before else ""
    jobs = len(prepared.jobs())
    kind = f"nodes of {jobs} job{'s' if jobs > 1 else ''}" if prepared.multi_node else "tasks"
    pairs = "" if prepared.stage else f", {found.pairs} pairs"
    rows = [
        ("targets", f"{len(found.costs)}{before}{pairs}"),
        ("work", f"{_hours(sum(loads))} of CPU time predicted"),
        ("jobs", f"{shape.tasks} {kind}, {shape.at_once} at a time{where}"),
        ("a task", f"{_clock(max(loads) / prepared.cpus)} on {prepared.cpus} processors predicted"),
        ("spread", f"{_spread(loads):.1%} between the largest and the smallest task"),
        ("time limit", clock(shape.time_limit)),
    ]
    if prepared.stage:
        stage = prepared.stage
        most = f"{stage.at_once} at a time" if stage.at_once else "as many at a time as fit"
        rows.append(("a target", f"{stage.cpus} processors, {stage.memory_mb} MB; {most}"))
    if prepared.image:
        image = prepared.image
        size = f"{image.bytes / 1e6:,.0f} MB"
        rows.append(
            ("image", f"{image.path}, {image.architecture}, {size}, SHA-256 {image.short}...")
        )
    if shape.starts > 1:
        rows.append(("requeues", f"each task is expected to need {shape.starts} starts"))
    table = Table(box=None, show_header=False)
    for row in rows:
        table.add_row(*row)
    console = Console(markup=False)  # paths may hold brackets
    console.print(table, highlight=False)
    for remark in prepared.remarks:
        console.print(f"note: {remark}", highlight=False, markup=False, soft_wrap=True)
    for target, problem in found.problems[:PROBLEMS_SHOWN]:
        console.print(f"will fail: {target}: {problem}", highlight=False, markup=False)
    if len(found.problems) > PROBLEMS_SHOWN:
        console.print(f"... {len(found.problems)} targets in all have such problems")


def as_json(
    prepared: Prepared, run: str, jobs: Sequence[str], scripts: Mapping[str, str] | None = None
) -> str:
    """The plan for programs; documented in docs/json.md."""
    return document(**content(prepared, run, jobs, scripts))


def content(
    prepared: Prepared, run: str, jobs: Sequence[str], scripts: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The same as values."""
    loads = [sum(seconds for _, seconds in part) for part in prepared.parts]
    found: dict[str, Any] = {
        "run": run,
        "jobs": list(jobs),
        "state": "submitted" if jobs else "planned",
        "platform": prepared.platform.name,
        "targets": len(prepared.found.costs),
        "done_before": prepared.done_before,
        "pairs": prepared.found.pairs,
        "cpu_seconds": round(sum(loads), 1),
        "cpus": prepared.cpus,
        "tasks": [
            {"targets": len(part), "cpu_seconds": round(load, 1)}
            for part, load in zip(prepared.parts, loads, strict=True)
        ],
        "at_once": prepared.shape.at_once,
        "time_limit": prepared.shape.time_limit,
        "image": prepared.image and {**asdict(prepared.image), "path": str(prepared.image.path)},
        "remarks": prepared.remarks,
        "problems": [list(problem) for problem in prepared.found.problems],
    }
    if scripts is not None:
        found["scripts"] = dict(scripts)
    return found


def _spread(loads: list[float]) -> float:
    return (max(loads) - min(loads)) / max(loads) if max(loads) else 0.0


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} hours" if seconds >= 3600 else f"{seconds:.0f} seconds"


def _clock(seconds: float) -> str:
    return clock(round(seconds + STARTUP))
