# To be sourced by the scripts that install what tests need on Debian.

# Installs those of the packages that are missing; as root, or by sudo.
apt_install() {
  local missing=() as_root=() package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" apt-get -o DPkg::Lock::Timeout=600 install -y -qq --no-install-recommends "${missing[@]}"
}

# Node.js and npm. They often come from elsewhere than Debian, whose version 12 has Node.js 18: the linter and the
# browser's driver need 20.
node_install() {
  local as_root=()
  command -v node >/dev/null || apt_install nodejs
  command -v npm >/dev/null || apt_install npm
  [ "$(node --print 'parseInt(process.versions.node)')" -lt 20 ] || return 0
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  "${as_root[@]}" npm install --global --loglevel=error --no-audit --no-fund node@22.23.3
  hash -r
}
