"""One list of settings: the binary's flags, the chart's schema, and the Ansible role agree."""

import json
import os
import re
import subprocess
import sys
import urllib.request

import pytest
import yaml
from chart import CASES, CHART, ROOT, find, objects, values
from conftest import BIN, HERE

# Flags that sections other than `settings` turn into.
MANAGED = {"MODEL", "SHADOW", "FEEDBACK", "API_KEYS_FILE", "TLS_CERT", "TLS_KEY"}
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
SHARED = ("version", "model", "settings", "feedback", "security", "resources", "health")


def ask(binary, *arguments):
    return subprocess.run([binary, *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def flags(binary):
    return set(re.findall(r"\[env: PHISHCNN_(\w+)\]", ask(binary, "help", "serve")))


def merged(overrides, defaults=DEFAULTS):
    """As Helm merges: deep for objects."""
    out = dict(defaults)
    for key, value in overrides.items():
        deep = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merged(value, out[key]) if deep else value
    return out


def role(cases, folder):
    """The role's files for each of these values, and what Ansible said."""
    hosts = {}
    for case, overrides in cases.items():
        shared = {f"phishcnn_{key}": merged(overrides)[key] for key in SHARED}
        hosts[case] = shared | {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    everyone = {"hosts": hosts, "vars": {"folder": str(folder), "phishcnn_artefact": "/phishcnn"}}
    (folder / "hosts.json").write_text(json.dumps({"all": everyone}))
    command = [BIN / "ansible-playbook", "-i", folder / "hosts.json", HERE / "render.yml"]
    environment = os.environ | {
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_ROLES_PATH": str(ROOT / "infra/ansible/roles"),
    }
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment)
    files = {case: folder / f"{case}.json" for case in cases}
    return {
        case: json.loads(path.read_text()) for case, path in files.items() if path.exists()
    }, done.stdout + done.stderr


def variables(text):
    return dict(line.split("=", 1) for line in text.splitlines() if line and line[0] not in "#;[")


def test_the_schema_knows_the_flags_of_the_binary(flags):
    settings = {key.upper() for key in SCHEMA["properties"]["settings"]["properties"]}
    assert settings | MANAGED == flags
    assert not settings & MANAGED


def test_versions_and_digest_are_those_of_the_binary(binary):
    version = ask(binary, "--version").split()[-1]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert version == DEFAULTS["version"] == chart["appVersion"]
    digest = re.search(r"SHA-256 +([0-9a-f]{64})", ask(binary, "model", "info"))[1]
    assert digest == DEFAULTS["model"]["sha256"], "make -C infra digest"


def test_generated_files_are_current():
    done = subprocess.run([BIN / "python", ROOT / "infra/generate.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


# Every setting away from its default.
EVERYTHING = {
    "settings": {
        "listen": "127.0.0.1:0",
        "admin_listen": "127.0.0.1:18079",
        "base_rate": 0.001,
        "log_format": "human",
        "log_level": "debug",
        "log_urls": True,
        "max_body": 4194304,
        "max_urls": 123456789,
        "max_url_length": 2048,
        "max_concurrency": 8,
        "max_connections": 100,
        "rate_limit": "10/min",
        "trusted_proxies": "10.0.0.0/8,::1/128",
        "header_timeout": "5s",
        "body_timeout": "6s",
        "request_timeout": "7s",
        "idle_timeout": "2min",
        "shutdown_delay": "250ms",
        "shutdown_timeout": "8s",
    },
    "resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}},
    "health": {"interval": 9, "timeout": 3, "failures": 4, "startup": 44, "grace": 55},
}
VALUES = {case: values(case) for case in CASES} | {"everything": EVERYTHING}


def test_everything_is_everything():
    assert EVERYTHING["settings"].keys() == SCHEMA["properties"]["settings"]["properties"].keys()


@pytest.fixture(scope="module")
def role_files(tmp_path_factory):
    files, said = role(VALUES, tmp_path_factory.mktemp("role"))
    assert files.keys() == VALUES.keys(), said
    return files


@pytest.mark.parametrize("case", VALUES)
def test_chart_and_role_run_the_same(case, flags, role_files):
    made = objects(VALUES[case])
    [deployment] = [
        o for o in made if o["kind"] == "Deployment" and o["spec"]["selector"]["matchLabels"]["track"] == "stable"
    ]
    pod = deployment["spec"]["template"]
    [container] = pod["spec"]["containers"]
    files = {name: variables(text) for name, text in role_files[case].items()}
    unit, health, timer = files["service"], files["health"], files["timer"]

    data = find(made, "ConfigMap", deployment["metadata"]["name"])["data"]
    assert data == files["environment"]
    secret = {variable["name"] for variable in container.get("env", [])}
    assert secret == ({"PHISHCNN_FEEDBACK"} if merged(VALUES[case])["feedback"]["store"] == "postgresql" else set())
    assert {name.removeprefix("PHISHCNN_") for name in {*data, *secret}} <= flags

    assert container["args"] == unit["ExecStart"].split()[1:]
    assert files["socket"]["ListenStream"] == data["PHISHCNN_LISTEN"]
    limits = container["resources"]["limits"]
    assert limits["memory"] == unit["MemoryMax"] + "i"
    cores = float(limits["cpu"].removesuffix("m")) / (1000 if limits["cpu"].endswith("m") else 1)
    assert f"{cores * 100:g}%" == unit["CPUQuota"]

    probe = container["livenessProbe"]
    curl = health["ExecStart"].split()
    option = {name: int(curl[curl.index(name) + 1]) for name in ("--max-time", "--retry", "--retry-delay")}
    assert option["--max-time"] == probe["timeoutSeconds"]
    assert option["--retry"] + 1 == probe["failureThreshold"]
    assert option["--retry-delay"] == int(timer["OnUnitInactiveSec"]) == probe["periodSeconds"]
    assert curl[-1].endswith(probe["httpGet"]["path"])
    assert int(timer["OnActiveSec"]) == container["startupProbe"]["failureThreshold"]
    assert int(unit["TimeoutStopSec"]) == pod["spec"]["terminationGracePeriodSeconds"]


def test_the_binary_takes_what_is_rendered(binary, tmp_path):
    data = find(objects(EVERYTHING), "ConfigMap")["data"]
    service = subprocess.Popen([binary, "serve"], env=data, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        for line in service.stderr:
            if " serves " in line:
                break
        else:
            pytest.fail(f"stopped with {service.wait()}")
        assert urllib.request.urlopen("http://127.0.0.1:18079/readyz").status == 200
    finally:
        service.kill()
        service.wait()


def test_the_role_refuses_what_the_chart_refuses(tmp_path):
    wrong = {
        "time": {"settings": {"idle_timeout": "1h"}},
        "length": {"settings": {"max_url_length": 65537}},
        "memory": {"resources": {"limits": {"memory": "256"}}},
        "digest": {"model": {"sha256": "abc"}},
    }
    files, said = role(wrong, tmp_path)
    assert not files
    for what in (
        "phishcnn_settings.idle_timeout is '1h', but must be a time",
        "phishcnn_settings.max_url_length is '65537', but must be a whole number from 1 to 65536",
        "phishcnn_resources.limits.memory is '256', but must be memory, as in",
        "phishcnn_model.sha256 is 'abc', but must be 64",
    ):
        assert what in said


def test_the_gateway_has_the_charts_defaults():
    gateway = yaml.safe_load((ROOT / "infra/ansible/roles/gateway/defaults/main.yml").read_text())
    assert gateway["gateway_experiment"] == DEFAULTS["istio"]["experiment"]
    assert gateway["gateway_health"].items() <= DEFAULTS["health"].items()
    limit = DEFAULTS["istio"]["rateLimit"]
    assert gateway["gateway_rate_limit"].items() <= limit.items()
    for name in "listen", "admin_listen":
        port = gateway["gateway_port" if name == "listen" else "gateway_admin_port"]
        assert DEFAULTS["settings"][name].endswith(f":{port}")
