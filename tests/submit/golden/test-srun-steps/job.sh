#!/bin/bash
#SBATCH --job-name=dpam-hpc-20260102-030405-c0de
#SBATCH --array=0-2
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=48
#SBATCH --mem=97000M
#SBATCH --time=04:00:00
#SBATCH --signal=USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=/project/proteins/.dpam-hpc/runs/20260102-030405-c0de/logs/%A_%a.log
# Run 20260102-030405-c0de of dpam-hpc: tasks 0 to 2, 3 targets in all.
set -u
run_dir=/project/proteins/.dpam-hpc/runs/20260102-030405-c0de
# By srun, since only what it starts hears of a preemption when the grace begins.
srun --nodes=1 --ntasks=1 --kill-on-bad-exit=0 --cpus-per-task=48 bash -l "$run_dir/node.sh" "$((0 + SLURM_ARRAY_TASK_ID))"
code=$?
# 75: interrupted in good time; 137 and 143: killed. What is done is kept. SLURM does not requeue a
# job that ended by itself, so it is done here, unless somebody cancelled it or it goes on for ever.
case $code in
    75 | 137 | 143)
        if [ ! -e "$run_dir/cancelled" ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 30 ]; then
            timeout 60 scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
        fi
        ;;
esac
exit "$code"
