"""The verbs of ``dali``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from dpam_hpc.cli.options import AsJson, group, path_option

app = group("The DALI programs: build them, prove them.")


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
        from dpam_hpc.show.document import document

        print(document(programs=str(programs), import_sha256=fingerprint))
        return
    print(f"DALI in {programs} gives the known answer to the byte (import {fingerprint[:12]})")


@app.command("install")
def dali_install(
    source: Annotated[
        Path | None, path_option("DaliLite.v5.tar.gz, where it cannot be fetched from its home.")
    ] = None,
    prefix: Annotated[
        Path | None,
        path_option(
            "Where to put DaliLite.v5; default: the user's data folder, where it is found."
        ),
    ] = None,
    sha256: Annotated[
        str, typer.Option(help="The checksum of a source that is not the one listed.")
    ] = "",
    faster: Annotated[
        bool, typer.Option("--faster", help="Link statically: 3 to 5 % less CPU, the same bytes.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="In place of one that is there.")] = False,
    json: AsJson = False,
) -> None:
    """Get DALI's source, build it, prove it on a known pair; no root, no container.

    Exit codes: 4 if it cannot be built or fails the proof (nothing is left then), 2 if it is there
    already or the source is not the one listed, 6 if a disk is full, 75 if it is interrupted.
    """
    from dpam_hpc.cli.interruptible import interruptible
    from dpam_hpc.settings import installed_dali
    from dpam_hpc.setup import dali_build
    from dpam_hpc.show.document import document

    default = installed_dali().parent
    with interruptible("nothing of it is left; start it again"):
        made = dali_build.build(
            prefix or default, source, sha256=sha256, faster=faster, force=force, say=_say
        )
    by_default = made.home.parent == default.absolute()
    if json:
        print(
            document(
                home=str(made.home), import_sha256=made.fingerprint, source_sha256=made.sha256,
                as_listed=made.as_listed, by_default=by_default,
            )
        )  # fmt: skip
        return
    print(
        f"DALI in {made.home}/bin gives the known answer to the byte"
        f" (import {made.fingerprint[:12]})"
    )
    if by_default:
        print("dpam-hpc finds it there by itself; for dpam:")
    print(f"export DALI_HOME={shlex.quote(str(made.home))}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
