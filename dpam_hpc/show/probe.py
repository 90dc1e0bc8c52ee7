"""A probe for people: what was measured, and in plain words what it means for a run."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dpam_hpc.node.scratch import gb
from dpam_hpc.printable import printable
from dpam_hpc.probe import meaning
from dpam_hpc.probe.keeping import Probe
from dpam_hpc.probe.meaning import TYPICAL, TYPICAL_QUERY, Work
from dpam_hpc.probe.measuring import Latency, Measured
from dpam_hpc.settings import SubmitSettings
from dpam_hpc.submit.survey import Templates, survey
from dpam_hpc.target import WorkFolder

KINDS = ("create", "mkdir", "read", "stat")
SAMPLE = 20
"""Targets that are looked at for the run's typical protein."""
GENERAL = f"what it means: a protein of {TYPICAL_QUERY} residues, {TYPICAL.pairs:.0f} candidates"


def work_of(settings: SubmitSettings) -> tuple[Work, str]:
    """The typical protein of a working folder's targets, and in words what it is; OSError."""
    if not settings.work_dir.is_dir():
        return TYPICAL, GENERAL
    folder = WorkFolder.at(settings.work_dir)
    targets = sorted(folder.targets())
    if not targets:
        return TYPICAL, GENERAL
    some = random.Random(1).sample(targets, min(SAMPLE, len(targets)))
    data = settings.data_dir or settings.work_dir
    has_data = settings.templates is None and (data / "ECOD70").is_dir()
    found = survey(folder, some, Templates(data if has_data else None, settings.templates))
    seconds = sum(cost for _, cost in found.costs)
    if not found.pairs or not seconds:
        return TYPICAL, GENERAL
    candidates = f"{found.pairs / len(some):.0f} candidates on average"
    told = f"what it means: a protein of this folder ({candidates})"
    return Work(found.pairs / len(some), seconds / found.pairs), told


def predictions(probe: Probe, work: Work) -> list[tuple[Measured, float]]:
    """Seconds of a protein by the place of the scratch: each candidate, then the working folder."""
    usable = [p for p in probe.places if p.latency and p.role in ("scratch", "work")]
    return [
        (place, meaning.seconds_a_protein(work, place, probe.cpus, probe.workers))
        for place in _once(usable)
    ]


def show(probe: Probe, work: Work, told: str, candidates: Sequence[str], console: Console) -> None:
    """Print it, for 80 columns and more."""
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime(probe.at))
    job = f", job {probe.job}" if probe.job else ""
    _say(console, f"{probe.host}{job}, {at}; platform {probe.platform}")
    places = [place for place in _once(probe.places) if place.latency]
    _say(console, "\nmilliseconds an operation: median / 95 of 100 stay under")
    table = _table("", *KINDS)
    for place in places:
        table.add_row(_label(place), *(_pair(place.latency.get(kind)) for kind in KINDS))
    console.print(table)
    _say(console, "\na large file, and 64 processes at once with small ones")
    table = _table("", "type", "free", "write MB/s", "read MB/s", "at once", "ms")
    for place in places:
        large = (f"{x:,.0f}" if x else "-" for x in (place.write_mb_s, place.read_mb_s))
        table.add_row(
            _label(place), place.filesystem, gb(place.free_bytes), *large, *_many(place)
        )  # fmt: skip
    console.print(table)
    for place in probe.places:
        if place.problem and place.path:
            _say(console, f"not measured: {place.name}: {place.path} {place.problem}")
    _show_meaning(probe, work, told, candidates, console)


def _show_meaning(
    probe: Probe, work: Work, told: str, candidates: Sequence[str], console: Console
) -> None:
    cpus = f"{probe.cpus} processor{'s' if probe.cpus > 1 else ''}"
    _say(console, f"\n{told}\ntakes, on {cpus} with {probe.workers} workers, with scratch in")
    for place, seconds in predictions(probe, work):
        name = "the working folder (none will do)" if place.role == "work" else place.path
        waits = meaning.waits(place) * work.pairs / probe.workers
        _say(console, f"  {seconds:8.1f} s  {name}; each worker waits {waits:,.1f} s for it")
    order = meaning.order(candidates, probe, work)
    if any(probe.place(name) for name in order.candidates):
        _say(console, f"scratch is tried in this order: {', '.join(order.candidates)}")
    else:
        _say(console, "no scratch was measured: a run would work in the working folder")
    for remark in order.remarks:
        _say(console, remark)


def _say(console: Console, text: str) -> None:
    """Lines of which no name can make others."""
    console.print(Text(printable(text, " ", kept="\n")))


def _label(place: Measured) -> Text:
    names = {"work": "working folder", "data": "ECOD70"}
    return Text(names.get(place.role, place.path))


def _once(places: Sequence[Measured]) -> list[Measured]:
    """Each place once, though two candidates may lead to it."""
    return list({(p.role, p.path): p for p in reversed(places)}.values())[::-1]


def _pair(found: Latency | None) -> str:
    return f"{_short(found.median)} / {_short(found.p95)}" if found else "-"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _many(place: Measured) -> tuple[str, str]:
    if place.at_once is None:
        return "-", "-"
    rate = f"{place.at_once.operations_a_second:,.0f}/s"
    return rate, _short(place.at_once.latency.median)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    return table
