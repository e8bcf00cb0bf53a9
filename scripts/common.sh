# Messages, options and long commands, sourced by the other scripts.
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
