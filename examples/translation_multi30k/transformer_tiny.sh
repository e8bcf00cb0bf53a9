#!/usr/bin/env bash
# Train Transformer-tiny (Wu et al., 2021) on Multi30k, also with gated sums. See README.md.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/common.sh"
run_module fairseq_wsum.experiments.recipes transformer_tiny "$@"
