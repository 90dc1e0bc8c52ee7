"""The figures of a run's report, each an SVG that takes the page's colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dpam_hpc.report import formats, svg
from dpam_hpc.report.facts import BROKEN, DIED, DONE, FINISHED, INTERRUPTED, RUNNING
from dpam_hpc.report.svg import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from dpam_hpc.report.facts import Facts

WIDTH = 9.0
HALF = 4.5
ROWS = 40
"""Nodes, or tasks, with a row each; of more only how many were at work."""
BINS = 60
FEW = 10
"""Targets under which there is no rate to speak of."""
CELLS = 24
"""Of a two-dimensional histogram, each way."""
OF_END = {FINISHED: "done", RUNNING: "more", INTERRUPTED: "warn", DIED: "bad", BROKEN: "bad"}
UNITS = ((2 * 86400.0, 86400.0, "days"), (2 * 3600.0, 3600.0, "hours"), (120.0, 60.0, "minutes"))


@dataclass(frozen=True)
class Shown:
    """A figure in a page: its title, what it shows in words, and the picture."""

    name: str
    title: str
    words: str
    picture: str
    is_wide: bool


def figures(facts: Facts) -> list[Shown]:
    """All figures for which there is something to show."""
    import matplotlib as mpl

    with mpl.rc_context(svg.STYLE):
        made = [
            make(facts) for make in (_time_line, _throughput, _cpu, _predicted, _scores, _cover)
        ]
    return [shown for shown in made if shown is not None]


def unit_of(seconds: float) -> tuple[float, str]:
    """The unit in which so long a time is read best."""
    for least, unit, name in UNITS:
        if seconds >= least:
            return unit, name
    return 1.0, "seconds"


def new(width: float, height: float, rows: int = 1, ratios: Sequence[float] = ()) -> Any:
    """A figure without a window, and its axes one under the other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    options = {"height_ratios": list(ratios)} if ratios else {}
    return figure, figure.subplots(rows, 1, sharex=rows > 1, gridspec_kw=options)


def shown(figure: Figure, name: str, title: str, words: str, is_wide: bool = True) -> Shown:
    """The figure for a page."""
    return Shown(name, title, words, svg.of_page(figure, name, f"{title}. {words}"), is_wide)


# -- time -----------------------------------------------------------------------------------------


def _time_line(facts: Facts) -> Shown | None:
    """Nodes, and tasks with their waiting, over time."""
    starts = [start for start in facts.starts if start.began]
    if not starts:
        return None
    waits = [(task.number, *wait) for task in facts.tasks for wait in task.waits]
    origin = min([start.began for start in starts] + [begin for _, begin, _ in waits])
    unit, unit_name = unit_of(facts.ended - origin)
    nodes = sorted({start.node for start in starts}, key=_natural)
    tasks = [task.number for task in facts.tasks if task.starts or task.submitted]
    heights = [max(0.9, 0.24 * min(n, ROWS) + 0.3) if n <= ROWS else 1.6 for n in
               (len(nodes), len(tasks))]  # fmt: skip
    single = not facts.run
    figure, axes = new(
        WIDTH, (heights[0] if single else sum(heights)) + 0.8, 1 if single else 2,
        () if single else heights,
    )  # fmt: skip
    upper, lower = (axes, None) if single else axes

    def at(seconds: float) -> float:
        return (seconds - origin) / unit

    place = {node: n for n, node in enumerate(nodes)}
    if len(nodes) <= ROWS:
        _bars(upper, [(place[s.node], at(s.began), at(s.ended), OF_END[s.how]) for s in starts])
        _rows(upper, nodes)
    else:
        _at_work(upper, [(at(s.began), at(s.ended)) for s in starts], "done", "nodes at work")
    upper.set_title("nodes")
    if lower is not None:
        row = {number: n for n, number in enumerate(tasks)}
        if len(tasks) <= ROWS:
            bars = [(row[n], at(b), at(e), "wait") for n, b, e in waits if n in row]
            bars += [(row[s.task], at(s.began), at(s.ended), OF_END[s.how]) for s in starts]
            _bars(lower, bars)
            _rows(lower, [str(number) for number in tasks])
        else:
            _at_work(lower, [(at(b), at(e)) for _, b, e in waits], "wait", "tasks that wait")
        lower.set_title("tasks")
    last = lower or upper
    last.set_xlabel(
        f"{unit_name} since the {'first job was submitted' if waits else 'first start'}"
    )
    last.set_xlim(0, max(at(facts.ended), 1e-3))
    ends = {OF_END[start.how] for start in starts} | ({"wait"} if waits else set())
    _key(figure, [colour for colour in KEYS if colour in ends])
    of_tasks = f" of {formats.many(len(tasks), 'task')}" if facts.run else ""
    words = f"{formats.many(len(starts), 'start')}{of_tasks} on {formats.many(len(nodes), 'node')}"
    return shown(figure, "timeline", "Time line", words)


