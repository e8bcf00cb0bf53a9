#!/usr/bin/env bash
# Train and score a small translation model on generated captions. See --help and README.md.
set -euo pipefail
# shellcheck source=examples/recipe.sh
source "$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null && pwd)/recipe.sh"

usage() {
    cat <<'EOT'
usage: examples/ablation_study/captions.sh [options] [any option of scripts/train.sh]

Make the quickstart's corpus of English captions with German translations, train a small translation
model, and score the validation and the test set. Run it again to continue where it stopped.
scripts/quickstart.sh trains with this recipe.

  --cell NAME       the cell (default no-srnn-hidden)
  --sentences N     number of training sentences (default 8000)
  --out DIR         folder for data and results (default runs/ablation_study/captions)
  --run DIR         folder for this training and its scores (default: a folder within --out)
  --prepare-only    prepare the data and stop
  --train-only      prepare the data, train the model and stop
  --help            this text

examples:
  examples/ablation_study/captions.sh --cell lstm --seed 2
EOT
}

options=() sentences=8000 train_only=false
while [ $# -gt 0 ]; do
    case "$1" in
        --sentences=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    esac
    case "$1" in
        --sentences) sentences="$(value "$@")"; shift ;;
        --train-only) train_only=true ;;
        *) options+=("$1") ;;
    esac
    shift
done
positive --sentences "$sentences"
parse ablation_study/captions ${options[@]+"${options[@]}"}
[ ${#prepare_options[@]} -eq 0 ] || die "${prepare_options[0]}: this recipe makes its own corpus"
cell="${cell:-no-srnn-hidden}"
data="$out/data" run="${run:-$out/$cell}"

# The captions as files with the names of Multi30k's, in its one form: lower-cased tokens.
text="$out/text"
if ! has_option --dry-run; then
    "$PYTHON" "$HERE/quickstart/make_corpus.py" "$text" --train "$sentences" ||
        die "--sentences $sentences: the captions could not be written to $text; if it has others," \
            "give a new folder with --out"
    for lang in en de; do
        for names in train:train valid:val test:test_2016_flickr; do
            link="$text/${names#*:}.lc.norm.tok.$lang"
            [ -L "$link" ] || [ ! -e "$link" ] ||
                die "$link is not this recipe's: give a new folder with --out"
            # other runs of a study may be reading through it
            [ "$(readlink "$link")" = "${names%:*}.$lang" ] || ln -sf "${names%:*}.$lang" "$link"
        done
    done
fi
prepare prepare_translation.sh --out "$data" --units words --data "$text"

train "$data" "$run" --arch wsum_lstm --cell "$cell" \
    --encoder-layers 1 --encoder-bidirectional --encoder-embed-dim 128 --encoder-hidden-size 128 \
    --decoder-layers 1 --decoder-embed-dim 128 --decoder-hidden-size 256 --dropout 0.1 \
    --decoder-input-feeding False \
    --criterion wsum_cross_entropy --label-smoothing 0.1 \
    --optimizer adam --lr 4e-3 --lr-scheduler inverse_sqrt --warmup-updates 100 \
    --batch-size 32 --clip-norm 1 --seed 1 --max-epoch 6 \
    --no-epoch-checkpoints --log-format simple --log-interval 50

! $train_only || exit 0
for subset in valid test; do
    run_job "$SCRIPTS/score.sh" "$data" --checkpoints "$run/checkpoint_last.pt" --subset "$subset" \
        --out "$(results "$run" "score-$subset")" ${score_options[@]+"${score_options[@]}"}
done
