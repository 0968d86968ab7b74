"""Rules and dashboards: tested by promtool, and run on a Prometheus that scrapes two services under load."""

import json
import re
import signal
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
import yaml
from chart import ROOT, find, objects, values
from conftest import free_port

INFRA = ROOT / "infra"
RULES = INFRA / "prometheus/rules.yml"
MODELS = ROOT / "weights/models"
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((INFRA / "grafana").glob("*.json"))}
QUERIES = {
    f"{name}: {panel['title']} {target['refId']}": target["expr"]
    for name, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
    for target in panel["targets"]
} | {rule["record"]: rule["expr"] for group in GROUPS for rule in group["rules"] if "record" in rule}


ANALYSIS = {
    f"analysis: {metric['name']}": metric["provider"]["prometheus"]["query"]
    for metric in find(objects(values("canary")), "AnalysisRun")["spec"]["metrics"]
}
QUERIES |= ANALYSIS


def test_rules_fire_and_resolve():
    done = subprocess.run(
        ["promtool", "test", "rules", "rules_test.yml"], cwd=RULES.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_and_has_a_runbook():
    tests = yaml.safe_load((RULES.parent / "rules_test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == ALERTS.keys()
    # Each also has a moment without it, later than one with it.
    for name in ALERTS:
        moments = [(int(c["eval_time"][:-1]), bool(c.get("exp_alerts"))) for c in cases if c["alertname"] == name]
        fires, rests = ([minute for minute, firing in moments if firing == wanted] for wanted in (True, False))
        assert max(rests) > min(fires), name
    pages = {path.stem: path.read_text() for path in (INFRA / "runbooks").glob("*.md")}
    assert pages.keys() == ALERTS.keys()
    for name, page in pages.items():
        assert ALERTS[name]["annotations"]["runbook"] == f"infra/runbooks/{name}.md"
        assert page.startswith(f"# {name}\n") and "\n## Look\n" in page and "\n## Act\n" in page


def with_reference(path, to):
    """The model with made-up reference shares, so that the service measures drift."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    shares = "20:0.2 40:0.5 +:0.3"
    metadata = header["__metadata__"] | {"phishcnn.reference": f"length {shares}; logit 0:0.5 +:0.5"}
    header["__metadata__"] = dict(sorted(metadata.items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    to.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def post(port, path, body):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code


def until(true, seconds, what):
    deadline = time.monotonic() + seconds
    while not (got := true()):
        assert time.monotonic() < deadline, what
        time.sleep(0.3)
    return got


PHISHING = "http://paypal.com.secure-login.account-verify.ru/webscr?cmd=_login"
URLS = ["https://en.wikipedia.org/wiki/Phishing", PHISHING, "https://example.org/" + "long/" * 20]


@pytest.fixture(scope="module")
def prometheus(binary, tmp_path_factory):
    """Base address of a Prometheus that has scraped a stable and a canary service for some time."""
    folder = tmp_path_factory.mktemp("monitoring")
    model = folder / "reference.safetensors"
    with_reference(MODELS / "phishcnn-compact.safetensors", model)
    processes, ports, over = [], {}, threading.Event()

    def load():
        while not over.is_set():
            for public, _ in ports.values():
                post(public, "/v1/score/batch", {"urls": URLS * 5})
                post(public, "/v1/score", {"url": URLS[1]})
                post(public, "/v1/feedback", {"url": PHISHING, "truth": "phishing", "client": str(time.time())})
            time.sleep(0.05)

    try:
        for track in "stable", "canary":
            ports[track] = (free_port(), free_port())
            environment = {
                "PHISHCNN_LISTEN": f"127.0.0.1:{ports[track][0]}",
                "PHISHCNN_ADMIN_LISTEN": f"127.0.0.1:{ports[track][1]}",
                "PHISHCNN_FEEDBACK": str(folder / f"{track}.sqlite"),
                "PHISHCNN_MODEL": str(model),
                "PHISHCNN_SHADOW": str(MODELS / "dephides-retrained.safetensors"),
            }
            log = (folder / f"{track}.log").open("w")
            processes.append(subprocess.Popen([binary, "serve"], env=environment, stderr=log))

        def ready(track):
            try:
                return urllib.request.urlopen(f"http://127.0.0.1:{ports[track][1]}/readyz").status == 200
            except OSError:
                return False

        for track in ports:
            until(lambda track=track: ready(track), 20, (folder / f"{track}.log").read_text())
            processes[list(ports).index(track)].send_signal(signal.SIGHUP)
        loader = threading.Thread(target=load)
        loader.start()
        targets = [{"labels": {"track": t}, "targets": [f"127.0.0.1:{p[1]}"]} for t, p in ports.items()]
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES.resolve())],
            "scrape_configs": [{"job_name": "phishcnn", "static_configs": targets}],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        subprocess.run(["promtool", "check", "config", folder / "prometheus.yml"], check=True, capture_output=True)
        port = free_port()
        options = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        processes.append(
            subprocess.Popen(
                ["prometheus", *options, f"--web.listen-address=127.0.0.1:{port}"],
                stderr=(folder / "prometheus.log").open("w"),
            )
        )
        base = f"http://127.0.0.1:{port}"
        # What comes last: a rate over two evaluations of the rules.
        for track in ports:
            recorded = f'phishcnn:flagged:ratio_rate1h{{track="{track}"}}'
            until(lambda recorded=recorded: numbers(base, recorded), 60, f"no recording of {track}")
        yield base
        over.set()
        loader.join()
    finally:
        over.set()
        for process in processes:
            process.kill()
            process.wait()


def query(base, expression):
    with urllib.request.urlopen(f"{base}/api/v1/query?" + urllib.parse.urlencode({"query": expression})) as answer:
        return json.load(answer)["data"]["result"]


def numbers(base, expression):
    """The values that are numbers; NaN is not one."""
    try:
        return [float(r["value"][1]) for r in query(base, expression) if r["value"][1] != "NaN"]
    except OSError:
        return []


@pytest.mark.parametrize("name", QUERIES)
def test_query_returns_numbers(name, prometheus):
    until(lambda: numbers(prometheus, QUERIES[name]), 20, f"no data for {QUERIES[name]}")


@pytest.mark.parametrize("name", ANALYSIS)
def test_analysis_of_nobody_has_no_number(name, prometheus):
    assert numbers(prometheus, ANALYSIS[name].replace('"canary"', '"nobody"')) == []


def test_tracks_are_told_apart(prometheus):
    def tracks():
        return {r["metric"]["track"] for r in query(prometheus, "phishcnn:requests:rate5m")}

    until(lambda: tracks() == {"stable", "canary"}, 20, "both tracks have a rate")
    assert tracks() == {"stable", "canary"}


def test_alerts_use_metrics_that_exist(prometheus):
    """An alert is silent as it should be, or because a name is misspelt; this tells the two apart."""
    for name, rule in ALERTS.items():
        used = re.findall(r"\b(?:up|phishcnn[\w:]*)\b", re.sub('"[^"]*"', "", rule["expr"]))
        assert used, name
        for metric in used:
            assert query(prometheus, metric), f"{name}: {metric}"


def test_no_alert_fires_without_a_reason(prometheus):
    with urllib.request.urlopen(f"{prometheus}/api/v1/rules") as answer:
        groups = json.load(answer)["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == sum(len(group["rules"]) for group in GROUPS)
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
    assert [rule["name"] for rule in rules if rule.get("state") == "firing"] == []
