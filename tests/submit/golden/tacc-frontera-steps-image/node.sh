#!/bin/bash
# Runs once a node. $1: the task of the job's first node; further nodes have the tasks that follow.
task=$(($1 + ${SLURM_PROCID:-0}))
module load tacc-apptainer || exit 1
set -u  # the module system is not to be held to it
# Nothing of the submitter's shell or of a profile changes what runs.
unset "${!OMP_@}" "${!APPTAINER@}" "${!SINGULARITY@}" "${!SBATCH_@}" "${!DPAM_HPC_@}" "${!PYTHON@}" DALI_HOME LD_PRELOAD
job="$SLURM_JOB_ID"
deadline=0
end=$(timeout 30 squeue -h -j "$job" -o %e 2>/dev/null)
case $end in
    [0-9]*T*) deadline=$(date -d "$end" +%s) ;;
esac
# An empty array is an unbound variable to bash before 4.4.
scratch=()
binds=()
# shellcheck disable=SC2043 # one place may be all
for place in "/tmp" "${TMPDIR:-}"; do
    if [ -n "$place" ] && [ -d "$place" ]; then
        scratch+=(--scratch "$place")
        binds+=(--bind "$place")
    fi
done
if [ -d "${SCRATCH:-}" ]; then
    scratch+=(--last-resort "${SCRATCH:-}")
    binds+=(--bind "${SCRATCH:-}")
fi
image=/images/dpam.sif
node=${SLURMD_NODENAME:-$(hostname)}
machine=$(uname -m)
if ! head -c 1 "$image" > /dev/null 2>&1; then
    echo "dpam-hpc: the image $image cannot be read on $node: see that it is there and its file system mounted, then dpam-hpc resume" >&2
    exit 9
fi
made_for=x86_64
if [ "$machine" != "$made_for" ]; then
    echo "dpam-hpc: the image $image is made for $made_for, and $node is $machine: dpam-hpc submit with an image for $machine, or another --partition" >&2
    exit 9
fi
# The launcher looks at it too. Without links: inside, they may lead to what is not bound.
real=$(readlink -f "$image")
export APPTAINER_TMPDIR="/tmp"
exec apptainer exec --containall --no-home ${binds[@]+"${binds[@]}"} \
    --bind /project/proteins \
    --bind /data/ecod:/data/ecod:ro \
    --bind /opt/DaliLite.v5:/opt/DaliLite.v5:ro \
    --bind /databases/uniref:/databases/uniref:ro \
    --bind "$real:$real:ro" --pwd /project/proteins/.dpam-hpc/runs/20260102-030405-c0de "$real" \
    dpam-hpc launch /project/proteins/.dpam-hpc/runs/20260102-030405-c0de --task "$task" \
    --image "$real" --job "$job" --node "${SLURMD_NODENAME:-$(hostname)}" \
    --restart "${SLURM_RESTART_COUNT:-0}" --deadline "$deadline" ${scratch[@]+"${scratch[@]}"}
