#!/usr/bin/env bash
# Train BiDAF (Seo et al., 2017) with ablated LSTMs on SQuAD 1.1. See README.md.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/common.sh"
run_module fairseq_wsum.experiments.recipes squad "$@"
