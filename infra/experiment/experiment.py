#!/usr/bin/env python3
"""Compares two versions that run side by side: how much traffic it takes, when to stop, what to do.

    experiment.py plan --baseline 0.08 --effect 0.01 --weight 10 --rate 50
    experiment.py read --prometheus http://127.0.0.1:9090 --since 2026-01-05T09:00:00Z --effect 0.01 --out result

README.md beside this file says why it is built this way. Needs matplotlib for the picture.
"""

import argparse
import json
import math
import sys
import time
import urllib.parse
import urllib.request
from datetime import datetime
from pathlib import Path
from statistics import NormalDist

# What is compared: a share, as two sums of counters, and which change of it is bad.
METRICS = {
    "flagged": {
        "what": "share of URLs called phishing",
        "hits": 'phishcnn_verdicts_total{verdict="phishing"}',
        "all": "phishcnn_verdicts_total",
        "bad": "any",
    },
    "errors": {
        "what": "share of answers 5xx",
        "hits": 'phishcnn_requests_total{status=~"5.."}',
        "all": "phishcnn_requests_total",
        "bad": "higher",
    },
}
TRACKS = ("stable", "canary")
# Below this many in either version the difference is not yet normally distributed.
LEAST = 100
SHIP, BACK, USAGE, ON, SILENT = 0, 1, 2, 3, 4


def variance(p1: float, n1: float, p2: float, n2: float) -> float:
    return p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2


def radius(v: float, effect: float, alpha: float) -> float:
    """Half width of the confidence sequence of a difference with variance v: right at all times at once.

    Mixture of normal alternatives with standard deviation `effect` (Robbins 1970; Johari et al. 2017).
    """
    t = effect * effect
    return math.sqrt(v * (v + t) / t * math.log((v + t) / (v * alpha * alpha)))


def plan(baseline: float, effect: float, weight: float, alpha: float, power: float, design: float = 1.0) -> dict:
    """URLs that the canary and the stable version need until both answers are likely.

    Shares in 0..1, weight in per cent of traffic. `detect`: a change of `effect` is found with
    probability `power`; `equal`: where nothing changed, that is found.
    """
    share = weight / 100
    worse = min(baseline + effect, 1.0)
    normal = NormalDist()

    def enough(n: float, p2: float, distance: float, quantile: float) -> bool:
        v = design * variance(baseline, n * (1 - share) / share, p2, n)
        return distance - radius(v, effect, alpha) >= normal.inv_cdf(quantile) * math.sqrt(v)

    def least(*condition) -> int:
        high = LEAST
        while not enough(high, *condition):
            high *= 2
        low = high // 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle, *condition) else (middle, high)
        return high

    detect = least(worse, effect, power)
    equal = least(baseline, effect, (1 + power) / 2)
    canary = max(detect, equal)
    return {"detect": detect, "equal": equal, "canary": canary, "stable": math.ceil(canary * (1 - share) / share)}


def look(hits: dict, totals: dict, effect: float, alpha: float, bad: str, design: float = 1.0) -> dict:
    """One look at the counts of both versions: difference (canary minus stable), interval, decision."""
    n1, n2 = (totals[track] / design for track in TRACKS)
    # One more of each, so that a share of 0 has a variance too.
    p1, p2 = ((hits[track] / design + 1) / (totals[track] / design + 2) for track in TRACKS)
    difference, half = p2 - p1, radius(variance(p1, n1, p2, n2), effect, alpha)
    low, high = difference - half, difference + half
    if min(n1, n2) < LEAST:
        decision = "go on"
    elif (low > 0 and bad in ("any", "higher")) or (high < 0 and bad in ("any", "lower")):
        decision = "roll back"
    elif (low > -effect or bad == "higher") and (high < effect or bad == "lower"):
        decision = "ship"
    else:
        decision = "go on"
    return {"stable": p1, "canary": p2, "difference": difference, "low": low, "high": high, "decision": decision}


class Silent(Exception):
    """Prometheus has no numbers for a version."""


def ask(base: str, query: str, at: float) -> dict[str, float]:
    address = f"{base}/api/v1/query?" + urllib.parse.urlencode({"query": query, "time": f"{at:.3f}"})
    with urllib.request.urlopen(address, timeout=30) as answer:
        found = json.load(answer)["data"]["result"]
    return {one["metric"].get("track", ""): float(one["value"][1]) for one in found}


def counts(base: str, selector: str, since: float, at: float) -> dict[str, float]:
    """What counters grew by since the start, by version; restarts are accounted for."""
    return ask(base, f"sum by (track) (increase({selector}[{max(1, round(at - since))}s]))", at)


