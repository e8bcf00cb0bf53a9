#!/usr/bin/env bash
# Train a Transformer with recurrent layers for self-attention. See --help and README.md.
set -euo pipefail
# shellcheck source=examples/recipe.sh
source "$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null && pwd)/recipe.sh"

usage() {
    cat <<'EOF'
usage: examples/translation_multi30k/transformer.sh [options] [any option of scripts/train.sh]

Prepare Multi30k in joint BPE, train a small Transformer with gated sums in place of self-attention,
choose the length penalty on the validation set, and score the test set. All models have the same
number of parameters. Run it again to continue where it stopped.

  --cell NAME       the cell of its layers (default no-srnn-hidden)
  --fairseq-transformer
                    train fairseq's own --arch transformer instead
  --data FOLDER     folder with the files of Multi30k (default: download them)
  --cache DIR       keep downloaded files there (default ~/.cache/fairseq_wsum/multi30k)
  --own-corpus      FOLDER has a corpus of your own (see scripts/prepare_translation.sh), whose
                    options --text, --source-lang, --target-lang, --max-words,
                    --character-coverage and --workers it takes, too
  --bpe-size N      units of the joint BPE (default 8000; a small corpus may have fewer)
  --out DIR         folder for data and results (default runs/multi30k/transformer)
  --run DIR         folder for this training and its scores (default: a folder within --out)
  --prepare-only    prepare the data and stop
  --distilled DIR   in every second epoch, train on the translations in DIR, which scripts/distil.sh
                    made of this data
  --help            this text

The learning rate falls to zero over the updates of the training: 9,760 on Multi30k with one process.
--total-num-update sets another number.

examples:
  examples/translation_multi30k/transformer.sh
  examples/translation_multi30k/transformer.sh --fairseq-transformer
  examples/translation_multi30k/transformer.sh --distilled runs/multi30k/transformer/distilled \
      --run runs/multi30k/transformer/student
EOF
}

options=() peer=false distilled=''
while [ $# -gt 0 ]; do
    case "$1" in
        --distilled=*) distilled="$(value --distilled "${1#*=}")" ;;
        --distilled) distilled="$(value "$@")"; shift ;;
        --fairseq-transformer) peer=true ;;
        *) options+=("$1") ;;
    esac
    shift
done
parse multi30k/transformer ${options[@]+"${options[@]}"}
data="$out/data"
! $peer || no_cell_with --fairseq-transformer
cell="${cell:-no-srnn-hidden}"

if [ -n "$distilled" ]; then
    check_colon --distilled "$distilled"
    [ -n "$run" ] || die "--distilled needs --run FOLDER, a folder for this training"
fi
prepare prepare_multi30k.sh --out "$data"
text="$data"
if [ -n "$distilled" ]; then
    has_option --dry-run || for dict in "$data"/dict.*.txt; do
        cmp -s "$dict" "$distilled/${dict##*/}" ||
            die "--distilled $distilled was not made of $data: make it with scripts/distil.sh"
    done
    text="$data:$distilled" # fairseq reads the folders in turn, one per epoch
    text_options=(--distilled "$distilled")
fi

if $peer; then
    run="${run:-$out/fairseq-transformer}"
    model=(--arch transformer --share-all-embeddings --dropout 0.3)
    for side in encoder decoder; do
        model+=("--$side-layers" 4 "--$side-embed-dim" 128 "--$side-ffn-embed-dim" 256
            "--$side-attention-heads" 4)
    done
else
    run="${run:-$out/$cell}"
    model=(--arch wsum_transformer_multi30k --cell "$cell")
fi

training=("${model[@]}" --criterion wsum_cross_entropy --label-smoothing 0.1
    --optimizer adam --adam-betas '(0.9, 0.98)' --clip-norm 1
    --lr 0.004 --lr-scheduler polynomial_decay --warmup-updates 800 --max-epoch 40
    --max-tokens 2048 --keep-last-epochs 10 --seed 1 --log-format simple --log-interval 100)
updates="$(count_updates 9760 "$text" "$run" "${training[@]}")"
train "$text" "$run" "${training[@]}" --total-num-update "$updates"

score_chosen "$data" "$run"
