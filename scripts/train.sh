#!/usr/bin/env bash
# Run fairseq-train with this package, in one process or many. See --help.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
run_module fairseq_wsum.experiments.train "$@"
