"""The verb ``init``: a commented dpam-hpc.toml."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from dpam_hpc.cli.options import path_argument, path_option
from dpam_hpc.errors import ConfigError

COMMENTS = {
    "data_dir": "dpam's data folder, in which ECOD70/ lies",
    "templates": "the template bundle (dpam-hpc bundle build makes it)",
    "dali_home": "DaliLite.v5's folder, as the nodes see it",
    "image": "the Apptainer image to run in",
    "platform": "auto, or a name that 'dpam-hpc platforms list' tells",
    "account": "the account to be charged",
    "partition": "the partition (queue)",
    "nodes": "nodes to use at a time; left out: as few as will do",
    "scratch_dir": "scratch on the nodes; left out: chosen there, node-local",
}


def init(
    work_dir: Annotated[Path | None, path_argument("dpam's working folder; default: here.")] = None,
    data_dir: Annotated[Path | None, path_option("dpam's data folder, with ECOD70/.")] = None,
    templates: Annotated[Path | None, path_option("A template bundle.")] = None,
    dali_home: Annotated[Path | None, path_option("DaliLite.v5's folder on the nodes.")] = None,
    image: Annotated[Path | None, path_option("The Apptainer image to run in.")] = None,
    platform: Annotated[str | None, typer.Option(help="auto, or a platform's name.")] = None,
    account: Annotated[str | None, typer.Option(help="The account to be charged.")] = None,
    partition: Annotated[str | None, typer.Option(help="The partition (queue).")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
) -> None:
    """Write a commented dpam-hpc.toml; on a terminal what is not given is asked for."""
    from dpam_hpc.settings import FILE_NAME

    folder = work_dir or Path()
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}")
    path = folder / FILE_NAME
    if path.exists() and not force:
        raise ConfigError(f"{path} is there already", "--force replaces it")
    given: dict[str, str] = {
        name: str(value)
        for name, value in {
            "data_dir": data_dir and data_dir.absolute(),
            "templates": templates and templates.absolute(),
            "dali_home": dali_home and dali_home.absolute(),
            "image": image and image.absolute(),
            "platform": platform,
            "account": account,
            "partition": partition,
        }.items()
        if value
    }
    if sys.stdin.isatty():
        for name in ("data_dir", "templates", "dali_home", "platform", "account", "partition"):
            if name not in given:
                answer = typer.prompt(f"{COMMENTS[name]} [{name}]", default="", show_default=False)
                if answer.strip():
                    given[name] = answer.strip()
    path.unlink(missing_ok=True)  # were it a link, what it leads to would be written
    # Whatever the umask: one that a group may write would not be believed.
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with open(file, "w", encoding="utf-8") as text:
        text.write(_text(given))
    print(f"{path} is written; dpam-hpc run --show-settings shows what counts")


def _toml_string(text: str) -> str:
    """A JSON string is a TOML string, but for pairs of surrogates and the delete character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _text(given: dict[str, str]) -> str:
    lines = ["# Settings of dpam-hpc for this folder; flags and DPAM_HPC_... variables win.", ""]
    for name, comment in COMMENTS.items():
        example = "1" if name == "nodes" else '""'
        value = _toml_string(given[name]) if name in given else example
        lines += [f"# {comment}", f"{'' if name in given else '# '}{name} = {value}", ""]
    return "\n".join(lines)
