#!/usr/bin/env bash
# Compute the perplexity of a language model with fairseq-eval-lm. See --help.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
run_module fairseq_wsum.experiments.perplexity "$@"
