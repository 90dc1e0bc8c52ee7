"""Makes docs/benchmarks.md, docs/scale.md and plots from the benchmarks' results/*.json."""

from __future__ import annotations

import ast
import json
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from measuring import ROOT, goal_text, shown, with_unit

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
PLOTS_FOLDER = ROOT / "docs" / "benchmarks"
LOOKS = (("o", "-"), ("s", "--"), ("^", "-."), ("D", ":"))
"""Marker and line of each curve: they differ without colour too."""
INK = {"color": "black", "mfc": "white"}
FILLS = ("white", "lightgrey", "darkgrey", "grey", "black")
Result = Mapping[str, Any]

HEAD = """\
# Benchmarks: what was measured

Made by `python benchmarks/document.py` from `benchmarks/results/*.json`, never by hand;
`make bench` measures and makes it anew ([how](../benchmarks/README.md)). Figures of one section are
of one run and compare with each other alone: each says its machine, and how busy that was (load).

## Figures and goals
"""


OUT_OF_REACH = {
    "counted by FUSE": "look-ups and closes are operations of their own there, and are not in"
    " NFSv4.1. [least](#least) counts other ways to have a protein's four files: 10 is had only by"
    " hits written in place and not flushed, of which half could be read, and stay, for the whole.",
}
"""Of goals that are missed, by words of the figure: what was tried."""
README = ROOT / "README.md"
README_PART = re.compile(r"(?<=benchmarks/document.py -->\n).*?(?=<!-- end -->)", re.DOTALL)
SCALE = ROOT / "docs" / "scale.md"
ABOUT_SCALE = ("scale", "scale_million", "campaign")
SCALE_HEAD = HERE / "scale.head.md"


