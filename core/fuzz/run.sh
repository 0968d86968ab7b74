#!/usr/bin/env bash
# Fuzzes each target for SECONDS (60), or only the targets named behind it; fails on a finding.
#
#     core/fuzz/run.sh [SECONDS [TARGET…]]
#
# The stable compiler instruments for libFuzzer by itself; it needs a C++ compiler and nothing
# else. (It has no address sanitizer: what a kernel reads or writes astray is seen only where a
# logit or a debug assertion shows it; `core/src/kernel/guarded.rs` and valgrind are for that.) Findings land in
# `artifacts/`, and the corpora, grown from generated seeds, in `corpus/`.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-60}
[ $# -eq 0 ] || shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(url model reader_differential)

host=$(rustc -vV | sed -n 's/^host: //p')
# With --target, build scripts and the seeds stay without instrumentation.
cargo run --quiet --release --bin seeds -- corpus
flags=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing
  # The linker must keep the counters' sections, which only their start and stop symbols name.
  '-Clink-arg=-Wl,-z,nostart-stop-gc')
for target in "${targets[@]}"; do
  RUSTFLAGS="${flags[*]}" cargo build --quiet --release --target "$host" --bin "$target"
done
built=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/$host/release
for target in "${targets[@]}"; do
  mkdir -p "artifacts/$target" "corpus/$target"
  echo "fuzz $target for $seconds s"
  "$built/$target" "corpus/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 \
    -max_len=8192 -print_final_stats=1 -verbosity=0 -artifact_prefix="artifacts/$target/"
done
