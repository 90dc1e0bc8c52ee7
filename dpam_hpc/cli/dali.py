"""The verbs of ``dali``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dpam_hpc.cli.options import path_option

app = typer.Typer(help="The DALI programs.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command("check")
def dali_check(
    dali_home: Annotated[Path | None, path_option("DaliLite.v5's folder.")] = None,
) -> None:
    """Prove DALI on a known pair, to the byte; exit code 4 if it fails."""
    import tempfile

    from dpam_hpc import settings
    from dpam_hpc.align.dali import install
    from dpam_hpc.align.dali.aligner import DaliAligner

    home = settings.resolve({"dali_home": dali_home}).settings.dali_home
    options = {"dali_home": str(home or "")}
    fingerprint = DaliAligner.fingerprint(options)
    with tempfile.TemporaryDirectory() as folder:
        DaliAligner.prove(options, Path(folder) / "proof")
    programs = install.find(options["dali_home"])
    print(f"DALI in {programs} gives the known answer to the byte (import {fingerprint[:12]})")
