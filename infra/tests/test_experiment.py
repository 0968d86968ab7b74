"""The comparison of two versions: its statistics by simulation, and on a real Prometheus with two real models."""

import http.client
import json
import math
import random
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import yaml
from conftest import CANARY_MODEL, ROOT, free_port

FOLDER = ROOT / "infra/experiment"
sys.path.insert(0, str(FOLDER))
import experiment  # noqa: E402

BASELINE, EFFECT, WEIGHT = 0.08, 0.02, 10


def simulate(p2, canary, looks=50, experiments=400, seed=1):
    """What is decided in each of many experiments with these true shares, looked at many times."""
    chance = np.random.default_rng(seed)
    decided, naive = [], 0
    steps = np.linspace(canary / looks, canary, looks).astype(int)
    for _ in range(experiments):
        x2 = (chance.random(canary) < p2).cumsum()
        x1 = (chance.random(canary * 9) < BASELINE).cumsum()
        alarm, found = False, "go on"
        for n in steps:
            hits, totals = {"stable": x1[9 * n - 1], "canary": x2[n - 1]}, {"stable": 9 * n, "canary": n}
            one = experiment.look(hits, totals, EFFECT, 0.05, "any")
            deviation = math.sqrt(experiment.variance(one["stable"], 9 * n, one["canary"], n))
            alarm |= n >= experiment.LEAST and abs(one["difference"]) > 1.96 * deviation
            if one["decision"] != "go on":
                found = one["decision"]
                break
        decided.append(found)
        naive += alarm
    return {what: decided.count(what) / experiments for what in ("ship", "roll back", "go on")}, naive / experiments


@pytest.fixture(scope="module")
def plan():
    return experiment.plan(BASELINE, EFFECT, WEIGHT, 0.05, 0.8)


def test_looking_often_gives_no_more_wrong_alarms(plan):
    decided, naive = simulate(BASELINE, plan["canary"])
    assert decided["roll back"] <= 0.05
    # Where nothing changed, that is said with the planned number.
    assert decided["ship"] >= 0.8
    # The ordinary test, looked at as often, would not hold its promise.
    assert naive > 0.1


def test_the_planned_number_finds_the_change(plan):
    decided, _ = simulate(BASELINE + EFFECT, plan["canary"])
    assert decided["roll back"] >= 0.8


def test_plan_says_the_same_on_the_command_line(plan):
    command = ["plan", "--baseline", str(BASELINE), "--effect", str(EFFECT), "--weight", str(WEIGHT), "--rate", "100"]
    made = json.loads(
        subprocess.run([FOLDER / "experiment.py", *command], capture_output=True, text=True, check=True).stdout
    )
    assert plan.items() <= made.items()
    assert made["hours"] == round((plan["canary"] + plan["stable"]) / 360000, 1)
    # Nine in ten go to stable.
    assert plan["stable"] == 9 * plan["canary"]


@pytest.mark.parametrize(
    "wrong",
    [
        ["--effect", "0"],
        ["--effect", "1.5"],
        ["--effect", "0.1", "--weight", "100"],
        ["--effect", "0.1", "--baseline", "0"],
    ],
)
def test_nonsense_is_refused(wrong):
    command = [FOLDER / "experiment.py", "plan", "--baseline", "0.1", *wrong]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "is not between" in done.stderr


# Some of these the two models must see differently, whichever model is built in.
CANDIDATES = [
    "https://en.wikipedia.org/wiki/Phishing",
    "http://paypal.com.secure-login.account-verify.ru/webscr",
    "http://free-gift-cards.xyz/win",
    "http://192.168.1.1/login",
    "http://bit.ly/3xyz",
    "http://verify-account.example.top/signin.php",
    "https://secure-bank-login.example.xyz/",
    "http://login.example.com@203.0.113.7/update",
]


