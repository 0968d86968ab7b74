"""The service against FastAPI and Flask with ONNX Runtime, paired in one run: `make bench-service`.

Every round loads each server in turn with the same requests on loopback, so that whatever else
the machine does meets all of them. Writes the medians over the rounds to RESULTS.md.
"""

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import onnx

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]
import networks  # noqa: E402

ROOT = HERE.parent.parent
TICKS = os.sysconf("SC_CLK_TCK")
BIN = pathlib.Path(sys.executable).parent
URLS = [f"https://login{i}.example.com/account/{i % 7}" for i in range(1000)]


def servers(model, int8, onnx_file, threshold):
    """Name, command and port of each server."""
    base = os.environ | {"ONNX_MODEL": onnx_file, "PHISHING_LOGIT": threshold, "PYTHONPATH": f"{HERE}:{HERE.parent}"}
    # As their documentation has it: a worker a core, C parser and loop, threads to keep connections.
    uvicorn = [BIN / "uvicorn", "fastapi_app:app", "--workers", "2", "--no-access-log", "--log-level", "warning"]
    gunicorn = [BIN / "gunicorn", "flask_app:app", "--workers", "2", "--worker-class", "gthread", "--threads", "32"]
    ours = [ROOT / "target/release/phishcnn", "serve", "--feedback", "none"]
    return {
        "phishcnn": ([*ours, "--model", model, "--listen", "127.0.0.1:8801"], 8801, os.environ),
        "phishcnn, int8": ([*ours, "--model", int8, "--listen", "127.0.0.1:8804"], 8804, os.environ),
        "FastAPI": ([*uvicorn, "--port", "8802"], 8802, base),
        "Flask": ([*gunicorn, "--bind", "127.0.0.1:8803", "--log-level", "warning"], 8803, base),
    }


def post(port, path, body):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    return json.load(urllib.request.urlopen(request, timeout=60))


def family(pid):
    """A process and its descendants."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(p for child in children for p in family(int(child)))]


def cpu(pid):
    """Seconds of CPU that the processes have used."""
    fields = [pathlib.Path(f"/proc/{p}/stat").read_text().rsplit(") ", 1)[1].split() for p in family(pid)]
    return sum(int(f[11]) + int(f[12]) for f in fields) / TICKS


def resident(pid):
    """Bytes resident, pages that workers share counted once."""
    texts = [pathlib.Path(f"/proc/{p}/smaps_rollup").read_text() for p in family(pid)]
    return sum(int(re.search(r"Pss:\s+(\d+)", text)[1]) * 1024 for text in texts)


@contextlib.contextmanager
def started(command, port, environment):
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, cwd=HERE)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                post(port, "/predict", {"data": ["warm"]})
                break
            time.sleep(0.1)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def wrk(port, connections, seconds):
    """Requests, requests/s, p50, p99 and longest in ms, answers that are no success, time-outs, socket errors."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "5s", "-s", "requests.lua"]
    out = subprocess.run([*command, f"http://127.0.0.1:{port}"], cwd=HERE, capture_output=True, text=True).stdout
    n, micros, p50, p99, longest, status, late, broken = map(int, re.search("RESULT (.*)", out)[1].split())
    return n, n / micros * 1e6, p50 / 1e3, p99 / 1e3, longest / 1e3, status, late, broken


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    models = ROOT / "benches/models"
    parser.add_argument("--model", default=str(models / "f32.safetensors"), help="of float32")
    parser.add_argument("--int8", default=str(models / "int8.safetensors"), help="its int8 form")
    arguments = parser.parse_args()
    folder = tempfile.mkdtemp()
    weights, metadata = networks.read(pathlib.Path(arguments.model).read_bytes())
    onnx_file = f"{folder}/model.onnx"
    os.environ["TRIGRAM_ROWS"] = str(networks.trigram_rows(weights))
    onnx.save(networks.onnx_model(weights, metadata), onnx_file)
    threshold = re.search("phishing=([^ ]+)", metadata["phishcnn.thresholds"])[1]

    figures = {}
    note = figures.setdefault
    with contextlib.ExitStack() as running:
        pids, ports = {}, {}
        for name, (command, port, environment) in servers(
            arguments.model, arguments.int8, onnx_file, threshold
        ).items():
            pids[name], ports[name] = running.enter_context(started(command, port, environment)), port
            note((name, "rest"), []).append(resident(pids[name]))
        verify(onnx_file, threshold, ports)
        for _ in range(arguments.rounds):
            for name, port in ports.items():
                before = cpu(pids[name])
                n, rate, p50, p99, *_ = wrk(port, 64, arguments.seconds)
                note((name, "cpu"), []).append((cpu(pids[name]) - before) / n * 1e6)
                for what, value in ("rate", rate), ("p50", p50), ("p99", p99), ("rss", resident(pids[name])):
                    note((name, what), []).append(value)
            for name, model in ("phishcnn", arguments.model), ("phishcnn, int8", arguments.int8):
                note((name, "batch"), []).append(batch(pids[name], ports[name], model, folder))
        overload = {name: wrk(port, 2000, 2 * arguments.seconds) for name, port in ports.items()}
        after = {name: wrk(port, 8, 1)[5:] for name, port in ports.items()}
    write(figures, overload, after, arguments)


