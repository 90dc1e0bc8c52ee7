"""A run's report for programs and for papers: TSV, JSON, and a paragraph in Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, fields
from typing import Any

from dpam_hpc.report import formats
from dpam_hpc.report.facts import DONE, FAILED, LEFT, Facts, Target
from dpam_hpc.report.reckoning import Reckoning, reckon

SCHEMA = 1
COLUMNS = ("target", *(f.name for f in fields(Target) if f.name != "id"))
DALI = "Holm 2019, doi:10.1093/bioinformatics/btz536"
DPAM = "Zhang et al. 2023, doi:10.1002/pro.4548"
ECOD = "Cheng et al. 2014, doi:10.1371/journal.pcbi.1003926"
TM_ALIGN = "Zhang and Skolnick 2005, doi:10.1093/nar/gki524"


def tsv(facts: Facts) -> Iterator[str]:
    """A head line, then a line a target."""
    yield "\t".join(COLUMNS) + "\n"
    names = [f.name for f in fields(Target)]
    for target in facts.targets:
        yield "\t".join(_cell(getattr(target, name)) for name in names) + "\n"


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def as_json(facts: Facts) -> str:
    """Everything; docs/schemas/report.schema.json says what each field is."""
    content: dict[str, Any] = {"schema": SCHEMA, **asdict(facts)}
    content["settings"] = [
        dict(zip(("name", "value", "source"), row, strict=True)) for row in facts.settings
    ]
    content["commands"] = [{"purpose": what, "command": text} for what, text in facts.commands]
    content["counts"] = {state: facts.count(state) for state in (DONE, FAILED, LEFT)}
    content["cpu_seconds"] = facts.steps
    sums = reckon(facts)
    content["reckoning"] = {
        **asdict(sums), "rest": sums.rest, "efficiency": sums.efficiency,
        "median_wait": sums.median_wait,
    }  # fmt: skip
    return json.dumps(content, indent=1, allow_nan=False)


def markdown(facts: Facts) -> str:
    """A paragraph for a section on methods, and the figures of the run."""
    sums = reckon(facts)
    rows = "".join(f"| {name} | {value} |\n" for name, value in figures_of(facts, sums))
    return f"## Methods\n\n{_methods(facts)}\n\n| | |\n|---|---|\n{rows}"


def _methods(facts: Facts) -> str:
    done = facts.count(DONE)
    made_with: dict[str, Any] = facts.made_with[-1] if facts.made_with else {}
    version = made_with.get("version") or facts.version
    programs, bundle = made_with.get("programs", {}), made_with.get("bundle", {})
    if facts.aligner == "tmalign":
        program = f"TM-align ({TM_ALIGN}) in place of DALI"
    else:
        program = f"DALI (DaliLite.v5; {DALI})"
        if programs.get("serialcompare"):
            program += f", serialcompare of SHA-256 {programs['serialcompare'][:12]}"
    image = f", in an Apptainer image of SHA-256 {facts.image['sha256']}" if facts.image else ""
    templates = "" if not bundle.get("sha256") else f" (bundle of SHA-256 {bundle['sha256'][:12]})"
    return (
        f"{formats.many(done, 'query structure')} {'was' if done == 1 else 'were'} aligned"
        f" iteratively with candidate ECOD"
        f" domains ({ECOD}){templates}, as in step 7 of DPAM ({DPAM}), by {program}, run by"
        f" dpam-hpc {version}{image}."
    )


def figures_of(facts: Facts, sums: Reckoning) -> list[tuple[str, str]]:
    """The run in a few figures, as (name, value)."""
    pairs = sum(target.candidates for target in facts.targets if target.state == DONE)
    not_noted = sum(not target.is_noted for target in facts.targets)
    more = f" and those of {formats.many(not_noted, 'target')} found done" if not_noted else ""
    rows = [
        ("targets", formats.count(len(facts.targets))),
        ("done", formats.count(facts.count(DONE))),
        ("failed", formats.count(facts.count(FAILED))),
        ("left", formats.count(facts.count(LEFT))),
        ("pairs aligned", formats.count(pairs)),
        ("hits", formats.count(sum(target.hits for target in facts.targets)) + more),
        ("CPU hours", formats.hours(sum(facts.steps.values()))),
    ]
    if sums.reserved:
        rows += [
            ("core hours reserved", formats.hours(sums.reserved)),
            ("efficiency (used of reserved)", formats.percent(sums.efficiency or 0.0, 1)),
            ("wall time", formats.duration(facts.ended - facts.began)),
        ]
    if sums.predicted:
        rows.append(("measured of predicted CPU time", f"{sums.measured / sums.predicted:.2f}"))
    if facts.interruptions:
        rows.append(("interruptions", formats.count(len(facts.interruptions))))
    return rows