KEYS = {
    "done": "worked to the end", "more": "at work", "warn": "interrupted in order",
    "bad": "killed, or failed", "wait": "waiting in the queue",
}  # fmt: skip


HATCHED = {"bad": "////"}
"""Not by colour alone."""


def _bars(axes: Axes, bars: Sequence[tuple[int, float, float, str]]) -> None:
    for row, begin, end, colour in bars:
        axes.barh(
            row, max(end - begin, 1e-4), left=begin, height=0.62, color=COLOURS[colour],
            edgecolor=COLOURS["paper"], linewidth=0.8, hatch=HATCHED.get(colour),
        )  # fmt: skip


def _rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [_short(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _at_work(axes: Axes, spans: Sequence[tuple[float, float]], colour: str, label: str) -> None:
    """How many at a time."""
    steps = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    times, counts = [0.0], [0]
    for time, change in steps:
        times.append(time)
        counts.append(counts[-1] + change)
    axes.fill_between(times, counts, step="post", color=COLOURS[colour], linewidth=0)
    axes.set_ylabel(label)


def _key(figure: Figure, colours: Sequence[str]) -> None:
    from matplotlib.patches import Patch

    patches = [
        Patch(facecolor=COLOURS[colour], edgecolor=COLOURS["paper"], linewidth=0.8,
              hatch=HATCHED.get(colour), label=KEYS[colour])
        for colour in colours
    ]  # fmt: skip
    figure.legend(handles=patches, loc="outside upper right", ncols=len(patches))


def _throughput(facts: Facts) -> Shown | None:
    """Pairs by the time at which their target ended, and targets in all."""
    ended = sorted((target.at, target.candidates) for target in facts.targets if target.at)
    if len(ended) < FEW or ended[-1][0] - ended[0][0] < 1:
        return None
    origin = min(facts.began or ended[0][0], ended[0][0])
    lasted = ended[-1][0] - origin
    unit, name = unit_of(lasted)
    bins = min(BINS, max(5, len(ended) // 4))
    figure, axes = new(WIDTH, 2.5)
    times = [(at - origin) / unit for at, _ in ended]
    rates = [pairs * bins / lasted for _, pairs in ended]
    axes.hist(times, bins=bins, range=(0, times[-1]), weights=rates, color=COLOURS["done"],
              rwidth=0.9)  # fmt: skip
    axes.set_ylabel("pairs a second (bars)")
    axes.set_xlabel(f"{name} since the first start")
    axes.set_xlim(0, times[-1])
    _plain_numbers(axes.yaxis)
    whole = axes.twinx()
    places = [*range(0, len(times), max(1, len(times) // 200)), len(times) - 1]
    drawn = [times[n] for n in places], [n + 1 for n in places]
    whole.plot(*drawn, color=COLOURS["more"], linewidth=1.6)
    whole.set_ylim(0, len(times) * 1.05)
    whole.set_ylabel("targets that ended (line)")
    whole.spines["right"].set_visible(True)
    whole.grid(visible=False)
    _plain_numbers(whole.yaxis)
    rate = sum(pairs for _, pairs in ended) / lasted
    words = f"{len(ended):,} targets and {rate:,.1f} pairs a second, {lasted / 3600:,.2f} hours"
    return shown(figure, "throughput", "Throughput", words)


# -- cost -----------------------------------------------------------------------------------------


def _cpu(facts: Facts) -> Shown | None:
    """CPU time by program or step."""
    steps = sorted(facts.steps.items(), key=lambda step: step[1])
    total = sum(seconds for _, seconds in steps)
    if not total:
        return None
    figure, axes = new(HALF, 0.7 + 0.24 * len(steps))
    bars = axes.barh([_short(n) for n, _ in steps], [100 * s / total for _, s in steps],
                     color=COLOURS["done"], height=0.65)  # fmt: skip
    axes.bar_label(bars, [f"{100 * s / total:.1f} %" for _, s in steps], padding=3)
    axes.set_xlabel("% of CPU time")
    axes.set_xlim(0, 118 * steps[-1][1] / total)
    axes.grid(visible=False, axis="y")
    words = f"{steps[-1][0]} has most, {steps[-1][1] / total:.0%} of {total / 3600:,.1f} CPU hours"
    return shown(figure, "cpu", "Where the CPU time went", words, is_wide=False)


def _predicted(facts: Facts) -> Shown | None:
    """Predicted and measured CPU seconds of each target, as a two-dimensional histogram."""
    pairs = [(t.predicted, t.cpu) for t in facts.targets if t.predicted > 0 and t.cpu > 0]
    if not pairs:
        return None
    logs = [(math.log10(p), math.log10(c)) for p, c in pairs]
    low = math.floor(min(min(pair) for pair in logs) * 2) / 2
    high = math.ceil(max(max(pair) for pair in logs) * 2) / 2 + (1e-9)
    size = (high - low) / CELLS
    cells: dict[tuple[int, int], int] = {}
    for p, c in logs:
        cell = int((p - low) / size), int((c - low) / size)
        cells[cell] = cells.get(cell, 0) + 1
    most = max(cells.values())
    figure, axes = new(HALF, 3.3)
    for (x, y), count in cells.items():
        axes.fill(*_square(10 ** (low + x * size), 10 ** (low + y * size), 10**size),
                  color=COLOURS["done"], linewidth=0,
                  alpha=round(0.18 + 0.82 * math.log1p(count) / math.log1p(most), 2))  # fmt: skip
    ends = [10**low, 10**high]
    axes.plot(ends, ends, color=COLOURS["ink"], linewidth=0.8, linestyle="--")
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    _plain_numbers(axes.xaxis)
    _plain_numbers(axes.yaxis)
    axes.set_xlabel("predicted CPU seconds of a target")
    axes.set_ylabel("measured")
    ratio = sum(c for _, c in pairs) / sum(p for p, _ in pairs)
    words = (
        f"in all {ratio:.2f} times the prediction, {len(pairs):,} targets; on the line both agree"
    )
    return shown(figure, "predicted", "Predicted and measured", words, is_wide=False)


def _square(x: float, y: float, by: float) -> tuple[list[float], list[float]]:
    return [x, x * by, x * by, x], [y, y, y * by, y * by]


# -- hits -----------------------------------------------------------------------------------------


def _scores(facts: Facts) -> Shown | None:
    """Hits by score."""
    scores = sorted((float(name), count) for name, count in facts.scores.items())
    if not scores:
        return None
    tenths = facts.score_name != "z"
    width = 0.1 if tenths else 1.0
    figure, axes = new(HALF, 2.7)
    axes.bar([score + width / 2 for score, _ in scores], [count for _, count in scores],
             width=0.9 * width, color=COLOURS["done"])  # fmt: skip
    axes.set_yscale("log")
    axes.set_ylim(0.6, None)
    axes.set_xlabel(f"{facts.score_name} of a hit")
    axes.set_ylabel("hits")
    _plain_numbers(axes.yaxis)
    total = sum(count for _, count in scores)
    words = f"{total:,.0f} hits, {facts.score_name} from {scores[0][0]:g} on"
    return shown(figure, "scores", f"Hits by {facts.score_name}", words, is_wide=False)


def _cover(facts: Facts) -> Shown | None:
    """Targets by the part of the query that hits cover."""
    parts = [t.covered_part for t in facts.targets if t.state == DONE]
    known = [part for part in parts if part is not None]
    if not known:
        return None
    figure, axes = new(HALF, 2.7)
    axes.hist([100 * part for part in known], bins=20, range=(0, 100), color=COLOURS["done"],
              rwidth=0.9)  # fmt: skip
    axes.set_xlabel("% of the query's residues that some hit covers")
    axes.set_ylabel("targets")
    axes.set_xlim(0, 100)
    _plain_numbers(axes.yaxis)
    none = sum(part == 0 for part in known)
    words = f"{len(known):,} targets, {none:,} of them without any hit"
    return shown(figure, "cover", "Coverage of the queries", words, is_wide=False)


def _plain_numbers(axis: Axis) -> None:
    """Numbers as text: a page has no letters for powers."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    if axis.get_scale() == "linear":
        axis.set_major_locator(MaxNLocator(6, integer=True))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def _short(name: str) -> str:
    plain = name.encode("ascii", "replace").decode()  # there are letters for no more
    return plain if len(plain) <= 16 else plain[:13] + "..."


def _natural(name: str) -> tuple[str, int, str]:
    """n2 before n10."""
    letters = name.rstrip("0123456789")
    digits = name[len(letters) :]
    return letters, int(digits[:9] or 0), name
