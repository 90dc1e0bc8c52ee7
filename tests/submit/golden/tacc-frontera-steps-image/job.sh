#!/bin/bash
#SBATCH --job-name=dpam-hpc-20260102-030405-c0de
#SBATCH --partition=small
#SBATCH --nodes=2
#SBATCH --ntasks=2
#SBATCH --ntasks-per-node=1
#SBATCH --no-kill
#SBATCH --exclusive
#SBATCH --time=04:00:00
#SBATCH --signal=USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=/project/proteins/.dpam-hpc/runs/20260102-030405-c0de/logs/%j.log
# Run 20260102-030405-c0de of dpam-hpc: tasks 0 to 1, 2 targets in all.
set -u
run_dir=/project/proteins/.dpam-hpc/runs/20260102-030405-c0de
# One launcher a node; a node that fails takes none of the others with it.
srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --no-kill --kill-on-bad-exit=0 --wait=0 bash -l "$run_dir/node.sh" 0
code=$?
# 75: interrupted in good time; 137 and 143: killed. What is done is kept. SLURM does not requeue a
# job that ended by itself, so it is done here, unless somebody cancelled it or it goes on for ever.
case $code in
    75 | 137 | 143)
        if [ ! -e "$run_dir/cancelled" ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 30 ]; then
            timeout 60 scontrol requeue "$SLURM_JOB_ID"
        fi
        ;;
esac
exit "$code"
