#!/usr/bin/env bash
# Translate the training text with trained models, as another training text. See --help.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
run_module fairseq_wsum.experiments.distil "$@"
