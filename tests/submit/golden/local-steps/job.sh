#!/bin/bash
# Run 20260102-030405-c0de of dpam-hpc: tasks 0 to 0, 1 targets in all.
set -u
run_dir=/project/proteins/.dpam-hpc/runs/20260102-030405-c0de
# Not over before its launcher is, which hears of a signal by itself.
trap : TERM INT HUP USR1
worst=0
for task in $(seq 0 0); do
    bash "$run_dir/node.sh" "$task"
    code=$?
    [ "$code" -gt "$worst" ] && worst=$code
    [ "$code" = 75 ] && break
done
(exit "$worst")
code=$?
exit "$code"
