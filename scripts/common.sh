# Messages and the Python environment, sourced by the other scripts.
# shellcheck shell=bash

REPO="$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null && pwd)"
# The path is made absolute, as the scripts change folders.
if [ -n "${VENV:-}" ] && [[ "$VENV" != /* ]]; then VENV="$PWD/$VENV"; fi

say() { printf '%s\n' "$*" >&2; }

die() {
    say "error: $*"
    exit 1
}

# Set PYTHON and put fairseq's commands on PATH. The environment is $VENV, else the clone's .venv,
# else the active one, so that users who have fairseq need not install it again.
use_environment() {
    local venv="${VENV:-}" train
    if [ -z "$venv" ] && [ -d "$REPO/.venv" ]; then
        venv="$REPO/.venv"
    fi
    if [ -n "$venv" ]; then export PATH="$venv/bin:$PATH"; fi
    train="$venv/bin/fairseq-train"
    [ -n "$venv" ] || train="$(command -v fairseq-train || true)"
    [ -x "$train" ] ||
        die "fairseq is not installed in ${venv:-the active environment}; run scripts/setup.sh," \
            "or set VENV to the environment that has it"
    PYTHON="$(dirname "$train")/python"
    [ -x "$PYTHON" ] || PYTHON="$(command -v python3)"
    export PYTHON
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "$PYTHON is $("$PYTHON" --version); this project needs Python 3.11 or later. Run" \
            "scripts/setup.sh, or set VENV to an environment that has it"
    export PYTHONUTF8=1 # fairseq reads and writes texts in the encoding of the locale
}

# Replace this shell by a program of the package: of the installed one, which has kernels, or else of
# the clone's. (-P: import nothing from this folder.)
run_module() { # MODULE WORDS...
    use_environment
    export FAIRSEQ_WSUM_CLONE="$REPO"
    exec "$PYTHON" -P -c "import os, sys; sys.path.append(os.environ['FAIRSEQ_WSUM_CLONE'])
from fairseq_wsum.experiments.program import run_module; run_module('$1', sys.argv[1:])" "${@:2}"
}

# The first line of the C++ compiler's version; fails if there is no compiler.
compiler() {
    local command
    read -ra command <<<"${CXX:-c++}" # it may have arguments, such as those of ccache
    "${command[@]}" --version 2>/dev/null | sed -n 1p
}

# Why the C++ kernels are missing; empty if they are present.
why_missing() { # PYTHON
    "$1" -P -c 'from fairseq_wsum import kernels; print(kernels.why_missing() or "")'
}
