#!/usr/bin/env bash
# Train a Transformer with recurrent layers for self-attention on Multi30k. See --help and README.md.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/common.sh"
run_module fairseq_wsum.experiments.recipes transformer "$@"
