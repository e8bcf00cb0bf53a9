#!/usr/bin/env bash
# Translate with fairseq-generate and score with sacrebleu. See --help.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd)/common.sh"

use_environment
run_module fairseq_wsum.experiments.score "$@"
