#!/usr/bin/env bash
# Train and score a small translation model from scratch in minutes, on a CPU. See --help.
set -euo pipefail
HERE="$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd)"
# shellcheck source=scripts/common.sh
source "$HERE/common.sh"

usage() {
    cat <<'EOF'
usage: scripts/quickstart.sh [--cell NAME] [--epochs N] [--fresh]

Set up the environment, prepare a small English-German corpus (examples/quickstart), train a model
on one CPU core, translate the test sentences and score them. It can be run again at any time: it
skips finished steps, continues an interrupted training, and shows the scores again.

  --cell NAME       the cell (default no-srnn-hidden); README.md lists them all
  --epochs N        number of training epochs (default 10)
  --fresh           train again, in a new folder; the old one stays
  --help            this text

All files are written below runs/quickstart:
  corpus            the corpus as fairseq's binary data
  NAME-Nepochs*     a training: checkpoints, train.log, and translations and scores in score

examples:
  scripts/quickstart.sh
  scripts/quickstart.sh --cell lstm
EOF
}

cell=no-srnn-hidden epochs=10 fresh=false
while [ $# -gt 0 ]; do
    case "$1" in
        --cell=* | --epochs=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    esac
    case "$1" in
        -h | --help) usage && exit ;;
        --cell) cell="$(value "$@")"; shift ;;
        --epochs) epochs="$(value "$@")"; shift ;;
        --fresh) fresh=true ;;
        *) die "unknown option $1 (see --help)" ;;
    esac
    shift
done
positive --epochs "$epochs"

say "== 1. environment"
# An environment of the user's own that has fairseq is used as it is; setup.sh writes setup.log.
if [ -f "${VENV:-$REPO/.venv}/setup.log" ] || ! (use_environment) 2>/dev/null; then
    "$HERE/setup.sh"
fi
use_environment
check_modules sacrebleu sacremoses
check_cell "$cell"
setup_seconds=$SECONDS

# A model of this size gains nothing from several threads, which slow each other on busy cores.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
out="$REPO/runs/quickstart"
# The newest folder of this model, or the next unused number.
name="$out/$cell-${epochs}epochs" number=1
run="$name"
while [ -e "$name-$((number + 1))" ]; do number=$((number + 1)) run="$name-$number"; done
# a training of an older version, which has the lock of that name, is kept as it is
if { $fresh && [ -e "$run" ]; } || [ -e "$run/.quickstart.lock" ]; then
    run="$name-$((number + 1))"
fi

# Print the progress and the perplexities from fairseq's log.
show_progress() {
    local line
    while IFS= read -r line; do
        if [[ "$line" =~ epoch\ 0*([0-9]+):\ +([0-9]+)\ /\ ([0-9]+)\ .*\ ppl=([0-9.]+) ]]; then
            say "   epoch ${BASH_REMATCH[1]}, batch ${BASH_REMATCH[2]} of ${BASH_REMATCH[3]}:" \
                "training perplexity ${BASH_REMATCH[4]}"
        elif [[ "$line" =~ \|\ epoch\ 0*([0-9]+)\ \|\ valid\ .*\|\ ppl\ ([0-9.]+) ]]; then
            say "   epoch ${BASH_REMATCH[1]} done: validation perplexity ${BASH_REMATCH[2]}"
        elif [[ "$line" =~ ^(error:|waiting|continuing) ]]; then
            say "   $line"
        fi
    done
}

train() { # RUN options...
    if ! run_job_into /dev/null show_progress "$REPO/examples/ablation_study/captions.sh" \
        --train-only --cell "$cell" --gpus 0 --out "$out/corpus" --run "$@"; then
        [ ! -f "$1/train.log" ] || tail -n 15 "$1/train.log" >&2
        die "the training failed; its output is in $1/train.log"
    fi
}

say "== 2. corpus, and training: cell '$cell', $epochs epochs, in $run"
start=$SECONDS training='done before'
if [ -f "$run/finished" ] && [ -f "$run/untrained/finished" ]; then
    say "   $training"
else
    train "$run" --max-epoch "$epochs"
    training="$((SECONDS - start)) s"
    # the same model untrained: one update at learning rate 0 writes its checkpoint
    train "$run/untrained" --max-update 1 --lr 0 --lr-scheduler fixed --disable-validation
fi

score() { # CHECKPOINTS FOLDER
    run_job "$HERE/score.sh" "$out/corpus/data" --checkpoints "$1" --out "$2" --cpu --beam 5 \
        --max-len-a 1.5 --max-len-b 10 >"$run/score.log" 2>&1 ||
        { tail -n 15 "$run/score.log" >&2; die "no scores; the output is in $run/score.log"; }
}

say "== 3. translating 300 test sentences, beam 5"
start=$SECONDS
score "$run" "$run/score"
decoding="$((SECONDS - start)) s"
score "$run/untrained/checkpoint_last.pt" "$run/untrained/score"
"$PYTHON" "$REPO/examples/quickstart/summary.py" "$REPO/examples/quickstart/corpus" "$run" \
    "$setup_seconds s" "$training" "$decoding"
