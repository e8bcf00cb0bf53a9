#!/usr/bin/env bash
# Translate with fairseq-generate and score with sacrebleu. See --help.
set -euo pipefail
HERE="$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd)"
# shellcheck source=scripts/common.sh
source "$HERE/common.sh"

usage() {
    cat <<'EOF'
usage: scripts/score.sh DATA --checkpoints DIR|FILE[:FILE...] [options]
                        [any option of fairseq-generate]

Translate a split of DATA (a folder of scripts/prepare_multi30k.sh) and score it in both ways: as
lower-cased tokens, like the literature on Multi30k, and as detokenised text. The direction is that
in which the model was trained.

  --checkpoints DIR   the training's --save-dir: use its checkpoint_best.pt, or see --average
                FILE  use this checkpoint; with several, separated by ':', the ensemble of them
  --average N         average the checkpoints of the last N epochs in DIR or, if it has fewer, the
                      last N of --save-interval-updates
  --subset S          test (default) or valid
  --beam N            beam size (default 5)
  --lenpen P[,P...]   length penalty (default 1). Several print a table and keep the best; they
                      need --subset valid, as choosing on the test set would flatter the result
  --batch-size N      sentences per batch (default 64)
  --precision P       fp32 (default), or bf16, which is faster on a CPU with AVX-512
  --replace-unk       replace every unknown word by the source word with the most attention; for
                      data prepared with --units words. With fairseq's own lstm give --batch-size 1,
                      because its attention weights refer to the text with its padding moved
  --out FOLDER        folder for the results (default DIR/score-S)
  --user-dir DIR      fairseq modules to load, for a cell of your own (default: this plugin)
  --help              this text

Files in FOLDER (the results of an earlier run are replaced once the new ones are complete; a folder
with other files is refused):
  scores.json         every score with its signature, and how the translations were made
  hypotheses.*.LANG   the translations in the order of the text; *.detok.LANG: detokenised
  generate.*.txt      what fairseq-generate printed; generate.log: its messages
  average.pt          the averaged checkpoint

examples:
  scripts/score.sh data-bin/multi30k --checkpoints runs/first --average 10
  scripts/score.sh data-bin/multi30k --checkpoints runs/first --subset valid \
      --lenpen 0.6,1.0,1.4
  scripts/score.sh data-bin/multi30k-words --checkpoints runs/words --replace-unk --cpu
  scripts/score.sh data-bin/multi30k --out runs/both \
      --checkpoints runs/first/checkpoint_best.pt:runs/second/checkpoint_best.pt
EOF
}

