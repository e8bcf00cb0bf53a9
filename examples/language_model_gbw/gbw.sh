#!/usr/bin/env bash
# Train a language model on the One Billion Word benchmark. See --help and README.md.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/common.sh"
run_module fairseq_wsum.experiments.recipes gbw "$@"
