#!/usr/bin/env bash
# Check format, lint, types, shell scripts and documents, and run the tests. See --help.
set -euo pipefail
HERE="$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd)"
# shellcheck source=scripts/common.sh
source "$HERE/common.sh"

usage() {
    cat <<'EOF'
usage: scripts/test.sh [options of pytest]

Set up the environment if necessary (scripts/setup.sh --dev), check the format, the code, the types
and the shell scripts, build the documents into docs/_build, and run the tests. All checks run, even
if one fails.

The options are added to `pytest -n CORES -m "not slow"`, which runs one test file per core. Your
own -m or -n replaces the default.

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

cores="$("$PYTHON" -c 'import joblib; print(joblib.cpu_count())')" # that this process may use
failed=()
check() { # NAME COMMAND...
    say "== $1: ${*:2}"
    "${@:2}" || failed+=("$1")
}

scripts=(.ci/run)
while IFS= read -r file; do scripts+=("$file"); done < <(find scripts examples -name '*.sh' | sort)

# The tests also pass without the C++ kernels, so a machine with a compiler must have built them.
kernels() {
    compiler >/dev/null || return 0
    local missing
    missing="$(why_missing "$PYTHON")" || return 1
    [ -z "$missing" ] || { say "$missing" && return 1; }
}

check "C++ kernels, see $VENV/kernels.log" kernels
check format ruff format --check .
check lint ruff check .
check types mypy
check "shell scripts" shellcheck -x "${scripts[@]}"
# -E rebuilds every page: unchanged pages would print no warnings
check documents sphinx-build -W --keep-going -n -q -E -c docs . docs/_build
check tests pytest -n "$cores" --dist loadfile --no-loadscope-reorder -m "not slow" "$@"

if [ ${#failed[@]} -gt 0 ]; then
    say "== failed, see above:"
    printf '%s\n' "${failed[@]}" >&2
    exit 1
fi
say "== all good"
