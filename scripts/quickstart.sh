#!/usr/bin/env bash
# Train and score a small translation model from scratch in minutes, on a CPU. See --help.
set -euo pipefail
HERE="$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd)"
# shellcheck source=scripts/common.sh
source "$HERE/common.sh"

usage() {
    cat <<'EOF'
usage: scripts/quickstart.sh [--cell NAME] [--epochs N] [--fresh]

Set up the environment, make a small English-German corpus (examples/quickstart), train a model
on one CPU core, translate the test sentences and score them. It can be run again at any time: it
skips finished steps, continues an interrupted training, and shows the scores again.

  --cell NAME       the cell (default no-srnn-hidden); README.md lists them all
  --epochs N        number of training epochs (default 10)
  --fresh           train again, in a new folder; the old one stays
  --help            this text

All files are written below runs/quickstart:
  text, data        the corpus as text and as fairseq's binary data
  NAME-Nepochs*     a training: checkpoints, train.log, and translations and scores in score

examples:
  scripts/quickstart.sh
  scripts/quickstart.sh --cell lstm
EOF
}

cell=no-srnn-hidden epochs=10 fresh=false
while [ $# -gt 0 ]; do
    case "$1" in
        --cell=* | --epochs=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    esac
    case "$1" in
        -h | --help) usage && exit ;;
        --cell) cell="$(value "$@")"; shift ;;
        --epochs) epochs="$(value "$@")"; shift ;;
        --fresh) fresh=true ;;
        *) die "unknown option $1 (see --help)" ;;
    esac
    shift
done
positive --epochs "$epochs"
if [ -x "${VENV:-$REPO/.venv}/bin/fairseq-train" ]; then # otherwise it is checked after the set-up
    (use_environment && check_cell "$cell")
fi

out="$REPO/runs/quickstart"
check_colon "the folder" "$out"
text="$out/text" data="$out/data"
beam=5
# A model of this size gains nothing from several threads, which slow each other on busy cores.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

# --- environment and data ------------------------------------------------------------------------

say "== 1. environment"
# An environment of the user's own that has fairseq is used as it is.
venv="${VENV:-}"
[ -n "$venv" ] || [ ! -d "$REPO/.venv" ] || venv="$REPO/.venv"
if [ -n "$venv" ]; then own="$venv/bin/fairseq-train"; else own="$(command -v fairseq-train || true)"; fi
if [ ! -x "$own" ] || [ -f "$venv/setup.log" ]; then # which setup.sh writes
    "$HERE/setup.sh"
fi
use_environment
check_modules sacrebleu
check_cell "$cell"
setup_seconds=$SECONDS

say "== 2. corpus"
mkdir -p "$out"
exec 6>>"$out/.quickstart.lock"
lock 6 "$out/.quickstart.lock" "the folder" "$out" "end it"
"$PYTHON" "$REPO/examples/quickstart/make_corpus.py" "$text" >&2 ||
    die "if an older version made the corpus, move $out away to start again"
if [ ! -d "$data" ]; then
    partial="$(mktemp -d "$out/data.XXXXXX")"
    trap 'rm -rf "$partial"' EXIT
    (
        cd "$text" && # fairseq-preprocess splits paths at commas
            fairseq-preprocess --source-lang en --target-lang de --trainpref train \
                --validpref valid --testpref test --destdir "$partial/data"
    ) >"$out/preprocess.log" 2>&1 ||
        die "fairseq-preprocess failed; its output is in $out/preprocess.log"
    mv "$partial/data" "$data" # with the usual permissions, which mktemp does not give
    rmdir "$partial"
fi
exec 6>&-

# --- training ------------------------------------------------------------------------------------

# The newest folder of this model; with --fresh, the next unused number.
name="$cell-${epochs}epochs" number=1
folder() { if [ "$1" = 1 ]; then echo "$out/$name"; else echo "$out/$name-$1"; fi; } # NUMBER
while [ -d "$(folder $((number + 1)))" ]; do number=$((number + 1)); done
if $fresh && [ -d "$(folder "$number")" ]; then number=$((number + 1)); fi
run="$(folder "$number")"
log="$run/train.log"
mkdir -p "$run"
exec 6>>"$run/.quickstart.lock"
lock 6 "$run/.quickstart.lock" "the folder" "$run" "add --fresh"

model=(--arch wsum_lstm --cell "$cell"
    --encoder-layers 1 --encoder-bidirectional --encoder-embed-dim 128 --encoder-hidden-size 128
    --decoder-layers 1 --decoder-embed-dim 128 --decoder-hidden-size 256 --dropout 0.1
    --decoder-input-feeding False) # so that training runs over a whole target sentence at once
learning=(--criterion wsum_cross_entropy --label-smoothing 0.1
    --optimizer adam --batch-size 32 --clip-norm 1 --seed 1)

