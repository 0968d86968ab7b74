#!/usr/bin/env bash
# One build of all files of a release, from the clone that this script lies in: release/artefacts.sh FOLDER
# Called by build.sh, which sets the environment.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1
version=$(tools/version.py)
host=x86_64-linux
mkdir -p "$out"

# The tree and cargo's folder get names of their own in debug texts and panics.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
RUSTFLAGS="--remap-path-prefix=$PWD=/phishcnn --remap-path-prefix=$cargo_home=/cargo"
CFLAGS="-ffile-prefix-map=$PWD=/phishcnn -ffile-prefix-map=$cargo_home=/cargo"
export RUSTFLAGS CFLAGS
export CARGO_INCREMENTAL=0 CARGO_PROFILE_RELEASE_STRIP=debuginfo
unset CARGO_TARGET_DIR

archive() { # FILE FOLDER: names sorted, owners and times fixed
  tar --create --sort=name --owner=0 --group=0 --numeric-owner --format=gnu --mtime="@$SOURCE_DATE_EPOCH" \
    -C "$(dirname "$2")" "$(basename "$2")" | gzip -9n >"$out/$1"
}

echo "binary" >&2
make --silent binary
install -m 755 target/release/phishcnn "$out/phishcnn-$version-$host"

echo "C library" >&2
make --silent -C ffi install DESTDIR="$PWD/target/package/libphishcnn-$version" prefix=/usr/local
archive "libphishcnn-$version-$host.tar.gz" "target/package/libphishcnn-$version"

echo "wheel and source distribution" >&2
maturin build --quiet --release --manifest-path python/Cargo.toml --out target/wheels
maturin sdist --manifest-path python/Cargo.toml --out target/wheels
cp target/wheels/* "$out"

echo "chart" >&2
cp -r charts/phishcnn target/package/phishcnn
archive "phishcnn-chart-$version.tgz" target/package/phishcnn

echo "models" >&2
models=target/package/phishcnn-models-$version
mkdir -p "$models"
cp weights/models/*.safetensors weights/models/*.md weights/models/*.metrics.json weights/models/SHA256SUMS LICENSE* "$models"
archive "phishcnn-models-$version.tar.gz" "$models"

echo "documents" >&2
python docs/build.py "target/package/phishcnn-docs-$version"
archive "phishcnn-docs-$version.tar.gz" "target/package/phishcnn-docs-$version"

echo "SBOM" >&2
python release/sbom.py >"$out/phishcnn-$version.cdx.json"

echo "Debian package" >&2
# It writes manual pages with help2man; a system without Debian's tools leaves the package out, and says so.
if command -v help2man >/dev/null && command -v dpkg-architecture >/dev/null; then
  infra/debian/build.sh >&2
  cp target/debian/*.deb "$out"
else
  echo 'left out: the Debian package, which needs help2man and dpkg-dev' >&2
fi
