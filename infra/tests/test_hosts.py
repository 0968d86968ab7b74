"""The roles on hosts that boot a real systemd: come up, survive, upgrade, roll back, share, limit."""

import functools
import http.client
import http.server
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
import time
from hashlib import sha256
from pathlib import Path

import pytest
import yaml
from conftest import BIN, NETWORK, ROOT

ANSIBLE = ROOT / "infra/ansible"
IMPORTED = ROOT / "weights/models/dephides-retrained.safetensors"
COMPACT = yaml.safe_load((ROOT / "charts/phishcnn/values.yaml").read_text())["model"]["sha256"]


class Fleet:
    """The playbooks over the booted hosts."""

    def __init__(self, hosts, binary, folder):
        self.hosts, self.folder = hosts, folder
        key = {"ansible_user": "root", "ansible_ssh_private_key_file": str(hosts["stable"].key)}
        key["ansible_ssh_common_args"] = (
            "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ControlPersist=60s"
        )
        address = {name: {name: {"ansible_host": host.address}} for name, host in hosts.items()}
        groups = {
            "phishcnn_stable": {"hosts": address["stable"]},
            "phishcnn_canary": {"hosts": address["canary"]},
            "phishcnn_gateway": {"hosts": address["stable"]},
            "phishcnn_monitoring": {"hosts": address["stable"]},
        }
        self.values = {
            "phishcnn_artefact": str(binary),
            "phishcnn_artefact_sha256": sha256(binary.read_bytes()).hexdigest(),
            "phishcnn_admin_allow": ["localhost", "198.18.77.0/24"],
            # No minutes of waiting in a test.
            "phishcnn_settings": {
                "listen": "0.0.0.0:8000",
                "admin_listen": "0.0.0.0:9000",
                "trusted_proxies": "198.18.77.11",
                "shutdown_delay": "1s",
                "shutdown_timeout": "5s",
            },
            "phishcnn_health": {"interval": 1, "timeout": 2, "failures": 3, "startup": 10, "grace": 5},
            "gateway_health": {"interval": 1, "timeout": 1, "failures": 2},
            "monitoring_interval": "1s",
        }
        self.inventory = folder / "inventory.json"
        self.inventory.write_text(json.dumps({"all": {"children": groups, "vars": key | self.values}}))

    def play(self, playbook, *options, check=True, **extra):
        """Runs a playbook; returns what changed per host, and all that was said."""
        environment = os.environ | {
            "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.folder / "ansible"),
        }
        command = [
            BIN / "ansible-playbook",
            "-i",
            self.inventory,
            "-e",
            json.dumps(extra),
            *options,
            ANSIBLE / playbook,
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment, cwd=ANSIBLE
        )
        said = done.stdout + done.stderr
        assert not check or done.returncode == 0, said
        changed = {name: int(n) for name, n in re.findall(r"^(\w+)\s+: ok=\d+\s+changed=(\d+)", said, re.M)}
        return changed, said


@pytest.fixture(scope="module")
def fleet(hosts, binary, tmp_path_factory):
    fleet = Fleet(hosts, binary, tmp_path_factory.mktemp("fleet"))
    fleet.play("site.yml")
    return fleet


def ask(address, port, path, body=None, headers=None):
    """One request on a connection of its own: status, headers, JSON."""
    connection = http.client.HTTPConnection(address, port, timeout=20)
    try:
        connection.request("POST" if body is not None else "GET", path, body and json.dumps(body), headers or {})
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, answer.headers, json.loads(text) if text.startswith(b"{") else text
    finally:
        connection.close()


def score(address, port=8000, headers=None):
    return ask(address, port, "/v1/score", {"url": "http://paypal.com.secure-login.account-verify.ru/webscr"}, headers)


def eventually(true, seconds=30):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.2)


class Load:
    """Scores without pause, each on a new connection, until the block ends; keeps what went wrong."""

    def __init__(self, address, port=8000, threads=2):
        self.target, self.failed, self.done, self.over = (address, port), [], 0, False
        self.threads = [threading.Thread(target=self.go) for _ in range(threads)]

    def go(self):
        while not self.over:
            try:
                status, _, _ = score(*self.target)
                if status != 200:
                    self.failed.append(status)
            except OSError as error:
                self.failed.append(error)
            except http.client.HTTPException as error:
                self.failed.append(error)
            self.done += 1
            time.sleep(0.005)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        for thread in self.threads:
            thread.join()


