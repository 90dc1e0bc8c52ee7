"""What a run says at its end: a table for people, the same as JSON for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dpam_hpc.journal import FAILED, Record
from dpam_hpc.node.progress import Progress
from dpam_hpc.show.document import document

if TYPE_CHECKING:
    from rich.console import Console

ROWS_SHOWN = 40


def print_table(progress: Progress, console: Console) -> None:
    """A row a target (of many, those with failures first), then the totals."""
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    table.add_column("target", overflow="fold")
    for name in ("residues", "candidates", "hits", "failures", "lost", "seconds", "CPU s"):
        table.add_column(name, justify="right")
    rows = sorted(progress.rows, key=lambda row: (not _has_failures(row), row["target"]))
    for row in rows[:ROWS_SHOWN]:
        table.add_row(
            row["target"],
            str(row["residues"]),
            str(row["candidates"]),
            "failed" if row["state"] == FAILED else str(row["hits"]),
            str(row["failures"]),
            str(row["lost"]),
            f"{row['seconds']:.1f}",
            f"{sum(row['cpu'].values()):.1f}",
        )
    if rows:
        console.print(table)
    left_out = len(rows) - ROWS_SHOWN + progress.rows_left_out
    if left_out > 0:
        console.print(f"... and {left_out} more targets (--json, or the journal, has all)")
    console.print(totals(progress), highlight=False)
    for line in progress.failure_lines:
        console.print(f"failed: {line}", highlight=False, markup=False, soft_wrap=True)
    failed = progress.failures + progress.failed
    if failed > len(progress.failure_lines):
        console.print("... more of them in the *.failures.tsv files")


def totals(progress: Progress) -> str:
    """The run in one line."""
    cpu = sum(progress.cpu.values())
    parts = [
        f"{progress.done} targets done",
        f"{progress.hits} hits of {progress.pairs} pairs",
        f"{progress.seconds:.1f} s",
        f"{cpu:.1f} CPU s",
        f"workers busy {progress.busy_fraction:.0%}",
    ]
    if progress.skipped:
        parts.insert(1, f"{progress.skipped} finished before")
    if progress.failed or progress.failures:
        parts.insert(1, f"{progress.failed} targets and {progress.failures} templates failed")
    if progress.earlier_failures:
        parts.append(f"{progress.earlier_failures} with failures of an earlier run")
    if progress.lost:
        parts.append(f"{progress.lost} losses that upstream has too (in the *.failures.tsv files)")
    return ", ".join(parts)


def as_json(progress: Progress, interrupted: str) -> str:
    """The run for programs; documented in docs/json.md."""
    content: dict[str, Any] = {
        "targets": progress.targets,
        "done": progress.done,
        "failed": progress.failed,
        "skipped": progress.skipped,
        "earlier_failures": progress.earlier_failures,
        "pairs": progress.pairs,
        "hits": progress.hits,
        "failures": progress.failures,
        "lost": progress.lost,
        "seconds": round(progress.seconds, 3),
        "cpu_seconds": {step: round(s, 3) for step, s in sorted(progress.cpu.items())},
        "workers": progress.workers,
        "busy_fraction": round(progress.busy_fraction, 4),
        "interrupted": interrupted,
        "rows": sorted(progress.rows, key=lambda row: str(row["target"])),
        "rows_left_out": progress.rows_left_out,
    }
    return document(**content)


def _has_failures(row: Record) -> bool:
    return row["state"] == FAILED or bool(row["failures"])
