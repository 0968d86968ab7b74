#!/usr/bin/env bash
# Runs on the control node, as its user: Ansible into an environment of its own, then the playbook.
# INVENTORY is the inventory as JSON. Safe to run again (`vagrant provision control`).
set -euo pipefail

: "${INVENTORY:?the Vagrantfile sets it}"
[ -d /usr/share/doc/python3-venv ] || {
  sudo apt-get update -qq
  sudo apt-get install -y -qq --no-install-recommends python3-venv
}
[ -x ~/ansible/bin/ansible-playbook ] || python3 -m venv ~/ansible
~/ansible/bin/python -m pip install --quiet 'ansible-core>=2.19,<2.20'
chmod 600 ~/.ssh/workers
# The control node is a host of its own groups.
ssh-keygen -y -f ~/.ssh/workers >~/.ssh/workers.pub
grep -qF "$(cut -d' ' -f2 ~/.ssh/workers.pub)" ~/.ssh/authorized_keys || cat ~/.ssh/workers.pub >>~/.ssh/authorized_keys
cd ~/infra/ansible
printf '%s\n' "$INVENTORY" >~/inventory.json
~/ansible/bin/ansible-playbook --inventory ~/inventory.json "${1:-site.yml}"
