# Messages, options, files, long commands and locks, sourced by the other scripts.
# shellcheck shell=bash

REPO="$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null && pwd)"
export REPO
# shellcheck source=scripts/environment.sh
source "$REPO/scripts/environment.sh"

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

check_user_dir() { # FOLDER
    [ -d "$1" ] || die "--user-dir $1: no such folder"
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
