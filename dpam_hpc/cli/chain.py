"""``submit`` and ``resume`` of several of dpam's steps: a chain of stages."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from dpam_hpc.run_dir import RunDir
    from dpam_hpc.settings import SubmitSettings
    from dpam_hpc.submit.prepared import Prepared
    from dpam_hpc.submit.scheduler import Scheduler


def submit_chain(
    settings: SubmitSettings,
    numbers: Sequence[int],
    resumed: Sequence[RunDir],
    sources: Mapping[str, str],
    *,
    dry_run: bool,
    test_only: bool,
    wait: bool,
    json: bool,
    retry_failed: bool = False,
) -> None:
    """Plan and submit stages; ``resumed``: the chain of which the rest is submitted.

    ``sources``: where each setting came from. ``retry_failed``: its failures too.
    """
    from dpam_hpc import trust
    from dpam_hpc.cli import waiting
    from dpam_hpc.run_dir import RunDir
    from dpam_hpc.show import chain_plan as report
    from dpam_hpc.show.document import document
    from dpam_hpc.show.progress import CountDisplay
    from dpam_hpc.submit import chain
    from dpam_hpc.submit.platform_choice import choose, renderer, scheduler_by_kind
    from dpam_hpc.submit.resuming import image_remarks, take_from
    from dpam_hpc.target import OWN_FOLDER

    trust.check(settings.work_dir / OWN_FOLDER)
    platform, reason = choose(settings.platform)
    scheduler = scheduler_by_kind(platform.scheduler.type, settings.work_dir)
    try:
        prepared = chain.prepare(
            settings, platform, None if dry_run else scheduler, numbers,
            resumed=resumed, retry_failed=retry_failed, on_count=CountDisplay("targets"),
        )  # fmt: skip
    except chain.NothingLeft:
        if not resumed:
            raise
        if json:
            print(document(run=resumed[0].chain, jobs=[], state="nothing left", released=[]))
        else:
            print(f"nothing is left of run {resumed[0].chain}")
        return
    prepared[0].remarks.insert(0, f"platform {platform.name}: {reason}")
    if resumed:
        prepared[0].remarks += image_remarks(resumed[0], prepared[0].image)
    if dry_run or test_only:
        _show(prepared, scheduler if test_only else None, json)
        return
    before = RunDir.last(settings.work_dir)
    runs = chain.write(prepared, renderer(), sources)
    for earlier in before:
        take_from(earlier)
    ids = chain.submit(runs, scheduler)
    if json:
        print(report.plan_as_json(prepared, runs[0].chain, ids))
    else:
        report.print_plan(prepared)
        for run, jobs in zip(runs, ids, strict=True):
            print(f"stage {run.place} submitted: job {', '.join(jobs)}; its folder is {run.path}")
        print("dpam-hpc status tells where it stands; dpam-hpc resume goes on with what is left")
    if wait:
        raise typer.Exit(waiting.wait(runs, scheduler))


def _show(prepared: Sequence[Prepared], scheduler: Scheduler | None, json: bool) -> None:
    """Print what would be submitted; ask the scheduler of it, if one is given."""
    from dpam_hpc.run_dir import RunDir
    from dpam_hpc.show import chain_plan as report
    from dpam_hpc.submit.platform_choice import renderer

    scripts = []
    for place, each in enumerate(prepared, 1):
        run = RunDir.named(each.settings.work_dir, f"DRY-RUN.s{place}")
        scripts.append(each.scripts(run, renderer()))
    if json:
        print(report.plan_as_json(prepared, "", scripts=scripts))
    else:
        report.print_plan(prepared)
        for place, texts in enumerate(scripts, 1):
            for name, text in texts.items():
                print(f"\n==> stage {place}: {name} <==\n{text}", end="")
    if scheduler is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        for each, texts in zip(prepared, scripts, strict=True):
            for job in each.jobs():
                path = Path(folder) / job.script
                path.write_text(texts[job.script])
                print(scheduler.test(path, []), file=sys.stderr)


def resume_chain(
    settings: SubmitSettings,
    runs: Sequence[RunDir],
    sources: Mapping[str, str],
    *,
    retry_failed: bool,
    dry_run: bool,
    wait: bool,
    json: bool,
) -> None:
    """Release what the scheduler holds, or submit what is left of each stage."""
    from dpam_hpc.pipeline import steps
    from dpam_hpc.show.document import document
    from dpam_hpc.submit.platform_choice import scheduler_by_kind
    from dpam_hpc.submit.resuming import release_held

    scheduler = scheduler_by_kind(runs[0].plan().scheduler, runs[0].work_dir)
    released = [] if dry_run else [job for run in runs for job in release_held(run, scheduler)]
    if released:
        if json:
            print(document(run=runs[0].chain, jobs=[], state="released", released=released))
        else:
            print(f"run {runs[0].chain}: held jobs go on: {', '.join(released)}")
        return
    numbers = steps.parse(settings.steps)
    submit_chain(
        settings, numbers, runs, sources,
        dry_run=dry_run, test_only=False, wait=wait, json=json, retry_failed=retry_failed,
    )  # fmt: skip
