"""The verb ``doctor``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpam_hpc.cli.asked_node import WAIT, ask_node, resolved, with_floor
from dpam_hpc.cli.options import (
    Account,
    AsJson,
    DataDir,
    IsNode,
    NodeWait,
    Partition,
    PlatformName,
    Templates,
    WorkDir,
    path_option,
)
from dpam_hpc.errors import ConfigError, ExitCode, SchedulerError

if TYPE_CHECKING:
    from dpam_hpc.doctor.findings import Findings
    from dpam_hpc.platforms.model import Platform
    from dpam_hpc.settings import SubmitSettings

TOLD = ("data_dir", "templates", "aligner", "image", "dali_home", "scratch_dir")
"""Settings that a node is told, as options of the verb."""


def doctor(
    work_dir: WorkDir = None,
    platform: PlatformName = None,
    data_dir: DataDir = None,
    templates: Templates = None,
    aligner: Annotated[str | None, typer.Option(help="dali, tmalign or a plug-in's.")] = None,
    image: Annotated[Path | None, path_option("The Apptainer image to run in.")] = None,
    dali_home: Annotated[Path | None, path_option("DaliLite.v5's folder on the nodes.")] = None,
    scratch_dir: Annotated[
        Path | None, path_option("Scratch on the nodes; else chosen there.")
    ] = None,
    account: Account = None,
    partition: Partition = None,
    on_node: Annotated[
        bool, typer.Option("--on-node", help="Look on a compute node, by a short job.")
    ] = False,
    wait: NodeWait = WAIT,
    json: AsJson = False,
    is_node: IsNode = False,
) -> None:
    """Is everything there that a run needs? A row a check, each trouble with what to do.

    Exit codes: 0 no problem (there may be warnings), 10 a problem was found, 8 the scheduler
    refuses or is silent (--on-node).
    """
    given: dict[str, Any] = {
        "work_dir": work_dir, "platform": platform, "data_dir": data_dir, "templates": templates,
        "aligner": aligner, "image": image, "dali_home": dali_home, "scratch_dir": scratch_dir,
        "account": account, "partition": partition,
    }  # fmt: skip
    findings = _on_node(given, wait) if on_node else _here(given, is_node)
    if json:
        print(findings.as_json())
    else:
        from rich.console import Console

        from dpam_hpc.show.doctor import show

        show(findings, Console(highlight=False))
    raise typer.Exit(ExitCode.PROBLEM if findings.worst == "problem" else ExitCode.DONE)


def _here(given: Mapping[str, Any], is_node: bool) -> Findings:
    from dpam_hpc.doctor import inputs
    from dpam_hpc.doctor.context import Context
    from dpam_hpc.doctor.examine import SHORT, examine
    from dpam_hpc.patience import within
    from dpam_hpc.settings import SubmitSettings

    before = []
    try:
        settings = within(SHORT, lambda: resolved(given))
    except ConfigError as error:
        before.append(inputs.settings_row(error))
        settings = SubmitSettings(**{k: v for k, v in given.items() if v is not None})
    platform, reason = _platform(settings)
    return examine(
        Context(with_floor(settings, platform), platform, is_node), reason, before=before
    )


def _on_node(given: Mapping[str, Any], wait: float) -> Findings:
    from dpam_hpc.doctor.findings import from_json

    settings = resolved(given)
    platform, _ = _platform(settings)
    answer = ask_node("doctor", settings, platform, wait, TOLD)
    try:
        return from_json(answer)
    except ValueError as error:
        raise SchedulerError(f"the node's answer cannot be read: {error}") from None


def _platform(settings: SubmitSettings) -> tuple[Platform, str]:
    from dpam_hpc.submit.platform_choice import choose

    return choose(settings.platform)
