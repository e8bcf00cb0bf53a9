#!/usr/bin/env bash
# Compute the perplexity of a language model with fairseq-eval-lm. See --help.
set -euo pipefail
HERE="$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd)"
# shellcheck source=scripts/common.sh
source "$HERE/common.sh"

usage() {
    cat <<'EOF'
usage: scripts/perplexity.sh DATA --checkpoint FILE|DIR [options] [any option of fairseq-eval-lm]

Score the validation and the test split of DATA with a language model and print its perplexity.

  --checkpoint FILE   the model
               DIR    with --average: the training's --save-dir
  --average N         average the checkpoints of the last N epochs in DIR or, if it has fewer, the
                      last N of --save-interval-updates, into DIR/average-N.pt, and score that model
  --splits LIST       splits to score (default valid,test); fairseq's --gen-subset is the same
  --task TASK         fairseq's task (default wsum_language_modeling: one stream, and the state is
                      carried from sentence to sentence)
  --out FILE          write the perplexities, of how many tokens they are (except with '@@ '), and
                      the task to FILE as JSON, too
  --help              this text

The perplexity is per token of DATA. If the tokens are subwords, add --post-process '@@ '
(subword-nmt) or --post-process sentencepiece for the perplexity per word. With '@@ ', no sentence
may be longer than --tokens-per-sample-valid (default 1,000).

A GPU is used if there is one, unless --cpu is given. If memory runs out with a large vocabulary,
give a smaller --tokens-per-sample-valid; the result is the same.

examples:
  scripts/perplexity.sh data-bin/ptb --checkpoint runs/lm/checkpoint_best.pt
  scripts/perplexity.sh data-bin/ptb --checkpoint runs/lm --average 5
EOF
}

