"""docs/dashboard-NAME.png: what the panels of the dashboards show of two minutes of made-up traffic.

`make -C infra pictures`, after a change of dashboards.py. The queries are the dashboards' own, asked of a real
Prometheus that watches two services; the drawing is not Grafana's."""

from __future__ import annotations

import argparse
import json
import math
import random
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

import matplotlib
from tqdm import tqdm
from watched import INFRA, MODELS, post, watched

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import EngFormatter, FuncFormatter, PercentFormatter

ROOT = INFRA.parent
COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#6b46c1", "#b83280", "#4a5568", "#d69e2e", "#319795")
FORMATS = {
    "percentunit": PercentFormatter(1, decimals=None),
    "bytes": EngFormatter("B", sep=" "),
    "s": EngFormatter("s", sep=" "),
    "reqps": EngFormatter("/s", sep=" "),
    "short": FuncFormatter(lambda value, _: f"{value:g}"),
}
PAGES = [
    line.split("\t")[3]
    for line in (ROOT / "weights/fixtures/top_sites.tsv").read_text().splitlines()
    if line and not line.startswith("#")
]
EVIL = ("secure-login.account-verify.ru", "verify-0{n}.web.app", "login-{n}.icu", "id{n}.top", "update-{n}.duckdns.org")


def phishing(rng: random.Random) -> str:
    host = rng.choice(PAGES).split("/")[2].removeprefix("www.")
    return f"http://{host}.{rng.choice(EVIL).format(n=rng.randrange(10_000))}/{rng.choice(('login', 'webscr', 'x'))}"


class Traffic:
    """People's traffic as a wave, a burst of phishing in the second half, one request in five to the canary."""

    def __init__(self, seconds: float) -> None:
        self.rng, self.start, self.seconds = random.Random(1), time.monotonic(), seconds

    def __call__(self, ports: dict[str, int]) -> None:
        rng, at = self.rng, (time.monotonic() - self.start) / self.seconds
        evil = 0.25 if 0.55 < at < 0.8 else 0.03
        port = ports["canary" if rng.random() < 0.2 else "stable"]
        urls = [phishing(rng) if rng.random() < evil else rng.choice(PAGES) for _ in range(rng.choice((1, 1, 2, 20)))]
        kind = rng.random()
        if kind < 0.7:
            post(port, "/v1/score", {"url": urls[0]})
        elif kind < 0.9:
            post(port, "/v1/score/batch", {"urls": urls})
        elif kind < 0.92:
            post(port, "/v1/score", {"url": ""})  # refused
        else:
            truth = "phishing" if rng.random() < 0.5 else "legitimate"
            url = phishing(rng) if truth == "phishing" else rng.choice(PAGES)
            post(port, "/v1/feedback", {"url": url, "truth": truth, "client": str(rng.randrange(40))})
        time.sleep(0.01 * (1.6 + math.sin(at * 9)))


def series(base: str, expression: str, start: float, end: float) -> list[dict]:
    asked = urllib.parse.urlencode({"query": expression, "start": start, "end": end, "step": (end - start) / 240})
    with urllib.request.urlopen(f"{base}/api/v1/query_range?{asked}") as answer:
        return json.load(answer)["data"]["result"]


def label(legend: str, metric: dict[str, str]) -> str:
    for name, value in metric.items():
        legend = legend.replace(f"{{{{{name}}}}}", value[:8] if name == "sha256" else value)
    return legend


def moments(seconds: float) -> list[str]:
    return [f"−{round(seconds / 60)} min", f"−{round(seconds / 120)} min", "now"]


def heatmap(axes, found: list[dict], times: list[float]) -> None:
    """Counts of cumulative buckets, as shares of each moment."""
    found = sorted(found, key=lambda r: float(r["metric"]["le"]))
    by_time = [[dict(r["values"]).get(t, "nan") for t in times] for r in found]
    cumulative = [[float(x) for x in row] for row in by_time]
    shares = []
    for i, row in enumerate(cumulative):
        below = cumulative[i - 1] if i else [0.0] * len(times)
        shares.append([max(0, a - b) / top if top else 0 for a, b, top in zip(row, below, cumulative[-1], strict=True)])
    axes.imshow(shares, aspect="auto", origin="lower", cmap="Blues", interpolation="nearest")
    axes.set_yticks(range(len(found)), [f"≤ {r['metric']['le']}".replace("≤ +Inf", "more") for r in found], fontsize=6)
    axes.set_xticks([0, len(times) / 2, len(times) - 1], moments(times[-1] - times[0]))


def draw(name: str, base: str, start: float, end: float, target: Path) -> None:
    panels = json.loads((INFRA / f"grafana/{name}.json").read_text())["panels"]
    rows = -(-len(panels) // 3)
    figure, grid = plt.subplots(rows, 3, figsize=(14, 2.5 * rows), layout="constrained")
    for axes, panel in zip(grid.flat, panels, strict=False):
        axes.set_title(panel["title"], fontsize=9, loc="left", fontweight="bold")
        axes.tick_params(labelsize=7, length=2)
        for edge in ("top", "right"):
            axes.spines[edge].set_visible(False)
        lines = [(t["legendFormat"], r) for t in panel["targets"] for r in series(base, t["expr"], start, end)]
        if panel["type"] == "heatmap":
            times = sorted({at for _, r in lines for at, _ in r["values"]})
            heatmap(axes, [r for _, r in lines], times)
            continue
        for i, (legend, result) in enumerate(lines):
            x, y = zip(*((at - end, float(value)) for at, value in result["values"]), strict=True)
            axes.plot(x, y, lw=1.4, color=COLOURS[i % len(COLOURS)], label=label(legend, result["metric"]))
        axes.set_xlim(start - end, 0)
        axes.set_xticks([start - end, (start - end) / 2, 0], moments(end - start))
        axes.yaxis.set_major_formatter(FORMATS[panel["fieldConfig"]["defaults"]["unit"]])
        top = max((float(value) for _, r in lines for _, value in r["values"]), default=0) or 1
        axes.set_ylim(0, top * (1.15 + 0.09 * math.ceil(len(lines) / 2)))  # room for the legend
        axes.grid(axis="y", color="#e2e8f0", lw=0.6)
        axes.legend(fontsize=6, frameon=False, loc="upper left", ncols=2)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    figure.savefig(target, dpi=80)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/phishcnn")
    args = parser.parse_args()
    model = MODELS / "phishcnn-compact.safetensors"
    with tempfile.TemporaryDirectory() as folder:
        start = time.time()
        with watched(args.binary, Path(folder), Traffic(args.seconds), model) as base:
            for _ in tqdm(range(int(start + args.seconds - time.time())), desc="traffic", unit="s"):
                time.sleep(1)
            for path in sorted((INFRA / "grafana").glob("*.json")):
                draw(path.stem, base, start, time.time(), ROOT / f"docs/dashboard-{path.stem}.png")


if __name__ == "__main__":
    main()
