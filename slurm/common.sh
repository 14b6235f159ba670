# Sourced by the batch files. They run from the project's folder (submit.sh sees to that) with the project's environment.
set -eu
cd "${REDHEART_PROJECT:-$SLURM_SUBMIT_DIR}"
. launch/environment.sh
find_python
ensure_installed "offline"
PATH=$ENVIRONMENT/bin:$PATH
# Settings for all four, such as REDHEART_OPTIONS="--data /data/stories.json --output /scratch/run"
options=${REDHEART_OPTIONS:-}
