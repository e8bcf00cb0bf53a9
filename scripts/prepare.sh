#!/usr/bin/env bash
# Prepare a corpus as fairseq's binary data. See --help.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
run_module fairseq_wsum.experiments.corpora.prepare "$@"