data='' checkpoint='' average='' splits=valid,test task=wsum_language_modeling out=''
sentencepiece=false bos=false unit=tokens options=()
while [ $# -gt 0 ]; do
    case "$1" in
        --checkpoint=* | --average=* | --splits=* | --gen-subset=* | --task=* | --out=* | \
            --post-process=* | --remove-bpe=*)
            set -- "${1%%=*}" "${1#*=}" "${@:2}"
            ;;
    esac
    case "$1" in
        -h | --help) usage && exit ;;
        --checkpoint) checkpoint="$(value "$@")"; shift ;;
        --average) average="$(value "$@")"; shift ;;
        --splits | --gen-subset) splits="$(value "$@")"; shift ;;
        --task) task="$(value "$@")"; shift ;;
        --out) out="$(value "$@")"; shift ;;
        --path | --path=*) die "$1: give the model with --checkpoint" ;;
        --num-shards | --num-shards=* | --shard-id | --shard-id=*)
            die "$1: the perplexity would be of a part of the split; leave it out"
            ;;
        --output-word-*) # a perplexity needs no such lists
            die "$1: this script prints perplexities only; for these lists run fairseq-eval-lm with" \
                "--user-dir $REPO/fairseq_wsum --task TASK"
            ;;
        --add-bos-token) options+=("$1") bos=true ;;
        --post-process | --remove-bpe) # two names of one option, whose value may be left out
            processing='@@ '
            if [ $# -gt 1 ] && [[ "$2" != --* ]]; then
                [ "$2" = subword_nmt ] || processing="$(value "$@")" # another name of '@@ '
                shift
            fi
            if [ "$processing" = sentencepiece ]; then
                sentencepiece=true # handled below, as fairseq-eval-lm does not support it
            else
                options+=(--post-process "$processing")
                unit=subwords # fairseq-eval-lm counts these, though the perplexity is per word
            fi
            ;;
        *)
            if [ -z "$data" ] && [ ${#options[@]} -eq 0 ] && [[ "$1" != -* ]]; then
                data="$1"
            else
                options+=("$1")
            fi
            ;;
    esac
    shift
done
[ -n "$data" ] || die "no data: give the folder first (see --help)"
check_colon DATA "$data"
[ -f "$data/dict.txt" ] || die "$data has no dict.txt: give a folder that scripts/prepare_ptb.sh," \
    "prepare_wikitext2.sh, prepare_gbw.sh, prepare_text.sh or fairseq-preprocess --only-source made"
[ -n "$checkpoint" ] || die "no --checkpoint: give the model's checkpoint file"
if [ -n "$average" ]; then
    positive --average "$average"
    [ -d "$checkpoint" ] || die "--average needs a folder, but --checkpoint $checkpoint is not one"
    [ -w "$checkpoint" ] || die "--average writes average-$average.pt into $checkpoint, which" \
        "cannot be written to: give a copy of the folder"
else
    [ ! -d "$checkpoint" ] || die "--checkpoint $checkpoint is a folder: name a file in it, such as" \
        "checkpoint_best.pt, or add --average N"
    [ -f "$checkpoint" ] || die "--checkpoint $checkpoint: no such file"
fi
check_colon --checkpoint "$checkpoint"
for split in ${splits//,/ }; do
    [ -f "$data/$split.idx" ] || die "--splits $splits: $data has no $split"
done
[ -n "${splits//,/}" ] || die "--splits: name at least one, such as valid,test"
if [ -n "$out" ]; then
    [[ ! -d "$out" && "$out" != */ ]] || die "--out $out is a folder: name a file in it"
    [ ! -s "$out" ] || grep -Eqs '^\{"[^"]+": .*"task": "' -- "$out" ||
        die "--out $out exists, and is not a result of this script: give another name"
    folder="$(dirname -- "$out")"
    { mkdir -p -- "$folder" && [ -w "$folder" ]; } 2>/dev/null ||
        die "--out $out: $folder cannot be written to; give a file in another folder"
fi
use_environment

if [ -n "$average" ]; then
    averaged="$("$PYTHON" "$HERE/average_checkpoints.py" "$checkpoint" "$average" \
        "$checkpoint/average-$average.pt" --overwrite)"
    checkpoint="$checkpoint/average-$average.pt"
    say "averaged $averaged into $checkpoint"
fi

made="$(modified "$checkpoint")"
log_file="$(mktemp)"
trap 'rm -f "$log_file"' EXIT
figures=''
for split in ${splits//,/ }; do
    run_job fairseq-eval-lm "$data" --user-dir "$REPO/fairseq_wsum" --task "$task" \
        "--path=$checkpoint" --gen-subset "$split" --log-format none --distributed-world-size 1 \
        ${options[@]+"${options[@]}"} >"$log_file" 2>&1 || die_of fairseq-eval-lm "$log_file"
    log="$(cat "$log_file")"
    perplexity="$(sed -n 's/.*Perplexity: \([0-9.a-z]*\).*/\1/p' <<<"$log")"
    tokens="$(sed -n 's/.*Evaluated \([0-9,]*\) tokens.*/\1/p' <<<"$log")"
    [ -n "$perplexity" ] || { printf '%s\n' "$log" >&2; die "fairseq-eval-lm gave no perplexity"; }
    if [[ "$log" == *"samples have invalid sizes and will be skipped"* ]]; then
        grep 'will be skipped' <<<"$log" >&2
        die "part of $split was not scored, as some samples are longer than the model accepts;" \
            "give a smaller --tokens-per-sample, or raise the model's limit with" \
            "--model-overrides \"{'max_target_positions': 1024}\""
    fi
    [ "$tokens" != 0 ] || die "$split has no tokens to score"
    if $sentencepiece || $bos; then
        counted="$("$PYTHON" "$HERE/count_tokens.py" "$data" "$split" 2>&1)" || die "$counted"
        # fairseq may have printed messages before the numbers
        read -r scored words <<<"${counted##*$'\n'}"
        ! $bos || tokens="$scored" # fairseq-eval-lm counts the first tokens, which it does not score
    fi
    if $sentencepiece; then
        [ "$words" != 0 ] || die "$data has no SentencePiece subwords, as no word starts with ▁:" \
            "omit --post-process sentencepiece"
        bits="$(sed -n 's/.*Loss (base 2): \([0-9.a-z]*\).*/\1/p' <<<"$log")"
        perplexity="$("$PYTHON" -P -c 'import sys
bits, tokens, words = (float(number.replace(",", "")) for number in sys.argv[1:])
print(f"{2 ** (bits * tokens / words):.2f}")' "$bits" "$tokens" "$words")"
        tokens="$words words, $tokens"
    fi
    echo "$split: perplexity $perplexity ($tokens $unit)"
    [[ "$perplexity" == [0-9]* ]] || perplexity="\"$perplexity\"" # JSON has no inf and nan
    counted="${tokens%% *}" # the words, if the perplexity is theirs
    figures+="\"$split\": $perplexity, "
    [ "$unit" = subwords ] || figures+="\"${split}_tokens\": ${counted//,/}, "
done
[ "$(modified "$checkpoint")" = "$made" ] ||
    die "--checkpoint $checkpoint changed meanwhile, so the splits may belong to two models: give a" \
        "checkpoint that no training writes to, such as a copy"
if [ -n "$out" ]; then
    echo "{$figures\"task\": \"$task\"}" >"$out.partial"
    mv "$out.partial" "$out"
fi
