"""Memory of a long run: `python benches/python/memory.py [URLS [MODEL]]` scores a stream of Arrow batches."""

import json
import os
import sys

import phishcnn
import pyarrow as pa
from urls import urls

ROWS = 20_000


def resident() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main(count: int, file: str | None = None) -> None:
    model = phishcnn.Model.load(file) if file else phishcnn.Model()
    pool = urls(ROWS)
    sizes, flagged = [], 0
    for i in range(count // ROWS):
        # Another order each time: strings are made anew, as a reader of files does.
        batch = pa.record_batch({"url": [url + str(i) for url in pool]})
        scores = model.score_batch(batch.column("url"), threads=2)
        flagged += int((scores.verdict == 2).sum())
        sizes.append(resident())
    tenth = max(len(sizes) // 10, 1)
    print(
        json.dumps(
            {
                "urls": len(sizes) * ROWS,
                "flagged": flagged,
                "mib_after_a_tenth": round(max(sizes[:tenth]), 1),
                "mib_at_most_later": round(max(sizes[tenth:]), 1),
            }
        )
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000, *sys.argv[2:])
