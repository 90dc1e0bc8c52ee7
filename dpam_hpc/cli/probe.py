"""The verb ``probe``."""

from __future__ import annotations

import signal
import sys
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
from dpam_hpc.errors import DpamHpcError, SchedulerError

if TYPE_CHECKING:
    from dpam_hpc.platforms.model import Platform
    from dpam_hpc.probe.keeping import Probe
    from dpam_hpc.settings import SubmitSettings

SECONDS = 10.0
TOLD = ("data_dir", "templates", "scratch_dir")
"""Settings that a node is told, as options of the verb."""


def probe(
    work_dir: WorkDir = None,
    platform: PlatformName = None,
    data_dir: DataDir = None,
    templates: Templates = None,
    scratch_dir: Annotated[
        Path | None, path_option("Measure this place for scratch as well.")
    ] = None,
    cpus: Annotated[int | None, typer.Option(help="Processors of a node.")] = None,
    dali_workers: Annotated[int | None, typer.Option(help="Workers a node.")] = None,
    account: Account = None,
    partition: Partition = None,
    seconds: Annotated[float, typer.Option(min=0.5, max=600, help="For each place.")] = SECONDS,
    on_node: Annotated[
        bool, typer.Option("--on-node", help="Measure on a compute node, by a short job.")
    ] = False,
    wait: NodeWait = WAIT,
    json: AsJson = False,
    is_node: IsNode = False,
) -> None:
    """Measure scratch, working and data folder where the work is done; keep it for later runs.

    Exit codes: 0 measured, 8 the scheduler refuses or is silent (--on-node).
    """
    from dpam_hpc.submit.platform_choice import choose

    given: dict[str, Any] = {
        "work_dir": work_dir, "platform": platform, "data_dir": data_dir, "templates": templates,
        "scratch_dir": scratch_dir, "cpus": cpus, "dali_workers": dali_workers,
        "account": account, "partition": partition,
    }  # fmt: skip
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # what was made is put away
    settings = resolved(given)
    chosen, _ = choose(settings.platform)
    settings = with_floor(settings, chosen)
    found = _asked(settings, chosen, seconds, wait) if on_node else _here(settings, chosen, seconds)
    if not is_node:
        _keep(found, chosen, on_node)
    _print(found, settings, chosen, json)


def _here(settings: SubmitSettings, platform: Platform, seconds: float) -> Probe:
    import os

    from dpam_hpc.probe.probing import probe as measured

    def say(name: str) -> None:
        if sys.stderr.isatty():
            print(f"measuring {name}", file=sys.stderr, flush=True)

    # The shell that salloc opens has a job's id, and may be on the login node.
    job = os.environ.get("SLURM_JOB_ID", "") if "SLURMD_NODENAME" in os.environ else ""
    return measured(settings, platform, seconds, job=job, on_place=say)


def _asked(settings: SubmitSettings, platform: Platform, seconds: float, wait: float) -> Probe:
    from dpam_hpc.probe.keeping import from_json

    more = ["--seconds", str(seconds)]
    for name in ("cpus", "dali_workers"):
        if name in settings.model_fields_set:
            more += ["--" + name.replace("_", "-"), str(getattr(settings, name))]
    answer = ask_node("probe", settings, platform, wait, TOLD, *more)
    try:
        return from_json(answer)
    except ValueError as error:
        raise SchedulerError(f"the node's answer: {error}") from None


def _keep(found: Probe, platform: Platform, on_node: bool) -> None:
    """Keep what tells of the machines that work; a login node is none of them."""
    from dpam_hpc.probe.keeping import keep

    if on_node or found.job or platform.scheduler.type == "local":
        print(f"kept in {keep(found)}", file=sys.stderr)
    else:
        print(
            f"not kept: {found.host} is no node of platform {platform.name} that does the work"
            " (--on-node measures on one)",
            file=sys.stderr,
        )


def _print(found: Probe, settings: SubmitSettings, platform: Platform, json: bool) -> None:
    from dpam_hpc.patience import within
    from dpam_hpc.probe.meaning import TYPICAL
    from dpam_hpc.show import probe as report

    if json:
        from dpam_hpc.probe.keeping import as_json

        print(as_json(found))
        return
    from rich.console import Console

    try:
        work, told = within(60.0, lambda: report.work_of(settings))
    except (OSError, DpamHpcError):  # a folder that cannot be read is measured all the same
        work, told = TYPICAL, report.GENERAL
    report.show(found, work, told, platform.scratch.candidates, Console(highlight=False))
