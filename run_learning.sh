#!/usr/bin/env bash
# Starts the whole workflow. A thin shell: it finds or makes the environment, and hands over to `redheart workflow`.
# Works from any folder; everything it writes goes under ./training of the folder it is started in, or --output.

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd) || exit 1

usage() {
    cat <<'TEXT'
usage: bash run_learning.sh MODE [OPTIONS]

modes
  unified-test     a short run of every stage: embedding, (sweep,) training, analysis, crossover, report
  unified-train    the full training, 60 epochs unless --epochs says otherwise
  validate         check environment, data and configuration; start nothing
  help             this text

options
  --samples N          at most N epochs
  --epochs N           epochs of the main training (60)
  --lr RATE            peak learning rate (otherwise the sweep's choice)
  --lr-sweep           find the learning rate first: 5 stages of 5 trials
  --no-param-update    dry run of the training: no optimizer step
  --data FILE          the dataset (otherwise claude_preprocessed_complete.json, otherwise the bundled sample)
  --output FOLDER      where everything is written (training)
  --preset NAME        auto, tiny, small or 730m
  --gpus N, --gpu-memory SIZE, --host-memory SIZE
                       another machine, whose plan is followed here: --gpu-memory 8GiB
  --lang ko|en         language of messages (ko)
  --force              do again what was done before
  --print-config       print the settings that this would run with, and start nothing
  --verbose, --debug   more logging
  KEY=VALUE            any setting, such as training.global_batch_size=16

The first start makes .venv beside this script and installs into it; an active venv or conda environment is used instead.
TEXT
}

mode=${1-help} # an empty word is no mode: a variable that is not set
case "$mode" in
    unified-test | unified-train | validate) ;;
    help | --help | -h) usage; exit 0 ;;
    *)
        echo "run_learning.sh: unknown mode '$mode'; wanted unified-test, unified-train, validate or help" >&2
        exit 2
        ;;
esac

# shellcheck source=launch/environment.sh
. "$here/launch/environment.sh"
find_python || exit 3
# A mistyped option must cost nothing: it is found before anything is installed. The parser needs no package.
if ! is_installed; then
    PYTHONPATH="$here" "$PYTHON" -c 'import sys; from redheart.cli.parser import parse_arguments; parse_arguments(sys.argv[1:])' \
        workflow "$@" || exit $?
fi
ensure_installed "offline" || exit 3
export PATH="$ENVIRONMENT/bin:$PATH" # DeepSpeed looks for ninja there
exec "$ENVIRONMENT/bin/python" -m redheart workflow "$@"
