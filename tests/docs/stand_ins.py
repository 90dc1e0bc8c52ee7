"""Programs for pages that are tried without a cluster: a SLURM that runs each job at once."""

from __future__ import annotations

from pathlib import Path

SBATCH = """#!/bin/bash
# Runs the elements of an array, or the nodes of a job, one after the other.
script=${!#}
for word in "$@"; do
    if [ "$word" = --test-only ]; then
        echo "sbatch: Job 1 to start at 2030-01-01T00:00:00 using 1 processors on nodes n1" >&2
        exit 0
    fi
done
value() { sed -n "s/^#SBATCH --$1=//p" "$script"; }
id=$(($(ls "$STATE" | wc -l) + 1))
last=$(value array | sed 's/%.*//; s/.*-//')
log=$(value output)
export SLURM_JOB_ID=$id SLURM_NTASKS=$(value ntasks) SLURMD_NODENAME=n1
touch "$STATE/$id"
for ((element = 0; element <= ${last:-0}; element++)); do
    state=COMPLETED
    export SLURM_ARRAY_JOB_ID=$id SLURM_ARRAY_TASK_ID=$element
    out=${log//%A/$id} out=${out//%a/$element} out=${out//%j/$id}
    bash "$script" >> "$out" 2>&1 || state=FAILED
    echo "$id|${last:+$element}|$state|n1|None" >> "$STATE/$id"
done
echo "$id"
"""
SRUN = """#!/bin/bash
while [[ $1 == -* ]]; do shift; done
for ((rank = 0; rank < ${SLURM_NTASKS:-1}; rank++)); do
    SLURM_PROCID=$rank "$@" || worst=$?
done
exit ${worst:-0}
"""
SQUEUE = """#!/bin/bash
for word in "$@"; do
    case $word in
        --jobs=*) ids=${word#*=} ;;
    esac
done
for id in $(tr , ' ' <<< "${ids:-}"); do sed 's/||/|N\\/A|/' "$STATE/$id"; done
"""
SCONTROL = """#!/bin/bash
echo "ClusterName             = docs"
echo "MaxArraySize            = 1001"
"""
SACCT = """#!/bin/bash
echo "Slurm accounting storage is disabled" >&2
exit 1
"""
SCANCEL = """#!/bin/bash
exit 0
"""
SLURM = {
    "sbatch": SBATCH, "srun": SRUN, "squeue": SQUEUE, "scontrol": SCONTROL, "sacct": SACCT,
    "scancel": SCANCEL,
}  # fmt: skip


def slurm(folder: Path, state: Path) -> None:
    """Put SLURM's commands into ``folder``; they note their jobs in ``state``."""
    state.mkdir()
    for name, text in SLURM.items():
        head, _, body = text.partition("\n")
        program = folder / name
        program.write_text(f"{head}\nSTATE={state}\n{body}")
        program.chmod(0o755)
