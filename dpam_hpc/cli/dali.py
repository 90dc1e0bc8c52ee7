"""The verbs of ``dali``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from dpam_hpc.cli.options import AsJson, group, path_option

app = group("The DALI programs.")


@app.callback()
def _group() -> None:
    pass


@app.command("check")
def dali_check(
    dali_home: Annotated[Path | None, path_option("DaliLite.v5's folder.")] = None,
    json: AsJson = False,
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
    if json:
        from dpam_hpc.report.document import document

        print(document(programs=str(programs), import_sha256=fingerprint))
        return
    print(f"DALI in {programs} gives the known answer to the byte (import {fingerprint[:12]})")
