#!/bin/bash
# Workers as a Slurm job array: `sbatch docs/cluster/slurm.sh`. Each task is one worker, which ends when there is nothing to do.
# Set the service's address below, and leave a worker token in ~/.tuner-token (chmod 600): `tuner tokens create worker --name slurm`.
#SBATCH --job-name=tuner-worker
#SBATCH --array=1-4
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=12:00:00
#SBATCH --output=tuner-worker-%A_%a.log
# Two minutes before the time is up, and when the job is pre-empted: trials leave checkpoints and are given back, then it ends.
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
set -euo pipefail

export TUNER_SERVER="${TUNER_SERVER:-http://tuner.example:8321}"
export TUNER_TOKEN_FILE="${TUNER_TOKEN_FILE:-$HOME/.tuner-token}"
# On the node's own disk, and short, because trials are reached by sockets below it.
export TUNER_HOME="${SLURM_TMPDIR:-/tmp}/tuner-$SLURM_JOB_ID"
export TMPDIR="${SLURM_TMPDIR:-/tmp}"

# The signal reaches this shell only; `wait` returns at once then, and a second time with the worker's exit status.
trap 'kill -TERM "$!"' TERM  # before there is a worker (`$!`), so that no moment is left in which it would be killed unheard
tuner worker --cores "$SLURM_CPUS_PER_TASK" --end-when-idle 300 &
worker=$!
wait "$worker" || wait "$worker"
