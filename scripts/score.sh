#!/usr/bin/env bash
# Translate with fairseq-generate and score with sacrebleu. See --help.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
run_module fairseq_wsum.experiments.score "$@"
