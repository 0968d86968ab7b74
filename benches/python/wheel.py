"""What the wheel costs beyond the core: `python benches/python/wheel.py [URLS]`.

Core, one thread, two threads and Arrow take turns over slices of the same URLs, so that whatever else
the machine does falls on all of them; the ratios are medians over the turns.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import timeit
from pathlib import Path

import phishcnn
import pyarrow as pa
from urls import urls

ROOT = Path(__file__).parents[2]
CORE = ROOT / "target/release/examples/core_scores"
SLICES = 25


def core_seconds(batch: list[str]) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".hex") as file:
        file.write("\n".join(url.encode().hex() for url in batch))
        file.flush()
        run = subprocess.run([CORE, file.name], capture_output=True, text=True, check=True)
    return float(run.stderr)


def seconds(work) -> float:
    return timeit.timeit(work, number=1)


def batches(count: int) -> dict[str, object]:
    model, ways = phishcnn.Model(), []
    for i in range(SLICES):
        batch = urls(count // SLICES, seed=i)
        column = pa.array(batch)
        core = core_seconds(batch)
        ways.append(
            {
                "core": core,
                "list": seconds(lambda batch=batch: model.score_batch(batch)),
                "arrow": seconds(lambda column=column: model.score_batch(column)),
                "two": seconds(lambda batch=batch: model.score_batch(batch, threads=2)),
            }
        )

    def median(ratio) -> float:
        return round(statistics.median(ratio(way) for way in ways), 3)

    return {
        "urls": count // SLICES * SLICES,
        "backend": model.backend,
        "core_us_per_url": round(sum(way["core"] for way in ways) / count * 1e6, 2),
        "list_to_core": median(lambda way: way["list"] / way["core"]),
        "arrow_to_core": median(lambda way: way["arrow"] / way["core"]),
        "two_threads_speedup": median(lambda way: way["list"] / way["two"]),
        "two_threads_speedup_best": round(max(way["list"] / way["two"] for way in ways), 3),
    }


def per_call() -> dict[str, object]:
    """`score(url)` against the same URL's share of a batch, which has no cost of a call."""
    model, url = phishcnn.Model(), "a.de"
    batch, calls, costs = [url] * 500, range(500), []
    for _ in range(60):
        one = seconds(lambda: [model.score(url) for _ in calls])
        costs.append((one - seconds(lambda: model.score_batch(batch))) / 500 * 1e6)
    # Errors are found before the network runs: what remains is the call, and raising.
    return {
        "per_call_us_median": round(statistics.median(costs), 3),
        "per_call_us_lower_quartile": round(statistics.quantiles(costs)[0], 3),
    }


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    print(json.dumps({**batches(count), **per_call()}, indent=1))
