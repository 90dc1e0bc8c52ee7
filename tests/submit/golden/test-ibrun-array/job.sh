#!/bin/bash
#SBATCH --job-name=dpam-hpc-20260102-030405-c0de
#SBATCH --array=0-2
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=48
#SBATCH --mem=10600M
#SBATCH --time=04:00:00
#SBATCH --signal=USR1@300
#SBATCH --open-mode=append
#SBATCH --output=/project/proteins/.dpam-hpc/runs/20260102-030405-c0de/logs/%A_%a.log
# Run 20260102-030405-c0de of dpam-hpc: tasks 0 to 2, 3 targets in all.
set -u
run_dir=/project/proteins/.dpam-hpc/runs/20260102-030405-c0de
ibrun bash -l "$run_dir/node.sh" "$((0 + SLURM_ARRAY_TASK_ID))"
code=$?
exit "$code"
