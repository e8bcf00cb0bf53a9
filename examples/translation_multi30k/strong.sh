#!/usr/bin/env bash
# Train the best model for two CPU cores in an hour or two. See --help and README.md.
set -euo pipefail
# shellcheck source=examples/recipe.sh
source "$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null && pwd)/recipe.sh"

usage() {
    cat <<'EOF'
usage: examples/translation_multi30k/strong.sh [options] [any option of scripts/train.sh]

Prepare Multi30k in joint BPE, train a small model with ablated LSTMs, choose the length penalty on
the validation set, and score the test set. Run it again to continue where it stopped.

  --cell NAME       the cell (default lstm)
  --fairseq-lstm    train fairseq's own --arch lstm instead
  --data FOLDER     folder with the files of Multi30k (default: download them)
  --cache DIR       keep downloaded files there (default ~/.cache/fairseq_wsum/multi30k)
  --own-corpus      FOLDER has a corpus of your own (see scripts/prepare_translation.sh), whose
                    options --text, --source-lang, --target-lang, --max-words,
                    --character-coverage and --workers it takes, too
  --bpe-size N      units of the joint BPE (default 8000; a small corpus may have fewer)
  --out DIR         folder for data and results (default runs/multi30k/strong)
  --run DIR         folder for this training and its scores (default: a folder within --out)
  --prepare-only    prepare the data and stop
  --bpe-dropout P   in every second epoch, use another segmentation of the training text, made with
                    BPE-dropout of P (default 0: none; on the validation set 0.1 gains a quarter of
                    a point with lstm and loses 0.6 points with no-srnn-hidden)
  --help            this text

The learning rate falls to zero over the updates of the training: on Multi30k with one process,
13,938 for 46 epochs, or 12,120 for 40 epochs with BPE-dropout. --total-num-update sets another
number.

examples:
  examples/translation_multi30k/strong.sh --cell no-srnn-hidden
  examples/translation_multi30k/strong.sh --precision bf16 --out runs/multi30k/strong-bf16
EOF
}

bpe_dropout=0 options=() peer=false
while [ $# -gt 0 ]; do
    case "$1" in
        --bpe-dropout=*) bpe_dropout="$(value --bpe-dropout "${1#*=}")" ;;
        --bpe-dropout) bpe_dropout="$(value "$@")"; shift ;;
        --fairseq-lstm) peer=true ;;
        *) options+=("$1") ;;
    esac
    shift
done
parse multi30k/strong ${options[@]+"${options[@]}"}
! $peer || no_cell_with --fairseq-lstm
cell="${cell:-lstm}"
data="$out/data"

epochs=("$data") samples=(--bpe-dropout "$bpe_dropout" --bpe-samples 10) max_epoch=46 updates=13938
if [[ "$bpe_dropout" =~ ^(0+(\.0*)?|\.0+)$ ]]; then
    # Multi30k is small: it has the samples anyway, so that all models share one folder.
    if $own_corpus; then samples=(); else samples=(--bpe-dropout 0.1 --bpe-samples 10); fi
else
    max_epoch=40 updates=12120
    text_options=(--bpe-dropout "$bpe_dropout")
    epochs=() # fairseq reads these folders in turn, one per epoch
    for sample in 01 02 03 04 05 06 07 08 09 10; do
        epochs+=("$data" "$data/sample-$sample")
    done
fi
prepare prepare_multi30k.sh --out "$data" ${samples[@]+"${samples[@]}"}

if $peer; then
    run="${run:-$out/fairseq-lstm}"
    model=(--arch lstm --share-all-embeddings --encoder-bidirectional --decoder-out-embed-dim 384
        --dropout 0.45)
    for side in encoder decoder; do
        model+=("--$side-layers" 1 "--$side-embed-dim" 384 "--$side-hidden-size" 384
            "--$side-dropout-in" 0.45 "--$side-dropout-out" 0.45)
    done
else
    run="${run:-$out/$cell}"
    model=(--arch wsum_lstm_multi30k --cell "$cell")
fi

text="$(IFS=: && echo "${epochs[*]}")"
training=("${model[@]}" --criterion wsum_cross_entropy --label-smoothing 0.1
    --optimizer adam --adam-betas '(0.9, 0.98)' --clip-norm 1
    --lr 0.002 --lr-scheduler polynomial_decay --warmup-updates 600 --max-epoch "$max_epoch"
    --batch-size 96 --keep-last-epochs 10 --seed 1 --log-format simple --log-interval 100)
updates="$(count_updates "$updates" "$text" "$run" "${training[@]}")"
train "$text" "$run" "${training[@]}" --total-num-update "$updates"

score_chosen "$data" "$run"
