#!/usr/bin/env bash
# Translate the training text with trained models, as another training text, with distil.py.
set -euo pipefail
HERE="$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd)"
# shellcheck source=scripts/common.sh
source "$HERE/common.sh"

run_python distil.py sentencepiece "$@"
