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

# Is the environment ready? `dev` includes `fairseq`, `plot` and `study`.
sum="$(cat "$REPO"/{setup.py,pyproject.toml,fairseq_wsum/__init__.py,fairseq_wsum/csrc/*.[ch]*} | cksum)"
sum+=" $REPO $(compiler || true)"
end_if_ready() {
    local made
    [ -f "$stamp" ] && [ -x "$python" ] || return 0
    made="$(cat "$stamp")"
    if [ "$made" = "dev $sum" ] || [ "$made" = "$extra $sum" ]; then
        say "the environment $VENV is ready"
        exit
    fi
}
end_if_ready

fits() { # PYTHON: is it of a version that fairseq can be installed for?
    "$1" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null
}

choose_python() {
    local candidate candidates=(python3 python3.12 python3.11)
    if [ -n "${PYTHON:-}" ]; then candidates=("$PYTHON"); fi
    for candidate in "${candidates[@]}"; do
        if fits "$candidate"; then echo "$candidate" && return; fi
    done
    die "no Python 3.11 or 3.12 (tried: ${candidates[*]}); install one, or give its path:" \
        "PYTHON=... scripts/setup.sh"
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
fits "$python" ||
    die "the environment $VENV has $("$python" --version); set VENV to one with Python 3.11 or 3.12"
rm -f "$stamp"
"$python" -m pip --version >/dev/null 2>&1 ||
    step "pip, which the environment lacks" "$python" -m ensurepip
pip() { "$python" -m pip install --disable-pip-version-check "$@"; }
# Check the metadata, which pip writes last: a half-installed package does not count. (-P: import
# nothing from this folder.)
has() { "$python" -P -c 'import importlib.metadata as m, sys; m.version(sys.argv[1])' "$1" 2>/dev/null; }

# One platform has a wheel of fairseq, for Python 3.12; on the others pip compiles it.
if ! has fairseq-fixed && ! [[ "$(uname -sm) $("$python" --version)" == "Linux x86_64 Python 3.12"* ]]; then
    [ -n "$(compiler)" ] || command -v g++ >/dev/null || command -v clang++ >/dev/null ||
        die "fairseq has to be compiled, but there is no C++ compiler; install one and Python's" \
            "headers (Debian, Ubuntu: apt install g++ python3-dev; macOS: xcode-select --install)," \
            "or set CXX"
    say "fairseq is compiled, which takes 2 to 5 minutes"
fi

if ! has torch; then
    index=()
    if [ -z "${TORCH:-}" ] && [ "$(uname -s)" = Linux ] && ! nvidia-smi >/dev/null 2>&1 &&
        # Try the index first, as pip would retry for minutes. pip prefers +cpu to a plain version.
        "$python" -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=10)' \
            "${TORCH_INDEX_URL%/}/torch/" >/dev/null 2>&1; then
        index=(--extra-index-url "$TORCH_INDEX_URL")
    fi
    # TORCH may contain flags, so it is split at spaces.
    read -ra wanted <<<"${TORCH:-torch==2.13.0}"
    step "${wanted[*]} ${index[*]-}" pip "${wanted[@]}" ${index[@]+"${index[@]}"}
fi
torch="$("$python" -P -c 'from importlib.metadata import version; print(version("torch"))')"

# fairseq's build requires torch. pip's isolated build would download a second torch, with CUDA, so
# fairseq is built without isolation and its build requirements go into our environment.
step "fairseq's build requirements" pip 'setuptools>=68' wheel cython numpy
constraints="$VENV/setup-constraints.txt"
echo "torch==$torch" >"$constraints" # nothing may replace it
step "fairseq and this package with [$extra]" \
    pip --verbose --no-build-isolation --constraint "$constraints" --editable "${REPO}[$extra]"
step "import check" "$python" -P -c 'import fairseq, sacrebleu, sacremoses, sentencepiece
import fairseq_wsum.kernels'
missing="$(why_missing "$python" 2>>"$log")"
[ -z "$missing" ] || say "warning: everything will be slower on the CPU: $missing (log: $log)"

echo "$extra $sum" >"$stamp"
say "ready: torch $torch in $VENV; the scripts find it there" \
    "$([ "$VENV" = "$REPO/.venv" ] || printf 'with VENV=%q' "$VENV")"
