"""The verb ``init``: look, ask, write dpam-hpc.toml."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from dpam_hpc.cli.completing import platform_names
from dpam_hpc.cli.options import (
    Account,
    AsJson,
    DataDir,
    Partition,
    Templates,
    WorkDir,
    path_option,
)
from dpam_hpc.errors import ConfigError


def init(
    work_dir: WorkDir = None,
    data_dir: DataDir = None,
    templates: Templates = None,
    dali_home: Annotated[Path | None, path_option("DaliLite.v5's folder on the nodes.")] = None,
    image: Annotated[Path | None, path_option("The Apptainer image to run in.")] = None,
    platform: Annotated[
        str | None,
        typer.Option(help="auto, or a platform's name.", autocompletion=platform_names),
    ] = None,
    account: Account = None,
    partition: Partition = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Take what is found, ask nothing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    json: AsJson = False,
) -> None:
    """Set a working folder up: look for what a run needs, ask for the rest, write dpam-hpc.toml.

    It looks at this machine, the folders around, and SLURM. Without a terminal, with --yes and
    with --json it asks nothing, and leaves out what it cannot tell.
    """
    from dpam_hpc.printable import printable
    from dpam_hpc.settings import FILE_NAME
    from dpam_hpc.setup import finding, settings_file, settling
    from dpam_hpc.setup.asking import Asking, show
    from dpam_hpc.show.document import document

    folder = (work_dir or Path()).absolute()
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}")
    path = folder / FILE_NAME
    if path.exists() and not force:
        raise ConfigError(f"{path} is there already", "--force replaces it")
    paths = {
        "data_dir": data_dir, "templates": templates, "dali_home": dali_home, "image": image
    }  # fmt: skip
    given = {name: str(value.absolute()) for name, value in paths.items() if value}
    names = {"platform": platform, "account": account, "partition": partition}
    given |= {name: value for name, value in names.items() if value}
    asking = Asking() if sys.stdin.isatty() and not (yes or json) else None
    if asking:
        print(f"Setting up {printable(str(folder))}.", end=" ")
        print("What is found is taken; Enter takes what stands in brackets.")
    settled = settling.settle(folder, given, settling.known_values(folder), asking)
    settled.others = settling.other_settings(path, settled)
    if asking and not asking.confirm(settled, path):
        print("nothing was written")
        return
    before = settings_file.write(path, settings_file.text(settled))
    steps = settings_file.next_commands(
        settled, finding.is_cluster(finding.known_site(settled.value("platform")))
    )
    if json:
        values = {n: {"value": f.value, "from": f.where} for n, f in settled.values.items()}
        told = [{"command": command, "why": why} for command, why in steps]
        print(document(file=str(path), settings=values, open=settled.open, next=told))
        return
    if not asking:
        show(settled, print)
    kept = f" (what was there is {before.name})" if before else ""
    print(f"{printable(str(path))} is written{kept}. Next:")
    for command, why in steps:
        print(f"  {printable(command)}   # {why}")
