#!/usr/bin/env bash
# Check fairseq's commands on a GPU with one small model. See --help.
set -euo pipefail
HERE="$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd)"
# shellcheck source=scripts/common.sh
source "$HERE/common.sh"

usage() {
    cat <<'EOT'
usage: scripts/gpu_commands.sh KIND --arch ARCH --cell CELL --out DIR [options]

Train a small model on the quickstart's corpus, resume the training, and use the model. KIND is
`translation` (fairseq-generate) or `language_model` (carried state; scripts/perplexity.sh). Losses
and scores must be finite. scripts/gpu_check.sh runs this for each kind of model.

  --out DIR         folder for the corpus and the model; the model is removed if all went well
  --precision P     fp32 (default), fp16, bf16 or amp
  --backend NAME    as --lstm-backend (default auto)
  --device DEVICE   cuda (default) or cpu
  --updates N       updates before and after resuming (default 8)
  --help            this text

example:
  scripts/gpu_commands.sh translation --arch wsum_lstm --cell gru --out runs/trial --device cpu
EOT
}

kind='' arch='' cell='' out='' precision=fp32 backend=auto device=cuda updates=8
while [ $# -gt 0 ]; do
    case "$1" in
        -h | --help) usage && exit ;;
        translation | language_model) kind="$1" ;;
        --arch) arch="$(value "$@")"; shift ;;
        --cell) cell="$(value "$@")"; shift ;;
        --out) out="$(value "$@")"; shift ;;
        --precision) precision="$(value "$@")"; shift ;;
        --backend) backend="$(value "$@")"; shift ;;
        --device) device="$(value "$@")"; shift ;;
        --updates) updates="$(value "$@")"; shift ;;
        *) die "unknown argument $1 (see --help)" ;;
    esac
    shift
done
for option in kind arch cell out; do
    [ -n "${!option}" ] || die "KIND, --arch, --cell and --out are needed (see --help)"
done
positive --updates "$updates"
use_environment

# fairseq's commands on the CPU or in half precision.
here=()
if [ "$device" = cpu ]; then here+=(--cpu); fi
if [[ "$precision" =~ ^(fp16|amp)$ ]]; then here+=(--fp16); fi

# Make the data from the quickstart's corpus, unless it is there.
corpus() { # FOLDER
    local partial
    [ ! -d "$1" ] || return 0
    partial="$(mktemp -d "$1.XXXXXX")"
    "$PYTHON" "$REPO/examples/quickstart/make_corpus.py" "$partial/text" \
        --train 400 --valid 40 --test 40
    (
        cd "$partial/text" # fairseq-preprocess splits paths at commas
        fairseq-preprocess --source-lang en --target-lang de --trainpref train --validpref valid \
            --testpref test --destdir ../translation
        fairseq-preprocess --only-source --trainpref train.de --validpref valid.de \
            --testpref test.de --destdir ../language-model
    )
    mv "$partial" "$1"
}

# Train, and resume. The losses must be finite, and the second training must go on from the first.
train() { # DATA OPTIONS...
    local gpus=1
    [ "$device" = cuda ] || gpus=0
    local command=("$HERE/train.sh" "$@" --save-dir "$work/run" --arch "$arch" --cell "$cell"
        --gpus "$gpus" --precision "$precision" --lstm-backend "$backend"
        --criterion wsum_cross_entropy --optimizer adam --lr 0.001 --clip-norm 1 --seed 1
        --num-workers 0 --log-format json --log-interval 1 --no-epoch-checkpoints)
    "${command[@]}" --max-update "$updates" 2>&1 | tee "$work/log"
    "${command[@]}" --max-update $((2 * updates)) 2>&1 | tee -a "$work/log"
    grep -q "@ $updates updates" "$work/log" ||
        die "the training was not resumed after $updates updates"
    grep -q "\"valid_num_updates\": \"$((2 * updates))\"" "$work/log" ||
        die "the resumed training did not reach $((2 * updates)) updates"
    [ "$device" = cpu ] || grep -q 'gb_free"' "$work/log" || die "it did not run on the GPU"
    ! grep -Eiq '"(train_|valid_)?loss": "(nan|-?inf)"' "$work/log" || die "a loss is not finite"
}

translation() { # DATA
    local found model=(--encoder-bidirectional --encoder-embed-dim 64 --encoder-hidden-size 64
        --decoder-embed-dim 64 --decoder-hidden-size 128)
    [ "$arch" = wsum_lstm ] || model=(--encoder-embed-dim 64 --encoder-ffn-embed-dim 128
        --decoder-attention-heads 4)
    train "$1" "${model[@]}" --encoder-layers 2 --decoder-layers 2 --batch-size 32 \
        --label-smoothing 0.1
    fairseq-generate "$1" --user-dir "$REPO/fairseq_wsum" --path "$work/run/checkpoint_last.pt" \
        --beam 5 --max-len-b 20 --batch-size 16 --required-batch-size-multiple 1 \
        ${here[@]+"${here[@]}"} 2>&1 | tee "$work/translated"
    found="$(grep -c '^H-' "$work/translated" || true)"
    [ "$found" = 40 ] || die "40 sentences have $found translations"
    ! grep -Eiq '^H-[0-9]+[[:space:]]+(nan|-?inf)' "$work/translated" || die "a score is not finite"
}

language_model() { # DATA
    local model=()
    [ "$arch" = wsum_lstm_lm ] || model=(--decoder-ffn-embed-dim 128 --decoder-attention-heads 4)
    train "$1" ${model[@]+"${model[@]}"} --task wsum_language_modeling --decoder-embed-dim 64 \
        --decoder-layers 2 --batch-size 8 --tokens-per-sample 16
    "$HERE/perplexity.sh" "$1" --splits test --checkpoint "$work/run/checkpoint_last.pt" \
        ${here[@]+"${here[@]}"} | tee "$work/perplexity"
    grep -q 'perplexity [0-9]' "$work/perplexity" || die "the perplexity is not finite"
}

mkdir -p "$out"
corpus "$out/data"
work="$(mktemp -d "$out/$arch-$cell-$precision.XXXXXX")"
"$kind" "$out/data/${kind//_/-}"
rm -r "$work"
