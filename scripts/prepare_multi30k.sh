#!/usr/bin/env bash
# Prepare Multi30k, English to German, as fairseq's binary data, with multi30k.py.
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd)"
# shellcheck source=scripts/common.sh
source "$HERE/common.sh"

case " $* " in
    *" --help "* | *" -h "*) exec python3 "$HERE/multi30k.py" --help ;;
esac
use_environment
check_modules sentencepiece sacremoses
exec "$PYTHON" "$HERE/multi30k.py" "$@"
