#!/usr/bin/env bash
# Prepare the Penn Treebank for language modelling as fairseq's binary data, with ptb.py.
set -euo pipefail
HERE="$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd)"
# shellcheck source=scripts/common.sh
source "$HERE/common.sh"

run_python ptb.py '' "$@"
