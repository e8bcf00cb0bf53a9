#!/usr/bin/env bash
# Check and measure this package on a GPU: tests, speed, commands. See --help.
set -euo pipefail
HERE="$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd)"
# shellcheck source=scripts/common.sh
source "$HERE/common.sh"

usage() {
    cat <<'EOF'
usage: scripts/gpu_check.sh [options] [options of pytest]

Check and measure this package on the GPU of this machine:

  info        fairseq-wsum info
  layers      whole layers against float64
  triton      the Triton kernels against float64
  speed       in fp32 and bf16: layers against torch's own, also as CUDA graphs, which leave out the
              host's time; kernels against the bandwidth of a copy
  commands    train, resume, translate and score small models in fp32, fp16, bf16 and amp

It needs torch, pytest for the tests, and Triton or fairseq for those of them that are skipped
otherwise. A failure does not stop the other parts, and the exit status is then 1.

  --parts LIST      the parts to run, separated by commas (default: all)
  --out DIR         folder for the results, which must not exist (default runs/gpu-check)
  --limit SECONDS   time limit of each command (default 900); pytest then reports the tests so far
  --device DEVICE   cuda (default), or cpu to try the script without a GPU
  --help            this text

Files in DIR: summary.txt, and the output of each command; *.xml, the results of tests in JUnit's
form. If the script is stopped, it prints what it has.

PYTHON=... sets the interpreter (default: that of VENV, or of the clone's .venv, else python3).

examples:
  scripts/gpu_check.sh
  scripts/gpu_check.sh --parts layers,triton -n 4    # with pytest-xdist: four processes
  scripts/gpu_check.sh --device cpu --out runs/gpu-check-trial
EOF
}

parts=info,layers,triton,speed,commands out="$REPO/runs/gpu-check" limit=900 device=cuda options=()
while [ $# -gt 0 ]; do
    case "$1" in
        -h | --help) usage && exit ;;
        --parts) parts="$(value "$@")"; shift ;;
        --out) out="$(value "$@")"; shift ;;
        --limit) limit="$(value "$@")"; shift ;;
        --device) device="$(value "$@")"; shift ;;
        *) options+=("$1") ;;
    esac
    shift
done
for part in ${parts//,/ }; do
    [[ "$part" =~ ^(info|layers|triton|speed|commands)$ ]] ||
        die "--parts $parts: choose from info, layers, triton, speed, commands"
done
[[ "$device" =~ ^(cuda|cpu)$ ]] || die "--device $device: choose cuda or cpu"
positive --limit "$limit"
[ ! -e "$out" ] || die "--out $out exists; give a new folder"

python="${VENV:-$REPO/.venv}/bin/python"
[ -n "${VENV:-}" ] || [ -x "$python" ] || python=python3
python="${PYTHON:-$python}"
[ "$device" = cpu ] || "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' ||
    die "$python: torch sees no GPU here; --device cpu tries the script without one"
export FAIRSEQ_WSUM_TEST_DEVICE="$device" PYTHONPATH="$REPO${PYTHONPATH:+:$PYTHONPATH}"
mkdir -p "$out"
out="$(cd "$out" && pwd)"
cd "$REPO"
touch "$out/summary.txt"

current=''
exec 3>&1 # a script that is stopped within a part has its output elsewhere
report() {
    echo "== $out/summary.txt"
    cat "$out/summary.txt"
    [ -z "$current" ] || { echo "== stopped in $current:" && tail -n 30 "$out/$current.txt"; }
}
trap 'report >&3' EXIT

run() { # NAME COMMAND...: in the time limit, after which it is interrupted, and pytest reports
    local start=$SECONDS status=0 result=passed
    current="$1"
    say "== $1: ${*:2}"
    run_job timeout -s INT -k 60 "$limit" env --default-signal=INT "${@:2}" \
        >"$out/$1.txt" 2>&1 </dev/null || status=$?
    current=''
    case "$status" in
        0) ;;
        124 | 137) result="stopped after $limit s" ;;
        *) result="failed with status $status" ;;
    esac
    result+=", $((SECONDS - start)) s: $(tail -n 1 "$out/$1.txt")"
    echo "$1: $result" | tee -a "$out/summary.txt"
}

run_tests() { # NAME FILES...
    run "$1" "$python" -m pytest -v -p no:cacheprovider --junitxml "$out/$1.xml" "${@:2}" \
        ${options[@]+"${options[@]}"}
}

wants() { [[ ",$parts," == *",$1,"* ]]; }
measure() { # NAME PROGRAM DTYPE options...
    run "$1-$3" "$python" "benchmarks/$2.py" --device "$device" --dtype "$3" "${@:4}"
}

! wants info || run info "$python" -m fairseq_wsum.cli info
! wants layers || run_tests layers tests/test_gpu.py
! wants triton || run_tests triton tests/test_triton*.py
for dtype in fp32 bf16; do
    wants speed || break
    measure layers layers "$dtype"
    [ "$device" = cpu ] || measure graphs layers "$dtype" --graphs
    measure bandwidth bandwidth "$dtype"
done
! wants commands || run_tests commands tests/test_gpu_commands.py
! grep -q ': \(failed\|stopped\)' "$out/summary.txt" || exit 1
