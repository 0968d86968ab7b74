#!/usr/bin/env bash
# Builds wheels for x86-64 and aarch64 (manylinux, glibc 2.17) and the source distribution into
# target/dist, and installs each in a clean environment. aarch64 needs its Rust target
# (`rustup target add aarch64-unknown-linux-gnu`), and is left out with a message without it.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
dist=target/dist
$python -m pip install --quiet --disable-pip-version-check -r tools/requirements.txt -r python/requirements-build.txt

rm -rf "$dist"
mkdir -p "$dist"
.venv/bin/maturin sdist --manifest-path python/Cargo.toml --out "$dist"
for arch in x86_64 aarch64; do
  target=$arch-unknown-linux-gnu
  if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
    echo "left out: the wheel for $arch, because the Rust target $target is not installed"
    continue
  fi
  PATH="$PWD/.venv/bin:$PATH" .venv/bin/maturin build --quiet --release --zig --compatibility manylinux2014 \
    --target "$target" --manifest-path python/Cargo.toml --out "$dist"
done

try() { # file: installs it alone, without any other package, and scores
  local clean
  clean=$(mktemp -d)
  $python -m venv "$clean"
  "$clean/bin/python" -m pip install --quiet --disable-pip-version-check "$1"
  (
    cd "$clean"
    [ "$(bin/python -m pip list --format freeze | grep -Ecv '^(pip|setuptools|wheel|phishcnn)\b')" = 0 ]
    bin/python -c 'import phishcnn; m = phishcnn.Model(); assert m.score_batch(["a", None]).errors.tolist() == [0, 203]'
    bin/phishcnn score 'http://paypal.com.secure-login.account-verify.ru/webscr?cmd=_login' | grep -q ^phishing
  )
  rm -rf "$clean"
  echo "installed and tried: $(basename "$1")"
}
for file in "$dist"/*; do
  case $file in
    *aarch64*) echo "not tried here: $(basename "$file")" ;;
    *) try "$file" ;;
  esac
done
