#!/usr/bin/env bash
# Installs what `make infra` needs beyond cargo: Helm and Ansible in a virtual environment of their
# own, the schemas of custom resources, and on Debian the tools of the host and gateway tests.
# Safe to run again. `setup.sh chart` installs only what the chart's tests need.
set -euo pipefail
cd "$(dirname "$0")"

. ../../tools/apt.sh

node_install
[ -x .venv/bin/python ] || python3 -m venv .venv
cmp -s requirements.lock .venv/phishcnn-lock || {
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
  cp requirements.lock .venv/phishcnn-lock
}
cmp -s schemas/package-lock.json schemas/node_modules/.phishcnn-lock || {
  (cd schemas && npm ci --loglevel=error --no-audit --no-fund --ignore-scripts)
  cp schemas/package-lock.json schemas/node_modules/.phishcnn-lock
}
[ "${1:-all}" = chart ] && exit

# Proxy and Prometheus run as processes; systemd-nspawn boots the hosts that mmdebstrap makes.
apt_install buildah curl docker-compose gcc haproxy help2man iproute2 libc6-dev lintian man-db mmdebstrap \
  openssh-client openssl pkg-config postgresql prometheus ruby systemd-container

# Debian with systemd, and with what the roles would install, since the test hosts have no way out.
packages=systemd,systemd-sysv,dbus,openssh-server,python3,python3-apt,ca-certificates,curl,haproxy
packages+=,prometheus,prometheus-alertmanager,prometheus-node-exporter
if [ "$(id -u)" -eq 0 ] && [ "$(cat hosts/packages 2>/dev/null)" != "$packages" ]; then
  rm -rf hosts
  mkdir hosts
  mmdebstrap --quiet --variant=minbase --include="$packages" bookworm hosts/debian
  printf '%s\n' "$packages" >hosts/packages
fi
