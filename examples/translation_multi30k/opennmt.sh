#!/usr/bin/env bash
# Train the example model of OpenNMT's README on Multi30k. See --help and README.md.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/../../scripts" >/dev/null && pwd)/common.sh"

use_environment
run_module fairseq_wsum.experiments.recipes opennmt "$@"
