"""A page of one target: which templates cover it, round by round, and how they lie over it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dpam_hpc.align import aligner as aligners
from dpam_hpc.errors import ConfigError
from dpam_hpc.report import formats, page, svg
from dpam_hpc.report.facts import DONE, Facts, Target
from dpam_hpc.report.figures import HALF, WIDTH, Shown, new, shown
from dpam_hpc.report.superposition import (
    LAID_OVER,
    Hit,
    LaidOver,
    Templates,
    query_of,
    read_hits,
)
from dpam_hpc.report.svg import COLOURS
from dpam_hpc.report.tables import Cell, Table, table_of
from dpam_hpc.report.values import content
from dpam_hpc.target import OutputNames, WorkFolder

ROWS = 40
"""Hits with a row each in the picture of the coverage."""
HITS_SHOWN = 500
SWATCHES = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00")
"""Colours of templates that the colour-blind can tell from each other (Okabe and Ito)."""


def of_target(facts: Facts, name: str) -> str:
    """The page of a target; ConfigError if the run has none of this name."""
    target = next((each for each in facts.targets if each.id == name), None)
    if target is None:
        raise ConfigError(f"the run has no target {name!r}", "dpam-hpc report --format tsv has all")
    folder = WorkFolder.at(Path(facts.work_dir))
    names = _names(facts)
    hits = read_hits(folder.output_folder / names.hits(name)) if target.state == DONE else []
    target.hits = target.hits or len(hits)
    problems = _rows(folder.output_folder / names.failures(name))
    pdb, alphas = _query(folder, name)
    laid = _laid_over(facts, hits, alphas)
    structures = {
        "query": pdb,
        "templates": [
            {"name": f"{each.hit.template} round {each.hit.round}", "pdb": each.pdb,
             "colour": colour, "trace": each.is_trace}
            for each, colour in zip(laid, SWATCHES, strict=False)
        ],
    }  # fmt: skip
    values = {
        "target": target,
        "ended": formats.moment(target.at) if target.at else "",
        "title": f"dpam-hpc target {name}",
        "tiles": _tiles(facts, target),
        "pictures": page.safe(_figures(facts, target, hits, sorted(alphas))),
        "problems": _problems(problems),
        "laid": [
            {"colour": colour, "told": _told(each, facts.score_name)}
            for each, colour in zip(laid, SWATCHES, strict=False)
        ],
        "hits": _hits(facts, hits),
        "structures": structures if pdb and laid else None,
    }
    scripts = [page.asset("page.js")]
    if pdb and laid:
        scripts = [page.asset("3Dmol/3Dmol-min.js"), page.asset("viewer.js"), *scripts]
    return page.render("target.html.j2", facts, scripts, values)


def _names(facts: Facts) -> OutputNames:
    aligner = aligners.load(aligners.find(facts.aligner or "dali"))
    return OutputNames(aligner.hits_suffix, aligner.step)


def _rows(path: Path) -> list[list[str]]:
    with suppress(OSError):
        lines = content(path).decode(errors="replace").splitlines()[1:]
        return [cells for line in lines if len(cells := line.split("\t")) == 3]
    return []


def _query(folder: WorkFolder, name: str) -> tuple[str, dict[int, Any]]:
    for place in folder.query_folders:
        with suppress(OSError, ValueError):
            return query_of(content(place / f"{name}.pdb"))
    return "", {}


def _laid_over(facts: Facts, hits: Sequence[Hit], alphas: dict[int, Any]) -> list[LaidOver]:
    """The best hit of each of the best templates."""
    given = {name: value for name, value, _ in facts.settings if value != "-"}
    data_dir, bundle = given.get("data_dir"), given.get("templates")
    templates = Templates(
        Path(data_dir) if data_dir else None, Path(bundle) if bundle else None, facts.aligner
    )
    found: dict[str, LaidOver] = {}
    for hit in hits if alphas else []:
        if len(found) < LAID_OVER and hit.template not in found:
            laid = templates.laid_over(hit, alphas)
            if laid is not None:
                found[hit.template] = laid
    return list(found.values())


def _tiles(facts: Facts, target: Target) -> list[tuple[str, str]]:
    part = target.covered_part
    return [
        ("state", target.state),
        ("residues", _known(target.residues)),
        ("candidates", _known(target.candidates)),
        ("hits", formats.count(target.hits)),
        (f"best {facts.score_name}", formats.decimal(target.best)),
        ("covered", "-" if part is None else formats.percent(part, 1)),
        ("CPU time", formats.duration(target.cpu)),
    ]


def _known(number: int) -> str:
    return formats.count(number) if number else "-"


def _told(laid: LaidOver, score_name: str) -> str:
    hit = laid.hit
    rmsd = "" if laid.rmsd is None else f", RMSD {laid.rmsd:.1f} Å"
    kind = ", CA atoms from the bundle" if laid.is_trace else ""
    return (
        f"{hit.template}, round {hit.round}: {score_name} {hit.score:g}, {len(hit.pairs)} residues"
        f" aligned{rmsd}{kind}"
    )


def _problems(rows: Sequence[Sequence[str]]) -> Table:
    found = [("target" if name == "-" else name, kind, reason) for name, kind, reason in rows]
    return table_of("Failed or lost", "template|kind|reason", found)


def _hits(facts: Facts, hits: Sequence[Hit]) -> Table:
    name = "Hits, best first"
    if len(hits) > HITS_SHOWN:
        name += f": {HITS_SHOWN} of {len(hits):,}"
    rows = [
        (
            hit.template, Cell(str(hit.round), hit.round), Cell(f"{hit.score:g}", hit.score),
            Cell(str(len(hit.pairs)), len(hit.pairs)),
            Cell(formats.percent(len(hit.pairs), hit.template_residues),
                 len(hit.pairs) / max(1, hit.template_residues)),
            Cell(str(hit.query_residues), hit.query_residues),
            Cell(_ranges(hit), hit.segments[0][0] if hit.segments else 0),
        )
        for hit in hits[:HITS_SHOWN]
    ]  # fmt: skip
    heads = f"template|#round|#{facts.score_name}|#aligned|#of the template|#query in this round"
    return table_of(name, f"{heads}|residues of the query", rows)


def _ranges(hit: Hit) -> str:
    segments = hit.segments
    told = ", ".join(
        f"{first} to {last}" if first < last else str(first) for first, last in segments[:4]
    )
    return told + (f" and {len(segments) - 4} more" if len(segments) > 4 else "")


# -- figures --------------------------------------------------------------------------------------


def _figures(
    facts: Facts, target: Target, hits: Sequence[Hit], numbers: Sequence[int]
) -> list[Shown]:
    if not hits:
        return []
    import matplotlib as mpl

    with mpl.rc_context(svg.STYLE):
        return [_coverage(facts, hits, numbers), _rounds(facts, hits)]


def _coverage(facts: Facts, hits: Sequence[Hit], numbers: Sequence[int]) -> Shown:
    """Above, how many hits cover each residue; below, the best hits with a row each."""
    rows = hits[:ROWS]
    figure, (above, below) = new(WIDTH, 1.6 + 0.19 * len(rows), 2, (1.0, 0.19 * len(rows) + 0.2))
    depth: dict[int, int] = {}
    for hit in hits:
        for residue, _ in hit.pairs:
            depth[residue] = depth.get(residue, 0) + 1
    first = min([*numbers, *depth])
    last = max([*numbers, *depth])
    residues = range(first, last + 1)
    above.fill_between(list(residues), [depth.get(n, 0) for n in residues], step="mid",
                       color=COLOURS["done"], linewidth=0)  # fmt: skip
    above.set_ylabel("hits")
    above.set_ylim(0, None)
    best = max(hit.score for hit in hits)
    for row, hit in enumerate(rows):
        for begin, end in hit.segments:
            below.barh(row, end - begin + 1, left=begin - 0.5, height=0.66,
                       color=COLOURS["done"], linewidth=0,
                       alpha=round(0.3 + 0.7 * hit.score / max(best, 1e-9), 2))  # fmt: skip
    below.set_yticks(
        range(len(rows)), [f"{hit.template} ({hit.round})  {hit.score:g}" for hit in rows]
    )
    below.set_ylim(len(rows) - 0.4, -0.6)
    below.tick_params(axis="y", length=0)
    below.grid(visible=False, axis="y")
    below.set_xlabel("residue number of the query")
    below.set_xlim(first - 0.5, last + 0.5)
    shown_hits = f"the best {len(rows)} of {len(hits)}" if len(hits) > len(rows) else "all"
    words = (
        f"Above, how many hits cover each residue; below, {shown_hits} hits as template (round)"
        f" {facts.score_name}: the stronger, the higher."
    )
    return shown(figure, "coverage", "Coverage by templates", words)


def _rounds(facts: Facts, hits: Sequence[Hit]) -> Shown:
    """Scores of each template from round to round."""
    by_template: dict[str, list[Hit]] = {}
    for hit in sorted(hits, key=lambda hit: hit.round):
        by_template.setdefault(hit.template, []).append(hit)
    figure, axes = new(HALF + 1, 2.9)
    for found in by_template.values():
        axes.plot([hit.round for hit in found], [hit.score for hit in found], marker="o",
                  markersize=3.5, linewidth=0.9, color=COLOURS["more"], alpha=0.6)  # fmt: skip
    last = max(hit.round for hit in hits)
    axes.set_xticks(range(1, last + 1, max(1, last // 12)))
    axes.set_xlim(0.5, last + 0.5)
    axes.set_ylim(0, None)
    axes.set_xlabel("round")
    axes.set_ylabel(facts.score_name)
    words = f"{len(by_template)} templates, a line each; up to {last} rounds"
    return shown(figure, "rounds", f"{facts.score_name} over the rounds", words, is_wide=False)
