#!/usr/bin/env bash
# Runs those of the core's tests that depend on the processor on an emulated aarch64:
#
#     core/tests/aarch64.sh PROCESSOR BACKENDS
#
# PROCESSOR: as `qemu-aarch64 -cpu help` lists them. BACKENDS: all that it must be found to have.
set -euo pipefail
cd "$(dirname "$0")/../.."
# gcc links, and with it comes the C library that the emulated program runs on.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu $1"
PHISHCNN_TEST_BACKENDS=$2 tools/cross.sh aarch64-unknown-linux-gnu test --quiet -p phishcnn-core --lib --test suite -- \
  int8:: wide_layers the_core_meets_the_vectors kernel::guarded::
