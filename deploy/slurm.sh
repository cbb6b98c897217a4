#!/usr/bin/env bash
# One run of hardcase on nodes that SLURM gives: a head and a worker per node, both gone when the job ends.
#
#   sbatch deploy/slurm.sh experiments/configs/ham10000_64.yaml output=/shared/runs data.root=/shared/ham10000
#
# Submit from the clone, with hardcase[cluster] in .venv; clone, output and data.root lie on a disk that all nodes share. When time
# runs out or the job is preempted, hardcase writes its checkpoint and SLURM queues the job again: it goes on where it stopped.
#SBATCH --job-name=hardcase
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@300
set -euo pipefail

if [ "$#" -eq 0 ]; then
  echo "usage: sbatch deploy/slurm.sh CONFIG [KEY=VALUE ...]" >&2
  exit 2
fi
cd "${SLURM_SUBMIT_DIR:?submit with sbatch}"
bin="$PWD/.venv/bin"
export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token
# A token of this job's own, in the environment and in no file or argument; nodes of other jobs do not have it.
RAY_AUTH_TOKEN="$("$bin/python" -c 'import secrets; print(secrets.token_hex(32))')"
export RAY_AUTH_TOKEN

# SLURM warns this script, not its children: pass it on, wait for the checkpoint, and queue again. The run is the job that is
# neither the head nor the workers, also before `run=$!` has said which.
ray="" workers=""
again() {
  local job
  for job in $(jobs -p); do
    case " $ray $workers " in *" $job "*) continue ;; esac
    kill -TERM "$job" 2> /dev/null && wait "$job" || true
  done
  scontrol requeue "$SLURM_JOB_ID"
  [ -z "$ray" ] || kill "$ray" 2> /dev/null || true
  exit 143
}
trap again TERM

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head="${nodes[0]}"
read -r address _ < <(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address)
port=$((20000 + SLURM_JOB_ID % 20000))

srun --nodes=1 --ntasks=1 --nodelist="$head" --overlap --export=ALL \
  "$bin/ray" start --head --block --node-ip-address="$address" --port="$port" --dashboard-host=127.0.0.1 \
  --num-cpus="$SLURM_CPUS_PER_TASK" &
ray=$!
for _ in $(seq 60); do
  RAY_ADDRESS="$address:$port" "$bin/ray" status > /dev/null 2>&1 && break
  sleep 2
done
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
  srun --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$((SLURM_JOB_NUM_NODES - 1)) --exclude="$head" --overlap --export=ALL \
    "$bin/ray" start --block --address="$address:$port" --num-cpus="$SLURM_CPUS_PER_TASK" &
  workers=$!
fi

"$bin/hardcase" run "$@" backend.kind=ray "backend.address=$address:$port" backend.gpus_per_worker=1 &
run=$!
code=0
wait "$run" || code=$?
kill "$ray" 2> /dev/null || true
exit "$code"
