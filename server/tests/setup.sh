#!/usr/bin/env bash
# Installs what `make service` needs beyond cargo and tools/setup.sh: Chromium, Node.js, PostgreSQL
# and the readers of its contract. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")/browser"
missing=()
for package in chromium nodejs npm postgresql; do
  case $package in
    nodejs) command -v node >/dev/null && continue ;;
    npm) command -v npm >/dev/null && continue ;;
  esac
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi
cmp -s package-lock.json node_modules/.phishcnn-lock || {
  npm ci --silent --no-audit --no-fund
  cp package-lock.json node_modules/.phishcnn-lock
}
../../../.venv/bin/python -m pip install --quiet --disable-pip-version-check \
  -r ../contract/requirements.txt
