#!/usr/bin/env bash
# Installs what `make lint` needs beyond cargo and tools/setup.sh. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")"
. ../apt.sh

node_install
cmp -s package-lock.json node_modules/.phishcnn-lock || {
  npm ci --loglevel=error --no-audit --no-fund --ignore-scripts
  cp package-lock.json node_modules/.phishcnn-lock
}
