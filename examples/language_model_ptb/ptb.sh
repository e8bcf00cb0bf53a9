#!/usr/bin/env bash
# Train language models on the Penn Treebank as Zaremba et al. (2014) did. See --help and README.md.
set -euo pipefail
# shellcheck source=examples/recipe.sh
source "$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null && pwd)/recipe.sh"

usage() {
    cat <<'EOF'
usage: examples/language_model_ptb/ptb.sh [options] [any option of scripts/train.sh]

Prepare the Penn Treebank, train a language model with ablated LSTMs like Zaremba et al. (2014), and
print the perplexity of the validation and the test set. Run it again to continue where it stopped.

  --size SIZE       small (default), medium or large
  --cell NAME       the cell (default lstm)
  --epochs N        stop after N epochs (default 13, 39 or 55, by size)
  --seed N          random seed (default 1)
  --fairseq-lstm    train fairseq's own --arch lstm_lm instead, with the same sizes and its own task
                    language_modeling; that task carries no state, so only compare the speed
  --data FOLDER     folder with ptb.train.txt, ptb.valid.txt and ptb.test.txt (default: download
                    them)
  --cache DIR       keep downloaded files there (default ~/.cache/fairseq_wsum/ptb)
  --own-corpus      FOLDER has text of your own: see scripts/prepare_text.sh --help
  --nwords N        limit the dictionary of that text to N entries (default: no limit)
  --out DIR         folder for data and results (default runs/ptb)
  --run DIR         folder for this training and its scores (default: a folder within --out)
  --prepare-only    prepare the data and stop
  --help            this text

examples:
  examples/language_model_ptb/ptb.sh --cell no-srnn-hidden
  for seed in 1 2 3; do examples/language_model_ptb/ptb.sh --epochs 4 --seed $seed; done
EOF
}

options=() size=small epochs='' seed=1 peer=false
while [ $# -gt 0 ]; do
    case "$1" in
        --size=* | --epochs=* | --seed=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    esac
    case "$1" in
        --size) size="$(value "$@")"; shift ;;
        --epochs) epochs="$(value "$@")"; shift ;;
        --seed) seed="$(value "$@")"; shift ;;
        --max-epoch | --max-epoch=*) die "$1: give --epochs, which also names the folder" ;;
        --fairseq-lstm) peer=true ;;
        *) options+=("$1") ;;
    esac
    shift
done
parse ptb ${options[@]+"${options[@]}"}
! $peer || no_cell_with --fairseq-lstm
cell="${cell:-lstm}"

# From the table in TensorFlow's PTB tutorial. --force-anneal is the first epoch with a lower rate.
case "$size" in
    small) units=200 dropout=0 steps=20 clip=5 anneal=5 shrink=0.5 all=13 ;;
    medium) units=650 dropout=0.5 steps=35 clip=5 anneal=7 shrink=0.8 all=39 ;;
    large) units=1500 dropout=0.65 steps=35 clip=10 anneal=15 shrink=0.8695652 all=55 ;;
    *) die "--size $size: choose from small, medium, large" ;;
esac
epochs="${epochs:-$all}"
positive --epochs "$epochs"

data="$out/data"
prepare prepare_ptb.sh --out "$data"

if $peer; then
    run="${run:-$out/$size/fairseq-lstm/epochs-$epochs-seed-$seed}"
    task=language_modeling criterion=cross_entropy
    # It accepts only samples as long as in training by default, but eval-lm's have 1,024 tokens.
    score_options+=(--model-overrides "{'max_target_positions': 1024}")
    model=(--arch lstm_lm --decoder-layers 2 --decoder-embed-dim "$units"
        --decoder-hidden-size "$units" --decoder-out-embed-dim "$units" --dropout "$dropout")
else
    run="${run:-$out/$size/$cell/epochs-$epochs-seed-$seed}"
    task=wsum_language_modeling criterion=wsum_cross_entropy
    model=(--arch "wsum_lstm_lm_ptb_$size" --cell "$cell")
fi

# --sentence-avg: as in the tutorial, the loss is summed over time steps and divided by the streams.
train "$data" "$run" --task "$task" "${model[@]}" --criterion "$criterion" --sentence-avg \
    --tokens-per-sample "$steps" --batch-size 20 --max-epoch "$epochs" --seed "$seed" \
    --optimizer sgd --lr 1.0 --clip-norm "$clip" \
    --lr-scheduler fixed --force-anneal "$anneal" --lr-shrink "$shrink" \
    --best-checkpoint-metric ppl --no-epoch-checkpoints --log-format simple --log-interval 200

run_job "$SCRIPTS/perplexity.sh" "$data" --checkpoint "$run/checkpoint_last.pt" --task "$task" \
    --out "$(results "$run" perplexity .json)" ${score_options[@]+"${score_options[@]}"}
