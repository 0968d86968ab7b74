#!/usr/bin/env bash
# Builds target/debian/phishcnn_VERSION_ARCH.deb: command and service, C library with headers and
# pkg-config, units, manual pages. Before: `make binary` and `make -C ffi`. Same inputs, same bytes.
#
# Why dpkg-deb and not cargo-deb: `make -C ffi install` already knows where the library's files go,
# and cargo-deb would be minutes of compiling for a second list of them.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$root"
umask 022

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
architecture=$(dpkg --print-architecture)
triplet=$(dpkg-architecture -qDEB_HOST_MULTIARCH)
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.toml)}
maintainer="${DEBFULLNAME:-PhishCNN maintainers} <${DEBEMAIL:-maintainers@phishcnn.invalid}>"
binary=${PHISHCNN:-target/release/phishcnn}
out=target/debian
tree=$out/tree
rm -rf "$tree" "$out/control" "$out/debian"
mkdir -p "$tree/DEBIAN" "$out/debian"
doc=$tree/usr/share/doc/phishcnn

install -D -m 755 "$binary" "$tree/usr/bin/phishcnn"
make --no-print-directory -C ffi --old-file=all install DESTDIR="$root/$tree" prefix=/usr libdir="/usr/lib/$triplet" >/dev/null
chmod 644 "$tree/usr/lib/$triplet/"libphishcnn.so.*.*
install -D -m 644 -t "$tree/usr/lib/systemd/system" "$here/phishcnn.service" "$here/phishcnn.socket"
install -D -m 644 "$here/environment" "$tree/etc/default/phishcnn"
install -D -m 644 "$here/lintian-overrides" "$tree/usr/share/lintian/overrides/phishcnn"
install -D -m 644 "$here/copyright" "$doc/copyright"
install -m 644 -t "$doc" LICENSE-MIT LICENSE-APACHE

# One page for the command and one for each of its commands, from their own help.
pages=$tree/usr/share/man/man1
mkdir -p "$pages"
page() { # name, one line, help option
  help2man --no-info --section=1 --manual="User Commands" --source="PhishCNN $version" --name="$2" \
    --help-option="$3" --version-option=--version --output="$pages/$1.1" "$binary"
}
page phishcnn "tells phishing URLs from honest ones" --help
while read -r command what; do
  page "phishcnn-$command" "$what" "help $command"
done < <("$binary" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\)  *\(.*\)/\1 \2/p' | grep -v '^help ')

printf 'phishcnn (%s) stable; urgency=medium\n\n  * See CHANGELOG.md of the source.\n\n -- %s  %s\n' \
  "$version" "$maintainer" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" >"$doc/changelog"
gzip -9n "$doc/changelog" "$pages"/*.1

# What the shared library needs, by Debian's own account of its symbols.
printf 'Source: phishcnn\n\nPackage: phishcnn\nArchitecture: any\n' >"$out/debian/control"
depends=$(cd "$out" && dpkg-shlibdeps -O "tree/usr/lib/$triplet/libphishcnn.so.$version" 2>/dev/null |
  sed -n 's/^shlibs:Depends=//p')
[ -n "$depends" ]
abi=$(basename "$(readlink "$tree/usr/lib/$triplet/libphishcnn.so")" | sed 's/^libphishcnn\.so\.//')
printf 'libphishcnn %s phishcnn (>= %s)\n' "$abi" "$version" >"$tree/DEBIAN/shlibs"
echo 'activate-noawait ldconfig' >"$tree/DEBIAN/triggers"
echo '/etc/default/phishcnn' >"$tree/DEBIAN/conffiles"
(cd "$tree" && find usr etc -type f ! -path etc/default/phishcnn -print0 | LC_ALL=C sort -z | xargs -0 md5sum) \
  >"$tree/DEBIAN/md5sums"
sed -e "s/@version@/$version/" -e "s/@architecture@/$architecture/" -e "s/@depends@/$depends/" -e "s/@maintainer@/$maintainer/" \
  -e "s/@size@/$(du -sk --apparent-size "$tree/usr" | cut -f1)/" "$here/control" >"$tree/DEBIAN/control"

package=$out/phishcnn_${version}_$architecture.deb
dpkg-deb --root-owner-group --build -Zxz "$tree" "$package" >/dev/null
(cd "$out" && sha256sum "$(basename "$package")" >"$(basename "$package").sha256")
echo "$package"
