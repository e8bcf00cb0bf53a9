#!/usr/bin/env bash
# Train the example model of OpenNMT's README, as in the paper. See --help and README.md.
set -euo pipefail
# shellcheck source=examples/recipe.sh
source "$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null && pwd)/recipe.sh"

usage() {
    cat <<'EOF'
usage: examples/translation_multi30k/opennmt.sh [options] [any option of scripts/train.sh]

Prepare Multi30k in words, train the example model of OpenNMT's README with ablated LSTMs, and score
the test set. Run it again to continue where it stopped.

  --cell NAME       the cell of encoder and decoder (default lstm). For different cells add
                    --encoder-cell and --decoder-cell, and a separate --out. no-gates needs
                    --lr 0.1, and no-srnn-out in encoder and decoder --lr 0.5
  --fairseq-lstm    train fairseq's own --arch lstm instead, with the same sizes
  --data FOLDER     folder with the files of Multi30k (default: download them)
  --cache DIR       keep downloaded files there (default ~/.cache/fairseq_wsum/multi30k)
  --own-corpus      FOLDER has a corpus of your own (see scripts/prepare_translation.sh), whose
                    options --text, --source-lang, --target-lang, --max-words and
                    --workers it takes, too
  --out DIR         folder for data and results (default runs/multi30k/opennmt)
  --run DIR         folder for this training and its scores (default: a folder within --out)
  --prepare-only    prepare the data and stop
  --help            this text

examples:
  examples/translation_multi30k/opennmt.sh --cell no-srnn-hidden
  examples/translation_multi30k/opennmt.sh --fairseq-lstm
EOF
}

options=() peer=false
for option in "$@"; do
    if [ "$option" = --fairseq-lstm ]; then peer=true; else options+=("$option"); fi
done
parse multi30k/opennmt ${options[@]+"${options[@]}"}
data="$out/data"
! $peer || no_cell_with --fairseq-lstm
cell="${cell:-lstm}"

prepare prepare_multi30k.sh --out "$data" --units words --max-words 50

if $peer; then
    run="${run:-$out/fairseq-lstm}" criterion=cross_entropy
    model=(--arch lstm --dropout 0.3 --encoder-dropout-in 0 --decoder-dropout-in 0
        --encoder-layers 2 --encoder-embed-dim 500 --encoder-hidden-size 500
        --decoder-layers 2 --decoder-embed-dim 500 --decoder-hidden-size 500
        --decoder-out-embed-dim 500)
    # fairseq's LSTM moves the padding to the right, and with it its attention weights, so that
    # --replace-unk would take the wrong word in a batch with padding.
    batch=1
else
    run="${run:-$out/$cell}" criterion=wsum_cross_entropy
    model=(--arch wsum_lstm --cell "$cell") # its defaults are this recipe's
    batch=64
fi

train "$data" "$run" "${model[@]}" --criterion "$criterion" --sentence-avg \
    --optimizer sgd --lr 1.0 --clip-norm 5 \
    --lr-scheduler fixed --force-anneal 9 --lr-shrink 0.5 --max-epoch 13 \
    --batch-size 64 --no-epoch-checkpoints --seed 1 --log-format simple --log-interval 100

score=("$SCRIPTS/score.sh" "$data" --checkpoints "$run/checkpoint_last.pt" --lenpen 0
    --batch-size "$batch")
given="$(printf ' %s ' "${train_options[*]-}" | tr '[:upper:]' '[:lower:]')"
[[ "$given" =~ \ --decoder-attention[\ =](none|0|no|off|false)\  ]] || score+=(--replace-unk)
for subset in valid test; do
    run_job "${score[@]}" --subset "$subset" --out "$(results "$run" "score-$subset")" \
        ${score_options[@]+"${score_options[@]}"}
done
