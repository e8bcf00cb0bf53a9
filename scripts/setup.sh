#!/usr/bin/env bash
# Create the Python environment that the other scripts use. See --help.
set -euo pipefail
HERE="$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd)"
# shellcheck source=scripts/common.sh
source "$HERE/common.sh"

usage() {
    cat <<'EOT'
usage: scripts/setup.sh [--dev | --layer]

Create a virtual environment with PyTorch, fairseq and this package (editable), and compile the C++
kernels if there is a compiler. It can be run again at any time and then completes what is missing.

  --dev    also install what scripts/test.sh needs: pytest, ruff, mypy, shellcheck
  --layer  install the layer alone, without fairseq, and pytest for its tests
  --help   this text

variables:
  VENV             the environment's folder (default: .venv in this clone)
  PYTHON           the Python for a new environment, 3.11 or 3.12, or with --layer any later one
                   (default: the first suitable one of python3, python3.12, python3.11)
  TORCH            pip's requirement for torch, if the environment has none yet (default
                   torch==2.13.0: with CUDA if there is an NVIDIA GPU, else for the CPU)
  TORCH_INDEX_URL  the package index for the CPU build
                   (default https://download.pytorch.org/whl/cpu)
  FAIRSEQ          pip's requirement for fairseq, if the environment has none yet (default: that of
                   setup.py, a wheel on Linux x86_64)

examples:
  scripts/setup.sh
  VENV=~/envs/wsum PYTHON=python3.12 scripts/setup.sh --dev
  VENV=~/envs/layer PYTHON=python3.14 scripts/setup.sh --layer
  TORCH='torch==2.8.0 --index-url https://download.pytorch.org/whl/cu128' scripts/setup.sh
EOT
}

extra=study
while [ $# -gt 0 ]; do
    case "$1" in
        -h | --help) usage && exit ;;
        --dev) extra=dev ;;
        --layer) extra=layer ;;
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

# Is the environment ready? `dev` includes `study`.
sum="$(LC_ALL=C && cat "$REPO"/{setup.py,pyproject.toml,fairseq_wsum/csrc/*.[ch]*} | cksum)"
sum+=" $(grep __version__ "$REPO/fairseq_wsum/__init__.py")"
sum+=" $REPO $(compiler || true)"
if [ -f "$stamp" ] && [ -x "$python" ] && grep -qxF -e "dev $sum" -e "$extra $sum" "$stamp"; then
    say "the environment $VENV is ready"
    exit
fi

fits() { # PYTHON: can it have fairseq, or the layer?
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, int(sys.argv[1])))' \
        "$([ "$extra" = layer ] && echo 99 || echo 13)" 2>/dev/null
}

choose_python() {
    local candidate candidates=(python3 python3.12 python3.11)
    if [ -n "${PYTHON:-}" ]; then candidates=("$PYTHON"); fi
    for candidate in "${candidates[@]}"; do
        if fits "$candidate"; then echo "$candidate" && return; fi
    done
    die "no Python 3.11 or 3.12, which fairseq needs (tried: ${candidates[*]}); install one, or give" \
        "its path: PYTHON=... scripts/setup.sh. Later ones can have the layer: --layer"
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

[ ! -d "$VENV/conda-meta" ] ||
    die "$VENV is an environment of conda, which venv would damage; activate it and install the" \
        "package: pip install '${REPO}[fairseq,text]'"
mkdir -p "$VENV"
: >>"$log"
if [ ! -f "$VENV/bin/activate" ]; then # the last file of a new environment
    base="$(choose_python)"
    step "environment $VENV, $("$base" --version)" "$base" -m venv "$VENV"
fi
fits "$python" ||
    die "the environment $VENV has $("$python" --version); set VENV to one with Python 3.11 or 3.12," \
        "or install the layer alone: --layer"
rm -f "$stamp"
pip() { "$python" -m pip install --disable-pip-version-check "$@"; }
has() { "$python" -P -c "import $1" 2>/dev/null; } # -P: import nothing from this folder

step "build tools" pip 'setuptools>=70.1' wheel
# The kernels need neither torch nor fairseq, so they are compiled while pip downloads those.
(cd "$REPO" && "$python" setup.py --quiet build_ext --inplace) >"$VENV/kernels.log" 2>&1 &
kernels=$!

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

package="${REPO}[text,$extra]" more=()
if [ "$extra" = layer ]; then
    package="$REPO" more=('pytest>=8')
elif ! has fairseq; then
    if [ -n "${FAIRSEQ:-}" ]; then more=("$FAIRSEQ"); else package="${REPO}[fairseq,$extra]"; fi
    if [ -n "${FAIRSEQ:-}" ] || [ "$(uname -sm)" != "Linux x86_64" ]; then
        # A fairseq that is compiled needs torch for it. pip's isolated build would download a second
        # one, with CUDA, so it is compiled in this environment.
        step "build tools of fairseq" pip cython numpy
    fi
fi
constraints="$VENV/setup-constraints.txt"
echo "torch==$torch" >"$constraints" # nothing may replace it
export FAIRSEQ_WSUM_NO_KERNELS=1 # they are being compiled
step "$package" pip --verbose --no-build-isolation --constraint "$constraints" \
    --editable "$package" ${more[@]+"${more[@]}"}
compiled() { wait "$kernels" || true; } # the package works without them
step "C++ kernels" compiled
step "import check" "$python" -P -c "import fairseq_wsum.kernels
if '$extra' != 'layer': import fairseq, sacrebleu, sacremoses, sentencepiece"
missing="$(why_missing "$python" 2>>"$log")"
[ -z "$missing" ] ||
    say "warning: everything will be slower on the CPU: $missing (log: $VENV/kernels.log)"

# Kernels that could not be compiled are tried again.
if [ -z "$missing" ] || ! compiler >/dev/null; then echo "$extra $sum" >"$stamp"; fi
say "ready: torch $torch in $VENV; the scripts find it there" \
    "$([ "$VENV" = "$REPO/.venv" ] || printf 'with VENV=%q' "$VENV")"