def test_serves_a_prediction(fleet):
    for host in fleet.hosts.values():
        status, _, answer = score(host.address)
        assert status == 200 and answer["verdict"] == "phishing"
        assert ask(host.address, 8000, "/v1/model")[2]["sha256"] == COMPACT
        assert host.run("systemctl is-enabled phishcnn.service phishcnn.socket").stdout.split() == [
            "enabled",
            "enabled",
        ]


def assert_unchanged(played):
    changed, said = played
    assert changed and not any(changed.values()), said


def test_second_run_changes_nothing(fleet):
    assert_unchanged(fleet.play("site.yml"))


def test_gateway_and_prometheus_see_both(fleet):
    host = fleet.hosts["stable"]
    assert {score(host.address, 80)[1]["x-phishcnn-version"] for _ in range(20)} == {"stable"}
    fleet.play("canary.yml", "--tags", "gateway", gateway_canary_weight=50)
    # 40 draws all on one side: less likely than one in a billion.
    assert {score(host.address, 80)[1]["x-phishcnn-version"] for _ in range(40)} == {"stable", "canary"}

    def scraped():
        found = ask(host.address, 9090, "/api/v1/query?query=up%7Bjob%3D%22phishcnn%22%7D%3D%3D1")[2]["data"]["result"]
        return {series["metric"]["track"] for series in found} == {"stable", "canary"}

    eventually(scraped)
    rules = ask(host.address, 9090, "/api/v1/rules")[2]["data"]["groups"]
    assert {group["name"] for group in rules} == {"phishcnn-recordings", "phishcnn-alerts"}


def test_units_are_sound_and_hardened(fleet):
    host = fleet.hosts["stable"]
    units = " ".join(
        f"/etc/systemd/system/phishcnn{name}" for name in (".service", ".socket", "-health.service", "-health.timer")
    )
    assert host.run(f"systemd-analyze verify {units}").stderr == ""
    exposure = host.run("systemd-analyze security --no-pager phishcnn.service | tail -1").stdout
    assert float(re.search(r"[\d.]+(?= )", exposure.split(":", 1)[1])[0]) <= 2.0, exposure
    limits = host.run("systemctl show phishcnn.service -p MemoryMax,CPUQuotaPerSecUSec,User").stdout
    assert {"MemoryMax=268435456", "CPUQuotaPerSecUSec=1s", "User=phishcnn"} == set(limits.split())


def main_pid(host):
    return host.run("systemctl show phishcnn.service -p MainPID --value").stdout.strip()


def test_survives_kill(fleet):
    host = fleet.hosts["canary"]
    # An answer first: a restart that an earlier step began is over, and the process is the one that stays.
    assert score(host.address)[0] == 200
    pid = main_pid(host)
    host.run(f"kill -9 {pid}")
    # The socket outlives the service: this request waits for the next process.
    assert score(host.address)[0] == 200
    assert main_pid(host) not in ("0", pid)


def test_a_service_that_hangs_is_restarted(fleet):
    host = fleet.hosts["canary"]
    pid = main_pid(host)
    host.run(f"kill -STOP {pid}")
    eventually(lambda: main_pid(host) not in ("0", pid), 60)
    assert score(host.address)[0] == 200


def test_health_checks_in_quick_succession_restart_nothing(fleet):
    host = fleet.hosts["canary"]
    pid = main_pid(host)
    host.run("for _ in $(seq 12); do systemctl start phishcnn-health.service; done")
    assert main_pid(host) == pid


def test_a_restart_is_left_alone_however_slow(fleet):
    host = fleet.hosts["canary"]
    slow = "/run/systemd/system/phishcnn.service.d"
    host.run(f"mkdir {slow} && printf '[Service]\\nExecStartPre=/bin/sleep 8\\n' >{slow}/slow.conf")
    host.run("systemctl daemon-reload")

    def restarts():
        return host.run("systemctl show phishcnn-restart.service -p ExecMainStartTimestampMonotonic").stdout

    # A check is under way when somebody restarts the service, and the next is due, for longer than checks wait.
    before = restarts()
    check = "systemctl start --no-block phishcnn-health.service"
    host.run(f"kill -STOP {main_pid(host)} && {check} && sleep 0.5 && systemctl restart phishcnn.service")
    assert score(host.address)[0] == 200 and restarts() == before
    host.run(f"rm -r {slow} && systemctl daemon-reload")


def release(host):
    return host.run("readlink /opt/phishcnn/current").stdout.strip()


