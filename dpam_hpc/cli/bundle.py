"""The verbs of ``bundle``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from dpam_hpc.cli.options import AsJson, group, path_argument, path_option
from dpam_hpc.errors import ExitCode

app = group("Template bundles: all templates imported, in one file.")


@app.command("build")
def bundle_build(
    ecod70_dir: Annotated[Path, path_argument("The folder with the templates' PDB files.")],
    output: Annotated[Path, path_option("The bundle to write.", "-o", "--output")],
    workers: Annotated[int | None, typer.Option(help="Default: one a processor.")] = None,
    dali_home: Annotated[Path | None, path_option("DaliLite.v5's folder.")] = None,
    aligner: Annotated[str, typer.Option(help="dali, tmalign or a plug-in's.")] = "dali",
    scratch_dir: Annotated[Path | None, path_option("Where to work; else chosen.")] = None,
    json: AsJson = False,
) -> None:
    """Import every template of ECOD70_DIR once and write them into one file."""
    from dpam_hpc import settings
    from dpam_hpc.node.bundling import build
    from dpam_hpc.show.progress import CountDisplay

    resolved = settings.resolve(
        {"aligner": aligner, "dali_home": dali_home, "scratch_dir": scratch_dir}
    ).settings
    info, left_out = build(ecod70_dir, output, workers or resolved.cpus, resolved, CountDisplay())
    if json:
        from dataclasses import asdict

        from dpam_hpc.show.document import document

        print(document(file=str(output), **asdict(info), left_out=left_out))
    else:
        print(
            f"{output}: {info.templates} templates, {info.unusable} of them cannot be aligned,"
            f" {info.bytes / 1e6:.1f} MB"
        )
    if left_out:
        print(f"{left_out} templates were left out: their import crashed", file=sys.stderr)
        raise typer.Exit(ExitCode.FAILURES)


@app.command("info")
def bundle_info(
    file: Annotated[Path, path_argument("A template bundle.")],
    json: AsJson = False,
) -> None:
    """What a bundle holds and what made it."""
    from dataclasses import asdict

    from dpam_hpc.bundle import Bundle

    info = asdict(Bundle(file).info())
    if json:
        from dpam_hpc.show.document import document

        print(document(file=str(file), **info))
        return
    for name, value in info.items():
        print(f"{name:12} {value}")


@app.command("verify")
def bundle_verify(
    file: Annotated[Path, path_argument("A template bundle.")],
    data_dir: Annotated[
        Path | None, path_option("Compare with the PDB files in ECOD70/ too.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Read a whole bundle and compare every checksum; exit code 7 if one differs."""
    from dpam_hpc.bundle import Bundle

    bundle = Bundle(file)
    problems = list(bundle.verify())
    if data_dir is not None:
        problems += bundle.differing(data_dir / "ECOD70", bundle.templates())
    if json:
        from dpam_hpc.show.document import document

        templates = bundle.info().templates
        print(document(file=str(file), templates=templates, problems=problems))
    else:
        for problem in problems:
            print(problem)
    if problems:
        print(f"{file}: {len(problems)} templates are not sound", file=sys.stderr)
        raise typer.Exit(ExitCode.BUNDLE)
    if not json:
        print(f"{file}: {bundle.info().templates} templates, all sound")
