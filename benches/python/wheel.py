"""What the wheel costs beyond the core: `python benches/python/wheel.py [URLS]`.

Core, list, Arrow and two threads take turns over slices of the same URLs, so that whatever else the machine
does falls on all of them; the ratios are medians over the turns. Costs are processor time, which others
on the machine disturb least; only the speed-up of two threads is by the clock.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
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
    return float(run.stderr.split()[0])


def seconds(work, clock=time.process_time) -> float:
    start = clock()
    work()
    return clock() - start


def batches(count: int) -> dict[str, object]:
    model, turns = phishcnn.Model(), []
    for i in range(SLICES):
        batch = urls(count // SLICES, seed=i)
        column = pa.array(batch)
        turns.append(
            {
                "core": core_seconds(batch),
                "list": seconds(lambda batch=batch: model.score_batch(batch)),
                "arrow": seconds(lambda column=column: model.score_batch(column)),
                "two": seconds(lambda column=column: model.score_batch(column, threads=2)),
                "one by the clock": seconds(lambda column=column: model.score_batch(column), time.perf_counter),
                "two by the clock": seconds(lambda column=column: model.score_batch(column, 2), time.perf_counter),
            }
        )

    def median(above: str, below: str) -> float:
        return round(statistics.median(turn[above] / turn[below] for turn in turns), 3)

    return {
        "urls": count // SLICES * SLICES,
        "backend": model.backend,
        "core_us_per_url": round(statistics.median(turn["core"] for turn in turns) / (count // SLICES) * 1e6, 2),
        "list_to_core": median("list", "core"),
        "arrow_to_core": median("arrow", "core"),
        "work_of_two_threads_to_one": median("two", "arrow"),
        "speedup_of_two_threads": median("one by the clock", "two by the clock"),
        "speedup_of_two_threads_best": round(max(t["one by the clock"] / t["two by the clock"] for t in turns), 2),
    }


def per_call() -> dict[str, float]:
    """Microseconds of `score(url)` beyond the same URL's share of a batch."""
    model, url, calls = phishcnn.Model(), "a.de", range(200)
    batch, costs = [url] * len(calls), []
    for _ in range(150):
        one = seconds(lambda: [model.score(url) for _ in calls])
        costs.append((one - seconds(lambda: model.score_batch(batch))) / len(calls) * 1e6)
    return {"per_call_us": round(statistics.median(costs), 3)}


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    print(json.dumps({**batches(count), **per_call()}, indent=1))
