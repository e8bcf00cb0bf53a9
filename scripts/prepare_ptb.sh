#!/usr/bin/env bash
# Prepare the Penn Treebank for language modelling as fairseq's binary data, with ptb.py.
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd)"
# shellcheck source=scripts/common.sh
source "$HERE/common.sh"

case " $* " in
    *" --help "* | *" -h "*) exec python3 "$HERE/ptb.py" --help ;;
esac
use_environment
exec "$PYTHON" "$HERE/ptb.py" "$@"