STABLE = ("--tags", "service", "--limit", "stable")
IMPORTED_VALUES = {
    "phishcnn_model_files": [str(IMPORTED)],
    "phishcnn_model": {"file": IMPORTED.name, "shadow": "", "sha256": sha256(IMPORTED.read_bytes()).hexdigest()},
}


def test_upgrade_and_rollback_fail_no_request(fleet):
    host = fleet.hosts["stable"]
    before = release(host)
    with Load(host.address) as load:
        fleet.play("site.yml", *STABLE, **IMPORTED_VALUES)
        upgraded, model = release(host), ask(host.address, 8000, "/v1/model")[2]["sha256"]
        fleet.play("rollback.yml", "--limit", "stable")
    assert load.failed == [] and load.done > 200
    assert upgraded != before and model == IMPORTED_VALUES["phishcnn_model"]["sha256"]
    assert release(host) == before
    assert ask(host.address, 8000, "/v1/model")[2]["sha256"] == COMPACT


LIBRARY = "import ctypes; print(ctypes.CDLL('libphishcnn.so.0.1').phishcnn_version_number() == 1000)"


def test_the_package_brings_command_and_library_and_goes_back(fleet, deb):
    host = fleet.hosts["stable"]
    before = release(host)
    packaged = {"phishcnn_artefact": str(deb), "phishcnn_artefact_sha256": sha256(deb.read_bytes()).hexdigest()}
    with Load(host.address) as load:
        fleet.play("site.yml", *STABLE, **packaged)
    assert load.failed == [] and load.done > 200
    assert_unchanged(fleet.play("site.yml", *STABLE, **packaged))
    assert host.run("phishcnn score --format ndjson https://example.org/").stdout.startswith('{"url"')
    assert host.run(f'python3 -c "{LIBRARY}"').stdout == "True\n"
    assert host.run("dpkg --verify phishcnn").stdout == ""
    # The role's units, not the package's, which would listen elsewhere.
    assert "/etc/systemd" in host.run("systemctl show phishcnn.service -p FragmentPath").stdout
    with_package = release(host)
    fleet.play("rollback.yml", "--limit", "stable")
    assert release(host) == before and host.run("command -v phishcnn", check=False).returncode != 0
    fleet.play("rollback.yml", "--limit", "stable")
    assert release(host) == with_package and host.run("dpkg --verify phishcnn").stdout == ""
    assert score(host.address)[0] == 200


def test_a_release_that_is_wrong_is_taken_back(fleet):
    host = fleet.hosts["stable"]
    before = release(host)
    model = IMPORTED_VALUES["phishcnn_model"] | {"sha256": "0" * 64}
    _, said = fleet.play("site.yml", *STABLE, check=False, **(IMPORTED_VALUES | {"phishcnn_model": model}))
    assert "but phishcnn_model.sha256 is" in said and "The one before runs again." in said
    assert release(host) == before and score(host.address)[0] == 200


def test_another_binary_is_refused(fleet):
    _, said = fleet.play("site.yml", *STABLE, check=False, phishcnn_artefact_sha256="0" * 64)
    assert "but phishcnn_artefact_sha256 is 0000" in said


def test_a_misspelt_setting_is_refused(fleet):
    settings = fleet.values["phishcnn_settings"] | {"max_bdy": 5}
    _, said = fleet.play("site.yml", *STABLE, check=False, phishcnn_settings=settings)
    assert "phishcnn_settings.max_bdy. Supported parameters include: admin_listen" in said


HERE = f"{NETWORK}.1"  # this machine, as the hosts see it


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Key and certificate of this machine and of the canary's address, which nobody signed but themselves."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "tls.key", folder / "tls.crt"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-subj", "/CN=phishcnn", "-addext", f"subjectAltName=IP:{HERE},IP:{NETWORK}.12"]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return key, cert


@pytest.fixture(scope="module")
def database(hosts):
    """PostgreSQL on this machine, for the hosts' network alone: its address, and a function that asks it."""
    bin = max(Path("/usr/lib/postgresql").glob("*/bin"))
    with tempfile.TemporaryDirectory() as folder:
        shutil.chown(folder, "postgres")
        own = {"user": "postgres", "group": "postgres", "extra_groups": [], "cwd": folder}
        password = Path(folder) / "password"
        password.write_text("not a secret\n")
        command = [bin / "initdb", "-D", f"{folder}/data", "-U", "phishcnn", f"--pwfile={password}"]
        command += ["--auth-local=trust", "--auth-host=scram-sha-256"]
        subprocess.run(command, check=True, capture_output=True, **own)
        with (Path(folder) / "data/pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {NETWORK}.0/24 scram-sha-256\n")
        command = [bin / "postgres", "-D", f"{folder}/data", "-k", folder, "-h", HERE, "-p", "5439", "-c", "fsync=off"]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **own)

        def ask_it(query):
            command = [bin / "psql", "-h", folder, "-p", "5439", "-U", "phishcnn", "-d", "postgres", "-Atc", query]
            return subprocess.run(command, capture_output=True, text=True, **own).stdout.strip()

        try:
            eventually(lambda: ask_it("SELECT 1") == "1")
            yield f"postgres://phishcnn:not%20a%20secret@{HERE}:5439/postgres", ask_it
        finally:
            server.send_signal(signal.SIGINT)
            server.wait()


