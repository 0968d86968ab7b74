"""The gateway's configuration on a real HAProxy before two real services: share, stickiness, limit."""

import http.client
import json
import math
import os
import shutil
import ssl
import subprocess
import sys
import time

import pytest
from conftest import BIN, HERE, free_port

HEADER, COOKIE = "x-phishcnn-version", "phishcnn-version"


class Gateway:
    """HAProxy with the role's configuration for these variables."""

    def __init__(self, services, folder, **variables):
        self.port = free_port()
        port, admin, _ = services
        hosts = {"stable1": {"ansible_host": "127.0.0.2"}, "canary1": {"ansible_host": "127.0.0.3"}}
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts | {"localhost": local}}}))
        extra = {
            "file": str(folder / "haproxy.cfg"),
            "gateway_listen": f"127.0.0.1:{self.port}",
            "gateway_stable": ["stable1"],
            "gateway_canary": ["canary1"],
            "gateway_port": port,
            "gateway_admin_port": admin,
            "gateway_health": {"interval": 1, "timeout": 1, "failures": 1},
        } | variables
        subprocess.run(
            [BIN / "ansible-playbook", "-i", folder / "hosts.json", "-e", json.dumps(extra), HERE / "gateway.yml"],
            check=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"ANSIBLE_HOME": str(folder / "ansible")},
        )
        text = (folder / "haproxy.cfg").read_text()
        # What belongs to a host, not to a test: Debian's user and folders, and the fixed metrics port.
        for line in "chroot /var/lib/haproxy", "user haproxy", "group haproxy", "master-worker":
            assert f"    {line}\n" in text
            text = text.replace(f"    {line}\n", "")
        text = text.replace("/run/haproxy/admin.sock", str(folder / "admin.sock")).replace(
            "127.0.0.1:8405", f"127.0.0.1:{free_port()}"
        )
        if pem := variables.get("gateway_tls_pem"):
            assert "ssl crt /etc/haproxy/phishcnn.pem" in text
            text = text.replace("/etc/haproxy/phishcnn.pem", pem)
        (folder / "haproxy.cfg").write_text(text)
        done = subprocess.run(["haproxy", "-c", "-f", folder / "haproxy.cfg"], capture_output=True, text=True)
        # Valid, and without a warning.
        assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
        log = (folder / "haproxy.log").open("w")
        self.process = subprocess.Popen(["haproxy", "-db", "-f", folder / "haproxy.cfg"], stdout=log, stderr=log)
        self.socket = folder / "admin.sock"
        deadline = time.monotonic() + 20
        while not self.up("stable", "canary"):
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def up(self, *tracks):
        """Whether the proxy itself found these healthy; asks no service."""
        import socket

        with socket.socket(socket.AF_UNIX) as admin:
            try:
                admin.connect(str(self.socket))
            except OSError:
                return False
            admin.sendall(b"show stat\n")
            text = b"".join(iter(lambda: admin.recv(65536), b"")).decode()
        states = {
            line.split(",")[0]: line.split(",")[17]
            for line in text.splitlines()
            if ",BACKEND," not in line and line.count(",") > 17
        }
        checked = {
            line.split(",")[0]: line
            for line in text.splitlines()
            if line.startswith(("stable,stable1", "canary,canary1"))
        }
        return all(states.get(track) == "UP" and "L7OK" in checked[track] for track in tracks)

    def ask(self, connection=None, **headers):
        """Status, headers and answer of one request."""
        own = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        own.request("GET", "/v1/model", headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = own.getresponse()
        text = answer.read()
        if connection is None:
            own.close()
        return answer.status, answer.headers, json.loads(text)


@pytest.fixture
def gateway(services, tmp_path):
    assert shutil.which("haproxy"), "haproxy is missing: setup.sh installs it"
    started = []

    def start(**variables):
        started.append(Gateway(services, tmp_path, **variables))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


def test_a_tenth_goes_to_the_canary(gateway, canary_digest):
    """10,000 draws lie within the 99.99 % interval of the binomial distribution."""
    gate = gateway(gateway_canary_weight=10)
    connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=10)
    seen = []
    for _ in range(10_000):
        status, headers, answer = gate.ask(connection)
        assert status == 200
        seen.append(headers[HEADER])
        assert headers["set-cookie"].startswith(f"{COOKIE}={headers[HEADER]};")
        # The header says what really answered.
        assert (answer["sha256"] == canary_digest) == (headers[HEADER] == "canary")
    canary = seen.count("canary")
    print(f"canary {canary} of {len(seen)}")
    assert abs(canary - 1000) <= 3.891 * math.sqrt(10_000 * 0.1 * 0.9)
    # Drawn, not dealt: a fixed turn would show the canary at fixed distances.
    places = [i for i, track in enumerate(seen) if track == "canary"]
    assert len({b - a for a, b in zip(places, places[1:], strict=False)}) > 20


