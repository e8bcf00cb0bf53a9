#!/usr/bin/env bash
# Prepare WikiText-2 for language modelling as fairseq's binary data, with wikitext2.py.
set -euo pipefail
HERE="$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd)"
# shellcheck source=scripts/common.sh
source "$HERE/common.sh"

run_python wikitext2.py '' "$@"
