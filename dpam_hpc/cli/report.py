"""The verb ``report``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from dpam_hpc.cli.options import AsJson, WorkDir, path_option
from dpam_hpc.errors import ConfigError, StorageError

RAW = "surrogateescape"
"""A folder's name need not be UTF-8."""


class Format(str, Enum):
    """What the report is written as."""

    html = "html"
    tsv = "tsv"
    json = "json"
    md = "md"


def report(
    work_dir: WorkDir = None,
    run: Annotated[
        str, typer.Option(help="A submitted run's id, or 'run'; default: what was begun last.")
    ] = "",
    output: Annotated[
        Path | None, path_option("The file to write; - is standard output.", "--output", "-o")
    ] = None,
    target: Annotated[str, typer.Option(help="A page of this target: its hits, in 3D too.")] = "",
    kind: Annotated[
        Format, typer.Option("--format", help="A page; a row a target; everything; Methods.")
    ] = Format.html,
    json: AsJson = False,
) -> None:
    """What a run did, what it cost and what failed: one page that needs no network."""
    from dpam_hpc.report import choosing, gather

    work_dir = work_dir or Path()
    kind = Format.json if json else kind
    facts = gather.gather(work_dir, choosing.chosen(work_dir, run))
    if kind is not Format.html:
        if target:
            raise ConfigError("a target's page is HTML alone", "leave --format or --target out")
        _write(output or Path("-"), _texts(kind, facts))
        return
    if target:
        from dpam_hpc.report import target_page

        text, name = target_page.of_target(facts, target), f"{target}-report.html"
    else:
        from dpam_hpc.report import page

        text, name = page.of_run(facts), "dpam-hpc-report.html"
    path = output or Path(name)
    _write(path, [text])
    if str(path) != "-":
        print(f"{path} ({len(text.encode(errors=RAW)) / 1e6:.1f} MB)")


def _texts(kind: Format, facts: object) -> Iterable[str]:
    from dpam_hpc.report import texts
    from dpam_hpc.report.facts import Facts

    assert isinstance(facts, Facts)
    if kind is Format.tsv:
        return texts.tsv(facts)
    return [texts.as_json(facts) + "\n" if kind is Format.json else texts.markdown(facts)]


def _write(path: Path, parts: Iterable[str]) -> None:
    """Write a file whole or not at all; StorageError."""
    if str(path) == "-":
        sys.stdout.writelines(parts)
        return
    if path.is_dir():
        raise StorageError(f"{path} is a folder", "name a file with -o")
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")
    try:
        with temporary.open("w", encoding="utf-8", errors=RAW) as file:
            file.writelines(parts)
        temporary.replace(path)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written: {error.strerror}", "name another file with -o"
        ) from None
    finally:
        with suppress(OSError):
            temporary.unlink()
