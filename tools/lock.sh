#!/usr/bin/env bash
# Locks the Python packages of the tests: tools/lock.sh writes version and digests of each, those that others
# need included, for every platform and Python from 3.11 on. With --check it only says which lock is stale.
set -euo pipefail
cd "$(dirname "$0")/.."

# Each lock, and what it is made of.
locks=(
  "tools/requirements.lock: tools/requirements.txt tools/lint/requirements.txt weights/requirements.txt
   weights/requirements-evaluation.txt python/requirements-test.txt python/requirements-build.txt
   server/tests/contract/requirements.txt release/requirements.txt"
  "infra/tests/requirements.lock: infra/tests/requirements.txt"
  "python/requirements-spark.lock: python/requirements-spark.txt"
  "benches/requirements-peers.lock: benches/requirements-peers.txt"
  "benches/service/requirements.lock: benches/service/requirements.txt"
)

stale=
for line in "${locks[@]}"; do
  lock=${line%%:*}
  # (In one line, so that `read` finds its end, and fails where there is none.)
  read -r -a sources <<<"$(tr '\n' ' ' <<<"${line#*:}")"
  stamp="# Written by tools/lock.sh from $(cat "${sources[@]}" | sha256sum | cut -c1-16)"
  [ "$(head -1 "$lock" 2>/dev/null)" != "$stamp" ] || continue
  if [ "${1:-}" = --check ]; then
    echo "$lock is stale: run tools/lock.sh" >&2
    stale=yes
    continue
  fi
  [ -x target/lock/bin/uv ] || { python3 -m venv target/lock && target/lock/bin/python -m pip install --quiet uv; }
  # What is locked stays as it is, where its source still allows it.
  [ -e "$lock" ] || : >"$lock"
  target/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
    "${sources[@]}" --output-file "$lock"
  { echo "$stamp"; cat "$lock"; } >"$lock.new"
  mv "$lock.new" "$lock"
  echo "written: $lock"
done
[ -z "$stale" ]
