#!/bin/bash
# Runs once a node. $1: the task of the job's first node; further nodes have the tasks that follow.
task=$(($1 + ${SLURM_PROCID:-0}))
set -u  # the module system is not to be held to it
# Nothing of the submitter's shell or of a profile changes what runs.
unset "${!OMP_@}" "${!APPTAINER@}" "${!SINGULARITY@}" "${!SBATCH_@}" "${!DPAM_HPC_@}" "${!PYTHON@}" DALI_HOME LD_PRELOAD
job=""
deadline=0
# An empty array is an unbound variable to bash before 4.4.
scratch=()
binds=()
# shellcheck disable=SC2043 # one place may be all
for place in "${TMPDIR:-}" "/tmp"; do
    if [ -n "$place" ] && [ -d "$place" ]; then
        scratch+=(--scratch "$place")
        binds+=(--bind "$place")
    fi
done
# Python takes modules from the folder that it starts in: not from that of the submission.
cd /project/proteins/.dpam-hpc/runs/20260102-030405-c0de || exit 1
exec \
    '/opt/dpam hpc/bin/python' -m dpam_hpc launch /project/proteins/.dpam-hpc/runs/20260102-030405-c0de --task "$task" \
    --job "$job" --node "${SLURMD_NODENAME:-$(hostname)}" \
    --restart "${SLURM_RESTART_COUNT:-0}" --deadline "$deadline" ${scratch[@]+"${scratch[@]}"}
