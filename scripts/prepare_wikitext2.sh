#!/usr/bin/env bash
# Prepare WikiText-2 for language modelling as fairseq's binary data. See --help.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
run_module fairseq_wsum.experiments.corpora.prepare wikitext2 "$@"
