"""Pages that need nothing else: styles and scripts are inside, and allowed by their hashes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from dpam_hpc.align.coverage import LEVELS
from dpam_hpc.report import formats, tables
from dpam_hpc.report.facts import DONE, FAILED, LEFT, RUNNING, Facts, Target
from dpam_hpc.report.figures import Shown, figures
from dpam_hpc.report.reckoning import reckon
from dpam_hpc.report.texts import figures_of

ASSETS = resources.files("dpam_hpc.report") / "assets"
MOST_BYTES = 1_550_000
"""Of the list of all targets: a page stays under 2 MB."""
SECTIONS = (
    ("summary", "In short"), ("failures", "Failures"), ("time", "Time"), ("cost", "Cost"),
    ("hits", "Hits"), ("setup", "Set-up"), ("targets", "All targets"),
)  # fmt: skip
COST_NOTE = (
    "CPU time is that of the launcher, its workers and their programs; reserved is the processors"
    " that a launcher had for as long as it ran. What a scheduler adds before and after, its"
    " accounting tells."
)
TARGETS_NOTE = (
    "Cover: the query in sixteen parts from its first residue to its last; . nothing is covered by"
    " a hit, - less than a third, = less than two thirds, # more. No state is shown of targets that"
    " are done."
)


def asset(name: str) -> str:
    """The text of a file that is shipped."""
    return (ASSETS / name).read_text(encoding="utf-8")


def of_run(facts: Facts) -> str:
    """The page of a run."""
    sums = reckon(facts)
    text, left_out = tables.all_targets(facts, MOST_BYTES)
    note = TARGETS_NOTE
    if left_out:
        note += f" {left_out:,} targets have no room here: dpam-hpc report --format tsv has all."
    values = {
        "title": f"dpam-hpc run {facts.run}" if facts.run else "dpam-hpc run",
        "verdict": _verdict(facts),
        "sections": SECTIONS,
        "tiles": figures_of(facts, sums),
        "pictures": safe(figures(facts)),
        "failures": tables.failures(facts),
        "failed": tables.failed(facts),
        "starts": tables.starts(facts),
        "tasks": tables.tasks(facts),
        "cost": tables.cost(sums),
        "cost_note": COST_NOTE,
        "storage": tables.storage(facts, sums),
        "slowest": tables.slowest(facts),
        "made_with": tables.made_with(facts),
        "settings": tables.settings(facts),
        "targets_text": text,
        "targets_note": note,
        "no_times": _why_none(bool(facts.starts), "No launcher has noted a start yet."),
        "no_hits": _why_none(facts.count(DONE) > 0, "There are no hits yet."),
    }
    return render("run.html.j2", facts, [asset("page.js")], values)


def _why_none(is_there: bool, not_yet: str) -> str:
    return "The version of dpam-hpc that ran did not note this." if is_there else not_yet


def render(template: str, facts: Facts, scripts: Sequence[str], values: Mapping[str, Any]) -> str:
    """A page from its template; ``scripts`` run in this order."""
    style = asset("page.css")
    policy = (
        f"default-src 'none'; style-src {_hash(style)};"
        f" script-src {' '.join(map(_hash, scripts))};"
        " img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    return _templates().get_template(template).render(
        facts=facts,
        policy=policy,
        style=Markup(style),  # noqa: S704 - ours, and no text of a run is in it
        scripts=[Markup(script) for script in scripts],  # noqa: S704 - the same
        version=facts.version,
        made=formats.moment(facts.made),
        **values,
    )  # fmt: skip


def safe(shown: Sequence[Shown]) -> list[dict[str, Any]]:
    """Figures with their pictures as they are: matplotlib has escaped what is text in them."""
    return [{**vars(each), "picture": Markup(each.picture)} for each in shown]  # noqa: S704


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["levels"] = {part: n for n, part in enumerate(LEVELS)}
    environment.filters["covered"] = _covered
    return environment


def _covered(target: Target) -> str:
    part = target.covered_part
    return "-" if part is None else formats.percent(part, 1)


def _left(number: int) -> str:
    return f"{formats.many(number, 'target')} {'is' if number == 1 else 'are'} left"


def _verdict(facts: Facts) -> dict[str, str]:
    """Where the run stands, in a sentence."""
    done, failed, left = (facts.count(state) for state in (DONE, FAILED, LEFT))
    running = sum(start.how == RUNNING for start in facts.starts)
    if running:
        nodes = "launcher is" if running == 1 else "launchers are"
        return {"mark": "warn", "text": f"{running} {nodes} at work; {_left(left)}."}
    if left and not facts.starts:
        return {"mark": "warn", "text": f"Nothing has started yet; {_left(left)}."}
    if left:
        state = "Cancelled" if facts.cancelled else "Not finished"
        return {"mark": "bad", "text": f"{state}: {_left(left)}."}
    last = facts.starts[-1] if facts.starts else None
    if not facts.run and last and last.began and last in facts.interruptions:
        told = f"{formats.many(done, 'target')} done, {failed:,} failed"
        return {"mark": "warn", "text": f"{told}; the last start did not work to its end."}
    partly = sum(target.state == DONE and target.failures > 0 for target in facts.targets)
    if failed or partly:
        text = f"All targets are done but for {failed:,} that failed"
        more = f"; of {partly:,} more some templates failed" if partly else ""
        return {"mark": "warn", "text": f"{text}{more}."}
    return {
        "mark": "done",
        "text": f"{'All ' * (done != 1)}{formats.many(done, 'target')} done, and nothing failed.",
    }
