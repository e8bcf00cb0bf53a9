#!/usr/bin/env bash
# Train language models on the Penn Treebank as Zaremba et al. (2014) did. See --help and README.md.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/common.sh"
run_module fairseq_wsum.experiments.recipes ptb "$@"
