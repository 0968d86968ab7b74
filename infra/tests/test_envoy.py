"""The chart's routes and rate limit on a real Envoy, the proxy that Istio drives, before two real services.

Istio itself, which turns its objects into Envoy's configuration, runs only in a cluster; `envoy` below
does that turning for what the chart uses. Weights, matches, headers and patches are read from the
rendered objects; Envoy refuses fields that it does not know.
"""

import http.client
import json
import math
import socket
import subprocess
import time

import pytest
from chart import find, objects
from conftest import BIN, free_port

HEADER, COOKIE, HOST = "x-phishcnn-version", "phishcnn-version", "phishcnn.example.org"


def string_match(rule):
    [(kind, value)] = rule.items()
    return {"exact": value} if kind == "exact" else {"safe_regex": {"regex": value}}


def route(rule):
    """One of Envoy's routes from one of the VirtualService's."""
    wanted = [
        {"name": name, "string_match": string_match(value)}
        for match in rule.get("match", [])
        for name, value in match["headers"].items()
    ]
    clusters = []
    for one in rule["route"]:
        added = one.get("headers", {}).get("response", {}).get("add", {})
        clusters.append(
            {
                "name": one["destination"]["subset"],
                "weight": one.get("weight", 100),
                "response_headers_to_add": [
                    {"header": {"key": key, "value": value}, "append_action": "APPEND_IF_EXISTS_OR_ADD"}
                    for key, value in added.items()
                ],
            }
        )
    return {"match": {"prefix": "/", "headers": wanted}, "route": {"weighted_clusters": {"clusters": clusters}}}


def merge(into, patch):
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        elif isinstance(value, list) and isinstance(into.get(key), list):
            into[key] += value
        else:
            into[key] = value


def envoy(made, port, service_port):
    """Envoy's configuration: the VirtualService's routes, patched by the EnvoyFilter."""
    virtual = find(made, "VirtualService")["spec"]
    host = {
        "name": f"{virtual['hosts'][0]}:80",
        "domains": ["*"],
        "routes": [route(rule) for rule in virtual["http"]],
    }
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    }
    filters, patched = [router], 0
    for thing in made:
        if thing["kind"] != "EnvoyFilter":
            continue
        for patch in thing["spec"]["configPatches"]:
            if patch["applyTo"] == "HTTP_FILTER":
                assert patch["patch"]["operation"] == "INSERT_BEFORE"
                filters.insert(filters.index(router), patch["patch"]["value"])
            else:
                # A name that is no host's would change nothing, without a word.
                assert patch["match"]["routeConfiguration"]["vhost"]["name"] == host["name"]
                merge(host, patch["patch"]["value"])
            patched += 1
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "http_filters": filters,
        "route_config": {"virtual_hosts": [host]},
    }

    def address(ip, port):
        return {"socket_address": {"address": ip, "port_value": port}}

    listener = {
        "address": address("127.0.0.1", port),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    clusters = [
        {
            "name": track,
            "connect_timeout": "2s",
            "load_assignment": {
                "cluster_name": track,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(ip, service_port)}}]}],
            },
        }
        for track, ip in (("stable", "127.0.0.2"), ("canary", "127.0.0.3"))
    ]
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}, patched


VALUES = {
    "version": "0.1.0",
    "canary": {"enabled": True, "weight": 10, "model": {"file": "candidate.safetensors"}},
    "modelVolume": {"configMap": "models"},
    "istio": {"enabled": True, "hosts": [HOST]},
}


@pytest.fixture
def gateway(services, tmp_path):
    """Starts Envoy for these values of the chart; returns a function that asks it."""
    port, _, _ = services
    processes = []

    def start(values):
        public = free_port()
        configuration, patched = envoy(objects(values), public, port)
        assert patched == (2 if values["istio"].get("rateLimit") else 0)
        path = tmp_path / "envoy.json"
        path.write_text(json.dumps(configuration))
        command = [BIN / "envoy", "--config-path", path, "--log-level", "warning", "--concurrency", "2"]
        # Shared memory of a hot restart would collide with another Envoy's.
        command.append("--disable-hot-restart")
        done = subprocess.run([*command, "--mode", "validate"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        log = (tmp_path / "envoy.log").open("w")
        processes.append(subprocess.Popen(command, stdout=log, stderr=log))

        def ask(connection=None, **headers):
            own = connection or http.client.HTTPConnection("127.0.0.1", public, timeout=10)
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            own.request("GET", "/v1/model", headers={"host": HOST} | named)
            answer = own.getresponse()
            text = answer.read()
            if connection is None:
                own.close()
            return answer.status, answer.headers, text

        def listens():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", public)) == 0

        deadline = time.monotonic() + 30
        while not listens():
            assert processes[-1].poll() is None and time.monotonic() < deadline, (tmp_path / "envoy.log").read_text()
            time.sleep(0.1)
        return ask, lambda: http.client.HTTPConnection("127.0.0.1", public, timeout=10)

    yield start
    for process in processes:
        process.kill()
        process.wait()


def track(answer, digest):
    return "canary" if json.loads(answer)["sha256"] == digest else "stable"


def test_one_in_ten_of_ten_thousand(gateway, canary_digest):
    ask, connect = gateway(VALUES)
    connection = connect()
    seen = []
    for _ in range(10_000):
        status, headers, text = ask(connection)
        assert status == 200
        seen.append(track(text, canary_digest))
        assert headers["set-cookie"].startswith(f"{COOKIE}={seen[-1]};")
    canary = seen.count("canary")
    print(f"canary {canary} of {len(seen)}")
    # As on the hosts' gateway: one healthy run in ten thousand lies outside.
    assert abs(canary - 1000) <= 3.891 * math.sqrt(10_000 * 0.1 * 0.9)


def test_clients_stay_and_can_ask(gateway, canary_digest):
    ask, _ = gateway(VALUES)
    for wanted, other in ("stable", "canary"), ("canary", "stable"):
        for _ in range(30):
            _, headers, text = ask(cookie=f"a=b; {COOKIE}={wanted}; c=d")
            assert track(text, canary_digest) == wanted and "set-cookie" not in headers
            _, _, text = ask(x_phishcnn_version=wanted, cookie=f"{COOKIE}={other}")
            assert track(text, canary_digest) == wanted
    # A cookie whose name only ends like ours is drawn like none.
    assert "set-cookie" in ask(cookie=f"not-{COOKIE}=canary")[1]


def test_the_eleventh_request_in_a_minute_waits(gateway):
    ask, _ = gateway(VALUES | {"istio": VALUES["istio"] | {"rateLimit": {"enabled": True}}})
    answers = [ask() for _ in range(12)]
    assert [status for status, _, _ in answers] == [200] * 10 + [429] * 2
    assert answers[10][1]["retry-after"] == "60"
