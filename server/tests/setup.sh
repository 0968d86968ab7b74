#!/usr/bin/env bash
# Installs what `make service` needs beyond cargo and tools/setup.sh: Chromium, Node.js and
# PostgreSQL. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")/browser"
. ../../../tools/apt.sh
apt_install chromium postgresql
node_install
cmp -s package-lock.json node_modules/.phishcnn-lock || {
  npm ci --loglevel=error --no-audit --no-fund
  cp package-lock.json node_modules/.phishcnn-lock
}
