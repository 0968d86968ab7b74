#!/usr/bin/env bash
# Installs what the Spark test needs: a Java runtime and PySpark. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")/../../.."
. tools/apt.sh
command -v java >/dev/null || apt_install default-jre-headless
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r python/requirements-spark.lock
