"""Where a chain of stages stands; a row a stage, or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dpam_hpc.node.failure_list import FILE_NAME
from dpam_hpc.pipeline.steps import numbers_of, stage_name
from dpam_hpc.run_dir import RunDir
from dpam_hpc.show import status
from dpam_hpc.show.status import RunStatus
from dpam_hpc.show.watch import REMARKS_SHOWN, Found, fitted, left, looked_at

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

LISTS_SHOWN = 5
COLUMNS = ("stage", "steps", "jobs", "tasks", "done", "failed", "held back", "left")
TO_THE_LEFT = ("steps", "jobs")


class Chain:
    """The stages of a chain, to ``watch``; ``runs`` are their folders, in order."""

    def __init__(self, runs: Sequence[RunDir]) -> None:
        self._runs = runs

    def one_line(self, found: Found) -> str:
        """Where the first stage stands that is at work."""
        working = next((each for each in found if each.left and each.queued), found[-1])
        return f"stage {found.index(working) + 1} of {len(found)}: {status.one_line(working)}"

    def remarks(self, found: Found) -> list[str]:
        """What went wrong."""
        lines = []
        if left(found) and not found[0].problem and not any(each.queued for each in found):
            lines.append("no job of it is known to be queued: dpam-hpc resume goes on")
        for run, each in zip(self._runs, found, strict=True):
            lines += [f"stage {run.place}: {line}" for line in status.reasons(each.tasks)]
        lists = failure_lists(self._runs)
        lines += [f"what failed, and how to repeat it: {path}" for path in lists[:LISTS_SHOWN]]
        if len(lists) > LISTS_SHOWN:
            lines.append(f"... and {len(lists) - LISTS_SHOWN} more such lists")
        return lines

    def table(self, found: Found) -> RenderableType:
        """A row a stage, then what went wrong."""
        from rich.text import Text

        lines = [*self._rows(found), *((line, "") for line in self.remarks(found))]
        return Text("\n").join(Text(line, style) for line, style in lines)

    def screen(
        self, found: Found, looked: float, again: float | None, width: int, height: int
    ) -> Text:
        """As much as fits."""
        problem = [found[0].problem] if found[0].problem else []
        foot = [*(problem + self.remarks(found))[:REMARKS_SHOWN], looked_at(looked, again)]
        return fitted([*self._rows(found), *((line, "") for line in foot)], width, height)

    def content(self, found: Found) -> dict[str, Any]:
        """The same for programs; docs/schemas/chain-status.schema.json describes it."""
        stages = [
            {
                "stage": stage_name(run.plan().stage), "steps": list(numbers_of(run.plan().stage)),
                "held": _held(each), **status.content(each),
            }
            for run, each in zip(self._runs, found, strict=True)
        ]  # fmt: skip
        return {
            "run": self._runs[0].chain,
            "platform": found[0].platform,
            "cancelled": found[0].cancelled,
            "queued": sum(each.queued for each in found),
            "done": found[-1].done,
            "failed": sum(each.failed for each in found),
            "left": left(found),
            "failure_lists": failure_lists(self._runs),
            "stages": stages,
        }

    def _rows(self, found: Found) -> list[tuple[str, str]]:
        """Lines, with their styles, of what chain it is and of its stages."""
        rows = [COLUMNS]
        for run, each in zip(self._runs, found, strict=True):
            states = ", ".join(f"{count} {state}" for state, count in sorted(each.jobs.items()))
            rows.append(
                (
                    str(run.place), stage_name(run.plan().stage), states or "not submitted",
                    str(len(each.tasks)), str(each.done), str(each.failed), str(_held(each)),
                    str(each.left),
                )
            )  # fmt: skip
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if name in TO_THE_LEFT else cell.rjust(width)
                for name, cell, width in zip(COLUMNS, row, widths, strict=True)
            )
            for row in rows
        ]
        head = f"run {self._runs[0].chain} on {found[0].platform}, {len(found)} stages"
        head += ", cancelled" if found[0].cancelled else ""
        return [(head, ""), (lines[0], "bold"), *((line, "") for line in lines[1:])]


def failure_lists(runs: Sequence[RunDir]) -> list[str]:
    """The lists of failures that stages have left."""
    return [
        str(path)
        for run in runs
        for number in run.started()
        if (path := run.task_folder(number) / FILE_NAME).exists()
    ]


def _held(each: RunStatus) -> int:
    return sum(task.held for task in each.tasks)