def read(options: argparse.Namespace) -> dict:
    """All looks until the first answer; raises Silent where a version has no numbers."""
    metric, until = METRICS[options.metric], options.until or time.time()
    if until <= options.since:
        raise Silent(f"--until is not after --since ({options.since:.0f})")
    looks = []
    for step in range(1, options.looks + 1):
        at = options.since + (until - options.since) * step / options.looks
        totals = counts(options.prometheus, metric["all"], options.since, at)
        if any(not totals.get(track, 0) > 0 for track in TRACKS):
            continue
        hits = dict.fromkeys(TRACKS, 0.0) | counts(options.prometheus, metric["hits"], options.since, at)
        one = look(hits, totals, options.effect, options.alpha, metric["bad"], options.design_effect)
        looks.append({"time": at, "urls": {track: round(totals[track]) for track in TRACKS}} | one)
        # The first answer stands: the interval holds at all times at once.
        if one["decision"] != "go on":
            break
    # A version that has gone silent must not pass for a good one.
    alive = ask(options.prometheus, f"count by (track) ({metric['all']})", until)
    missing = [track for track in TRACKS if track not in alive]
    if missing or not looks:
        raise Silent(f"no numbers of {' and '.join(missing or TRACKS)} for {metric['what']}")
    return {"metric": metric["what"], "effect": options.effect, "alpha": options.alpha} | {
        "decision": looks[-1]["decision"],
        "looks": looks,
    }


def picture(result: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    looks = [one for one in result["looks"] if min(one["urls"].values()) >= LEAST] or result["looks"]
    urls = [one["urls"]["canary"] for one in looks]
    percent = lambda key: [100 * one[key] for one in looks]  # noqa: E731
    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    axes.axhspan(
        -100 * result["effect"], 100 * result["effect"], color="tab:green", alpha=0.1, label="too small to matter"
    )
    axes.axhline(0, color="black", linewidth=0.8)
    axes.fill_between(
        urls,
        percent("low"),
        percent("high"),
        alpha=0.3,
        label=f"interval, right at all times at once ({1 - result['alpha']:.0%})",
    )
    axes.plot(urls, percent("difference"), marker=".", label="canary minus stable")
    widest = max(4 * result["effect"], 1.5 * abs(looks[-1]["difference"])) * 100
    axes.set(ylim=(-widest, widest), xlabel="URLs scored by the canary", ylabel="percentage points")
    axes.set_title(f"{result['metric']}: {result['decision']}")
    axes.legend(loc="best", fontsize="small")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def moment(text: str) -> float:
    """Seconds since 1970 of an ISO time with its zone, or of a number."""
    try:
        return float(text)
    except ValueError:
        found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} names no zone: add Z for UTC")
    return found.timestamp()


def between(low: float, high: float):
    def number(text: str) -> float:
        value = float(text)
        if not low < value < high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low:g} and {high:g}")
        return value

    return number


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    planning = commands.add_parser("plan", help="how many URLs it takes")
    planning.add_argument("--baseline", type=between(0, 1), required=True, help="the share now")
    planning.add_argument("--weight", type=between(0, 100), default=10, help="per cent of requests for the canary")
    planning.add_argument("--power", type=between(0, 1), default=0.8)
    planning.add_argument("--rate", type=between(0, math.inf), help="URLs per second, for the time it takes")
    reading = commands.add_parser(
        "read", help="what Prometheus says so far; exit 0 ship, 1 roll back, 3 go on, 4 no numbers"
    )
    reading.add_argument("--prometheus", required=True, help="its address")
    reading.add_argument("--metric", choices=METRICS, default="flagged")
    reading.add_argument("--since", type=moment, required=True, help="start of the experiment, as 2026-01-05T09:00:00Z")
    reading.add_argument("--until", type=moment, help="its end; now")
    reading.add_argument("--looks", type=int, default=50, help="points in time to look at")
    reading.add_argument("--out", type=Path, help="folder for result.json and result.png")
    for command in planning, reading:
        command.add_argument(
            "--effect", type=between(0, 1), required=True, help="least change of the share that matters"
        )
        command.add_argument("--alpha", type=between(0, 1), default=0.05, help="chance of a wrong alarm")
        command.add_argument(
            "--design-effect",
            type=between(0.999, math.inf),
            default=1.0,
            help="by how much one client's URLs are alike",
        )
    options = parser.parse_args(arguments)

    if options.command == "plan":
        made = plan(
            options.baseline, options.effect, options.weight, options.alpha, options.power, options.design_effect
        )
        if options.rate:
            made["hours"] = round((made["canary"] + made["stable"]) / options.rate / 3600, 1)
        print(json.dumps(made))
        return SHIP
    try:
        result = read(options)
    except (Silent, OSError) as error:
        print(f"no decision: {error}", file=sys.stderr)
        return SILENT
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "result.json").write_text(json.dumps(result, indent=1) + "\n")
        picture(result, options.out / "result.png")
    last = result["looks"][-1]
    print(
        f"{result['decision']}: {result['metric']} {last['stable']:.4f} stable, {last['canary']:.4f} canary, "
        f"difference {last['difference']:+.4f} [{last['low']:+.4f}, {last['high']:+.4f}] "
        f"after {last['urls']['stable']} and {last['urls']['canary']}"
    )
    return {"ship": SHIP, "roll back": BACK, "go on": ON}[result["decision"]]


if __name__ == "__main__":
    sys.exit(main())
