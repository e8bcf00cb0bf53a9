#!/usr/bin/env bash
# Train a language model on the One Billion Word benchmark. See --help and README.md.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/../../scripts" >/dev/null && pwd)/common.sh"

use_environment
run_module fairseq_wsum.experiments.recipes gbw "$@"
