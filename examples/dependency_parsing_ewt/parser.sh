#!/usr/bin/env bash
# Train dependency parsers on the English Web Treebank as Dozat and Manning (2017) did. See README.md.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/common.sh"
run_module fairseq_wsum.experiments.recipes parser "$@"
