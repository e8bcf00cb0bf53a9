#!/usr/bin/env bash
# Train and score a small translation model on the quickstart's captions. See --help and README.md.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/../../scripts" >/dev/null && pwd)/common.sh"

use_environment
run_module fairseq_wsum.experiments.recipes captions "$@"
