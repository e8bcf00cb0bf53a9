#!/usr/bin/env bash
# Train and score a small translation model from scratch in minutes, on a CPU. See --help.
set -euo pipefail
HERE="$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd)"
# shellcheck source=scripts/common.sh
source "$HERE/common.sh"

if [[ " $* " == *" --help "* || " $* " == *" -h "* ]]; then # before anything is set up
    cat <<'EOF'
usage: scripts/quickstart.sh [--cell NAME] [--epochs N]

Set up the environment, prepare a small English-German corpus (examples/quickstart), train a model
on one CPU core, translate the test sentences and score them. It can be run again at any time: it
skips finished steps, continues an interrupted training run, and shows the scores again.

  --cell NAME       the cell (default no-srnn-hidden); README.md lists them all
  --epochs N        number of training epochs (default 10)
  --help            this text

All files are written below runs/quickstart:
  corpus            the corpus as fairseq's binary data
  NAME-Nepochs      a training run: checkpoints, train.log, and translations and scores in score-test

examples:
  scripts/quickstart.sh
  scripts/quickstart.sh --cell lstm
EOF
    exit
fi

say "== 1. environment"
# An environment of the user's own that has fairseq is used as it is; setup.sh writes setup.log.
if [ -f "${VENV:-$REPO/.venv}/setup.log" ] || ! (use_environment) 2>/dev/null; then
    "$HERE/setup.sh"
fi
# a model of this size gains nothing from several threads, which slow each other on busy cores
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
run_module fairseq_wsum.experiments.recipes.quickstart "$@"
