#!/usr/bin/env bash
# OpenNMT's readme model of early 2018, which the paper took. See --help, and README.md beside this.
set -euo pipefail
# shellcheck source=examples/recipe.sh
source "$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/recipe.sh"

usage() {
    cat <<'EOF'
usage: examples/translation_multi30k/opennmt.sh [options] [any option of scripts/train.sh]

Prepare Multi30k in words, train OpenNMT's readme model of 2018 with ablated LSTMs, and score the
test set. Run it again to go on where it stopped.

  --cell NAME   what is left of the LSTM, in encoder and decoder (default lstm); to part them,
                    add --encoder-cell and --decoder-cell, and --out for a folder of its
                    own. no-gates needs --lr 0.1
  --fairseq-lstm    fairseq's own --arch lstm instead, with the same sizes
  --data FOLDER     where the files of Multi30k are; without it they are downloaded
  --own-corpus      FOLDER has other text in files of the same names: check no checksums
  --out DIR         (default runs/multi30k/opennmt)
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
! $peer || [ -z "$cell" ] ||
    die "--fairseq-lstm has no other cells; leave out one of it and --cell $cell"
cell="${cell:-lstm}"

prepare prepare_multi30k.sh --out "$data" --units words --max-words 50

if $peer; then
    run="$out/fairseq-lstm" criterion=cross_entropy
    model=(--arch lstm --dropout 0.3 --encoder-dropout-in 0 --decoder-dropout-in 0
        --encoder-layers 2 --encoder-embed-dim 500 --encoder-hidden-size 500
        --decoder-layers 2 --decoder-embed-dim 500 --decoder-hidden-size 500
        --decoder-out-embed-dim 500)
    # Its attention weights are those of sentences with the padding moved to the right, so that
    # --replace-unk would take the wrong word wherever a batch has padding.
    batch=1
else
    run="$out/$cell" criterion=wsum_cross_entropy
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
"${score[@]}" ${score_options[@]+"${score_options[@]}"}