# Print the progress and the perplexities from fairseq's log.
show_progress() {
    local line
    while IFS= read -r line; do
        if [[ "$line" =~ epoch\ 0*([0-9]+):\ +([0-9]+)\ /\ ([0-9]+)\ .*\ ppl=([0-9.]+) ]]; then
            say "   epoch ${BASH_REMATCH[1]}, batch ${BASH_REMATCH[2]} of ${BASH_REMATCH[3]}:" \
                "training perplexity ${BASH_REMATCH[4]}"
        elif [[ "$line" =~ \|\ epoch\ 0*([0-9]+)\ \|\ valid\ .*\|\ ppl\ ([0-9.]+) ]]; then
            say "   epoch ${BASH_REMATCH[1]} done: validation perplexity ${BASH_REMATCH[2]}"
        elif [[ "$line" == continuing\ from* ]]; then
            say "   $line"
        fi
    done
}

train() { # SAVE_DIR LOG options...
    local save_dir="$1" log="$2"
    shift 2
    mkdir -p "$save_dir"
    if ! run_job_into "$log" show_progress "$HERE/train.sh" "$data" --gpus 0 --save-dir "$save_dir" \
        "${model[@]}" "${learning[@]}" --log-format simple --log-interval 50 "$@"; then
        tail -n 15 "$log" >&2
        die "the training failed; its output is in $log"
    fi
}

say "== 3. training: cell '$cell', $epochs epochs, in $run"
start=$SECONDS
if [ -f "$run/finished" ]; then
    training="done before, in $(cat "$run/finished") s"
    say "   $training"
else
    train "$run" "$log" --max-epoch "$epochs" --lr 4e-3 --lr-scheduler inverse_sqrt \
        --warmup-updates 100 --no-epoch-checkpoints
    echo $((SECONDS - start)) >"$run/finished"
    training="$((SECONDS - start)) s"
fi

# --- translating ---------------------------------------------------------------------------------

score="$run/score"
mkdir -p "$score"

translate() { # CHECKPOINT NAME
    if ! run_job fairseq-generate "$data" --user-dir "$REPO/fairseq_wsum" --path "$1" --cpu \
        --beam "$beam" --max-len-a 1.5 --max-len-b 10 \
        --batch-size 64 --required-batch-size-multiple 1 \
        >"$score/$2.generate.txt" 2>"$score/$2.log"; then
        tail -n 15 "$score/$2.log" >&2
        die "fairseq-generate failed; its messages are in $score/$2.log"
    fi
    # fairseq prints the sentences by length: H-<number> <tab> score <tab> translation
    grep '^H-' "$score/$2.generate.txt" | cut -c 3- | sort -n | cut -f 3 >"$score/$2.de"
    [ "$(wc -l <"$score/$2.de")" -eq "$(wc -l <"$text/test.de")" ] ||
        die "$score/$2.de and $text/test.de have different numbers of lines"
}

bleu() { # HYPOTHESES [options]: on tokens, as they are in the corpus
    local hypotheses="$1"
    shift
    sacrebleu "$text/test.de" -i "$hypotheses" --tokenize none --force --width 2 "$@" \
        2>"$score/sacrebleu.log" ||
        die "sacrebleu failed; its messages are in $score/sacrebleu.log"
}

say "== 4. translating $(wc -l <"$text/test.en" | tr -d ' ') test sentences, beam $beam"
start=$SECONDS
translate "$run/checkpoint_best.pt" trained
decoding_seconds=$((SECONDS - start))

# The same model untrained: one update at learning rate 0 writes its checkpoint.
if [ ! -f "$run/untrained/checkpoint_last.pt" ]; then
    train "$run/untrained" "$run/untrained.log" --max-update 1 --lr 0 --lr-scheduler fixed \
        --disable-validation --no-epoch-checkpoints
fi
translate "$run/untrained/checkpoint_last.pt" untrained

trained="$(bleu "$score/trained.de" --score-only)"
untrained="$(bleu "$score/untrained.de" --score-only)"
copied="$(bleu "$text/test.en" --score-only)"
bleu "$score/trained.de" --format text >"$score/bleu.txt"

# The user's shell has neither this folder nor this environment.
first="cd $(printf '%q' "$REPO")" look=''
activate="$(dirname "$PYTHON")/activate"
[ ! -f "$activate" ] || first+=" && source $(printf '%q' "$activate")"
if command -v fairseq-wsum >/dev/null; then # an environment of the user's own may lack it
    look="
  what this model remembers    fairseq-wsum weights $(printf '%q' "$run")/checkpoint_best.pt \\
                                   --sentence 'the man is walking .' --page weights.html"
fi

cat <<EOF

== Eight of the translations

$(paste "$text/test.en" "$text/test.de" "$score/trained.de" | awk -F '\t' '
    NR % 37 == 1 && shown++ < 8 {
        printf "  source     %s\n  reference  %s\n", $1, $2
        printf "  system     %s%s\n\n", $3, $3 == $2 ? "" : "   (differs)"
    }')

== BLEU on the test set, where every sentence has a combination of words unseen in training

  this model                   $trained
  the same model, untrained    $untrained
  copying the English          $copied

  $(cat "$score/bleu.txt")

== Time

  set-up       $setup_seconds s
  training     $training
  translating  $decoding_seconds s

== What next

  for these commands           $first$look
  another cell                 scripts/quickstart.sh --cell lstm
  real data                    scripts/prepare_multi30k.sh --help
  recipes, published figures   examples/translation_multi30k
  language models              examples/language_model_ptb
  your own training            scripts/train.sh --help
  all documentation            docs/index.md
EOF
