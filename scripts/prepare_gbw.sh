#!/usr/bin/env bash
# Prepare the One Billion Word benchmark as fairseq's binary data, with gbw.py.
set -euo pipefail
HERE="$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd)"
# shellcheck source=scripts/common.sh
source "$HERE/common.sh"

run_python gbw.py '' "$@"
