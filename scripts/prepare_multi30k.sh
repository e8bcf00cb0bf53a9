#!/usr/bin/env bash
# Prepare Multi30k, English to German, as fairseq's binary data, with multi30k.py.
set -euo pipefail
HERE="$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd)"
# shellcheck source=scripts/common.sh
source "$HERE/common.sh"

run_python multi30k.py 'sentencepiece sacremoses' "$@"
