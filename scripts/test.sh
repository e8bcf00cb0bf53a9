#!/usr/bin/env bash
# The one gate: format, lint, types, shell scripts, documents, tests. See --help.
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=scripts/common.sh
source "$HERE/common.sh"

usage() {
    cat <<'EOF'
usage: scripts/test.sh [options of pytest]

Set up the environment if need be (scripts/setup.sh --dev), then check the format, the code, the
types and the shell scripts, build the documents into docs/_build, and run the tests. All checks run,
even when one fails.

The options are added to `pytest -n CORES -m "not slow"`, which runs a file of tests on each core;
a -m or -n of yours replaces that one.

examples:
  scripts/test.sh
  scripts/test.sh -m slow                      the slow tests only
  scripts/test.sh tests/test_layer.py -x       one file, up to the first failure
EOF
}

case "${1:-}" in -h | --help) usage && exit ;; esac
cd "$REPO"
export VENV="${VENV:-$REPO/.venv}"
"$HERE/setup.sh" --dev
use_environment

failed=()
check() { # NAME CURE COMMAND...
    local name="$1" cure="$2"
    shift 2
    say "== $name: $*"
    "$@" || failed+=("$name: $cure")
}

scripts=(.ci/run)
while IFS= read -r file; do scripts+=("$file"); done < <(find scripts examples -name '*.sh' | sort)

# The tests pass without the C++ kernels, too: where there is a compiler they must have been built.
kernels() {
    compiler >/dev/null || return 0
    local missing
    missing="$(why_missing "$PYTHON")" || return 1
    [ -z "$missing" ] || { say "$missing" && return 1; }
}

check kernels "see the compiler's errors in $VENV/setup.log" kernels
check format "run: $VENV/bin/ruff format ." ruff format --check .
check lint "run: $VENV/bin/ruff check --fix . and correct the rest by hand" ruff check .
check types "correct the types that mypy names above" mypy
check "shell scripts" "correct what shellcheck names above" shellcheck -x "${scripts[@]}"
# -E: a page that has not changed would keep its warnings to itself
check documents "correct what Sphinx names above" \
    sphinx-build -W --keep-going -n -q -E -c docs . docs/_build
check tests "see the failures above; one test alone: $VENV/bin/pytest FILE -k NAME" \
    pytest -n "$(getconf _NPROCESSORS_ONLN)" --dist loadfile --no-loadscope-reorder -m "not slow" "$@"

if [ ${#failed[@]} -gt 0 ]; then
    say "== failed"
    printf '%s\n' "${failed[@]}" >&2
    exit 1
fi
say "== all good"
