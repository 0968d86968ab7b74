#!/usr/bin/env bash
# Makes .venv, with the interpreter alone. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/apt.sh

if command -v apt-get >/dev/null && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
  apt_install python3-venv
fi
[ -x .venv/bin/python ] || python3 -m venv .venv
