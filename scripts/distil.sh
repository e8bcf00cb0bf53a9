#!/usr/bin/env bash
# Translate the training text with trained models, as another training text, with distil.py.
set -euo pipefail
HERE="$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd)"
# shellcheck source=scripts/common.sh
source "$HERE/common.sh"

use_environment
check_modules sentencepiece
exec "$PYTHON" "$HERE/distil.py" "$@"
