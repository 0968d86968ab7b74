"""The role `k3s_cluster` on two booted hosts, with a stand-in for k3s: a worker joins, stays, and no log has the token."""

import json
import os
import re
import subprocess
from hashlib import sha256

import pytest
from conftest import BIN, HERE, ROOT

ANSIBLE = ROOT / "infra/ansible"
K3S = HERE / "k3s"


@pytest.fixture(scope="module")
def play(hosts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("k3s")
    groups = {"k3s_server": "stable", "k3s_worker": "canary"}
    inventory = {
        "all": {
            "children": {g: {"hosts": {n: {"ansible_host": hosts[n].address}}} for g, n in groups.items()},
            "vars": {
                "ansible_user": "root",
                "ansible_ssh_private_key_file": str(hosts["stable"].key),
                "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
                "k3s_cluster_artefact": str(K3S),
                "k3s_cluster_artefact_sha256": sha256(K3S.read_bytes()).hexdigest(),
                "k3s_cluster_timeout": 60,
            },
        }
    }
    (folder / "inventory.json").write_text(json.dumps(inventory))

    def run(**extra):
        environment = os.environ | {"ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"), "ANSIBLE_HOME": str(folder)}
        command = [BIN / "ansible-playbook", "-vvv", "--diff", "-i", folder / "inventory.json"]
        done = subprocess.run(
            [*command, "-e", json.dumps(extra), ANSIBLE / "k3s.yml"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=environment,
            cwd=ANSIBLE,
        )
        said = done.stdout + done.stderr
        return done.returncode, said, dict(re.findall(r"^(\w+)\s+: ok=\d+\s+changed=(\d+)", said, re.M))

    return run


def test_a_worker_joins_and_nobody_reads_the_token(play, hosts):
    status, first, changed = play()
    assert status == 0, first[-5000:]
    assert int(changed["canary"]) > 0
    status, second, changed = play()
    assert status == 0 and changed == {"stable": "0", "canary": "0"}, second[-5000:]

    token = hosts["stable"].run("cat /var/lib/rancher/k3s/server/node-token").stdout.strip()
    assert token.startswith("K10") and token not in first + second
    worker = hosts["canary"]
    assert (
        worker.run("stat -c '%a %U' /etc/rancher/k3s/token /etc/rancher/k3s/config.yaml").stdout.split()
        == ["600", "root"] * 2
    )
    assert token not in worker.run("cat /etc/rancher/k3s/config.yaml; systemctl show k3s-agent.service").stdout

    # Killed, it comes back by itself; with another token it is let in again by the next run.
    worker.run("kill -9 $(systemctl show k3s-agent.service -p MainPID --value)")
    worker.run("echo wrong >/etc/rancher/k3s/token")
    status, third, changed = play()
    assert status == 0 and changed == {"stable": "0", "canary": "2"}, third[-5000:]
    assert worker.run("systemctl is-active k3s-agent.service").stdout.strip() == "active"


def test_another_binary_is_refused(play):
    status, said, _ = play(k3s_cluster_artefact_sha256="0" * 64)
    assert status != 0 and "but k3s_cluster_artefact_sha256 is 0000" in said
