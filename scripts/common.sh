# Sourced by the other scripts: messages and the Python environment. Not run by itself.
# shellcheck shell=bash

REPO="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export REPO

# The cells of this package, to check one before anything is set up.
CELLS=(lstm no-srnn no-srnn-out no-srnn-hidden no-gates no-srnn-out-hidden no-out no-hidden)

# Absolute, as the scripts change folders.
if [ -n "${VENV:-}" ] && [[ "$VENV" != /* ]]; then VENV="$PWD/$VENV"; fi

say() { printf '%s\n' "$*" >&2; }

die() {
    say "error: $*"
    exit 1
}

# End after a program of fairseq has failed: with its message, where that names what to do.
die_of() { # PROGRAM LOG
    local last
    last="$(tail -n 1 "$2")"
    [[ "$last" != ValueError:* ]] || die "${last#ValueError: }"
    tail -n 30 "$2" >&2
    die "$1 failed; the end of what it said is above"
}

# The value of an option: `value "$@"` where "$@" still starts with the option.
value() {
    [ $# -ge 2 ] || die "$1 needs a value (see --help)"
    printf '%s' "$2"
}

check_cell() { # NAME
    local name
    for name in "${CELLS[@]}"; do
        [ "$1" != "$name" ] || return 0
    done
    die "--cell $1: choose one of ${CELLS[*]}"
}

# The C++ compiler's first words; fails if there is none.
compiler() { "${CXX:-c++}" --version 2>/dev/null | sed -n 1p; }

# Why the C++ kernels are missing; nothing if they are there. (-P: not what lies in this folder.)
why_missing() { # PYTHON
    "$1" -P -c 'from fairseq_wsum.ops import kernels; print(kernels.why_missing() or "")'
}

# The environment may be another's, with fairseq alone.
check_modules() { # NAME...
    local missing
    missing="$("$PYTHON" -P -c 'import sys
from importlib.util import find_spec
print(*(name for name in sys.argv[1:] if find_spec(name) is None))' "$@")"
    [ -z "$missing" ] || die "$PYTHON has no $missing: run scripts/setup.sh, or pip install $missing"
}

# fairseq cuts data folders and models at every ":".
check_colon() { # OPTION PATH
    [[ "$2" != *:* ]] || die "$1 $2: fairseq takes ':' for the end of a path; give one without," \
        "such as a link to it"
}

# Sets PYTHON and puts fairseq's commands on PATH. The environment is $VENV, else the clone's
# .venv, else whatever is active, so that nobody who has fairseq is made to install it again.
use_environment() {
    local venv="${VENV:-}"
    if [ -z "$venv" ] && [ -d "$REPO/.venv" ]; then
        venv="$REPO/.venv"
    fi
    if [ -n "$venv" ]; then
        [ -x "$venv/bin/python" ] ||
            die "VENV=$venv is no virtual environment; run: VENV=$(printf '%q' "$venv") scripts/setup.sh"
        export PATH="$venv/bin:$PATH"
    fi
    local train="$venv/bin/fairseq-train"
    [ -n "$venv" ] || train="$(command -v fairseq-train || true)"
    [ -x "$train" ] ||
        die "fairseq is not installed in ${venv:-the active environment}; run scripts/setup.sh," \
            "or set VENV to the environment that has it"
    PYTHON="$(dirname "$train")/python"
    [ -x "$PYTHON" ] || PYTHON="$(command -v python3)"
    export PYTHON
    # Large tensors in pages of 2 MB: to take the scores of all words from the system in pages of
    # 4 KB, as torch does on the CPU in every update, is a noticeable part of it.
    export THP_MEM_ALLOC_ENABLE="${THP_MEM_ALLOC_ENABLE:-1}"
}
