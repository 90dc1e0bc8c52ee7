#!/bin/bash
#SBATCH --job-name=dpam-hpc-20260102-030405-c0de
#SBATCH --nodes=3
#SBATCH --ntasks=3
#SBATCH --ntasks-per-node=1
#SBATCH --no-kill
#SBATCH --exclusive
#SBATCH --time=04:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output="/project/my proteins it's 100%% $(x) `y`/.dpam-hpc/runs/20260102-030405-c0de/logs/%j.log"
# Run 20260102-030405-c0de of dpam-hpc: tasks 0 to 2, 3 targets in all.
set -u
run_dir='/project/my proteins it'"'"'s 100% $(x) `y`/.dpam-hpc/runs/20260102-030405-c0de'
# One launcher a node over ssh; the batch shell alone hears the scheduler, and passes it on.
mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
first=0
started=()
# shellcheck disable=SC2317,SC2329 # called by the trap
pass_on() {
    for host in "${hosts[@]}"; do
        timeout 20 ssh -n -o BatchMode=yes "$host" pkill -TERM -u "$USER" -f ''"'"'launch .*20260102-030405-c0de'"'"'' &
    done
}
trap pass_on TERM USR1
for rank in "${!hosts[@]}"; do
    ssh -n -o BatchMode=yes "${hosts[$rank]}" \
        env SLURM_JOB_ID="$SLURM_JOB_ID" SLURM_RESTART_COUNT="${SLURM_RESTART_COUNT:-0}" SLURM_PROCID="$rank" \
        bash -l ''"'"'/project/my proteins it'"'"'"'"'"'"'"'"'s 100% $(x) `y`/.dpam-hpc/runs/20260102-030405-c0de/node.sh'"'"'' "$first" &
    started+=("$!")
done
worst=0
for pid in "${started[@]}"; do
    # A trap ends a wait early: wait again until that launcher has ended.
    while :; do
        wait "$pid"
        code=$?
        kill -0 "$pid" 2>/dev/null || break
    done
    [ "$code" -gt "$worst" ] && worst=$code
done
(exit "$worst")
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