data='' checkpoints='' models='' average='''' subset=test beam=5 lenpen=1 batch=64 precision=fp32 out='' replace_unk=false
user_dir="$REPO/fairseq_wsum"
options=() # for fairseq-generate

while [ $# -gt 0 ]; do
    case "$1" in
        --checkpoints=* | --average=* | --subset=* | --gen-subset=* | --beam=* | --lenpen=* | \
            --batch-size=* | --precision=* | --out=* | --user-dir=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    esac
    case "$1" in
        -h | --help) usage && exit ;;
        --checkpoints) checkpoints="$(value "$@")"; shift ;;
        --average) average="$(value "$@")"; shift ;;
        --subset | --gen-subset) subset="$(value "$@")"; shift ;;
        --beam) beam="$(value "$@")"; shift ;;
        --lenpen) lenpen="$(value "$@")"; shift ;;
        --batch-size) batch="$(value "$@")"; shift ;;
        --precision) precision="$(value "$@")"; shift ;;
        --out) out="$(value "$@")"; shift ;;
        --user-dir) user_dir="$(value "$@")"; shift ;;
        --replace-unk) replace_unk=true ;;
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
[ -n "$data" ] || die "no data: give the folder first, before fairseq's options (see --help)"
check_colon DATA "$data"
[ -f "$data/prepared.json" ] ||
    die "$data has no prepared.json; make the data with scripts/prepare_multi30k.sh, or with" \
        "prepare_translation.sh for text of your own, or translate it with fairseq-generate"
[ -n "$checkpoints" ] || die "no --checkpoints: give the --save-dir of the training, or a file"
[[ "$checkpoints" != -* ]] || checkpoints="./$checkpoints" # a path, and not an option, for others
[ ! -e "$checkpoints" ] || check_colon --checkpoints "$checkpoints"
[[ "$checkpoints" != *: ]] || die "--checkpoints $checkpoints: no file follows the ':'"
IFS=: read -ra members <<<"$checkpoints" # of an ensemble
for member in "${members[@]}"; do
    [ -e "$member" ] || die "--checkpoints $member: no such file or folder"
    [ ${#members[@]} -eq 1 ] || [ -f "$member" ] ||
        die "--checkpoints $member: an ensemble needs files"
done
[[ "$subset" =~ ^(test|valid)$ ]] || die "--subset $subset: choose from test, valid"
positive --beam "$beam"
positive --batch-size "$batch"
[ -z "$average" ] || positive --average "$average"
number='-?([0-9]+(\.[0-9]*)?|\.[0-9]+)'
[[ "$lenpen" =~ ^$number(,$number)*$ ]] || die "--lenpen $lenpen: give numbers, such as 0.6,1.0"
[ "$subset" = valid ] || [[ "$lenpen" != *,* ]] ||
    die "--lenpen $lenpen with --subset test: choose the penalty with --subset valid first"
case "$precision" in
    fp32) ;;
    bf16) options+=(--bf16) ;;
    *) die "--precision $precision: choose from fp32, bf16" ;;
esac
check_user_dir "$user_dir"
use_environment
check_modules sacrebleu sacremoses

if [ ${#members[@]} -gt 1 ]; then
    folder='' model="$checkpoints"
    [ -n "$out" ] || die "an ensemble needs --out FOLDER for its scores"
    [ -z "$average" ] || die "--average needs a folder, and --checkpoints names an ensemble's files"
elif [ -d "$checkpoints" ]; then
    folder="$checkpoints" model="$checkpoints/checkpoint_best.pt"
    [ -n "$average" ] || [ -f "$model" ] ||
        die "$folder has no checkpoint_best.pt; name a checkpoint file, or use --average"
else
    folder="$(dirname "$checkpoints")" model="$checkpoints"
    [ -z "$average" ] || die "--average needs a folder, but --checkpoints $checkpoints is a file"
fi

# the direction of an average is that of any checkpoint in the folder
[ -z "$average" ] || models="$(files_in "$folder" 'checkpoint*.pt' | sed -n 1p)"
recorded="$("$PYTHON" "$HERE/recorded.py" "$data" "$subset" "${models:-$model}" \
    ${options[@]+"${options[@]}"})"
read -r source target post_process <<<"$recorded"
fixed=(--gen-subset "$subset" --source-lang "$source" --target-lang "$target" --beam "$beam"
    --batch-size "$batch" --user-dir "$user_dir"
    # fairseq's default multiple would drop the last sentences
    --required-batch-size-multiple 1 --distributed-world-size 1)
if [ "$post_process" = sentencepiece ]; then
    ! $replace_unk || die "--replace-unk needs data of --units words: BPE has no unknown words"
    check_modules sentencepiece
    fixed+=(--post-process sentencepiece)
fi
# fairseq's own --replace-unk needs the data as text; score.py replaces by these alignments instead
! $replace_unk || fixed+=(--print-alignment hard)

out="${out:-$folder/score-$subset}"
check_colon --out "$out"
[ ! -f "$out" ] || die "--out $out is a file; give a folder"
[ ! -L "$out" ] || [ -e "$out" ] || die "--out $out is a link to nothing; give a folder"
if [ -e "$out" ] && [ ! -f "$out/scores.json" ] && [ -n "$(ls -A "$out")" ]; then
    die "--out $out has other files in it; give a new folder"
fi
{ mkdir -p "$(dirname "$out")" && temporary="$(mktemp -d "$(dirname "$out")/.score.XXXXXX")"; } ||
    die "$(dirname "$out") cannot be written to: give another folder with --out"
trap 'rm -rf "$temporary"' EXIT
work="$temporary/score" # it becomes OUT, or its files move there
mkdir "$work"
averaged=''
if [ -n "$average" ]; then
    model="$work/average.pt"
    averaged="$("$PYTHON" "$HERE/average_checkpoints.py" "$folder" "$average" "$model")"
    say "averaged $averaged"
fi

made="$(modified "$model")"
IFS=, read -ra penalties <<<"$lenpen"
for penalty in "${penalties[@]}"; do
    say "translating $subset from $source to $target with ${averaged:-$model}, beam $beam, length penalty $penalty"
    command=(fairseq-generate "$data" --path "$model" "${fixed[@]}" --lenpen "$penalty")
    [ ${#options[@]} -eq 0 ] || command+=("${options[@]}")
    if ! run_job "${command[@]}" >"$work/generate.lenpen$penalty.txt" 2>"$work/generate.log"; then
        invalid='\(Size of sample #[0-9]* is invalid .*\), skip this example'
        sentence="$(sed -n "/$invalid/{s/.*$invalid.*/\1/p;q;}" "$work/generate.log")"
        if [ -n "$sentence" ]; then
            longer="N --max-target-positions N --model-overrides"
            die "$subset has a sentence longer than the model accepts ($sentence), and a score" \
                "needs every sentence. An LSTM itself has no limit: raise the model's with" \
                "--max-source-positions $longer" \
                "\"{'max_source_positions': N, 'max_target_positions': N}\""
        fi
        ! grep -q -e --print-alignment "$work/generate.log" ||
            say "--replace-unk needs --print-alignment, which failed:"
        die_of fairseq-generate "$work/generate.log"
    fi
done
[ "$(modified "$model")" = "$made" ] ||
    die "--checkpoints $model changed meanwhile, so the translations may belong to two models: give a" \
        "checkpoint that no training writes to, such as a copy"
[ -z "$average" ] || model="$out/average.pt" # where it will be
command=("$PYTHON" "$HERE/score.py" "$data" --subset "$subset" --out "$work" --beam "$beam"
    --source-lang "$source" --target-lang "$target" "--lenpen=$lenpen" --checkpoint "$model" --averaged "$averaged")
! $replace_unk || command+=(--replace-unk)
[ ${#options[@]} -eq 0 ] || command+=("--generate-options=$(printf '%q ' "${options[@]}")")
"${command[@]}"

if rmdir "$out" 2>/dev/null || [ ! -e "$out" ]; then # it was empty, or is new
    mv "$work" "$out"
else
    # Only what an earlier run of this script left is replaced. Its scores.json, which marks the
    # folder as one of this script, stays until the new one takes its place.
    for file in "$out"/hypotheses.lenpen* "$out"/generate.lenpen*.txt "$out/average.pt"; do
        [ -e "$work/${file##*/}" ] || rm -f "$file"
    done
    for file in "$work"/*; do
        [ "${file##*/}" = scores.json ] || mv -f "$file" "$out/"
    done
    mv -f "$work/scores.json" "$out/"
fi
say "written to $out/scores.json"
