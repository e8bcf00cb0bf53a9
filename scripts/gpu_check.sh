#!/usr/bin/env bash
# Check and measure everything on a GPU: tests, speed, commands. See --help.
set -euo pipefail
HERE="$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd)"
# shellcheck source=scripts/common.sh
source "$HERE/common.sh"

usage() {
    cat <<'EOT'
usage: scripts/gpu_check.sh [options]

Check and measure this package on the GPU of this machine. A step has several parts. Every part has
a time limit and a file for its output. A failed part does not stop the others. The end is a table
of all parts, which is also in DIR/summary.md. The exit status is 1 if a part failed.

It needs torch, and Triton for most of it. Parts that need more are skipped, and the table says why.

  --steps LIST      the steps to run, separated by commas (default: all). The start of a part's name
                    will do, too: tests/layers, speed/bf
  --list            list the steps and stop
  --out DIR         folder for the results (default runs/gpu-check); one with results is refused
  --resume          continue in such a folder, and skip the parts that passed there
  --limit SECONDS   time limit of each part (default: tests 900, speed 300, info 120, commands 300)
  --backend NAME    the backend in commands (default auto)
  --tiny            tiny sizes, to try the script itself; the times mean nothing
  --device DEVICE   cuda (default) or cpu, which skips what needs a GPU
  --help            this text

PYTHON=... sets the interpreter (default: that of VENV, or of the clone's .venv, else python3).

Files in DIR: summary.md; results.tsv, every result; STEP/PART.txt, the output of a part (PART.2.txt
if it ran again); speed/*.json, the measurements.

speed/*-torch and speed/*-triton time CUDA graphs; speed/*-auto and speed/*-reference include the
host's time.

To train whole models use fairseq-wsum study, which gives each run a GPU.

examples:
  scripts/gpu_check.sh
  scripts/gpu_check.sh --steps speed --resume
  scripts/gpu_check.sh --device cpu --tiny --out runs/gpu-check-trial
EOT
}

STEPS=(
    "tests      the Triton kernels and whole layers against float64"
    "speed      layers against torch's own, and kernels against the bandwidth of a copy"
    "info       fairseq-wsum info"
    "commands   train, resume, translate and score with fp32, fp16, bf16 and amp; needs fairseq"
)

steps='' out="$REPO/runs/gpu-check" resume=false limit='' backend=auto tiny=false device=cuda
while [ $# -gt 0 ]; do
    case "$1" in
        --steps=* | --out=* | --limit=* | --backend=* | --device=*)
            set -- "${1%%=*}" "${1#*=}" "${@:2}"
            ;;
    esac
    case "$1" in
        -h | --help) usage && exit ;;
        --list) printf '%s\n' "${STEPS[@]}" && exit ;;
        --steps) steps="$(value "$@")"; shift ;;
        --out) out="$(value "$@")"; shift ;;
        --resume) resume=true ;;
        --limit) limit="$(value "$@")"; shift ;;
        --backend) backend="$(value "$@")"; shift ;;
        --tiny) tiny=true ;;
        --device) device="$(value "$@")"; shift ;;
        *) die "unknown option $1 (see --help)" ;;
    esac
    shift
done
steps="${steps:-tests,speed,info,commands}"
IFS=, read -ra wanted <<<"$steps"
known="$(printf '%s\n' "${STEPS[@]%% *}")"
for item in "${wanted[@]}"; do
    grep -qxF -e "${item%%/*}" <<<"$known" ||
        die "--steps $steps: there is no step '${item%%/*}'; choose from ${known//$'\n'/, }"
done
[[ "$device" =~ ^(cuda|cpu)$ ]] || die "--device $device: choose cuda or cpu"
[ -z "$limit" ] || positive --limit "$limit"
command -v timeout >/dev/null || die "this machine has no command timeout (GNU coreutils)"
check_colon --out "$out"
[[ "$out" == /* ]] || out="$PWD/$out"
results="$out/results.tsv"

# --- the environment -----------------------------------------------------------------------------

if [ -z "${PYTHON:-}" ]; then
    PYTHON="${VENV:-$REPO/.venv}/bin/python"
    [ -n "${VENV:-}" ] || [ -x "$PYTHON" ] || PYTHON=python3
fi
PYTHON="$(command -v "$PYTHON")" || die "PYTHON: there is no Python interpreter; set PYTHON or VENV"
[[ "$PYTHON" == /* ]] || PYTHON="$PWD/$PYTHON"
bin="$(dirname "$PYTHON")"
export PYTHON PATH="$bin:$PATH" PYTHONUNBUFFERED=1
export VENV="${bin%/*}" # for the other scripts
unset TRITON_INTERPRET
[ "$device" = cuda ] || export CUDA_VISIBLE_DEVICES=

facts="$("$PYTHON" -P "$HERE/gpu_facts.py" "$device")" ||
    die "the package could not be asked for its backends; see above"
if grep -qx clone <<<"$facts"; then export PYTHONPATH="$REPO${PYTHONPATH:+:$PYTHONPATH}"; fi

cells_of() { awk -F '\t' -v d="$1" -v b="$2" '$1 == "cells" && $2 == d && $3 == b { print $5 }' <<<"$facts"; }
reason_of() { awk -F '\t' -v d="$1" -v b="$2" '$1 == "cells" && $2 == d && $3 == b { print $4 }' <<<"$facts"; }
backends="$(awk -F '\t' '$1 == "cells" && $2 == "fp32" { print $3 }' <<<"$facts")"
grep -qxF -e "$backend" <<<"$backends" ||
    die "--backend $backend: choose from ${backends//$'\n'/, }"

wants() { # STEP
    local item
    for item in "${wanted[@]}"; do
        [ "${item%%/*}" != "$1" ] || return 0
    done
    return 1
}

# Which of these Python modules are missing, as a reason; empty if none is.
lacks() { # MODULE...
    local module missing=''
    for module in "$@"; do
        ! grep -qxF -e "missing"$'\t'"$module" <<<"$facts" || missing+=" $module"
    done
    echo "${missing:+not installed:$missing}"
}

no_fairseq=''
if wants commands; then
    no_fairseq="$(lacks fairseq)"
    if [ -z "$no_fairseq" ] && ! { [ -x "$bin/fairseq-train" ] && [ -x "$bin/python" ]; }; then
        no_fairseq="$bin lacks python or fairseq-train; set VENV to the environment that has fairseq"
    elif [ -z "$no_fairseq" ] &&
        ! error="$("$PYTHON" -P -c 'import fairseq_wsum.plugin' 2>&1 >/dev/null)"; then
        no_fairseq="fairseq cannot be imported: $(tail -n 1 <<<"$error")"
    fi
fi

# --- the results ---------------------------------------------------------------------------------

driver=-
if [ "$device" = cuda ]; then
    driver="$(nvidia-smi --query-gpu=driver_version --format=csv,noheader -i 0 2>/dev/null ||
        echo unknown)"
fi
commit="$(git -C "$REPO" describe --always --dirty 2>/dev/null || echo unknown)"
begun="$(date '+%Y-%m-%d %H:%M %Z')"

# The last result of every part, in the order of the first ones.
rows() {
    awk -F '\t' '!/^#/ { if (!($1 in row)) order[++n] = $1; row[$1] = $0 }
        END { for (i = 1; i <= n; i++) print row[order[i]] }' "$results"
}

summary() {
    echo "# Check on $device"
    echo
    if $tiny; then printf 'Tiny sizes: the times mean nothing.\n\n'; fi
    echo "| | |"
    echo "|---|---|"
    awk -F '\t' '$1 == "head" { print "| " $2 " | " $3 " |" }' <<<"$facts"
    echo "| driver | $driver |"
    echo "| commit | $commit |"
    echo "| backend of commands | $backend |"
    echo "| date | $begun |"
    echo
    echo "| part | result | seconds | | commit, date |"
    echo "|---|---|---|---|---|"
    rows | awk -F '\t' '{ print "| " $1 " | " $2 " | " $3 " | " $4 " | " $5 " |" }'
}

write_summary() {
    summary >"$out/summary.md.partial"
    mv "$out/summary.md.partial" "$out/summary.md"
}

record() { # NAME RESULT SECONDS NOTE
    local note
    note="$(tr '\t|' ' /' <<<"$4" | cut -c 1-200)"
    printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$note" "$commit, ${begun% *}" >>"$results"
    say "$1: $2${note:+ ($note)}"
    write_summary
}

# --- the parts -----------------------------------------------------------------------------------

every=() names=() limits=() reasons=() commands=()
part() { # NAME LIMIT REASON COMMAND...; it is skipped if there is a reason
    local name="$1" item
    every+=("$name")
    for item in "${wanted[@]}"; do
        [[ "$name" == "$item"* ]] || continue
        names+=("$name") limits+=("${limit:-$2}") reasons+=("$3")
        commands+=("$(printf '%q ' "${@:4}")")
        return
    done
}

plan_tests() {
    local reason no_triton few=() few_layers=()
    reason="$(lacks pytest)"
    no_triton="${reason:-$(lacks triton)}"
    [ "$device" = cuda ] || no_triton='needs a GPU'
    if $tiny; then few=(-k one-of-each) few_layers=(-k "whole and fp32"); fi
    local pytest=("$PYTHON" -m pytest -v -p no:cacheprovider --durations 10)
    # most of the time goes into compiling kernels
    [ -n "$(lacks xdist)" ] || pytest+=(-n 4)
    part tests/triton 900 "$no_triton" "${pytest[@]}" tests/test_triton.py \
        tests/test_triton_memory_cell.py tests/test_triton_compiled.py ${few[@]+"${few[@]}"}
    part tests/layers 900 "$reason" env FAIRSEQ_WSUM_TEST_DEVICE="$device" \
        "${pytest[@]}" tests/test_gpu.py ${few_layers[@]+"${few_layers[@]}"}
}

plan_speed() {
    local dtype name reason cells=() sizes=() gated=() graphs
    if $tiny; then sizes=(--shapes '3,2,4' --rounds 1); fi
    local common=(--device "$device" ${sizes[@]+"${sizes[@]}"})
    for dtype in fp32 bf16; do
        for name in $backends; do
            reason="$(reason_of "$dtype" "$name")"
            read -ra cells <<<"$(cells_of "$dtype" "$name")"
            [ ${#cells[@]} -eq 0 ] || reason=''
            graphs=() # CUDA graphs leave out the host's time, which is most of the reference's
            [[ "$device $name" != "cuda "@(torch|triton) ]] || graphs=(--graphs)
            part "speed/$dtype-$name" 300 "$reason" "$PYTHON" benchmarks/layers.py "${common[@]}" \
                --dtype "$dtype" --backend "$name" --json "$out/speed/$dtype-$name.json" \
                ${graphs[@]+"${graphs[@]}"} --cells ${cells[@]+"${cells[@]}"}
        done
        name=triton
        [ "$device" = cuda ] || name=cpp
        reason="$(reason_of "$dtype" "$name")"
        read -ra gated <<<"$(sed -n 's/^bandwidth\t//p' <<<"$facts")"
        part "speed/$dtype-bandwidth" 300 "${reason#-}" "$PYTHON" benchmarks/bandwidth.py \
            "${common[@]}" --dtype "$dtype" --json "$out/speed/$dtype-bandwidth.json" \
            --cells "${gated[@]}"
    done
}

plan_commands() {
    local model name command arch cell precision reason dtype updates=()
    if $tiny; then updates=(--updates 2); fi
    for model in "lstm translation wsum_lstm lstm" \
        "no-srnn-hidden translation wsum_lstm no-srnn-hidden" \
        "gru translation wsum_lstm gru" \
        "transformer translation wsum_transformer no-srnn-hidden" \
        "lm-lstm language_model wsum_lstm_lm lstm" \
        "lm-transformer language_model wsum_transformer_lm no-srnn-hidden"; do
        read -r name command arch cell <<<"$model"
        for precision in fp32 fp16 bf16 amp; do
            reason="$no_fairseq" dtype="${precision/amp/fp16}"
            if [ -z "$reason" ] && [[ "$device $dtype" == "cpu fp16" ]]; then
                reason='needs a GPU'
            elif [ -z "$reason" ] && [[ " $(cells_of "$dtype" "$backend") " != *" $cell "* ]]; then
                reason="backend $backend cannot run $cell in $dtype"
            fi
            part "commands/$name-$precision" 300 "$reason" "$HERE/gpu_commands.sh" "$command" \
                --arch "$arch" --cell "$cell" --precision "$precision" --backend "$backend" \
                --device "$device" --out "$out/commands" \
                ${updates[@]+"${updates[@]}"}
        done
    done
}

plan_tests
plan_speed
part info 120 '' "$PYTHON" -m fairseq_wsum.cli info
plan_commands
for item in "${wanted[@]}"; do
    [[ " ${every[*]}" == *" $item"* ]] ||
        die "--steps $steps: no part's name begins with '$item'; the parts are ${every[*]}"
done

# --- the folder ----------------------------------------------------------------------------------

mkdir -p "$out"
kind="$(awk -F '\t' '$2 == "device" { print $3 }' <<<"$facts"), tiny: $tiny, backend: $backend"
if [ -f "$results" ]; then
    $resume || die "--out $out has results already; give a new folder, or add --resume"
    [ "$(sed -n 1p "$results")" = "# $kind" ] ||
        die "--out $out has results of: $(sed -n 's/^# //p' "$results"); here: $kind; give a new folder"
else
    [ -z "$(ls -A "$out")" ] || die "--out $out has other files in it; give a new folder"
    echo "# $kind" >"$results"
fi

# --- running them --------------------------------------------------------------------------------

job='' current=''
# shellcheck disable=SC2317,SC2329  # called by the trap
interrupted() {
    trap - INT TERM HUP
    if [ -n "$job" ]; then
        kill -TERM "$job" 2>/dev/null || true
        wait "$job" || true # it has the GPU
    fi
    [ -z "$current" ] || record "$current" failed "$((SECONDS - start))" interrupted
    summary
    exit 130
}
trap interrupted INT TERM HUP

passed_before() { rows | awk -F '\t' -v n="$1" '$1 == n && $2 == "passed" { found = 1 } END { exit !found }'; }

run_part() { # NAME LIMIT COMMAND
    local log number=1 status=0 note='' result=passed
    [[ "$1" == */* ]] && log="$out/$1" || log="$out/$1/$1"
    mkdir -p "$(dirname "$log")"
    if [ -e "$log.txt" ]; then
        number=2
        while [ -e "$log.$number.txt" ]; do number=$((number + 1)); done
        log+=".$number"
    fi
    log+=.txt
    say "== $1, in $log"
    printf '$ %s\n' "$3" >"$log"
    start=$SECONDS current="$1"
    timeout -k 10 "$2" bash -euo pipefail -c "$3" >>"$log" 2>&1 </dev/null &
    job=$!
    wait "$job" || status=$?
    job='' current=''
    note="$(sed '1d; /^[[:space:]=]*$/d' "$log" | tail -n 1 | sed 's/^=* //; s/ =*$//')"
    if [ "$status" = 0 ] && [[ "$1" == tests/* && "$note" != *' passed'* ]]; then
        status=1 note="no test ran: $note"
    fi
    case "$status" in
        0) [[ "$1" == tests/* ]] || note='' ;;
        124 | 137) result=failed note="stopped at the time limit of $2 s; last line: $note" ;;
        *) result=failed note="status $status: $note" ;;
    esac
    record "$1" "$result" "$((SECONDS - start))" "$note"
}

cd "$REPO"
write_summary
for ((i = 0; i < ${#names[@]}; i++)); do
    if passed_before "${names[i]}"; then
        say "${names[i]}: passed before"
    elif [ -n "${reasons[i]}" ]; then
        record "${names[i]}" skipped 0 "${reasons[i]}"
    else
        run_part "${names[i]}" "${limits[i]}" "${commands[i]}"
    fi
done
write_summary
cat "$out/summary.md"
failed="$(rows | awk -F '\t' '$2 == "failed" { print $1 }')"
[ -z "$failed" ] || die "failed: ${failed//$'\n'/, }; the outputs are in $out"
