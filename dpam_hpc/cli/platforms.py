"""The verbs of ``platforms``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpam_hpc.cli.completing import platform_names
from dpam_hpc.cli.options import AsJson, group, path_argument
from dpam_hpc.errors import ExitCode

if TYPE_CHECKING:
    from rich.table import Table

app = group("Sites: which are known, and which one this is.")


@app.command("list")
def platforms_list(json: AsJson = False) -> None:
    """All platforms and their files; of two files of one name the stronger one."""
    from dpam_hpc.platforms import library
    from dpam_hpc.show.document import document

    platforms, broken = library.sound()
    files = {name: paths[0] for name, paths in library.found().items()}
    if json:
        rows: list[dict[str, Any]] = [
            {
                "name": name,
                "descr": platforms[name].descr if name in platforms else None,
                "file": str(file),
                "problems": [str(problem) for problem in broken.get(name, ())],
            }
            for name, file in files.items()
        ]
        print(document(platforms=rows))
        return
    table = _table("name", "what it is", "file")
    for name, file in files.items():
        descr = platforms[name].descr if name in platforms else _count(len(broken[name]))
        _add(table, name, descr, "shipped" if file.parent == library.shipped_folder() else file)
    _print(table)


@app.command("show")
def platforms_show(
    name: Annotated[str, typer.Argument(help="A platform's name.", autocompletion=platform_names)],
    json: AsJson = False,
) -> None:
    """All that is known of a platform, with what it extends, and the source of each fact."""
    from dpam_hpc.platforms import library
    from dpam_hpc.platforms.model import Partition
    from dpam_hpc.show.document import document

    platform = library.named(name)
    file = library.where(name)
    content = platform.model_dump(mode="json", by_alias=True)
    if json:
        print(document(file=str(file), platform=content, probe=_probe(name)))
        return
    partitions, source = content.pop("partitions"), content.pop("source")
    print(f"{file}\n")
    table = _table("field", "value")
    for key, value in content.items():
        is_table = isinstance(value, dict) and key != "env_match"
        for field, each in value.items() if is_table else [("", value)]:
            _add(table, f"{key}.{field}" if field else key, _shown(each))
    _print(table)
    if partitions:
        table = _table("partition", *partitions)
        for field in Partition.model_fields:
            _add(table, field, *(_shown(each[field]) for each in partitions.values()))
        _print(table)
    _show_probe(name)
    if source:
        table = _table("fact", "source")
        for fact, told in source.items():
            _add(table, fact, told)
        _print(table)


@app.command("detect")
def platforms_detect(json: AsJson = False) -> None:
    """Which platform this machine is, by which rule, and why it is none of the others."""
    from dataclasses import asdict

    from dpam_hpc.platforms import detect, library
    from dpam_hpc.show.document import document

    found = detect.here()
    name = found.platform.name
    if json:
        content = {
            "platform": name,
            "file": str(library.where(name)),
            "rule": found.rule,
            "reason": found.reason,
            "verdicts": [asdict(verdict) for verdict in found.verdicts],
        }
        print(document(**content))
        return
    print(f"{name}: {found.reason}")
    table = _table("platform", "rule", "why, or why not")
    for verdict in found.verdicts:
        _add(table, verdict.name, verdict.rule or "-", verdict.why)
    _print(table)


@app.command("check")
def platforms_check(
    file: Annotated[Path, path_argument("A platform's file.")], json: AsJson = False
) -> None:
    """Tell all that is wrong with a platform's file, with lines; exit code 2 if anything is."""
    from dpam_hpc.platforms import library
    from dpam_hpc.platforms.reading import PlatformError
    from dpam_hpc.show.document import document

    problems: list[dict[str, Any]] = []
    try:
        platform = library.checked(file)
    except PlatformError as error:
        if not json:
            raise
        problems = [
            {"file": str(each.file), "line": each.line, "key": each.key, "text": each.text}
            for each in error.problems
        ]
    if json:
        print(document(file=str(file), problems=problems))
        if problems:
            raise typer.Exit(ExitCode.USAGE)
        return
    print(f"{file}: platform {platform.name} can be used ({platform.descr})")


def _probe(name: str) -> dict[str, Any] | None:
    from dataclasses import asdict

    from dpam_hpc.probe import keeping

    probe, _ = keeping.heard(name)
    return asdict(probe) if probe else None


def _show_probe(name: str) -> None:
    """What was measured of scratch there, in a line a place, if it was kept."""
    from dpam_hpc.probe import keeping

    path = keeping.path_of(name)
    probe, why_not = keeping.heard(name)
    if probe is None:
        print(why_not or "no probe is kept: dpam-hpc probe measures scratch and shared folder")
        return
    print(f"probe of {probe.date} on {probe.host}: {path}\n")
    table = _table("measured", "folder", "type", "create ms", "read ms", "mkdir ms", "stat ms")
    for place in probe.places:
        kinds = ("create", "read", "mkdir", "stat")
        times = (place.latency[k].median if k in place.latency else "-" for k in kinds)
        _add(table, place.name, place.path or place.problem, place.filesystem or "-", *times)
    _print(table)


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _add(table: Table, *cells: object) -> None:
    from rich.text import Text

    table.add_row(*(Text(str(cell)) for cell in cells))  # Text: a pattern may hold brackets


def _print(table: Table) -> None:
    from rich.console import Console

    Console().print(table)


def _count(errors: int) -> str:
    return f"cannot be used, {errors} error{'s' if errors > 1 else ''}"


def _shown(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} = {each}" for key, each in value.items())
    return " ".join(value) if isinstance(value, list) else str(value)
