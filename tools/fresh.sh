#!/usr/bin/env bash
# README's two commands in a fresh Debian with nothing but cargo, Python, make and a C compiler; prints how long each
# takes. `tools/fresh.sh` clones the last commit into a container that systemd-nspawn runs; it needs root, mmdebstrap and
# some minutes. `--try` runs `make quick` instead of `make test`.
#
# Rust comes from the machine's own toolchain (Debian's is older than 1.95), laid into the container with its
# crates' registry, so that the container's cargo is configured as the machine's.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/apt.sh
target="test"
[ "${1:-}" != --try ] || target=quick
apt_install mmdebstrap systemd-container

root=$PWD/target/fresh
home=/root # of root in the container
rm -rf "$root"
mkdir -p target
mmdebstrap --quiet --variant=minbase --include=ca-certificates,curl,gcc,libc6-dev,make,git,python3,python3-venv,procps bookworm "$root"
toolchain=$(rustc --print sysroot)
cp -r "$toolchain" "$root/opt/rust"
for name in config.toml config; do
  [ ! -f "${CARGO_HOME:-$HOME/.cargo}/$name" ] || install -D "${CARGO_HOME:-$HOME/.cargo}/$name" "$root/root/.cargo/$name"
done
# Also what the machine trusts beyond Debian's certificates.
for file in /etc/pip.conf /etc/resolv.conf /etc/ssl/certs/ca-certificates.crt; do
  [ ! -f "$file" ] || install -D "$file" "$root$file"
done
for file in .pip/pip.conf .config/pip/pip.conf .npmrc; do
  [ ! -f "$HOME/$file" ] || install -D "$HOME/$file" "$root/root/$file"
done
# What tells programs of those certificates.
trust=()
while read -r pair; do trust+=("--setenv=$pair"); done < <(env | grep '=/etc/ssl/certs/ca-certificates.crt$')
git clone --quiet --no-hardlinks . "$root/root/phishcnn"

inside() {
  # (As a machine of its own, it may make networks, mount file systems and load packet filters, as some tests do.)
  systemd-nspawn --quiet --pipe --register=no --keep-unit --capability=all --system-call-filter=bpf \
    --directory="$root" --chdir="$home/phishcnn" \
    --setenv=PATH=/opt/rust/bin:$home/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    --setenv=HOME=$home "${trust[@]}" bash -euo pipefail -c "$1"
}
seconds=$(date +%s)
# What stands in quotes is expanded inside.
# shellcheck disable=SC2016
inside 'cargo run --quiet --release -- serve --feedback none >"$HOME/serve.log" 2>&1 &
  for _ in $(seq 1800); do curl -sf http://127.0.0.1:8000/readyz >/dev/null && break; sleep 1; done
  curl -s http://127.0.0.1:8000/v1/score -d "{\"url\": \"https://en.wikipedia.org/wiki/Phishing\"}"; echo; kill %1'
echo "cargo run --release -- serve: an answer after $(($(date +%s) - seconds)) s, from nothing"
seconds=$(date +%s)
inside "make $target"
echo "make $target: $(($(date +%s) - seconds)) s"
