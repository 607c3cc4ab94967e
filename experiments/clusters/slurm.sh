#!/bin/bash
# A search on Slurm: a Ray cluster of the job's nodes, and the driver on the first of them.
#
#     sbatch experiments/clusters/slurm.sh                  # from the repository's root, on a folder all nodes see
#     scancel --batch --signal=TERM JOB                     # end at a checkpoint; the same sbatch goes on
#
# To change: partition and time, how the environment is entered, the run's folder.
#SBATCH --job-name=spnas
#SBATCH --nodes=4                     # fleet.num_workers
#SBATCH --ntasks-per-node=1           # one Ray on each
#SBATCH --gpus-per-node=8             # fleet.gpus_per_worker
#SBATCH --cpus-per-task=72            # fleet.cpus_per_worker and some for Ray and the driver
#SBATCH --exclusive                   # Ray's ports and temporary folder are then ours
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@300           # five minutes before the time is over, to this script only
#SBATCH --requeue                     # another job takes the run up where this one has ended
#SBATCH --open-mode=append            # to the same log
#SBATCH --output=spnas-%j.log
set -euo pipefail

source .venv/bin/activate

# All of Ray's processes have the token from here; it ends with the job.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(python -c "import secrets; print(secrets.token_hex(32))")
export RAY_AUTH_TOKEN
# What a node worker has started ends with it, if it has crashed, too. Read at `ray start` only.
export RAY_process_group_cleanup_enabled=true

port=6379
mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts[0]}
head_ip=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}')
export RAY_ADDRESS=$head_ip:$port

# Ray's sockets lie below its temporary folder, and their paths may not be longer than 107 characters.
options=(--num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="$SLURM_GPUS_ON_NODE" --temp-dir="/tmp/ray-$SLURM_JOB_ID" --block)
srun --nodes=1 --ntasks=1 --nodelist="$head" \
    env -u RAY_ADDRESS ray start --head --node-ip-address="$head_ip" --port="$port" "${options[@]}" &
timeout 300 bash -c 'until ray status >/dev/null 2>&1; do sleep 2; done'
srun --nodes="$((SLURM_JOB_NUM_NODES - 1))" --ntasks="$((SLURM_JOB_NUM_NODES - 1))" --exclude="$head" \
    env -u RAY_ADDRESS ray start --address="$RAY_ADDRESS" "${options[@]}" &

# The documented command; as RAY_ADDRESS is set, it runs on this cluster. It waits for nodes that are not up yet.
python -m orchestrator.cli search experiments/clusters/search.yaml --run runs/voc &
driver=$!
is_requeued=no
trap 'kill -TERM "$driver" || true' TERM
trap 'is_requeued=yes; kill -TERM "$driver" || true' USR1

# A signal ends `wait`, not the driver.
while kill -0 "$driver" 2>/dev/null; do
    wait "$driver" || true
done
code=0
wait "$driver" || code=$?

if [ "$is_requeued" = yes ] && [ "$code" -ne 0 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
