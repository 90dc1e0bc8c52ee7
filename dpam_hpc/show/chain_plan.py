"""A chain's plan, as people read it and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dpam_hpc.pipeline.steps import STEPS, numbers_of, stage_name
from dpam_hpc.show import document, plan

if TYPE_CHECKING:
    from dpam_hpc.submit.prepared import Prepared


def print_plan(prepared: Sequence[Prepared]) -> None:
    """The plan of all stages as people read it."""
    for place, each in enumerate(prepared, 1):
        names = ", ".join(STEPS[number].name for number in numbers_of(each.stage))
        print(f"stage {place}: steps {stage_name(each.stage)}: {names}")
        plan.print_plan(each)


def plan_as_json(
    prepared: Sequence[Prepared],
    chain: str,
    jobs: Sequence[Sequence[str]] = (),
    scripts: Sequence[Mapping[str, str]] = (),
) -> str:
    """The plan for programs; docs/schemas/chain-plan.schema.json describes it."""
    stages = []
    for n, each in enumerate(prepared):
        stage: dict[str, Any] = {
            "stage": stage_name(each.stage),
            "steps": list(numbers_of(each.stage)),
        }
        if each.stage:
            stage |= {
                "cpus_a_target": each.stage.cpus, "memory_mb_a_target": each.stage.memory_mb,
                "targets_at_a_time": each.stage.at_once,
            }  # fmt: skip
        run = f"{chain}.s{n + 1}" if chain else ""
        own = jobs[n] if jobs else []
        stages.append({**stage, **plan.content(each, run, own, scripts[n] if scripts else None)})
    return document.document(run=chain, stages=stages)
