"""A stage of dpam's steps as a run: its targets' predicted cost, and what a node is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dpam_hpc import cost
from dpam_hpc.image.identity import identify
from dpam_hpc.pipeline.outputs import PAE, READ_PAE
from dpam_hpc.pipeline.steps import Stage
from dpam_hpc.platforms.model import Platform
from dpam_hpc.settings import SubmitSettings
from dpam_hpc.submit import databases, links, submission
from dpam_hpc.submit.looking import look_at_all
from dpam_hpc.submit.prepared import MEGABYTES_BESIDE, Prepared
from dpam_hpc.submit.scheduler import Scheduler
from dpam_hpc.submit.shape import equal_tasks, shape
from dpam_hpc.submit.survey import Look, Survey, query
from dpam_hpc.target import WorkFolder


def planned_stage(
    settings: SubmitSettings,
    platform: Platform,
    scheduler: Scheduler | None,
    folder: WorkFolder,
    stage: Stage,
    left: Sequence[str],
    chosen: int,
) -> Prepared:
    """A stage's tasks, and what a node is asked for."""
    cpus, remarks = submission.cpus_of_node(settings, platform)
    partition = platform.partitions.get(settings.partition)
    memory = partition.mem_mb - MEGABYTES_BESIDE if partition and partition.mem_mb else None
    stage = replace(  # no more than a node has
        stage,
        cpus=min(stage.cpus, cpus),
        memory_mb=max(1, min(stage.memory_mb, memory or stage.memory_mb)),
    )
    at_once = max(1, min(cpus // stage.cpus, int((memory or 10**9) // stage.memory_mb)))
    found = Survey()
    looks = list(look_at_all(lambda target: _look(folder, stage, target), left))
    for target, seen in zip(left, looks, strict=True):
        found.add(target, replace(seen, seconds=seen.seconds * stage.cpus))
    multi_node, limits, more = submission.means(settings, platform, scheduler)
    total = sum(seconds for _, seconds in found.costs)
    longest = max(seen.seconds for seen in looks)
    planned = shape(total, len(left), at_once * stage.cpus, limits, multi_node, longest)
    parts = equal_tasks(found.costs, planned.tasks)
    if platform.is_exclusive(settings.partition):
        at_once = 0  # as many as fit, which the node knows
    else:  # no more of a node than the targets fill
        at_once = min(at_once, max(map(len, parts)))
        cpus = at_once * stage.cpus
    if settings.image and 2 in stage.numbers and not settings.skip_addss:
        remarks.append("step 2 calls psipred, which images of dpam-hpc do not have: --skip-addss")
    assert settings.data_dir is not None  # preflight has seen it
    order, told = submission.scratch_order(settings, platform)
    behind = databases.behind(settings.data_dir, stage.numbers) | found.behind
    binds, of_links = submission.linked(settings, behind)
    return Prepared(
        settings,
        platform,
        planned,
        found,
        parts,
        cpus,
        multi_node,
        chosen - len(left),
        order,
        identify(settings.image) if settings.image else None,
        replace(
            stage,
            at_once=at_once,
            skip_addss=settings.skip_addss,
            command=(databases.command(settings),),
        ),
        binds,
        remarks + more + told + of_links,
    )


def _look(folder: WorkFolder, stage: Stage, target: str) -> Look:
    """Of a target: predicted seconds by the clock, and what is wrong with it already."""
    try:
        size, behind = query(folder, target, or_cif=True)
    except OSError:
        return Look(stage.seconds(0), problems=(f"no {target}.cif and no {target}.pdb",))
    problems: tuple[str, ...] = ()
    if set(READ_PAE) & set(stage.numbers):
        pae = folder.root / f"{target}{PAE}"
        if not pae.exists():
            problems = (f"no {target}.json with its PAE, which steps 12 and 13 read",)
        behind += tuple(links.behind_file(pae))
    return Look(stage.seconds(cost.residues(size)), problems=problems, behind=behind)
