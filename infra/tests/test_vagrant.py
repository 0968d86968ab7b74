"""The Vagrantfile, evaluated with a stand-in for Vagrant: machines, addresses, files, and the inventory it makes."""

import json
import os
import subprocess

import pytest
from conftest import BIN, HERE, ROOT

FOLDER = ROOT / "infra/vagrant"


def evaluate(**environment):
    return subprocess.run(
        ["ruby", HERE / "vagrant.rb", FOLDER / "Vagrantfile"],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]} | environment,
    )


@pytest.fixture(params=[None, 1], ids=["default", "one"])
def made(request):
    done = evaluate(**({"WORKERS": str(request.param)} if request.param else {}))
    assert done.returncode == 0, done.stderr
    return (request.param or 2), json.loads(done.stdout)


def calls(machine, name):
    return [call for call in machine if call["call"] == name]


def test_syntax():
    for command in (["ruby", "-wc", FOLDER / "Vagrantfile"], ["bash", "-n", FOLDER / "control.sh"]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0 and "warn" not in done.stderr, done.stderr


def test_machines(made):
    workers, made = made
    machines = made["machines"]
    # In this order they start; the control node finds the others.
    assert list(machines) == [*(f"url{n}" for n in range(1, workers + 1)), "control"]
    addresses = [calls(machine, "vm.network")[0]["options"]["ip"] for machine in machines.values()]
    assert len(set(addresses)) == workers + 1
    for name, machine in machines.items():
        assert calls(machine, "vm.hostname=")[0]["arguments"] == [name]
    # No provider is named, so any does.
    assert not [call for machine in [made["all"], *machines.values()] for call in machine if "provider" in call["call"]]


def test_the_control_node_gets_what_it_runs(made):
    _, made = made
    provisions = calls(made["machines"]["control"], "vm.provision")
    sources = [call["options"]["source"] for call in provisions if call["arguments"] == ["file"]]
    for source in sources:
        # What is built first, and what Vagrant itself brings.
        assert "/target/debian/" in source or source.startswith("~/.vagrant.d/") or os.path.exists(source), source
    [shell] = [call for call in provisions if call["arguments"] == ["shell"]]
    assert os.access(FOLDER / shell["options"]["path"], os.X_OK)
    # The roles' own files lie beside them as in the repository.
    assert {os.path.basename(s) for s in sources} >= {"ansible", "prometheus", "grafana"}


@pytest.mark.parametrize("playbook", ["site.yml", "canary.yml", "rollback.yml"])
def test_the_inventory_fits_the_playbooks(made, tmp_path, playbook):
    workers, made = made
    [shell] = [c for c in calls(made["machines"]["control"], "vm.provision") if c["arguments"] == ["shell"]]
    (tmp_path / "inventory.json").write_text(shell["options"]["env"]["INVENTORY"])
    environment = os.environ | {"ANSIBLE_HOME": str(tmp_path / "home")}
    command = [BIN / "ansible-playbook", "-i", tmp_path / "inventory.json", ROOT / "infra/ansible" / playbook]
    done = subprocess.run(
        [*command, "--list-hosts"], capture_output=True, text=True, env=environment, cwd=ROOT / "infra/ansible"
    )
    assert done.returncode == 0, done.stderr
    named = set(done.stdout.split())
    urls = {f"url{n}" for n in range(1, workers + 1)}
    canary = {f"url{workers}"} if workers > 1 else set()
    wanted = {
        "site.yml": urls | {"control"},
        "canary.yml": canary | {"control"},
        "rollback.yml": urls,
    }
    assert named & (urls | {"control"}) == wanted[playbook]


def test_nine_workers():
    assert len(json.loads(evaluate(WORKERS="9").stdout)["machines"]) == 10


@pytest.mark.parametrize("workers", ["0", "10", "two"])
def test_a_number_of_workers_that_is_none(workers):
    done = evaluate(WORKERS=workers)
    assert done.returncode != 0 and ("must be 1 to 9" in done.stderr or "invalid value" in done.stderr)