@pytest.fixture(scope="module")
def urls(binary):
    """URLs, and by how much the canary's share of verdicts `phishing` differs from stable's among them."""
    flagged = []
    for model in [], ["--model", CANARY_MODEL]:
        command = [binary, "score", *model, "--format", "ndjson", *CANDIDATES]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        flagged.append([json.loads(line)["verdict"] == "phishing" for line in lines])
    stable, canary = flagged
    for sign in -1, 1:
        chosen = [i for i, (s, c) in enumerate(zip(stable, canary, strict=True)) if s == c or c - s == sign]
        difference = sum(canary[i] - stable[i] for i in chosen) / len(chosen)
        if abs(difference) > 0.1:
            return [CANDIDATES[i] for i in chosen], difference
    pytest.fail("the models agree about all of these: add URLs")


@pytest.fixture
def measured(services, urls, tmp_path):
    """Address of a Prometheus that scrapes both versions under load, the start, and the services."""
    port, admin, running = services
    addresses = {"stable": "127.0.0.2", "canary": "127.0.0.3"}
    targets = [{"labels": {"track": t}, "targets": [f"{a}:{admin}"]} for t, a in addresses.items()]
    scrape = {"job_name": "phishcnn", "static_configs": targets}
    (tmp_path / "prometheus.yml").write_text(
        yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]})
    )
    own, over, chance = free_port(), threading.Event(), random.Random(7)

    def load():
        while not over.is_set():
            track = "canary" if chance.random() < 0.3 else "stable"
            try:
                connection = http.client.HTTPConnection(addresses[track], port, timeout=5)
                body = json.dumps({"urls": chance.choices(urls[0], k=30)})
                connection.request("POST", "/v1/score/batch", body, {"content-type": "application/json"})
                connection.getresponse().read()
                connection.close()
            except OSError:
                pass
            time.sleep(0.03)

    options = [f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    log = (tmp_path / "prometheus.log").open("w")
    server = subprocess.Popen(["prometheus", *options, f"--web.listen-address=127.0.0.1:{own}"], stdout=log, stderr=log)
    loader = threading.Thread(target=load)
    try:
        base, deadline = f"http://127.0.0.1:{own}", time.monotonic() + 60
        loader.start()
        while True:
            try:
                if experiment.ask(base, "count by (track) (phishcnn_verdicts_total)", time.time()).keys() == set(
                    addresses
                ):
                    break
            except OSError:
                pass
            assert time.monotonic() < deadline, (tmp_path / "prometheus.log").read_text()
            time.sleep(0.3)
        yield base, time.time(), running
    finally:
        over.set()
        loader.join()
        server.kill()
        server.wait()


def read(base, since, *options):
    command = [FOLDER / "experiment.py", "read", "--prometheus", base, "--since", str(since), *options]
    # The interpreter of the tests, which has matplotlib.
    return subprocess.run([sys.executable, *command], capture_output=True, text=True)


def decided(base, since, *options, seconds=90):
    deadline = time.monotonic() + seconds
    while (done := read(base, since, *options)).returncode in (experiment.ON, experiment.SILENT):
        assert time.monotonic() < deadline, done.stdout + done.stderr
        time.sleep(1)
    return done


def test_two_models_on_a_real_prometheus(measured, urls, tmp_path):
    base, since, running = measured
    out = tmp_path / "result"
    # So sure that the test does not fail by chance.
    done = decided(base, since, "--effect", "0.1", "--alpha", "0.001", "--out", out)
    assert done.returncode == experiment.BACK, done.stdout + done.stderr
    result = json.loads((out / "result.json").read_text())
    last = result["looks"][-1]
    # The interval has the true difference, and not 0.
    assert last["low"] <= urls[1] <= last["high"] and last["low"] * last["high"] > 0
    assert all(one["decision"] == "go on" for one in result["looks"][:-1])
    assert (out / "result.png").read_bytes().startswith(b"\x89PNG") and (out / "result.png").stat().st_size > 10_000

    # Neither answers 5xx: the same experiment finds no harm in that.
    assert decided(base, since, "--metric", "errors", "--effect", "0.1").returncode == experiment.SHIP

    running["canary"].kill()
    running["canary"].wait()
    deadline = time.monotonic() + 30
    while (done := read(base, since, "--effect", "0.1")).returncode != experiment.SILENT:
        assert time.monotonic() < deadline, done.stdout
        time.sleep(1)
    assert "no numbers of canary" in done.stderr
