#!/usr/bin/env bash
# The perplexity of a language model, by fairseq-eval-lm. See --help.
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=scripts/common.sh
source "$HERE/common.sh"

usage() {
    cat <<'EOF'
usage: scripts/perplexity.sh DATA --checkpoint FILE [options] [any option of fairseq-eval-lm]

Score the validation and the test split of DATA with a language model and print its perplexity.

  --checkpoint FILE   the model
  --splits LIST       (default valid,test)
  --task TASK         (default wsum_language_modeling: one stream, the state carried)
  --out FILE          write the figures as JSON too
  --help              this text

Words that were cut into units of subword-nmt: add --post-process '@@ ' for the perplexity of words.
On a machine with a GPU it is used; --cpu does without.

example:
  scripts/perplexity.sh data-bin/ptb --checkpoint runs/lm/checkpoint_best.pt
EOF
}

data='' checkpoint='' splits=valid,test task=wsum_language_modeling out='' options=()
while [ $# -gt 0 ]; do
    case "$1" in
        --checkpoint=* | --splits=* | --task=* | --out=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    esac
    case "$1" in
        -h | --help) usage && exit ;;
        --checkpoint) checkpoint="$(value "$@")"; shift ;;
        --splits) splits="$(value "$@")"; shift ;;
        --task) task="$(value "$@")"; shift ;;
        --out) out="$(value "$@")"; shift ;;
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
[ -f "$data/dict.txt" ] || die "$data has no dict.txt: give a folder that scripts/prepare_ptb.sh," \
    "scripts/prepare_gbw.sh or fairseq-preprocess --only-source has made"
[ -n "$checkpoint" ] || die "no --checkpoint: give the file of the model"
[ -f "$checkpoint" ] || die "--checkpoint $checkpoint: no such file"
use_environment

figures=''
for split in ${splits//,/ }; do
    log="$(fairseq-eval-lm "$data" --user-dir "$REPO/fairseq_wsum" --task "$task" \
        --path "$checkpoint" --gen-subset "$split" --log-format none \
        ${options[@]+"${options[@]}"} 2>&1)" || { printf '%s\n' "$log" >&2; exit 1; }
    perplexity="$(sed -n 's/.*Perplexity: \([0-9.a-z]*\).*/\1/p' <<<"$log")"
    tokens="$(sed -n 's/.*Evaluated \([0-9,]*\) tokens.*/\1/p' <<<"$log")"
    [ -n "$perplexity" ] || { printf '%s\n' "$log" >&2; die "fairseq-eval-lm gave no perplexity"; }
    echo "$split: perplexity $perplexity ($tokens tokens)"
    [[ "$perplexity" == [0-9]* ]] || perplexity="\"$perplexity\"" # inf and nan are no JSON
    figures+="${figures:+, }\"$split\": $perplexity"
done
if [ -n "$out" ]; then
    echo "{$figures}" >"$out.partial"
    mv "$out.partial" "$out"
fi
