"""How many targets of a stage a node works on at a time."""

from __future__ import annotations

from pathlib import Path

import psutil

from dpam_hpc.pipeline.steps import Stage
from dpam_hpc.settings import RunSettings, available_cpus

CGROUP_MEMORY = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def slots(stage: Stage, settings: RunSettings) -> int:
    """By processors, by memory, and by what the job has asked for; at least one."""
    cpus = available_cpus()
    if "cpus" in settings.model_fields_set:
        cpus = min(cpus, settings.cpus)
    by_memory = _free_memory_mb() // stage.memory_mb if stage.memory_mb else cpus
    return max(1, min(cpus // stage.cpus, by_memory, stage.at_once or cpus))


def _free_memory_mb() -> int:
    """Memory that this process may use, in MB: of the machine, and of its control group."""
    free = int(psutil.virtual_memory().available)
    for path in CGROUP_MEMORY:
        try:
            free = min(free, int(Path(path).read_text()))
        except (OSError, ValueError):
            continue
    return free // 10**6
