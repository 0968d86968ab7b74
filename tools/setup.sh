#!/usr/bin/env bash
# Installs what the tests need beyond cargo, Python 3.11+ and make. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")/.."

. tools/apt.sh

if command -v apt-get >/dev/null; then
  apt_install gcc g++ libc6-dev
fi
tools/venv.sh
# A changed lock installs again.
cmp -s tools/requirements.lock .venv/phishcnn-lock || {
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tools/requirements.lock
  cp tools/requirements.lock .venv/phishcnn-lock
}

cargo deny --version >/dev/null 2>&1 || cargo install --quiet --locked cargo-deny
