"""The verbs ``submit`` and ``resume``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpam_hpc.cli.completing import platform_names
from dpam_hpc.cli.options import Account, DataDir, Partition, Templates, WorkDir, path_option
from dpam_hpc.errors import ConfigError

if TYPE_CHECKING:
    from dpam_hpc.run_dir import RunDir
    from dpam_hpc.settings import SubmitSettings
    from dpam_hpc.submit.prepared import Prepared
    from dpam_hpc.submit.scheduler import Scheduler


def submit(
    work_dir: WorkDir = None,
    platform: Annotated[
        str | None,
        typer.Option(
            help="auto, or a name of 'dpam-hpc platforms list'.", autocompletion=platform_names
        ),
    ] = None,
    data_dir: DataDir = None,
    templates: Templates = None,
    image: Annotated[Path | None, path_option("The Apptainer image to run in.")] = None,
    no_image: Annotated[
        bool | None, typer.Option("--no-image", help="Run with this Python on the nodes.")
    ] = None,
    account: Account = None,
    partition: Partition = None,
    nodes: Annotated[int | None, typer.Option(help="Nodes; default: as few as will do.")] = None,
    time: Annotated[
        str | None, typer.Option(help="Time limit of a job; default: by the prediction.")
    ] = None,
    max_tasks: Annotated[int | None, typer.Option(help="No more tasks than this.")] = None,
    targets: Annotated[Path | None, path_option("A file of target ids, one a line.")] = None,
    scratch_dir: Annotated[
        Path | None, path_option("Scratch on the nodes; else chosen there.")
    ] = None,
    dali_workers: Annotated[int | None, typer.Option(help="Workers a node.")] = None,
    dali_home: Annotated[Path | None, path_option("DaliLite.v5's folder on the nodes.")] = None,
    aligner: Annotated[str | None, typer.Option(help="dali, tmalign or a plug-in's.")] = None,
    cpus: Annotated[int | None, typer.Option(help="Processors of a node.")] = None,
    min_free_gb: Annotated[
        float | None, typer.Option(help="Free scratch under which no work starts.")
    ] = None,
    grace: Annotated[
        float | None, typer.Option(help="Seconds for running work after a signal.")
    ] = None,
    retry_failed: Annotated[
        bool | None, typer.Option("--retry-failed", help="Earlier failures once more.")
    ] = None,
    redo: Annotated[bool | None, typer.Option("--redo", help="Everything again.")] = None,
    dpam_state: Annotated[
        bool | None, typer.Option("--dpam-state", help="Write dpam's state files too.")
    ] = None,
    steps: Annotated[
        str | None, typer.Option(help="dpam's steps: 7 (the default), all, 7-13, 8-, 1-6 or 7,8.")
    ] = None,
    dpam: Annotated[
        str | None, typer.Option(help="The dpam command on the nodes, for steps other than 7.")
    ] = None,
    skip_addss: Annotated[
        bool | None, typer.Option("--skip-addss", help="dpam's step 2 without psipred.")
    ] = None,
    sbatch_arg: Annotated[
        list[str] | None, typer.Option(help="An option for sbatch, --name=value; again for more.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print plan and scripts; submit nothing.")
    ] = False,
    test_only: Annotated[
        bool, typer.Option("--test-only", help="Ask the scheduler, submit nothing.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when all jobs are over.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The plan and the job ids as JSON.")] = False,
) -> None:
    """Submit a working folder's targets to the cluster, as jobs that go on wherever they end.

    Exit codes: 0 submitted, 2 not possible as asked, 8 the scheduler refuses or is silent.
    """
    from dpam_hpc.cli.chain import submit_chain
    from dpam_hpc.pipeline.steps import DALI, parse
    from dpam_hpc.settings import SubmitSettings, resolve_for

    given: dict[str, Any] = {
        "work_dir": work_dir, "platform": platform, "data_dir": data_dir, "templates": templates,
        "image": image, "no_image": no_image, "account": account, "partition": partition,
        "nodes": nodes, "time": time, "max_tasks": max_tasks, "targets": targets,
        "scratch_dir": scratch_dir, "dali_workers": dali_workers, "dali_home": dali_home,
        "aligner": aligner, "cpus": cpus, "min_free_gb": min_free_gb, "grace": grace,
        "retry_failed": retry_failed, "redo": redo, "dpam_state": dpam_state,
        "sbatch_arg": sbatch_arg or None, "steps": steps, "dpam": dpam, "skip_addss": skip_addss,
    }  # fmt: skip
    found = resolve_for(SubmitSettings, given)
    numbers = parse(found.settings.steps)
    if numbers != (DALI,):
        submit_chain(
            found.settings, numbers, [], found.sources,
            dry_run=dry_run, test_only=test_only, wait=wait, json=json,
        )  # fmt: skip
        return
    _submit(
        found.settings, None, None, found.sources,
        dry_run=dry_run, test_only=test_only, wait=wait, json=json,
    )  # fmt: skip


def resume(
    work_dir: WorkDir = None,
    nodes: Annotated[int | None, typer.Option(help="Nodes; default: as few as will do.")] = None,
    partition: Annotated[str | None, typer.Option(help="Another partition (queue).")] = None,
    time: Annotated[str | None, typer.Option(help="Another time limit.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Earlier failures once more.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print plan and scripts; submit nothing.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when all jobs are over.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The plan and the job ids as JSON.")] = False,
) -> None:
    """Submit what is left of the last run, in new tasks of equal cost.

    Where the scheduler only holds its jobs, as after a failed start, it lets them go on instead.
    Exit code 0 too where nothing is left.
    """
    from dpam_hpc import trust
    from dpam_hpc.cli.chain import resume_chain
    from dpam_hpc.run_dir import RunDir
    from dpam_hpc.settings import SubmitSettings
    from dpam_hpc.show.document import document
    from dpam_hpc.submit.earlier import over
    from dpam_hpc.submit.platform_choice import scheduler_by_kind
    from dpam_hpc.submit.resuming import left_of, release_held
    from dpam_hpc.target import OWN_FOLDER

    trust.check((work_dir or Path()) / OWN_FOLDER)
    run = RunDir.latest(work_dir or Path())
    changes: dict[str, Any] = {"nodes": nodes, "partition": partition, "time": time}
    values = {**run.plan().submit, **{k: v for k, v in changes.items() if v is not None}}
    redo = bool(values.get("redo"))
    values["retry_failed"] = retry_failed and not redo
    try:
        settings = SubmitSettings(**values)
    except ValueError as error:
        raise ConfigError(f"run {run.id} cannot go on with these settings: {error}") from None
    given = {name: "flag of resume" for name, value in changes.items() if value is not None}
    sources = {**run.plan().sources, **given}
    if run.place:
        runs = RunDir.last(work_dir or Path())
        resume_chain(
            settings, runs, sources,
            retry_failed=retry_failed, dry_run=dry_run, wait=wait, json=json,
        )  # fmt: skip
        return
    if redo:  # what earlier runs have done does not count; the run's own journals do
        seen = settings.model_copy(update={"redo": False, "retry_failed": retry_failed})
        left = left_of(run, over(seen, run))
    else:
        left = left_of(run, over(settings))
    if not left:
        if json:
            print(document(run=run.id, jobs=[], state="nothing left", released=[]))
        else:
            print(f"nothing is left of run {run.id}")
        return
    scheduler = scheduler_by_kind(run.plan().scheduler, run.work_dir)
    released = [] if dry_run else release_held(run, scheduler)
    if released:
        if json:
            print(document(run=run.id, jobs=[], state="released", released=released))
        else:
            print(f"run {run.id}: held jobs are released and go on: {', '.join(released)}")
        return
    _submit(settings, left, run, sources, dry_run=dry_run, test_only=False, wait=wait, json=json)


def _submit(
    settings: SubmitSettings,
    targets: list[str] | None,
    resumed: RunDir | None,
    sources: dict[str, str],
    *,
    dry_run: bool,
    test_only: bool,
    wait: bool,
    json: bool,
) -> None:
    from dpam_hpc import trust
    from dpam_hpc.cli import waiting
    from dpam_hpc.run_dir import RunDir
    from dpam_hpc.show import plan as report
    from dpam_hpc.show.progress import CountDisplay
    from dpam_hpc.submit import submission
    from dpam_hpc.submit.platform_choice import choose, renderer, scheduler_by_kind
    from dpam_hpc.submit.resuming import image_remarks, take_from
    from dpam_hpc.target import OWN_FOLDER

    trust.check(settings.work_dir / OWN_FOLDER)
    platform, reason = choose(settings.platform)
    scheduler = scheduler_by_kind(platform.scheduler.type, settings.work_dir)
    prepared = submission.prepare(
        settings,
        platform,
        None if dry_run else scheduler,
        targets=targets,
        on_count=CountDisplay("targets"),
    )
    prepared.remarks.insert(0, f"platform {platform.name}: {reason}")
    if resumed is not None:
        prepared.remarks += image_remarks(resumed, prepared.image)
    if dry_run or test_only:
        _show(prepared, scheduler if test_only else None, json)
        return
    before = RunDir.last(settings.work_dir)
    run = submission.write(prepared, renderer(), sources)
    for earlier in before:
        take_from(earlier)
    ids = submission.submit(run, scheduler)
    if json:
        print(report.as_json(prepared, run.id, ids))
    else:
        report.print_plan(prepared)
        print(f"run {run.id} submitted: job {', '.join(ids)}; its folder is {run.path}")
        print("dpam-hpc status tells where it stands; dpam-hpc resume goes on with what is left")
    if wait:
        raise typer.Exit(waiting.wait([run], scheduler))


def _show(prepared: Prepared, scheduler: Scheduler | None, json: bool) -> None:
    """Print what would be submitted; ask the scheduler of it, if one is given."""
    from dpam_hpc.run_dir import RunDir
    from dpam_hpc.show import plan as report
    from dpam_hpc.submit.platform_choice import renderer

    run = RunDir.named(prepared.settings.work_dir, "DRY-RUN")
    scripts = prepared.scripts(run, renderer())
    if json:
        print(report.as_json(prepared, "", [], scripts))
    else:
        report.print_plan(prepared)
        for name, text in scripts.items():
            print(f"\n==> {name} <==\n{text}", end="")
    if scheduler is not None:
        with tempfile.TemporaryDirectory() as folder:
            for job in prepared.jobs():
                path = Path(folder) / job.script
                path.write_text(scripts[job.script])
                print(scheduler.test(path, []), file=sys.stderr)
