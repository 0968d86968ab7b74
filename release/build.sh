#!/usr/bin/env bash
# Builds a release from the last commit: release/build.sh [--once] [FOLDER]
#
# Everything is built twice, from two clean clones in two folders, and must have the same bytes; then the
# packages are checked. FOLDER (target/release-VERSION) gets the files and SHA256SUMS. --once
# builds one time, for trying. What changes are uncommitted is not in it.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

once=
[ "${1:-}" != --once ] || { once=yes; shift; }
version=$(tools/version.py)
commit=$(git rev-parse HEAD)
out=$(realpath -m "${1:-target/release-$version}")
tools/setup.sh
export PATH=$root/.venv/bin:$PATH
command -v mdbook >/dev/null || cargo install --quiet --locked --no-default-features --version "$(cat docs/mdbook-version)" mdbook

# Time, locale and paths must not reach the bytes.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
umask 022

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for run in first second; do
  # Folders of different lengths, so that a path in the bytes shows.
  clone=$work/$run-clone
  git clone --quiet --no-hardlinks "$root" "$clone"
  git -C "$clone" checkout --quiet --detach "$commit"
  "$clone/release/artefacts.sh" "$work/$run"
  # What a registry would be given is complete: it builds from its own files alone.
  if [ "$run" = first ]; then
    (cd "$clone" && CARGO_TARGET_DIR=$work/crates cargo package --quiet --locked \
      -p phishcnn-core -p phishcnn-weights -p phishcnn-cli -p phishcnn-server)
    rm -rf "$work/crates"
  fi
  rm -rf "$clone"
  [ -z "$once" ] || break
done
if [ -z "$once" ]; then
  diff -r "$work/first" "$work/second" || {
    trap - EXIT
    echo "the two builds differ: compare them in $work" >&2
    exit 1
  }
  echo 'two builds, the same bytes'
fi

python -m twine check --strict "$work"/first/*.whl "$work"/first/phishcnn-"$version".tar.gz
rm -rf "$out"
mkdir -p "$(dirname "$out")"
cp -r "$work/first" "$out"
(cd "$out" && sha256sum -- * >SHA256SUMS && cat SHA256SUMS)
