#!/usr/bin/env bash
# Check and measure this package on a GPU: tests, speed, commands. See --help.
set -euo pipefail
REPO="$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null && pwd)"

# torch is enough here, which use_environment is not content with
python="${VENV:-$REPO/.venv}/bin/python"
[ -n "${VENV:-}" ] || [ -x "$python" ] || python=python3
exec "${PYTHON:-$python}" "$REPO/benchmarks/gpu_check.py" "$@"
