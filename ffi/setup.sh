#!/usr/bin/env bash
# Installs what the tests of the C library need, on Debian. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/apt.sh

packages=(gcc g++ libc6-dev binutils clang libclang-rt-14-dev cmake pkg-config valgrind curl
  # The integrations' real programs.
  squid postfix libmilter-dev libgmime-3.0-dev libxml2-dev
  # Bare metal: C compiler and library, and Rust with its core library's sources.
  gcc-arm-none-eabi libnewlib-arm-none-eabi rustc-web cargo-web rust-web-clippy rust-web-src rust-web-llvm lld-22
  # aarch64: a linker, a C library, an emulator.
  gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user)

as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  "${as_root[@]}" apt-get update -qq
  [[ " ${missing[*]} " != *" postfix "* ]] ||
    echo 'postfix postfix/main_mailer_type select No configuration' | "${as_root[@]}" debconf-set-selections
  # RUNLEVEL keeps squid from being started as a service; Postfix gets no configuration.
  "${as_root[@]}" env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 \
    install -y -qq --no-install-recommends --no-remove "${missing[@]}" >/dev/null
fi

# WebAssembly runs in it.
node_install

# Debian's qemu-system-arm would remove a newer qemu-utils: unpacked into a folder, it does not.
qemu=target/qemu
if ! command -v qemu-system-arm >/dev/null && [ ! -x "$qemu/usr/bin/qemu-system-arm" ]; then
  rm -rf "$qemu"
  mkdir -p "$qemu/packages"
  mapfile -t wanted < <(apt-get install -s --no-install-recommends qemu-system-arm | sed -n 's/^Inst \([^ ]*\) .*/\1/p')
  (
    cd "$qemu/packages"
    # Root's sandboxed download user may not write here; that is only a notice.
    apt-get download -qq "${wanted[@]}" 2>/dev/null
    for package in *.deb; do dpkg -x "$package" ..; done
  )
  rm -rf "$qemu/packages"
fi
