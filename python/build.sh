#!/usr/bin/env bash
# Builds wheels for x86-64 and aarch64 (manylinux, glibc 2.17) and the source distribution into
# target/dist, and tries each by the golden vectors: on a clean environment, aarch64 with Debian's
# Python for it on qemu. aarch64 needs `rustup target add aarch64-unknown-linux-gnu` or, on Debian,
# what tools/cross.sh names; without it that wheel is left out with a message.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
python=$root/.venv/bin/python
dist=$root/target/dist

rm -rf "$dist"
mkdir -p "$dist"
.venv/bin/maturin sdist --manifest-path python/Cargo.toml --out "$dist" >/dev/null

wheel() { # target
  PATH="$root/.venv/bin:$PATH" .venv/bin/maturin build --quiet --release --zig --compatibility manylinux2014 \
    --target "$1" --manifest-path python/Cargo.toml --out "$dist"
}
wheel x86_64-unknown-linux-gnu
target=aarch64-unknown-linux-gnu
if [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
  wheel $target
elif [ -x tools/cross.sh ] && tools/cross.sh $target check --quiet -p phishcnn-core; then
  # Debian's compiler, with the standard library that the line above has built.
  RUSTC=/usr/bin/rustc RUSTFLAGS="--sysroot=$(echo "$root"/target/sysroot/*)" \
    CARGO_TARGET_DIR=$root/target/cross wheel $target
else
  echo "left out: the wheel for aarch64, because the Rust target $target is not installed"
fi

try() { # file: installs it alone, without any other package, and scores
  local clean
  clean=$(mktemp -d)
  $python -m venv "$clean"
  "$clean/bin/python" -m pip install --quiet --disable-pip-version-check "$1"
  [ "$("$clean/bin/python" -m pip list --format freeze | grep -Ecv '^(pip|setuptools|wheel|phishcnn)\b')" = 0 ]
  (cd "$clean" && bin/python "$root/python/tests/golden.py")
  "$clean/bin/phishcnn" score 'http://paypal.com.secure-login.account-verify.ru/webscr?cmd=_login' | grep -q ^phishing
  rm -rf "$clean"
}

try_aarch64() { # wheel
  local arm=$root/target/aarch64-python
  . tools/apt.sh
  apt_install qemu-user
  if [ ! -x "$arm/root/usr/bin/python3" ]; then
    # A package list of its own: the machine stays as it is.
    mkdir -p "$arm/state/lists/partial" "$arm/cache/archives/partial" "$arm/root"
    touch "$arm/state/status"
    local apt=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o "Dir::State=$arm/state"
      -o "Dir::State::status=$arm/state/status" -o "Dir::Cache=$arm/cache" -o APT::Sandbox::User=root)
    "${apt[@]}" update
    "${apt[@]}" install -y --no-install-recommends --download-only python3
    for package in "$arm"/cache/archives/*.deb; do dpkg -x "$package" "$arm/root"; done
  fi
  local site=$arm/site
  rm -rf "$site"
  $python -m pip install --quiet --disable-pip-version-check --no-deps --target "$site" \
    --platform manylinux2014_aarch64 --only-binary=:all: --python-version 3.11 "$1"
  PYTHONPATH=$site qemu-aarch64 -L "$arm/root" "$arm/root/usr/bin/python3" python/tests/golden.py
}

for file in "$dist"/*; do
  case $file in
    *aarch64*) try_aarch64 "$file" ;;
    *) try "$file" ;;
  esac
  echo "installed and tried: $(basename "$file")"
done
