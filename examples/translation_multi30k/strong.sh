#!/usr/bin/env bash
# The best model for two CPU cores and an hour or two. See --help, and README.md beside this.
set -euo pipefail
# shellcheck source=examples/recipe.sh
source "$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/recipe.sh"

usage() {
    cat <<'EOF'
usage: examples/translation_multi30k/strong.sh [options] [any option of scripts/train.sh]

Prepare Multi30k in joint BPE, train a small model of ablated LSTMs, choose the length penalty on
the validation set, and score the test set. Run it again to go on where it stopped.

  --ablation NAME   what is left of the LSTM (default lstm)
  --data FOLDER     where the files of Multi30k are; without it they are downloaded
  --own-corpus      FOLDER has other text in files of the same names: check no checksums
  --out DIR         (default runs/multi30k/strong)
  --help            this text

The training text of every second epoch is cut into units in another way (BPE-dropout).

The learning rate falls to zero in the 12,120 updates that 40 epochs of Multi30k take one process.
With several processes, other epochs or other text, give --total-num-update too.

examples:
  examples/translation_multi30k/strong.sh --ablation no-srnn-hidden
  examples/translation_multi30k/strong.sh --precision bf16 --out runs/multi30k/strong-bf16
EOF
}

parse multi30k/strong "$@"
ablation="${ablation:-lstm}"
data="$out/data" run="$out/$ablation"

prepare prepare_multi30k.sh --out "$data" --bpe-dropout 0.1 --bpe-samples 10
epochs=() # fairseq takes these folders in turn, one an epoch
for sample in 01 02 03 04 05 06 07 08 09 10; do
    epochs+=("$data" "$data/sample-$sample")
done

train "$(IFS=: && echo "${epochs[*]}")" "$run" --arch wsum_lstm_multi30k --ablation "$ablation" \
    --criterion label_smoothed_cross_entropy --label-smoothing 0.1 \
    --optimizer adam --adam-betas '(0.9, 0.98)' --clip-norm 1 \
    --lr 0.002 --lr-scheduler polynomial_decay --warmup-updates 600 --total-num-update 12120 \
    --batch-size 96 --max-epoch 40 --keep-last-epochs 10 --seed 1 \
    --log-format simple --log-interval 100

saved="$(find "$run" -name 'checkpoint[0-9]*.pt' | wc -l)" # fewer than 10 after a short training
average=()
[ "$saved" -eq 0 ] || average=(--average $((saved < 10 ? saved : 10)))
score=("$SCRIPTS/score.sh" "$data" --checkpoints "$run" ${average[@]+"${average[@]}"}
    ${score_options[@]+"${score_options[@]}"})
"${score[@]}" --subset valid --lenpen 0.6,1.0,1.4,1.8 --out "$run/score-valid"
lenpen="$("$PYTHON" -c 'import json, sys; print(json.load(open(sys.argv[1]))["lenpen"])' \
    "$run/score-valid/scores.json")"
"${score[@]}" --subset test --lenpen "$lenpen" --out "$run/score-test"
