#!/usr/bin/env bash
# Train LSTM-2048-512 on the One Billion Word benchmark. See --help and README.md in this folder.
set -euo pipefail
# shellcheck source=examples/recipe.sh
source "$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null && pwd)/recipe.sh"

usage() {
    cat <<'EOF'
usage: examples/language_model_gbw/gbw.sh [options] [any option of scripts/train.sh]

Prepare the One Billion Word benchmark, train a language model with an ablated LSTM, one layer of
2,048 units projected to 512 (Jozefowicz et al., 2016), and print the perplexity of held-out text.
Run it again to continue where it stopped. The full training takes several GPUs and days.

  --cell NAME       the cell (default lstm)
  --passes N        go through the corpus N times (default 5)
  --nwords N        limit the dictionary to N entries, including fairseq's four symbols; other words
                    become <unk> (default: the benchmark's 800,000)
  --shards N        parts of the training text; fairseq reads one per epoch (default: one per file,
                    99)
  --threshold N     see scripts/prepare_gbw.sh
  --data PATH       the published archive or its unpacked folder (default: download the archive)
  --cache DIR       keep the downloaded archive there (default ~/.cache/fairseq_wsum/gbw)
  --own-corpus      PATH is a folder with text of your own: see scripts/prepare_text.sh --help
  --out DIR         folder for data and results (default runs/gbw)
  --run DIR         folder for this training and its scores (default: a folder within --out)
  --prepare-only    prepare the data and stop
  --help            this text

examples:
  examples/language_model_gbw/gbw.sh --gpus 8 --precision amp --cell no-srnn
  examples/language_model_gbw/gbw.sh --nwords 50000 --passes 1 --out runs/gbw-50k \
      --adaptive-softmax-cutoff 2000,10000
EOF
}

options=() passes=5 shards='' gbw_options=()
while [ $# -gt 0 ]; do
    case "$1" in
        --passes=* | --nwords=* | --shards=* | --threshold=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    esac
    case "$1" in
        --passes) passes="$(value "$@")"; shift ;;
        --nwords | --shards | --threshold)
            gbw_options+=("$1" "$(value "$@")")
            [ "$1" != --shards ] || shards="$2"
            shift
            ;;
        *) options+=("$1") ;;
    esac
    shift
done
for option in passes shards; do
    [ -z "${!option}" ] || positive "--$option" "${!option}"
done
parse gbw ${options[@]+"${options[@]}"}
cell="${cell:-lstm}"
data="$out/data" run="${run:-$out/$cell}"

prepare prepare_gbw.sh --out "$data" ${gbw_options[@]+"${gbw_options[@]}"}

folders=("$data")
if has_option --dry-run; then # as if the data were there
    [ -n "$shards" ] || ! $own_corpus ||
        die "--dry-run with --own-corpus: give --shards too, as the files have not been counted"
    shards="${shards:-99}"
    for ((i = 2; i <= shards; i++)); do folders+=("$data/shard-$(printf %03d "$i")"); done
else
    for shard in "$data"/shard-*; do
        [ ! -d "$shard" ] || folders+=("$shard")
    done
fi
joined="$(IFS=:; printf '%s' "${folders[*]}")"

# From Jozefowicz et al.: AdaGrad with 0.2, gradients clipped at 1, 20 time steps, 128 streams. An
# adaptive softmax replaces their sampled softmax.
train "$joined" "$run" --task wsum_language_modeling \
    --arch wsum_lstm_lm_gbw --cell "$cell" \
    --criterion adaptive_loss --ddp-backend legacy_ddp --sentence-avg \
    --tokens-per-sample 20 --batch-size 128 --max-epoch "$((passes * ${#folders[@]}))" --seed 1 \
    --optimizer adagrad --lr 0.2 --clip-norm 1 --lr-scheduler fixed \
    --best-checkpoint-metric ppl --no-epoch-checkpoints --log-format simple --log-interval 200

run_job "$SCRIPTS/perplexity.sh" "$data" --checkpoint "$run/checkpoint_best.pt" \
    --out "$(results "$run" perplexity .json)" ${score_options[@]+"${score_options[@]}"}
