#!/usr/bin/env bash
# Lints the kernels that the host's compiler does not see, and the core where there are none. Needs `ffi/setup.sh`.
set -euo pipefail
cd "$(dirname "$0")/../.."

lint() { # target
  tools/cross.sh "$1" clippy --quiet -p phishcnn-core --lib -- -D warnings
}

lint aarch64-unknown-linux-gnu
lint thumbv7em-none-eabihf
lint thumbv6m-none-eabi
RUSTFLAGS='-C target-feature=+simd128' lint wasm32v1-none
