# The options and steps that the recipes share, sourced by them.
# shellcheck shell=bash

HERE="$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd)"
SCRIPTS="$HERE/../scripts"
# shellcheck source=scripts/common.sh
source "$SCRIPTS/common.sh"

# Read the options that every recipe has. Sets cell, run, user_dir, gpus and cpu_processes (empty if not
# given), own_corpus (true or false), out, prepare_options, train_options and score_options (--cpu if
# the training is on the CPU, and --user-dir if given).
# shellcheck disable=SC2034  # the recipes read them
parse() { # FOLDER "$@"; FOLDER is where the results go, in runs/
    local folder="$1"
    shift
    cell='' out='' run='' user_dir='' gpus='' cpu_processes='' own_corpus=false prepare_only=false
    prepare_options=() train_options=() text_options=()
    while [ $# -gt 0 ]; do
        case "$1" in
            --cell=* | --data=* | --cache=* | --bpe-size=* | --character-coverage=* | --max-words=* | --nwords=* | \
                --workers=* | --text=* | --source-lang=* | --target-lang=* | --gpus=* | \
                --cpu-processes=* | --out=* | --run=* | --user-dir=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
        esac
        case "$1" in
            -h | --help) usage && exit ;;
            --cell) cell="$(value "$@")"; shift ;;
            --data | --cache | --bpe-size | --character-coverage | --max-words | --nwords | --workers | \
                --text | --source-lang | --target-lang)
                prepare_options+=("$1" "$(value "$@")"); shift ;;
            --gpus) gpus="$(value "$@")"; train_options+=("$1" "$gpus"); shift ;;
            --cpu-processes) cpu_processes="$(value "$@")"; train_options+=("$1" "$cpu_processes"); shift ;;
            --own-corpus) own_corpus=true ;;
            --save-dir | --save-dir=*) die "$1: a recipe sets it to its --run; give that, or --out" ;;
            --restore-file | --restore-file=*) die "$1: give --finetune-from-model FILE, which starts" \
                "from FILE once, so that the same command can continue" ;;
            --out) out="$(value "$@")"; shift ;;
            --run) run="$(value "$@")"; shift ;;
            --prepare-only) prepare_only=true ;;
            --user-dir) user_dir="$(value "$@")"; train_options+=("$1" "$user_dir"); shift ;;
            *) train_options+=("$1") ;;
        esac
        shift
    done
    out="${out:-$REPO/runs/$folder}"
    check_colon --out "$out"
    check_colon --run "$run"
    [ "${SLURM_STEP_NUM_TASKS:-1}" = 1 ] || die "a recipe runs in one process, and starts those of" \
        "the training: give it one task of srun, and --gpus N or --cpu-processes N"
    [ "${WORLD_SIZE:-1}" = 1 ] || die "WORLD_SIZE=$WORLD_SIZE is set, as by torchrun, but a recipe runs" \
        "in one process: unset it, and give --gpus N or --cpu-processes N"
    score_options=()
    if on_cpu; then
        score_options=(--cpu)
    fi
    use_environment
    # A cell of the user's own is known to fairseq only.
    if [ -n "$user_dir" ]; then
        score_options+=(--user-dir "$user_dir")
    elif [ -n "$cell" ]; then
        check_cell "$cell"
    fi
    # Report wrong options of train.sh before the data is made. (fairseq checks its own ones later.)
    "$SCRIPTS/train.sh" "$out/data" --dry-run --save-dir "$out" \
        ${train_options[@]+"${train_options[@]}"} >/dev/null
    [ "${gpus:-0}" = 0 ] || $prepare_only || has_option --dry-run || enough_gpus "$gpus"
}

# fairseq's own model has no cell to choose.
no_cell_with() { # OPTION
    [ -z "$cell" ] || die "$1 trains a model of fairseq's, which has no other cells;" \
        "leave out $1 or --cell $cell"
}

on_cpu() { [ "$gpus" = 0 ] || [ -n "$cpu_processes" ] || has_option --cpu; }

has_option() { [[ " ${train_options[*]-} " == *" $1"[\ =]* ]]; } # NAME, or NAME and its value

# Prepare the data, unless it is ready; stop there with --prepare-only. Text of the user's own has
# other scripts than the published corpora.
prepare() { # SCRIPT options...
    local script="$1"
    shift
    case "$own_corpus $script" in
        "true prepare_multi30k.sh") script=prepare_translation.sh ;;
        true\ *) script=prepare_text.sh ;;
    esac
    has_option --dry-run ||
        run_job "$SCRIPTS/$script" "$@" ${prepare_options[@]+"${prepare_options[@]}"}
    ! $prepare_only || exit 0
}

# Words as one text for a shell. (What bash itself makes of them depends on the locale.)
quoted() { # WORDS...
    "$PYTHON" -P -c 'import shlex, sys; print(shlex.join(sys.argv[1:]), end=" ")' "$@"
}

# How the options of two trainings differ; nothing if they train the same model. Their order does not
# matter, nor do the options of the list. If an option occurs twice, fairseq uses the last value.
changed_options() { # "WORDS" "WORDS", quoted for the shell
    "$PYTHON" -P -c 'import re, shlex, sys

def options(words):
    found = {}
    for word in shlex.split(words):
        if re.match("--?[a-z]", word):
            name, equals, value = word.partition("=")
            found[name] = [value] if equals else []
        elif found:
            found[name].append(word)
    for name in ("stop-time-hours", "skip-damaged", "num-workers", "log-format", "log-interval"):
        found.pop("--" + name, None)
    return found

def shown(found, name):
    return shlex.join([name, *found[name]]) if name in found else "no " + name

there, now = map(options, sys.argv[1:])
names = [name for name in there | now if there.get(name) != now.get(name)]
print(*(f"{shown(there, name)} there, {shown(now, name)} now" for name in names), sep="; ")' "$1" "$2"
}

