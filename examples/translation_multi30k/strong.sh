#!/usr/bin/env bash
# Train a small model on Multi30k. See --help and README.md.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/common.sh"
run_module fairseq_wsum.experiments.recipes strong "$@"
