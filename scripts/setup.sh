#!/usr/bin/env bash
# Create the Python environment that the other scripts use. See --help.
set -euo pipefail
HERE="$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd)"
# shellcheck source=scripts/common.sh
source "$HERE/common.sh"

usage() {
    cat <<'EOF'
usage: scripts/setup.sh [--dev]

Create a virtual environment with PyTorch, fairseq and this package (editable). The first run takes
some minutes, as fairseq is compiled (except for Python 3.12 on Linux x86_64, which has a wheel). It
can be run again at any time and then completes what is missing.

  --dev    also install what scripts/test.sh needs: pytest, ruff, mypy, shellcheck
  --help   this text

variables:
  VENV             the environment's folder (default: .venv in this clone)
  PYTHON           the Python for a new environment, 3.11 or 3.12 (default: the first suitable
                   one of python3, python3.12, python3.11)
  TORCH            pip's requirement for torch, if the environment has none yet (default
                   torch==2.13.0: with CUDA if there is an NVIDIA GPU, else for the CPU)
  TORCH_INDEX_URL  the package index for the CPU build
                   (default https://download.pytorch.org/whl/cpu)

examples:
  scripts/setup.sh
  VENV=~/envs/wsum PYTHON=python3.12 scripts/setup.sh --dev
  TORCH='torch==2.8.0 --index-url https://download.pytorch.org/whl/cu128' scripts/setup.sh
EOF
}

extra=fairseq,plot,study
while [ $# -gt 0 ]; do
    case "$1" in
        -h | --help) usage && exit ;;
        --dev) extra=dev ;;
        *) die "unknown option $1 (see --help)" ;;
    esac
    shift
done

VENV="${VENV:-$REPO/.venv}"
TORCH_INDEX_URL="${TORCH_INDEX_URL:-https://download.pytorch.org/whl/cpu}"
python="$VENV/bin/python"
log="$VENV/setup.log"
stamp="$VENV/.fairseq-wsum-setup"

# The programs of an environment start its Python by the full path that it was made with.
place="$(
    set +u
    unset VIRTUAL_ENV
    # shellcheck source=/dev/null
    source "$VENV/bin/activate" 2>/dev/null && printf '%s' "$VIRTUAL_ENV"
)" || place=''
[ -z "$place" ] || [ "$place" -ef "$VENV" ] ||
    die "the environment $VENV was made as $place, and its programs work there only;" \
        "remove $VENV and run this again"

# Is the environment ready? `dev` includes `fairseq`, `plot` and `study`. Kernels that failed to build
# are built again with another compiler.
built_or_no_other_compiler() {
    [ -n "$(find "$REPO/fairseq_wsum" -maxdepth 1 -name '_kernels*.so')" ] ||
        [ "$(compiler)" = "$(sed -n 2p "$stamp")" ]
}
sum="$(cat "$REPO"/{setup.py,pyproject.toml,fairseq_wsum/__init__.py,fairseq_wsum/csrc/*.[ch]*} | cksum) $REPO"
end_if_ready() {
    local made
    [ -f "$stamp" ] && [ -x "$python" ] && built_or_no_other_compiler || return 0
    made="$(sed -n 1p "$stamp")"
    if [ "$made" = "dev $sum" ] || [ "$made" = "$extra $sum" ]; then
        say "the environment $VENV is ready"
        exit
    fi
}
end_if_ready

fits() { # PYTHON VERSIONS...
    local program="$1" found
    shift
    found="$("$program" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" ||
        return 1
    [[ " $* " == *" $found "* ]]
}

choose_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        fits "$PYTHON" 3.11 3.12 ||
            die "PYTHON=$PYTHON is not Python 3.11 or 3.12; give one that is"
        echo "$PYTHON"
        return
    fi
    for candidate in python3 python3.12 python3.11; do
        if fits "$candidate" 3.11 3.12; then echo "$candidate" && return; fi
    done
    die "no Python 3.11 or 3.12 found; install one, or give its path: PYTHON=... scripts/setup.sh"
}

# Run a command with its output in the log, and print the time it took.
step() {
    local what="$1" start=$SECONDS
    printf '%s ... ' "$what" >&2
    printf '\n== %s\n' "$what" >>"$log"
    if ! "${@:2}" >>"$log" 2>&1; then
        say "failed; the end of $log:"
        tail -n 20 "$log" >&2
        die "could not finish: $what"
    fi
    say "$((SECONDS - start)) s"
}