def verify(onnx_file, threshold, ports):
    """ONNX Runtime and the service have the same logits, and all three servers the same answers."""
    os.environ |= {"ONNX_MODEL": onnx_file, "PHISHING_LOGIT": threshold}
    import peer

    some = [
        *URLS[:200],
        "https://en.wikipedia.org/wiki/Phishing",
        "a",
        "http://paypal.com.verify.ru/webscr?cmd=_login" * 9,
    ]
    for url in some:
        ours = post(ports["phishcnn"], "/v1/score", {"url": url})["logit"]
        assert abs(ours - peer.logit(url)) < 1e-4 * max(1, abs(ours)), url
    # int8 has thresholds of its own.
    same = [post(port, "/predict", {"data": some}) for name, port in ports.items() if "int8" not in name]
    assert same[0] == same[1] == same[2] and 1 in same[0]["prediction"]


def batch(pid, port, model, folder):
    """CPU seconds per URL: by HTTP in lists of 1,000, and by the command line on one thread."""
    before = cpu(pid)
    for _ in range(40):
        post(port, "/v1/score/batch", {"urls": URLS})
    by_http = (cpu(pid) - before) / 40_000
    file = pathlib.Path(folder, "urls.txt")
    file.write_text("\n".join(URLS * 40))
    before = os.times()
    command = [
        ROOT / "target/release/phishcnn",
        "score",
        file,
        "--format",
        "ndjson",
        "--threads",
        "1",
        "--model",
        model,
    ]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    used = os.times()
    by_line = (used.children_user + used.children_system - before.children_user - before.children_system) / 40_000
    return by_http, by_line


def write(figures, overload, after, arguments):
    median = {key: statistics.median(values) for key, values in figures.items() if key[1] != "batch"}
    cpu_name = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())[1]
    packages = ["fastapi", "uvicorn", "flask", "gunicorn", "onnxruntime", "numpy"]
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in packages)
    load = os.getloadavg()[2]
    lines = [
        "# The service against FastAPI and Flask with ONNX Runtime",
        "",
        f"{datetime.date.today()}; {cpu_name}, {os.cpu_count()} cores, shared and noisy (load of the last 15 minutes: "
        f"{load:.1f}); {versions}; Python {sys.version.split()[0]}. `make bench-service`, {arguments.rounds} interleaved "
        f"rounds of {arguments.seconds} s, `wrk` on the same machine: CPU per request and ratios hold, rates and "
        "times only roughly.",
        "",
        "`POST /predict` with one URL, 64 connections, the same network on all sides (ONNX in its faster "
        "two-dimensional form, ids from our own tokenizer; logits agree to 1e-4), and ours with its int8 form too:",
        "",
        "| | server CPU per request | ratio | requests/s | p50 | p99 | memory at rest | under load |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in overload:
        m = {what: median[name, what] for what in ("cpu", "rate", "p50", "p99", "rest", "rss")}
        pairs = zip(figures[name, "cpu"], figures["phishcnn", "cpu"], strict=True)
        ratio = statistics.median(theirs / ours for theirs, ours in pairs)
        lines.append(
            f"| {name} | {m['cpu']:.0f} µs | {ratio:.1f} | {m['rate']:,.0f} | {m['p50']:.1f} ms | {m['p99']:.1f} ms | "
            f"{m['rest'] / 2**20:.0f} MiB | {m['rss'] / 2**20:.0f} MiB |"
        )
    lines += [
        "",
        "Lists of 1,000 URLs, CPU per URL, beside `phishcnn score` on one thread:",
        "",
        "| | by HTTP | by the command line | throughput per CPU second | single request | of it not scoring |",
        "|---|---|---|---|---|---|",
    ]
    for name in ("phishcnn", "phishcnn, int8"):
        pairs, one = figures[name, "batch"], median[name, "cpu"]
        http, line = (statistics.median(pair[i] for pair in pairs) * 1e6 for i in (0, 1))
        share = statistics.median(b / a for a, b in pairs)
        lines.append(f"| {name} | {http:.1f} µs | {line:.1f} µs | {share:.0%} | {one:.0f} µs | {one - line:.0f} µs |")
    lines += [
        "",
        "Overload, 2,000 connections that never pause (the service has room for 960; more are told to come back):",
        "",
        "| | answers/s | of them 503 | p99 | longest | over 5 s | connections broken off | fails afterwards |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, (_, rate, _, p99, longest, status, late, broken) in overload.items():
        lines.append(
            f"| {name} | {rate:,.0f} | {status:,} | {p99:.0f} ms | {longest:.0f} ms | {late} | {broken:,} | {sum(after[name])} |"
        )
    (HERE / "RESULTS.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