def test_database_keys_certificate_and_who_may_reach_whom(fleet, database, certificate):
    host, other = fleet.hosts["canary"], fleet.hosts["stable"]
    address, ask_it = database
    key, cert = certificate
    given = {
        "phishcnn_feedback": {"store": "postgresql"},
        "phishcnn_feedback_url": address,
        "phishcnn_security": {"api_keys": True, "tls": True},
        "phishcnn_api_keys": ["key-of-a-test"],
        "phishcnn_tls_cert": str(cert),
        "phishcnn_tls_key": str(key),
        "phishcnn_admin_allow": ["localhost", HERE],
    }
    values = ("--tags", "service", "--limit", "canary")
    fleet.play("site.yml", *values, **given)
    assert_unchanged(fleet.play("site.yml", *values, **given))

    def say(**headers):
        connection = http.client.HTTPSConnection(
            host.address, 8000, timeout=20, context=ssl.create_default_context(cafile=str(cert))
        )
        body = json.dumps({"url": "http://feedback.example/login", "truth": "phishing"})
        connection.request("POST", "/v1/feedback", body, {"Content-Type": "application/json"} | headers)
        return connection.getresponse().status

    assert [say(), say(Authorization="Bearer another"), say(Authorization="Bearer key-of-a-test")] == [401, 401, 200]
    assert ask_it("SELECT count(*) FROM feedback") == "1"
    secret = host.run(
        "stat -c '%a %U' /etc/phishcnn/secrets /etc/phishcnn/keys/api-keys /etc/phishcnn/tls/tls.key"
    ).stdout
    assert secret.split() == ["600", "root", "640", "root", "640", "root"]

    # The public address is open to all, the admin address to this machine alone; and where the service may not go, its
    # packets end.
    reach = "curl -sk --max-time 3 -o /dev/null -w '%{http_code}' "
    assert other.run(reach + f"https://{host.address}:8000/v1/model").stdout == "200"
    assert ask(host.address, 9000, "/readyz")[0] == 200
    assert other.run(reach + f"http://{host.address}:9000/readyz", check=False).stdout == "000"
    fleet.play("site.yml", *values)  # as it was


def test_the_artefact_comes_from_a_server_only_as_it_was_promised(fleet, binary, certificate, tmp_path):
    host = fleet.hosts["canary"]
    key, cert = certificate
    (tmp_path / "phishcnn").symlink_to(binary)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    server = http.server.ThreadingHTTPServer((HERE, 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    remote = {"phishcnn_artefact": f"https://{HERE}:{server.server_port}/phishcnn"}
    values = ("--tags", "service", "--limit", "canary")
    before = release(host)
    trusted = "/usr/local/share/ca-certificates/test.crt"
    try:
        wrong = remote | {"phishcnn_artefact_sha256": "0" * 64}
        _, said = fleet.play("site.yml", *values, check=False, **wrong)
        assert "CERTIFICATE_VERIFY_FAILED" in said
        host.run(f"cat >{trusted} <<'E'\n{cert.read_text()}E\nupdate-ca-certificates")
        _, said = fleet.play("site.yml", *values, check=False, **wrong)
        assert "did not match" in said and release(host) == before
        right = remote | {"phishcnn_settings": fleet.values["phishcnn_settings"] | {"max_urls": 999}}  # a new release
        fleet.play("site.yml", *values, **right)
        assert_unchanged(fleet.play("site.yml", *values, **right))
        assert score(host.address)[0] == 200
        assert (
            host.run("sha256sum /opt/phishcnn/current/phishcnn").stdout.split()[0]
            == sha256(binary.read_bytes()).hexdigest()
        )
    finally:
        server.shutdown()
        host.run(f"rm -f {trusted}; update-ca-certificates --fresh", check=False)