works() { "$python" -c '' >/dev/null 2>&1; }
if ! works && [ -e "$VENV" ] && [ ! -f "$VENV/pyvenv.cfg" ] && # an earlier run may have stopped here
    [ -n "$(find "$VENV/" -mindepth 1 -maxdepth 1 ! -name setup.log ! -name .setup.lock)" ]; then
    die "VENV=$VENV is a folder with other files in it; give a new folder"
fi
mkdir -p "$VENV"
exec 5>>"$VENV/.setup.lock"
if command -v flock >/dev/null && ! flock -n 5; then
    say "waiting for another set-up of $VENV to end"
    flock 5 || true # a file system without locks
    end_if_ready
fi
: >>"$log"
if ! works; then
    base="$(choose_python)"
    "$base" -c 'import ensurepip, venv' 2>/dev/null ||
        die "$base cannot make virtual environments; install its venv module" \
            "(Debian, Ubuntu: apt install python3-venv), or give another Python: PYTHON=..."
    step "environment $VENV, $("$base" --version)" "$base" -m venv "$VENV"
fi
fits "$python" 3.11 3.12 ||
    die "the environment $VENV has $("$python" --version); set VENV to one with Python 3.11 or 3.12"
rm -f "$stamp"
"$python" -m pip --version >/dev/null 2>&1 ||
    step "pip, which the environment lacks" "$python" -m ensurepip
pip() { "$python" -m pip install --disable-pip-version-check "$@"; }
# Check the metadata, which pip writes last: a half-installed package does not count. (-P: import
# nothing from this folder.)
has() { "$python" -P -c 'import importlib.metadata as m, sys; m.version(sys.argv[1])' "$1" 2>/dev/null; }

# One platform has a wheel; on the others pip compiles.
compiled=''
if ! has fairseq-fixed && ! { [ "$(uname -sm)" = "Linux x86_64" ] && fits "$python" 3.12; }; then
    [ -n "$(compiler)" ] || command -v g++ >/dev/null || command -v clang++ >/dev/null ||
        die "fairseq has to be compiled, but there is no C++ compiler; install one (Debian, Ubuntu:" \
            "apt install g++; macOS: xcode-select --install), or set CXX"
    "$python" -c 'import os, sysconfig as s, sys
sys.exit(not os.path.exists(os.path.join(s.get_path("include"), "Python.h")))' ||
        die "fairseq has to be compiled, but Python.h is missing;" \
            "install it (Debian, Ubuntu: apt install python3-dev)"
    compiled=' (fairseq is compiled: 2 to 5 minutes)'
fi

if ! has torch; then
    index=()
    if [ -n "${TORCH:-}" ]; then
        kind="from TORCH"
    elif nvidia-smi >/dev/null 2>&1; then
        kind="with CUDA, some gigabytes"
    elif [ "$(uname -s)" = Linux ]; then
        # Try the index first, as pip would retry for minutes. pip prefers +cpu to a plain version.
        if "$python" -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=10)' \
            "${TORCH_INDEX_URL%/}/torch/" >/dev/null 2>&1; then
            kind="for the CPU"
            index=(--extra-index-url "$TORCH_INDEX_URL")
        else
            kind="from pip's default index, as $TORCH_INDEX_URL cannot be reached"
        fi
    else
        kind="for the CPU"
    fi
    # TORCH may contain flags, so it is split at spaces.
    read -ra wanted <<<"${TORCH:-torch==2.13.0}"
    step "${wanted[0]}, $kind" pip "${wanted[@]}" ${index[@]+"${index[@]}"}
fi
torch="$("$python" -P -c 'from importlib.metadata import version; print(version("torch"))')"

# fairseq's build requires torch. pip's isolated build would download a second torch, with CUDA, so
# fairseq is built without isolation and its build requirements go into our environment.
step "fairseq's build requirements" pip 'setuptools>=68' wheel cython numpy
constraints="$VENV/setup-constraints.txt"
echo "torch==$torch" >"$constraints" # nothing may replace it
step "fairseq and this package with [$extra]$compiled" \
    pip --verbose --no-build-isolation --constraint "$constraints" --editable "${REPO}[$extra]"
step "import check" "$python" -P -c 'import fairseq, sacrebleu, sacremoses, sentencepiece
import fairseq_wsum.kernels'
missing="$(why_missing "$python" 2>>"$log")"
[ -z "$missing" ] || say "warning: everything will be slower on the CPU: $missing (log: $log)"

printf '%s\n' "$extra $sum" "$(compiler)" >"$stamp.partial"
mv "$stamp.partial" "$stamp"
say "ready: torch $torch in $VENV; the scripts find it there" \
    "$([ "$VENV" = "$REPO/.venv" ] || printf 'with VENV=%q' "$VENV")"
