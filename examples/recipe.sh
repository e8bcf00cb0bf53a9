# Sourced by the recipes: their common options, and the steps that they share. Not run by itself.
# shellcheck shell=bash

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
SCRIPTS="$HERE/../scripts"
# shellcheck source=scripts/common.sh
source "$SCRIPTS/common.sh"

# The options that every recipe has. Sets cell (empty if not given), out, prepare_options,
# train_options, and score_options: scoring keeps off the GPUs if training does.
# shellcheck disable=SC2034  # the recipes read them
parse() { # FOLDER "$@"; FOLDER is where the results go, in runs/
    local folder="$1"
    shift
    cell='' out='' prepare_options=() train_options=()
    while [ $# -gt 0 ]; do
        case "$1" in
            --cell=* | --data=* | --out=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
        esac
        case "$1" in
            -h | --help) usage && exit ;;
            --cell) cell="$(value "$@")"; shift ;;
            --data) prepare_options+=(--data "$(value "$@")"); shift ;;
            --own-corpus) prepare_options+=(--own-corpus) ;;
            --save-dir | --save-dir=*) die "$1: a recipe chooses the folder, within --out; give that" ;;
            --out) out="$(value "$@")"; shift ;;
            *) train_options+=("$1") ;;
        esac
        shift
    done
    out="${out:-$REPO/runs/$folder}"
    check_colon --out "$out"
    score_options=()
    if has_option '--gpus 0' || has_option --gpus=0 || has_option --cpu || has_option --cpu-processes; then
        score_options=(--cpu)
    fi
    [ -z "$cell" ] || check_cell "$cell"
    use_environment
    # Said now, not when all the data is made. (What fairseq says of its own options comes later.)
    "$SCRIPTS/train.sh" "$out/data" --dry-run --save-dir "$out" \
        ${train_options[@]+"${train_options[@]}"} >/dev/null
}

has_option() { [[ " ${train_options[*]-} " == *" $1"[\ =]* ]]; } # NAME, or NAME and its value

# Make the data, unless that was done.
prepare() { # SCRIPT options...
    local script="$1"
    shift
    has_option --dry-run || "$SCRIPTS/$script" "$@" ${prepare_options[@]+"${prepare_options[@]}"}
}

# Train, unless it was done; where a training was cut off fairseq goes on. A folder is for one set
# of options: else one model's checkpoints would be scored as another's.
train() { # DATA RUN options...
    local data="$1" run="$2" made
    shift 2
    local command=("$SCRIPTS/train.sh" "$data" --save-dir "$run" "$@"
        ${train_options[@]+"${train_options[@]}"})
    if has_option --dry-run; then
        "${command[@]}"
        exit
    fi
    made="$(printf '%q ' "$@" ${train_options[@]+"${train_options[@]}"} |
        sed 's/--stop-time-hours[ =][^ ]* //; s/--skip-damaged //')" # these change nothing
    mkdir -p "$run"
    if compgen -G "$run/checkpoint*.pt" >/dev/null && [ -f "$run/options" ] &&
        [ "$(cat "$run/options")" != "$made" ]; then
        die "$run was trained with other options: $(cat "$run/options");" \
            "give a new folder with --out"
    fi
    echo "$made" >"$run/options"
    if [ -f "$run/finished" ]; then
        say "trained before: $run"
        return
    fi
    "${command[@]}" 2>&1 | tee -a "$run/train.log"
    if has_option --stop-time-hours; then # fairseq ends as well as after the last epoch
        say "if the time was up, run this again to go on; the scores are of the model so far"
    else
        touch "$run/finished"
    fi
}
