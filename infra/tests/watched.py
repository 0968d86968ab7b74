"""Two services under load, a stable one and a canary, and a Prometheus that scrapes them each second.

test_monitoring.py asks it every query of rules and dashboards; pictures.py draws what it answers."""

from __future__ import annotations

import json
import signal
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from conftest import free_port

INFRA = Path(__file__).resolve().parents[1]
RULES = INFRA / "prometheus/rules.yml"
MODELS = INFRA.parent / "weights/models"
PHISHING = "http://paypal.com.secure-login.account-verify.ru/webscr?cmd=_login"
URLS = ["https://en.wikipedia.org/wiki/Phishing", PHISHING, "https://example.org/" + "long/" * 20]


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


def query(base, expression):
    with urllib.request.urlopen(f"{base}/api/v1/query?" + urllib.parse.urlencode({"query": expression})) as answer:
        return json.load(answer)["data"]["result"]


def numbers(base, expression):
    """The values that are numbers; NaN is not one."""
    try:
        return [float(r["value"][1]) for r in query(base, expression) if r["value"][1] != "NaN"]
    except OSError:
        return []


def steady(ports: dict[str, int]) -> None:
    """The same requests to both tracks, some twenty rounds a second."""
    for port in ports.values():
        post(port, "/v1/score/batch", {"urls": URLS * 5})
        post(port, "/v1/score", {"url": URLS[1]})
        post(port, "/v1/feedback", {"url": PHISHING, "truth": "phishing", "client": str(time.time())})
    time.sleep(0.05)


@contextmanager
def watched(
    binary: Path, folder: Path, load: Callable[[dict[str, int]], None] = steady, model: Path | None = None
) -> Iterator[str]:
    """Base address of a Prometheus that has scraped both services for some time.

    Args:
        load: one round of requests, given the port of each track; repeated until the end.
        model: what both services score with; by default the released one with made-up reference shares.
    """
    if model is None:
        model = folder / "reference.safetensors"
        with_reference(MODELS / "phishcnn-compact.safetensors", model)
    processes: list[subprocess.Popen] = []
    ports: dict[str, tuple[int, int]] = {}
    over = threading.Event()

    def repeat():
        while not over.is_set():
            load({track: public for track, (public, _) in ports.items()})

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
        loader = threading.Thread(target=repeat)
        loader.start()
        targets = [{"labels": {"track": t}, "targets": [f"127.0.0.1:{p[1]}"]} for t, p in ports.items()]
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
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
