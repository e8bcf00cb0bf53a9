#!/usr/bin/env bash
# Train language models with the regularisation of the AWD-LSTM. See --help and README.md.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/common.sh"
run_module fairseq_wsum.experiments.recipes awd "$@"
