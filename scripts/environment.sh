# The Python environment, sourced by common.sh.
# shellcheck shell=bash

# The path is made absolute, as the scripts change folders.
if [ -n "${VENV:-}" ] && [[ "$VENV" != /* ]]; then VENV="$PWD/$VENV"; fi

# Set PYTHON and put fairseq's commands on PATH. The environment is $VENV, else the clone's .venv,
# else the active one, so that users who have fairseq need not install it again.
use_environment() {
    local venv="${VENV:-}"
    if [ -z "$venv" ] && [ -d "$REPO/.venv" ]; then
        venv="$REPO/.venv"
    fi
    if [ -n "$venv" ]; then
        [ -x "$venv/bin/python" ] ||
            die "VENV=$venv is not a virtual environment; run: VENV=$(printf '%q' "$venv") scripts/setup.sh"
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
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "$PYTHON is $("$PYTHON" --version); this project needs Python 3.11 or later. Run" \
            "scripts/setup.sh, or set VENV to an environment that has it"
    export PYTHONUTF8=1 # fairseq reads and writes texts in the encoding of the locale
    # glibc keeps freed memory for the next tensor. Otherwise it returns large tensors to the system,
    # which clears their pages again in every update (docs/tuning.md, "Freed memory").
    export MALLOC_MMAP_MAX_="${MALLOC_MMAP_MAX_:-0}"
    export MALLOC_TRIM_THRESHOLD_="${MALLOC_TRIM_THRESHOLD_:-1073741824}"
    # oneDNN compiles and keeps a kernel for each shape of a product, by default 1,024 of them
    # (docs/tuning.md, "Compiled products").
    export ONEDNN_PRIMITIVE_CACHE_CAPACITY="${ONEDNN_PRIMITIVE_CACHE_CAPACITY:-128}"
}

# End as a Python program of this package, which an environment of the user's own may lack: then
# of the clone's. (-P: import nothing from this folder.)
run_module() { # MODULE WORDS...
    exec "$PYTHON" -P -c "import os, sys; sys.path.append(os.environ['REPO'])
from $1 import main; main()" "${@:2}"
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

# The environment may be the user's own and have fairseq alone.
check_modules() { # NAME...
    local missing
    missing="$("$PYTHON" -P -c 'import sys
from importlib.util import find_spec
print(*(name for name in sys.argv[1:] if find_spec(name) is None))' "$@")"
    [ -z "$missing" ] || die "$PYTHON has no $missing: run scripts/setup.sh, or pip install $missing"
}

# The number of cores that this process may use.
cores_here() { # without coreutils, as on macOS, all cores
    env -u OMP_NUM_THREADS nproc 2>/dev/null || getconf _NPROCESSORS_ONLN
}
