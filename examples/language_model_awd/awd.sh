#!/usr/bin/env bash
# Train language models with the regularisation of the AWD-LSTM. See --help and README.md.
set -euo pipefail
# shellcheck source=examples/recipe.sh
source "$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null && pwd)/recipe.sh"

usage() {
    cat <<'EOF'
usage: examples/language_model_awd/awd.sh [options] [any option of scripts/train.sh]

Prepare the Penn Treebank or WikiText-2, train a small language model with ablated LSTMs and the
regularisation of the AWD-LSTM (Merity et al., 2018), average the last checkpoints, and print the
perplexity of the validation and the test set. Run it again to continue where it stopped.

  --corpus NAME     ptb (default) or wikitext2
  --cell NAME       the cell (default no-srnn-hidden)
  --epochs N        stop after N epochs (default 40, or 20 for wikitext2); the learning rate falls
                    in the last two fifths of them
  --average N       average the checkpoints of the last N epochs, at most 10 (default 5)
  --seed N          random seed (default 1)
  --data FOLDER     folder with the files of the corpus (default: download them)
  --cache DIR       keep downloaded files there (default ~/.cache/fairseq_wsum/CORPUS)
  --own-corpus      FOLDER has text of your own: see scripts/prepare_text.sh --help
  --nwords N        limit the dictionary of that text to N entries (default: no limit)
  --out DIR         folder for data and results (default runs/awd)
  --run DIR         folder for this training and its scores (default: a folder within --out)
  --prepare-only    prepare the data and stop
  --help            this text

examples:
  examples/language_model_awd/awd.sh
  examples/language_model_awd/awd.sh --corpus wikitext2 --cell lstm
  examples/language_model_awd/awd.sh --decoder-layers 4 --out runs/awd-4-layers
EOF
}

options=() corpus=ptb epochs='' averaged=5 seed=1
while [ $# -gt 0 ]; do
    case "$1" in
        --corpus=* | --epochs=* | --average=* | --seed=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    esac
    case "$1" in
        --corpus) corpus="$(value "$@")"; shift ;;
        --epochs) epochs="$(value "$@")"; shift ;;
        --average) averaged="$(value "$@")"; shift ;;
        --seed) seed="$(value "$@")"; shift ;;
        --max-epoch | --max-epoch=*) die "$1: give --epochs, which also names the folder" ;;
        *) options+=("$1") ;;
    esac
    shift
done

# The rates of dropout are those of the authors' program. The larger corpus needs fewer epochs.
case "$corpus" in
    ptb) streams=20 dropout_in=0.4 layer_dropout=0.25 all=40 ;;
    wikitext2) streams=40 dropout_in=0.65 layer_dropout=0.2 all=20 ;;
    *) die "--corpus $corpus: choose from ptb, wikitext2" ;;
esac
epochs="${epochs:-$all}"
positive --epochs "$epochs"
positive --average "$averaged"
[ "$averaged" -le 10 ] ||
    die "--average $averaged: give 10 at most, as the checkpoints of the last 10 epochs are kept"
parse awd ${options[@]+"${options[@]}"}
cell="${cell:-no-srnn-hidden}"
data="$out/$corpus/data" run="${run:-$out/$corpus/$cell/epochs-$epochs-seed-$seed}"

prepare "prepare_$corpus.sh" --out "$data"

# only a cell with recurrent matrices has weights to drop; one of the user's own is in --user-dir
recurrent="$(with_package 'from argparse import Namespace
from fairseq_wsum import CELLS
if sys.argv[1]:
    from fairseq.utils import import_user_module
    import_user_module(Namespace(user_dir=sys.argv[1]))
print(*(name for name, cell in CELLS.items() if cell.has_recurrent_matrix))' "$user_dir" | tail -n 1)"
weight_dropout=()
[[ " $recurrent " != *" $cell "* ]] || weight_dropout=(--weight-dropout 0.5)

# In one update Adam's weight decay shrinks a weight by 0.036 times the learning rate of 0.003, three
# times as much as SGD does in the paper: 1.2e-6 times a learning rate of 30.
train "$data" "$run" --task wsum_language_modeling --arch wsum_lstm_lm --cell "$cell" \
    --decoder-embed-dim 400 --decoder-layers 3 --residuals --share-decoder-input-output-embed \
    --init-range 0.05 --locked-dropout --decoder-dropout-in "$dropout_in" \
    --decoder-layer-dropout "$layer_dropout" --decoder-dropout-out 0.4 --embedding-dropout 0.1 \
    ${weight_dropout[@]+"${weight_dropout[@]}"} \
    --activation-regularization 2 --temporal-activation-regularization 1 \
    --criterion wsum_cross_entropy --tokens-per-sample 70 --batch-size "$streams" \
    --max-epoch "$epochs" --seed "$seed" \
    --optimizer adam --lr 0.003 --weight-decay 0.036 --clip-norm 0.25 \
    --lr-scheduler fixed --force-anneal $((epochs * 3 / 5 + 1)) --lr-shrink 0.8 \
    --best-checkpoint-metric ppl --keep-last-epochs 10 \
    --log-format simple --log-interval 200

score=(--checkpoint "$run/checkpoint_last.pt") # if the first epoch is not complete
saved="$(epochs_in "$run")"
[ "$saved" -eq 0 ] ||
    score=(--checkpoint "$run" --average $((saved < averaged ? saved : averaged)))
run_job "$SCRIPTS/perplexity.sh" "$data" "${score[@]}" --out "$(results "$run" perplexity .json)" \
    ${score_options[@]+"${score_options[@]}"}
