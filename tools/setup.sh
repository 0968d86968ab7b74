#!/usr/bin/env bash
# Installs what the tests need beyond cargo, Python 3.11+ and make. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")/.."

. tools/apt.sh

if command -v apt-get >/dev/null; then
  apt_install gcc g++ libc6-dev
  python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
fi

[ -x .venv/bin/python ] || python3 -m venv .venv
# The stamp holds the digest of what was asked for, so that a change installs again.
wanted=$(cat weights/requirements*.txt tools/requirements.txt | sha256sum)
if [ "$wanted" != "$(cat .venv/phishcnn-stamp 2>/dev/null)" ]; then
  .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    -r weights/requirements.txt -r weights/requirements-evaluation.txt -r tools/requirements.txt
  printf '%s\n' "$wanted" >.venv/phishcnn-stamp
fi

cargo deny --version >/dev/null 2>&1 || cargo install --quiet --locked cargo-deny
