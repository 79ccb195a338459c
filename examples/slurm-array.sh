#!/bin/bash
# Run on: Slurm 22.05 of Debian 12, on one machine, by tests/test_cluster_examples.py.
#
# One part of a run per task of an array, and one run from all parts:
#
#     job=$(sbatch --parsable --array=1-64 examples/slurm-array.sh 64 runs/c imagenet-c --data-root /data)
#     sbatch --dependency=afterok:$job --wrap "run-bench merge runs/c/part-* --out runs/c/whole"
#
# A task that was preempted is put into the queue again and resumes. After a time limit, submit what is missing again,
# with the same number of parts: --array=7,12. Activate the environment with run-bench before sbatch, which passes it on.
#SBATCH --job-name=run-bench
#SBATCH --cpus-per-task=2
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=run-bench-%A_%a.log
# With a GPU for each task: #SBATCH --gpus-per-task=1
# Two minutes before the time limit the command is told to stop, and says how to resume.
#SBATCH --signal=B:TERM@120
set -euo pipefail

parts=$1 out=$2
shift 2
exec run-bench "$@" --shard-range "$SLURM_ARRAY_TASK_ID/$parts" --out "$out/part-$SLURM_ARRAY_TASK_ID" --quiet