def read() -> dict[str, Result]:
    """All results, by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}


def text(results: Mapping[str, Result]) -> str:
    """The whole document."""
    goals = [
        [f"[{name}]({'scale.md' if name in ABOUT_SCALE else ''}#{name})", goal["what"],
         with_unit(goal["measured"], goal["unit"]),
         goal_text(goal).removeprefix("goal "), "yes" if goal["met"] else "**no**"]
        for name, result in results.items()
        for goal in (item["goal"] for item in result["report"] if "goal" in item)
    ]  # fmt: skip
    parts = [HEAD, *markdown(["benchmark", "figure", "measured", "goal", "met"], goals, left=2)]
    missed = {figure for _, figure, *_, met in goals if met != "yes"}
    for words, why in OUT_OF_REACH.items():
        if any(words in figure for figure in missed):
            parts += ["", f"*{words}*: {why}"]
    for name, result in results.items():
        if name not in ABOUT_SCALE:
            parts += ["", *section(name, result)]
    return "\n".join(parts) + "\n"


def readme_text(results: Mapping[str, Result]) -> str:
    """The README, its table made anew."""
    return README_PART.sub(lambda _: readme_part(results["head_to_head"]), README.read_text())


def readme_part(result: Result) -> str:
    """Upstream's CPU seconds and ours."""
    machine, ways = result["machine"], result["ways"]
    spent = {
        name: statistics.median(run["cpu"] for run in way["runs"]) for name, way in ways.items()
    }
    candidates = result["candidates"].values()
    upstream, *others = spent
    cells = [f"{spent[upstream]:.1f}"]
    cells += [f"{spent[name]:.1f} ({ways[name]['cpu_ratio']:.1f} x less)" for name in others]
    what = f"{len(candidates)} proteins, {sum(candidates)} candidates in all"
    lines = [
        f"Side by side on {machine['cores']} cores, the same bytes in all runs"
        " ([benchmarks](docs/benchmarks.md)):",
        "",
        *markdown(["CPU seconds", f"upstream's step 7 ({result['upstream']})", *others],
                  [[what, *cells]]),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def scale_text(results: Mapping[str, Result]) -> str:
    """The document about scale."""
    parts = [SCALE_HEAD.read_text().rstrip("\n")]
    for name in ABOUT_SCALE:
        if name in results:
            parts += ["", *section(name, results[name])]
    return "\n".join(parts) + "\n"


def section(name: str, result: Result) -> list[str]:
    """What one benchmark measured."""
    machine, versions = result["machine"], result["versions"]
    command = " ".join(["python", f"benchmarks/{result['benchmark']}.py", *_shorter(result)])
    dali = f", DALI's import {versions['dali_import'][:12]}" if versions["dali_import"] else ""
    lines = [
        f"## {name}",
        "",
        description(result["benchmark"]),
        "",
        f"`{command}`",
        "",
        f"{result['date']}, commit {result['commit'][:12]}, dpam-hpc {versions['dpam-hpc']}, Python"
        f" {versions['python']}{dali}; {machine['cpu']}, {machine['cores']} cores,"
        f" {machine['memory_gb']} GB, Linux {machine['kernel']}, load {machine['load']}.",
    ]
    for file, (caption, _) in plots(name, result).items():
        lines += ["", f"![{caption}](benchmarks/{file})", "", f"*{caption}*"]
    for item in result["report"]:
        if "text" in item:
            lines += ["", item["text"]]
        elif "table" in item:
            header, *rows = item["table"]
            lines += ["", *markdown(header, rows)]
        else:
            goal = item["goal"]
            met = "met" if goal["met"] else "**missed**"
            measured = with_unit(goal["measured"], goal["unit"])
            lines += ["", f"{goal['what']}: **{measured}** ({goal_text(goal)}: {met})."]
    return lines


def _shorter(result: Result) -> list[str]:
    """The arguments, without the file that the results went to."""
    words = list(result["arguments"])
    if "--json" in words:
        at = words.index("--json")
        del words[at : at + 2]
    return words


def description(script: str) -> str:
    """The head of a benchmark's script."""
    head = ast.get_docstring(ast.parse((HERE / f"{script}.py").read_text()))
    return (head or "").replace("``", "`")


def markdown(
    header: Sequence[object], rows: Sequence[Sequence[object]], left: int = 1
) -> list[str]:
    """A table, its first ``left`` columns to the left and all others to the right."""
    rules = ["---"] * left + ["---:"] * (len(header) - left)
    lines = [[*map(str, header)], rules, *([shown(cell) for cell in row] for row in rows)]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


Draw = Callable[[Any], None]
Plots = dict[str, tuple[str, Draw]]
"""By file name: the caption, and what draws it on a matplotlib figure."""


def plots(name: str, result: Result) -> Plots:
    """The plots of a result."""
    make = PLOTS.get(result["benchmark"])
    return make(name, result) if make else {}


def shared_fs_plots(name: str, result: Result) -> Plots:
    """Wall seconds by latency for each number of nodes; operations a protein by way."""
    runs = [run for run in result["runs"] if run["latency_ms"] is not None]
    ways = list(dict.fromkeys(run["way"] for run in runs))
    nodes = list(dict.fromkeys(run["nodes"] for run in runs))

    def walls(figure: Any) -> None:
        grid = figure.subplots(1, len(nodes), squeeze=False, sharey=True)
        for axes, count in zip(grid[0], nodes, strict=True):
            for way, (marker, line) in zip(ways, LOOKS, strict=False):
                found = [run for run in runs if (run["way"], run["nodes"]) == (way, count)]
                x, y = [r["latency_ms"] for r in found], [r["wall"] for r in found]
                axes.plot(x, y, marker=marker, linestyle=line, label=way, **INK)
            axes.set(title=f"{count} nodes" if count > 1 else "1 node", xlabel="latency, ms")
            axes.set(ylabel="wall time, s", yscale="log")
        figure.axes[-1].legend()

    def operations(figure: Any) -> None:
        groups: list[str] = []
        bars = {way: result["operations"][way][0]["groups"] for way in ways}
        for found in bars.values():
            groups += [group for group in found if group not in groups]
        axes = figure.subplots()
        width = 0.8 / len(groups)
        for at, (group, fill) in enumerate(zip(groups, FILLS, strict=False)):
            x = [number + (at - (len(groups) - 1) / 2) * width for number in range(len(ways))]
            y = [bars[way].get(group, 0.0) for way in ways]
            drawn = axes.bar(x, y, width, color=fill, edgecolor="black", label=group)
            axes.bar_label(drawn, [f"{value:.0f}" for value in y])
        axes.set_xticks(range(len(ways)), ways)
        axes.set(
            ylabel="operations a protein",
            yscale="log",
            ylim=(0.5, 4 * max(max(found.values()) for found in bars.values())),
        )
        axes.legend()

    return {
        f"{name}-wall.svg": ("Wall time of the same work by latency of the share", walls),
        f"{name}-operations.svg": (
            "Operations on the share a protein, with the caches of an NFS client", operations
        ),
    }  # fmt: skip


def headline_plots(name: str, result: Result) -> Plots:
    """Predicted seconds a protein; measured against predicted CPU seconds."""
    rows, model = result["rows"], result["cost_model"]

    def seconds(figure: Any) -> None:
        axes = figure.subplots()
        names = [row["name"] for row in reversed(rows)]
        values = [row["node_seconds"] for row in reversed(rows)]
        drawn = axes.barh(names, values, color="lightgrey", edgecolor="black")
        white = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.bar_label(drawn, [f"{value:.2g} s" for value in values], padding=4, bbox=white)
        axes.axvline(result["goal_protein"], color="black", linestyle="--", label="goal")
        axes.set(xscale="log", xlabel=f"s a protein on {result['node_cores']} cores, predicted")
        axes.set_xlim(right=3 * max(values))
        axes.legend(loc="lower right")

    def scatter(figure: Any) -> None:
        axes = figure.subplots()
        measured, predicted = zip(*model["measured_and_predicted"], strict=True)
        axes.plot(predicted, measured, "o", **INK)
        ends = [min(predicted), max(predicted)]
        axes.plot(ends, ends, "k--", label="equal")
        axes.set(xscale="log", yscale="log", xlabel="predicted, CPU s", ylabel="measured, CPU s")
        axes.xaxis.set_minor_formatter("")
        axes.legend()

    found: Plots = {f"{name}-protein.svg": ("Time of a typical protein on one node", seconds)}
    if model:
        caption = "Single proteins that the cost model was not scaled to"
        found[f"{name}-model.svg"] = (caption, scatter)
    return found


def bundle_reading_plots(name: str, result: Result) -> Plots:
    """Seconds by templates that are needed."""

    def seconds(figure: Any) -> None:
        axes = figure.subplots()
        x, y = zip(*((row["rows"], row["seconds"]) for row in result["rows"]), strict=True)
        axes.plot(x, y, marker="o", label="rows, read where they lie", **INK)
        copied = result["whole"]["seconds"]
        axes.axhline(copied, color="black", linestyle="--", label="the whole bundle, copied")
        axes.set(xscale="log", yscale="log", xlabel="templates that a node needs", ylabel="s")
        axes.legend()

    return {f"{name}-seconds.svg": ("Time until a node has its templates", seconds)}


PLOTS: dict[str, Callable[[str, Result], Plots]] = {
    "bundle_reading": bundle_reading_plots,
    "headline": headline_plots,
    "shared_fs": shared_fs_plots,
}


def draw(path: Path, draw_on: Draw) -> None:
    """Draw one plot; the same numbers give the same file."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        """The numbers that it chooses, without exponents."""

        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    settings: dict[Any, Any] = {"svg.hashsalt": path.name, "svg.fonttype": "none", "font.size": 9}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(7.5, 3.2), layout="constrained")
        draw_on(figure)
        for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
            if axis.get_scale() == "log":
                axis.set_major_formatter(Plain())
                axis.set_minor_formatter(Plain(minor_thresholds=(1, 0.4)))
        figure.savefig(path, metadata={"Date": None, "Creator": None})


def write() -> None:
    """Write the document and its plots; plots of results that are gone are removed."""
    results = read()
    DOCUMENT.write_text(text(results))
    SCALE.write_text(scale_text(results))
    README.write_text(readme_text(results))
    PLOTS_FOLDER.mkdir(exist_ok=True)
    wanted = {file: f for name, r in results.items() for file, (_, f) in plots(name, r).items()}
    for path in PLOTS_FOLDER.glob("*.svg"):
        if path.name not in wanted:
            path.unlink()
    for file, draw_on in wanted.items():
        draw(PLOTS_FOLDER / file, draw_on)


if __name__ == "__main__":
    write()
