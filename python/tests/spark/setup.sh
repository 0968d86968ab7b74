#!/usr/bin/env bash
# Installs what the Spark test needs: a Java runtime and PySpark. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")/../../.."
if ! command -v java >/dev/null; then
  as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" apt-get install -y -qq --no-install-recommends default-jre-headless
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r python/requirements-test.txt -r python/requirements-spark.txt
