# Messages and the Python environment, sourced by the other scripts.
# shellcheck shell=bash

REPO="$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null && pwd)"
export REPO

# The path is made absolute, as the scripts change folders.
if [ -n "${VENV:-}" ] && [[ "$VENV" != /* ]]; then VENV="$PWD/$VENV"; fi

say() { printf '%s\n' "$*" >&2; }

die() {
    say "error: $*"
    exit 1
}

# Exit after a fairseq program failed. A ValueError is a message for the user and is shown alone.
die_of() { # PROGRAM LOG
    local last
    last="$(tail -n 1 "$2")"
    [[ "$last" != ValueError:* ]] || die "${last#ValueError: }"
    tail -n 30 "$2" >&2
    die "$1 failed; the end of its output is above"
}

# The value of an option: `value "$@"` where "$@" still starts with the option.
value() {
    [ $# -ge 2 ] || die "$1 needs a value (see --help)"
    [ -n "$2" ] || die "$1 needs a value, but it is empty (see --help)"
    [[ "$2" != --* ]] || die "$1 needs a value, but the option $2 follows (see --help)"
    printf '%s' "$2"
}

positive() { # OPTION VALUE
    [[ "$2" =~ ^[1-9][0-9]*$ ]] || die "$1 $2: give a positive whole number"
}

# Run Python code with this package, which an environment of the user's own may lack: then the
# clone's. (-P: import nothing from this folder.)
with_package() { # CODE ARGUMENTS...
    local code="$1"
    shift
    "$PYTHON" -P -c "import os, sys; sys.path.append(os.environ['REPO']); $code" "$@"
}

# Report an unknown cell before anything is made. Needs use_environment.
check_cell() { # NAME
    local cells
    cells="$(with_package 'from fairseq_wsum import CELLS; print(*CELLS, sep=", ")')"
    [[ ", $cells, " == *", $1, "* ]] || die "--cell $1: choose one of $cells"
}

# The first line of the C++ compiler's version; fails if there is no compiler.
compiler() {
    local command
    read -ra command <<<"${CXX:-c++}" # it may have arguments, such as those of ccache
    "${command[@]}" --version 2>/dev/null | sed -n 1p
}

# Why the C++ kernels are missing; empty if they are present.
why_missing() { # PYTHON
    "$1" -P -c 'from fairseq_wsum.ops import kernels; print(kernels.why_missing() or "")'
}

# The environment may be the user's own and have fairseq alone.
check_modules() { # NAME...
    local missing
    missing="$("$PYTHON" -P -c 'import sys
from importlib.util import find_spec
print(*(name for name in sys.argv[1:] if find_spec(name) is None))' "$@")"
    [ -z "$missing" ] || die "$PYTHON has no $missing: run scripts/setup.sh, or pip install $missing"
}

# Run a command that takes long. A signal that ends this script ends the command, too: bash alone
# would leave it running, or wait for it. An interrupt also ends the loop that this script is in,
# as the signal itself ends the script.
run_job() { # COMMAND...
    local status=0
    "$@" &
    job=$!
    trap 'end_job; kill -s INT $$' INT
    trap 'end_job; exit 129' HUP
    trap 'end_job; exit 143' TERM
    wait "$job" || status=$?
    trap - INT TERM HUP
    return "$status"
}

end_job() {
    trap - INT TERM HUP
    kill -TERM "$job" 2>/dev/null || true
    wait "$job" || true
}

# `run_job`, with what it prints added to a file, and given to another command.
run_job_into() { # FILE READER COMMAND...
    local status=0 reader
    exec 8> >(tee -a "$1" | "$2")
    reader=$!
    run_job "${@:3}" >&8 2>&1 || status=$?
    exec 8>&-
    wait "$reader" 2>/dev/null || true # older versions of bash cannot wait for it
    return "$status"
}

# Lock an open file, and write there who has it. Programs that are started later inherit the file, and
# hold the lock until they end: those of a killed script end within seconds.
lock() { # FILE-DESCRIPTOR FILE OPTION FOLDER CURE
    local status=0
    command -v flock >/dev/null || return 0
    flock -n -E 75 "$1" || status=$?
    if [ "$status" = 75 ]; then
        say "waiting for another run in $4 to end"
        flock -w 20 "$1" ||
            die "$3 $4: another run is writing there ($(cat "$2"));" \
                "wait until it ends, or $5"
    elif [ "$status" != 0 ]; then
        say "$4 is on a file system without locks: do not start a second run there"
    fi
    echo "process $$ on $(uname -n)" >"$2"
}

# The files of a folder, which may be a link. (The shell alone would also match [ ] in its name.)
files_in() { # FOLDER PATTERN
    find "$1/" -maxdepth 1 -name "$2"
}

has_checkpoints() { # FOLDER
    [ -n "$(files_in "$1" 'checkpoint*.pt')" ]
}

# Number of epochs whose checkpoints a folder has.
epochs_in() { # FOLDER
    files_in "$1" 'checkpoint[0-9]*.pt' | wc -l | tr -d ' '
}

# When files were last written. Needs use_environment.
modified() { # FILE[:FILE...]
    "$PYTHON" -P -c 'import os, sys
print(*(os.stat(path).st_mtime_ns for path in sys.argv[1].split(":")))' "$1"
}

# fairseq splits the paths of data folders and models at ":".
check_colon() { # OPTION PATH
    [[ "$2" != *:* ]] || die "$1 $2: fairseq splits paths at ':'; give a path without one," \
        "such as a link to it"
}

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

check_user_dir() { # FOLDER
    [ -d "$1" ] || die "--user-dir $1: no such folder"
}

gpus_here() {
    "$PYTHON" -P -c 'import torch; print(torch.cuda.device_count())' ||
        die "$PYTHON cannot import torch; its message is above"
}

enough_gpus() { # NUMBER
    local here
    here="$(gpus_here)" || exit
    [ "$1" -le "$here" ] || die "--gpus $1: torch sees $here here; give --gpus 0 for the CPU, or" \
        "install torch for your GPUs"
}

# The number of cores that this process may use.
cores_here() { # without coreutils, as on macOS, all cores
    env -u OMP_NUM_THREADS nproc 2>/dev/null || getconf _NPROCESSORS_ONLN
}

# Run one of the Python programs beside this file, which explains itself without the environment.
run_python() { # PROGRAM MODULES "$@"; MODULES are those that it needs beside fairseq
    local program="$REPO/scripts/$1" modules python="${VENV:-$REPO/.venv}/bin/python"
    read -ra modules <<<"$2"
    shift 2
    case " $* " in
        *" --help "* | *" -h "*)
            [ -x "$python" ] || python=python3
            exec "$python" "$program" --help
            ;;
    esac
    use_environment
    [ ${#modules[@]} -eq 0 ] || check_modules "${modules[@]}"
    exec "$PYTHON" "$program" "$@"
}
