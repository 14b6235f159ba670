#!/usr/bin/env bash
# Submits the four jobs, each after the one before it: bash slurm/submit.sh [sbatch options, such as --partition=gpu]
#   REDHEART_OPTIONS    options of every command, such as "--data /data/stories.json --output /scratch/run"
#   REDHEART_LAUNCH     the launch file of the training (launch/cpu.yaml)
#   REDHEART_PROCESSES  its processes (1)
set -euo pipefail
REDHEART_PROJECT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
export REDHEART_PROJECT
previous=
for stage in embed sweep train analyze; do
    dependency=${previous:+--dependency=afterok:$previous}
    previous=$(sbatch --parsable --export=ALL $dependency "$@" "$REDHEART_PROJECT/slurm/$stage.sbatch")
    echo "$stage: job $previous"
done
