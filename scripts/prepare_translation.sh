#!/usr/bin/env bash
# Prepare a parallel corpus of one's own as fairseq's binary data. See --help.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd)/common.sh"

use_environment
run_module fairseq_wsum.experiments.prepare translation "$@"
