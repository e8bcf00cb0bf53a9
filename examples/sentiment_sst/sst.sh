#!/usr/bin/env bash
# Train classifiers of sentences on the Stanford Sentiment Treebank. See README.md.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/common.sh"
run_module fairseq_wsum.experiments.recipes sst "$@"
