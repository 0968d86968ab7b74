#!/usr/bin/env bash
# Builds or tests for another target than this machine's, with rustup's target where it is
# installed and Debian's compiler (rustc-web) elsewhere:
#
#     tools/cross.sh TARGET CARGO-ARGUMENTS…
#
# Debian has no standard library for other targets: it is built once, from Debian's sources, into
# `target/sysroot`. For a target without an operating system that is `core` (about a minute).
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
target=$1
shift
# (As an option it could not stand behind `cargo test … -- ARGUMENTS`.)
export CARGO_BUILD_TARGET=$target

if rustup target list --installed 2>/dev/null | grep -qx "$target"; then
  exec cargo "$@"
fi

compiler=/usr/bin/rustc
sources=$(echo /usr/src/rustc-*/library)
if [ ! -x "$compiler" ] || [ ! -d "$sources" ]; then
  echo "No $target here: run 'rustup target add $target', or install Debian's rustc-web, rust-web-src and lld." >&2
  exit 1
fi
case $target in
  *-linux-*) parts=std,panic_unwind,test ;;
  *) parts=core ;;
esac
version=$("$compiler" --version | cut -d' ' -f2)
sysroot=$root/target/sysroot/$version
libraries=$sysroot/lib/rustlib/$target/lib
if [ ! -d "$libraries" ]; then
  work=$root/target/sysroot/build-$target
  rm -rf "$work"
  mkdir -p "$work/src"
  printf '#![no_std]\n' >"$work/src/lib.rs"
  printf '[package]\nname = "sysroot"\nedition = "2024"\n[workspace]\n[profile.release]\n' >"$work/Cargo.toml"
  # Where there is no operating system flash is what is short: `memmove` alone has 1,600 bytes otherwise.
  [ "$parts" != core ] || printf 'panic = "abort"\nopt-level = "s"\n' >>"$work/Cargo.toml"
  (
    cd "$work"
    # Object code for those who link it, and bitcode for those who do so with LTO.
    RUSTC=$compiler RUSTFLAGS='-C embed-bitcode=yes' RUSTC_BOOTSTRAP=1 /usr/bin/cargo build --quiet --release --offline \
      --config 'source.crates-io.replace-with="rsrc"' \
      --config "source.rsrc.directory=\"$sources/vendor\"" \
      -Z "build-std=$parts" --target "$target"
  )
  mkdir -p "$(dirname "$libraries")"
  # The compiler finds the host's libraries, which build scripts need, beside the target's.
  host=$("$compiler" -vV | sed -n 's/^host: //p')
  ln -sfn "$("$compiler" --print sysroot)/lib/rustlib/$host" "$sysroot/lib/rustlib/$host"
  rm -rf "$libraries.new"
  mkdir "$libraries.new"
  rm -f "$work/target/$target/release/deps/"libsysroot-*
  cp "$work/target/$target/release/deps/"lib*.{rlib,rmeta} "$libraries.new/"
  mv "$libraries.new" "$libraries"
  # Cargo does not see that what it built for the target before is for another library.
  rm -rf "$work" "target/$target"
fi
export RUSTC=$compiler
export RUSTFLAGS="${RUSTFLAGS:-} --sysroot=$sysroot"
# A linter belongs to its compiler: what `cargo clippy` finds may be another one's.
[ "${1:-}" != clippy ] || exec /usr/bin/cargo-clippy "$@"
exec cargo "$@"