# The updates of a training, over which the learning rate of a recipe falls to zero. On Multi30k, with
# one process and the recipe's own options, it is NUMBER.
count_updates() { # NUMBER DATA RUN options...
    local number="$1" data="$2" run="$3" option known=true command words
    shift 3
    ! $own_corpus || known=false
    case "$gpus$cpu_processes" in
        0 | 1) ;;
        '') has_option --cpu || [ "$(gpus_here)" -le 1 ] || known=false ;;
        *) known=false ;;
    esac
    # the other text of every second epoch has other batches
    [[ " ${text_options[*]-} " != *" --distilled "* ]] || known=false
    for option in batch-size max-sentences max-tokens max-epoch max-update update-freq \
        required-batch-size-multiple train-subset max-source-positions max-target-positions; do
        ! has_option "--$option" || known=false
    done
    for option in bpe-size character-coverage max-words text source-lang target-lang; do
        [[ " ${prepare_options[*]-} " != *" --$option "* ]] || known=false
    done
    if $known || has_option --total-num-update || { has_option --dry-run && [ ! -d "${data%%:*}" ]; }; then
        echo "$number"
        return
    fi
    command="$("$SCRIPTS/train.sh" "$data" --dry-run --save-dir "$run" "$@" \
        --total-num-update "$number" ${train_options[@]+"${train_options[@]}"} \
        ${cpu_processes:+--cpu-processes 1})"
    eval "words=($command)" # as train.sh has quoted them
    "$PYTHON" -W ignore "$SCRIPTS/count_updates.py" \
        ${cpu_processes:+--processes "$cpu_processes"} -- "${words[@]}"
}

# Train, unless the training is finished; fairseq continues an interrupted one. A folder belongs to
# one set of options: otherwise one model's checkpoints could be scored as another's. The options in
# text_options, which choose a text of DATA, are among them.
train() { # DATA RUN options...
    local data="$1" run="$2" made changed
    shift 2
    local command=("$SCRIPTS/train.sh" "$data" --save-dir "$run" "$@"
        ${train_options[@]+"${train_options[@]}"})
    if has_option --dry-run; then
        "${command[@]}"
        exit
    fi
    made="$(quoted "$@" ${train_options[@]+"${train_options[@]}"} \
        ${text_options[@]+"${text_options[@]}"})"
    mkdir -p "$run"
    if [ ! -e "$run/.recipe.lock" ] && { [ -e "$run/options" ] || [ -e "$run/finished" ]; }; then
        die "$run has files of yours, options or finished, which a recipe would take as its own;" \
            "give a new folder with --out, or with --run if you gave one"
    fi
    exec 7>>"$run/.recipe.lock"
    lock 7 "$run/.recipe.lock" --run "$run" "give a new folder"
    if has_checkpoints "$run" || [ -e "$run/finished" ]; then
        [ -e "$run/options" ] ||
            die "$run has checkpoints of a training that is not this recipe's;" \
                "give a new folder with --out, or with --run if you gave one"
        if [ -s "$run/options" ]; then
            changed="$(changed_options "$(cat "$run/options")" "$made")"
            if [[ "$changed" =~ ^--total-num-update\ ([0-9]+)\ there,[^\;]*$ ]]; then
                # only what count_updates makes of the number of GPUs, which may be another now
                die "$run was trained for ${BASH_REMATCH[1]} updates: $changed. To continue, use as" \
                    "many GPUs or processes as before, or give --total-num-update" \
                    "${BASH_REMATCH[1]}. Otherwise give a new folder with --out or --run"
            fi
            [ -z "$changed" ] || die "$run was trained with other options: $changed." \
                "Give a new folder with --out, or with --run if you gave one"
        fi
    fi
    echo "$made" >"$run/options.partial" # a full disk must not cost the old one
    mv "$run/options.partial" "$run/options"
    if [ -f "$run/finished" ]; then
        say "already trained: $run"
        exec 7>&-
        return
    fi
    run_job_into "$run/train.log" cat "${command[@]}" || exit
    exec 7>&-
    if has_option --stop-time-hours; then # fairseq's exit status is 0 when time is up
        say "if the time was up, the scores are of the model so far; to continue, run this again" \
            "without --stop-time-hours or with more, because it counts from the first start"
    else
        touch "$run/finished"
    fi
}

# Where scores go. Those of a training that is not finished are not its results.
results() { # RUN NAME [ENDING]
    if [ -e "$1/finished" ]; then echo "$1/$2${3-}"; else echo "$1/$2-so-far${3-}"; fi
}

# Average the checkpoints of the last 10 epochs, choose the length penalty on the validation set, and
# score the test set with it.
score_chosen() { # DATA RUN
    local data="$1" run="$2" saved last=() score valid lenpen
    saved="$(epochs_in "$run")" # fewer than 10 in a short training
    [ "$saved" -eq 0 ] || last=(--average $((saved < 10 ? saved : 10)))
    score=("$SCRIPTS/score.sh" "$data" --checkpoints "$run" ${last[@]+"${last[@]}"}
        ${score_options[@]+"${score_options[@]}"})
    valid="$(results "$run" score-valid)"
    run_job "${score[@]}" --subset valid --lenpen 0.6,1.0,1.4,1.8 --out "$valid"
    lenpen="$("$PYTHON" -P -c 'import json, sys; print(json.load(open(sys.argv[1]))["lenpen"])' \
        "$valid/scores.json")"
    run_job "${score[@]}" --subset test --lenpen "$lenpen" --out "$(results "$run" score-test)"
}
