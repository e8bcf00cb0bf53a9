#!/usr/bin/env bash
# Compute the perplexity of a language model with fairseq-eval-lm. See --help.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd)/common.sh"

use_environment
run_module fairseq_wsum.experiments.perplexity "$@"
