#!/usr/bin/env bash
# Train Transformers with gated sums on the Penn Treebank. See --help and README.md.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/common.sh"
run_module fairseq_wsum.experiments.recipes transformer_lm "$@"
