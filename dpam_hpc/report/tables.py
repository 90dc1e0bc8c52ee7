"""The tables of a run's page, as rows of cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dpam_hpc.align.coverage import LEVELS
from dpam_hpc.report import formats, values
from dpam_hpc.report.facts import (
    BROKEN,
    DIED,
    DONE,
    FAILED,
    INTERRUPTED,
    Facts,
    Start,
    Target,
)
from dpam_hpc.report.reckoning import Reckoning

ROWS_SHOWN = 200
"""Of a table of tasks, starts or failed targets."""
SLOWEST = 20
MARKS = {BROKEN: "bad", DIED: "bad", FAILED: "bad", INTERRUPTED: "warn"}


@dataclass(frozen=True)
class Cell:
    """What is shown; ``sort``: what it is sorted by, where that is another."""

    text: str
    sort: float | None = None
    mark: str = ""
    is_code: bool = False
    target: Target | None = None


@dataclass(frozen=True)
class Column:
    """Its head, and whether it holds numbers."""

    name: str
    is_number: bool = False


@dataclass(frozen=True)
class Table:
    """A table; without rows it is left out."""

    name: str
    columns: list[Column]
    rows: list[list[Cell]]


def table_of(name: str, heads: str, rows: Iterable[Sequence[Cell | str]]) -> Table:
    """``heads``: names by ``|``, those of numbers begin with ``#``."""
    columns = [Column(head.lstrip("#"), head.startswith("#")) for head in heads.split("|")]
    cells = [[Cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    return Table(name, columns, cells)


def _time(seconds: float) -> Cell:
    return Cell(formats.duration(seconds) if seconds else "-", round(seconds, 1))


def _count(number: float) -> Cell:
    return Cell(formats.count(number), number)


def _hours(seconds: float) -> Cell:
    return Cell(formats.hours(seconds), round(seconds, 1))


def _part(part: float, of: float) -> Cell:
    return Cell(formats.percent(part, of), round(part / of, 4) if of else -1)


def _moment(seconds: float) -> Cell:
    return Cell(formats.moment(seconds), round(seconds, 1))


def failures(facts: Facts) -> Table:
    """Failures by reason."""
    rows = [
        (
            Cell("whole target" if f.whole else "template"), f.reason, _count(f.count),
            ", ".join(f.examples) + (" ..." if f.count > len(f.examples) else ""), f.advice,
        )
        for f in facts.failures
    ]  # fmt: skip
    return table_of(
        "Failures by reason", "what failed|reason|#how many|for example|what to do", rows
    )


def failed(facts: Facts) -> Table:
    """Targets that failed."""
    found = [target for target in facts.targets if target.state == FAILED]
    name = "Targets that failed"
    if len(found) > ROWS_SHOWN:
        name += f": the first {ROWS_SHOWN} of {len(found):,}"
    return table_of(name, "target|reason|#task",
                  [(t.id, t.reason, _count(t.task)) for t in found[:ROWS_SHOWN]])  # fmt: skip


def starts(facts: Facts) -> Table:
    """Starts of launchers; of many those that were interrupted first."""
    found = [start for start in facts.starts if start.began]
    name = "Starts of launchers"
    if len(found) > ROWS_SHOWN:
        name += f": {ROWS_SHOWN} of {len(found):,}, those that were interrupted first"
        found.sort(key=lambda start: (start.how not in MARKS, start.began))
    rows = [_start(start) for start in found[:ROWS_SHOWN]]
    heads = "#task|node|#began|#lasted|how it ended|#targets|#CPU of reserved|#lost, core hours"
    return table_of(name, heads, rows)


def _start(start: Start) -> tuple[Cell | str, ...]:
    lost = start.at_most_lost if start.how in MARKS else 0.0
    bound = "at most " if start.how == DIED and lost else ""
    reason = f": {start.reason}" if start.reason else ""
    return (
        Cell(str(start.task), start.task),
        start.node,
        _moment(start.began),
        _time(start.wall),
        Cell(f"{start.how}{reason}", mark=MARKS.get(start.how, "")),
        _count(start.done + start.failed),
        _part(start.cpu, start.reserved),
        Cell(bound + formats.hours(lost) if lost else "-", round(lost, 1)),
    )


def tasks(facts: Facts) -> Table:
    """Tasks: waiting, working, predicted and measured."""
    if not facts.run:
        return Table("", [], [])
    done: dict[int, int] = {}
    for target in facts.targets:
        done[target.task] = done.get(target.task, 0) + (target.state in (DONE, FAILED))
    rows = []
    for task in facts.tasks[:ROWS_SHOWN]:
        used = sum(start.cpu for start in task.starts)
        rows.append((
            Cell(str(task.number), task.number), _count(task.targets),
            _count(task.targets - done.get(task.number, 0)), _count(len(task.starts)),
            _time(sum(end - begin for begin, end in task.waits)),
            _time(sum(start.wall for start in task.starts)),
            _hours(task.predicted), _hours(used),
        ))  # fmt: skip
    name = "Tasks"
    if len(facts.tasks) > ROWS_SHOWN:
        name += f": the first {ROWS_SHOWN} of {len(facts.tasks):,}"
    heads = "#task|#targets|#left|#starts|#waited|#worked|#CPU h predicted|#CPU h used"
    return table_of(name, heads, rows)


def cost(sums: Reckoning) -> Table:
    """Where the reserved core hours went."""
    if not sums.reserved:
        return Table("", [], [])
    at_most = " (at most: some starts were killed)" if sums.lost_is_bound else ""
    rows = [
        ("CPU time of targets that were finished", sums.useful),
        (f"lost to interruptions{at_most}", sums.lost),
        ("starting: lease, scratch, bundle, the known answer", sums.starting),
        ("the rest: workers' own time, waiting for files, idle at the end", sums.rest),
        ("reserved", sums.reserved),
    ]
    cells = [(name, _hours(seconds), _part(seconds, sums.reserved)) for name, seconds in rows]
    return table_of(
        "Core hours reserved, and where they went", "what became of them|#core hours|#part", cells
    )


def storage(facts: Facts, sums: Reckoning) -> Table:
    """Operations and bytes of the shared file system; scratch of each node."""
    rows: list[Sequence[Cell | str]] = []
    if sums.asked:
        total = sum(sums.asked.values())
        kinds = ", ".join(f"{n:,.0f} {kind}" for kind, n in sorted(sums.asked.items()))
        each = f", {total / sums.asked_by:.1f} a target" if sums.asked_by else ""
        rows += [
            ("shared: operations", f"{total:,.0f}{each}: {kinds}"),
            ("shared: bytes", f"{formats.size(sums.read_bytes)} read, "
             f"{formats.size(sums.written_bytes)} written, "
             f"{formats.size(sums.bundle_bytes)} of the bundle copied to nodes"),
        ]  # fmt: skip
    seen: dict[str, Start] = {}
    for start in facts.starts:
        if start.scratch and start.node not in seen:
            seen[start.node] = start
    for node, start in list(seen.items())[:ROWS_SHOWN]:
        scratch = start.scratch
        free = values.number(scratch, "free_bytes")
        least = f", at least {formats.size(start.least_free_bytes)} free" * bool(
            start.least_free_bytes
        )
        slow = "; the fallback, which is slow" if scratch.get("fallback") else ""
        rows.append(
            (
                f"scratch of {node}",
                f"{scratch.get('path')} ({scratch.get('type')}), {formats.size(free)} free at the"
                f" start{least}{slow}",
            )
        )
    return table_of("Files", "what|how much", rows)


def slowest(facts: Facts) -> Table:
    """The targets with most CPU time."""
    found = sorted((t for t in facts.targets if t.cpu), key=lambda t: -t.cpu)[:SLOWEST]
    rows = [
        (
            t.id, _count(t.residues), _count(t.candidates), _count(t.hits),
            Cell(formats.decimal(t.best), t.best), Cell("", t.covered_part, target=t),
            _time(t.cpu), Cell(f"{t.cpu / t.predicted:.2f}" if t.predicted else "-"),
        )
        for t in found
    ]  # fmt: skip
    heads = f"target|#residues|#candidates|#hits|#best {facts.score_name}|covered|#CPU time"
    return table_of("Targets with most CPU time", f"{heads}|#measured of predicted", rows)


def made_with(facts: Facts) -> Table:
    """Versions and checksums."""
    rows: list[Sequence[Cell | str]] = []
    if facts.image:
        image = facts.image
        told = f"{image['path']}, {image['architecture']}, {formats.size(image['bytes'])}"
        rows += [("image", told), ("image SHA-256", Cell(image["sha256"], is_code=True))]
    for number, noted in enumerate(facts.made_with, 1):
        of = f" ({number})" if len(facts.made_with) > 1 else ""
        rows += [
            (f"dpam-hpc{of}", f"{noted['version']}, Python {noted['python']}, {noted['system']}"),
            (f"aligner{of}", str(noted["aligner"])),
            (f"import fingerprint{of}", Cell(str(noted["fingerprint"]), is_code=True)),
        ]
        rows += [(f"{name}{of}", Cell(value, is_code=True))
                 for name, value in noted["programs"].items()]  # fmt: skip
        bundle = noted["bundle"]
        if bundle:
            rows.append((f"bundle{of}", f"{bundle['path']}, {formats.size(bundle['bytes'])}"))
        if bundle.get("sha256"):
            rows.append((f"bundle SHA-256{of}", Cell(bundle["sha256"], is_code=True)))
    return table_of("Versions and checksums", "what|which", rows)


def settings(facts: Facts) -> Table:
    """Settings and where each came from."""
    rows = [(name, value, source or "not noted") for name, value, source in facts.settings]
    return table_of("Settings", "setting|value|from", rows)


def all_targets(facts: Facts, most_bytes: int) -> tuple[str, int]:
    """A head and a line a target, by tabs, as far as they fit; how many are left out."""
    columns = ["target", "state", "residues", "candidates", "hits", f"best {facts.score_name}",
               "% covered", "CPU s", "cover"]  # fmt: skip
    lines = ["\t".join(columns)]
    size = len(lines[0])
    for target in facts.targets:
        part = target.covered_part
        cells = (
            target.id,
            "" if target.state == DONE else target.state,
            str(target.residues or ""),
            str(target.candidates or ""),
            str(target.hits) if target.state == DONE and target.is_noted else "",
            "" if target.best is None else f"{target.best:g}",
            "" if part is None else f"{100 * part:.0f}",
            f"{target.cpu:.0f}" if target.cpu else "",
            "".join(c if c in LEVELS else LEVELS[0] for c in target.cover),
        )
        line = "\t".join(cells).rstrip("\t")
        size += len(line.encode()) + 1
        if size > most_bytes:
            break
        lines.append(line)
    return "\n".join(lines) + "\n", len(facts.targets) - len(lines) + 1
