#!/usr/bin/env bash
# Installs valgrind, on Debian. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")"
. ../tools/apt.sh
apt_install valgrind
