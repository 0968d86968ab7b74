#!/usr/bin/env bash
# Proves at link time that load, score and explain need nothing but the four memory functions:
# no allocator, no formatting, and no panic (the panic handler calls a function that does not
# exist). A control build that does panic must fail the same check.
set -euo pipefail
cd "$(dirname "$0")"

undefined() { # cargo arguments: prints the undefined symbols of the linked function
  cargo build --quiet --release "$@"
  gcc -r -nostdlib -Wl,--gc-sections -Wl,-u,link_check -o target/linked.o target/release/liblink_check.a
  nm -u target/linked.o | awk '{print $2}' | sort
}

# (bcmp is what LLVM calls memcmp when only equality matters, where the C library has it.)
forbidden=$(undefined | awk '!/^(mem(cpy|move|set|cmp)|bcmp)$/')
if [ -n "$forbidden" ]; then
  printf 'The core needs more than the four memory functions:\n%s\n' "$forbidden" >&2
  exit 1
fi
if ! undefined --features control | grep -qx phishcnn_panic_is_reachable; then
  echo 'The control build panics, but the check did not see it.' >&2
  exit 1
fi
echo 'link check: no panic, no allocator, no undefined symbol beyond the four memory functions'
