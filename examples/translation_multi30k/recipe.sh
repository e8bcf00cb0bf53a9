# Sourced by the recipes: their common options, and the steps that they share. Not run by itself.
# shellcheck shell=bash

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
SCRIPTS="$HERE/../../scripts"
# shellcheck source=scripts/common.sh
source "$SCRIPTS/common.sh"

# The options that every recipe has. Sets ablation, out, prepare_options and train_options.
# shellcheck disable=SC2034  # the recipes read them
parse() { # RECIPE "$@"
    local recipe="$1"
    shift
    ablation=lstm out='' prepare_options=() train_options=()
    while [ $# -gt 0 ]; do
        case "$1" in
            -h | --help) usage && exit ;;
            --ablation) ablation="$(value "$@")"; shift ;;
            --data) prepare_options+=(--data "$(value "$@")"); shift ;;
            --own-corpus) prepare_options+=(--own-corpus) ;;
            --out) out="$(value "$@")"; shift ;;
            *) train_options+=("$1") ;;
        esac
        shift
    done
    out="${out:-$REPO/runs/multi30k/$recipe}"
    use_environment
}

# Train, unless it was done. fairseq goes on by itself where a training was cut off.
train() { # DATA RUN options...
    local data="$1" run="$2"
    shift 2
    if [ -f "$run/finished" ]; then
        say "trained before, in $run; give another --out to train again"
        return
    fi
    mkdir -p "$run"
    "$SCRIPTS/train.sh" "$data" --save-dir "$run" "$@" \
        ${train_options[@]+"${train_options[@]}"} 2>&1 | tee -a "$run/train.log"
    touch "$run/finished"
}