def test_clients_stay_and_can_ask(gateway):
    gate = gateway(gateway_canary_weight=10)
    for track in "stable", "canary":
        for _ in range(50):
            _, headers, _ = gate.ask(cookie=f"a=b; {COOKIE}={track}")
            assert headers[HEADER] == track and "set-cookie" not in headers
            _, headers, _ = gate.ask(
                x_phishcnn_version=track, cookie=f"{COOKIE}={'stable' if track == 'canary' else 'canary'}"
            )
            assert headers[HEADER] == track
    # Nonsense is drawn like nothing.
    assert "set-cookie" in gate.ask(cookie=f"{COOKIE}=v7", x_phishcnn_version="v7")[1]


def test_no_weight_no_canary(gateway):
    gate = gateway()
    assert {gate.ask(x_phishcnn_version="canary")[1][HEADER] for _ in range(50)} == {"stable"}


def test_the_eleventh_request_in_a_minute_waits(gateway):
    gate = gateway(gateway_rate_limit={"enabled": True, "requestsPerMinute": 10})
    answers = [gate.ask() for _ in range(12)]
    assert [status for status, _, _ in answers] == [200] * 10 + [429] * 2
    _, headers, problem = answers[10]
    assert headers["retry-after"] == "60" and headers["content-type"] == "application/problem+json"
    assert problem["code"] == 501
    # Nobody talks his way out with a forged address.
    assert gate.ask(x_forwarded_for="192.0.2.7")[0] == 429


def test_tls_by_the_certificate_and_nothing_else(gateway, tmp_path):
    certificate = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    certificate += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    files = ["-keyout", tmp_path / "key", "-out", tmp_path / "crt"]
    subprocess.run([*certificate, *files], check=True, capture_output=True)
    (tmp_path / "pem").write_text((tmp_path / "crt").read_text() + (tmp_path / "key").read_text())
    gate = gateway(gateway_tls_pem=str(tmp_path / "pem"))
    trusting = ssl.create_default_context(cafile=tmp_path / "crt")
    status, headers, _ = gate.ask(http.client.HTTPSConnection("localhost", gate.port, timeout=10, context=trusting))
    assert status == 200 and headers[HEADER] == "stable"
    # Who does not know the certificate gets nothing, nor does who speaks plainly or an old TLS.
    stranger = http.client.HTTPSConnection("localhost", gate.port, timeout=10, context=ssl.create_default_context())
    with pytest.raises(ssl.SSLCertVerificationError):
        gate.ask(stranger)
    with pytest.raises((http.client.HTTPException, OSError)):
        gate.ask()
    old = ["openssl", "s_client", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-connect", f"127.0.0.1:{gate.port}"]
    assert subprocess.run(old, stdin=subprocess.DEVNULL, capture_output=True).returncode != 0
    new = ["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{gate.port}"]
    assert subprocess.run(new, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def test_a_canary_that_is_down_costs_no_answer(gateway, services):
    gate = gateway(gateway_canary_weight=50)
    _, _, running = services
    running["canary"].kill()
    running["canary"].wait()
    answers = [gate.ask() for _ in range(200)]
    assert {status for status, _, _ in answers} == {200}
    assert answers[-1][1][HEADER] == "stable"
