"""Guards the engine's speed by what does not waver: executed instructions, counted by valgrind.

    python instructions.py            fails where a count grew by more than 3 % over instructions.json, or is not
                                      what a URL's length says
    python instructions.py --record   writes instructions.json

Another compiler makes other code: with another rustc than the record's, 15 % are allowed. (Valgrind has no
AVX-512: the fastest kernels are not counted here.)
"""

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
RECORD = HERE / "instructions.json"
MEASURE = HERE / "target/release/measure"
# `keras` is the published architecture, which pads every URL to 200 characters: padding must cost nothing.
SERIES = [
    ("int8", "portable", (16, 64, 256)),
    ("int8", "sse4.1", (16, 64, 256)),
    ("int8", "avx2", (16, 64, 256)),
    ("f32", "portable", (16, 64, 256)),
    ("f32", "avx2", (16, 64, 256)),
    ("keras", "avx2", (16, 64, 200)),
]


def executed(model: str, backend: str, length: int, scores: int) -> int:
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", MEASURE, "once"]
    command += [HERE / f"models/{model}.safetensors", backend, str(length), str(scores)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return int(told.rpartition("Collected : ")[2].split()[0])


def growth(counts: dict[str, int], model: str, backend: str, lengths: tuple[int, ...]) -> list[str]:
    """What is wrong with how the counts grow with the length."""
    first, *middle, last = (counts[f"{model} {backend} {length}"] for length in lengths)
    if model == "keras":
        # All are padded to 200 characters. As a stretch of padding is computed once, 16 take a third of what 200 do.
        return [] if first < 0.4 * last else [f"{first / last:.0%} of the work for {lengths[0]} of {lengths[-1]}"]
    slope = (last - first) / (lengths[-1] - lengths[0])
    constant = first - lengths[0] * slope
    # The compact network is within 1.5 %, and its constant is worth up to 7.6 bytes.
    wrong = [f"{constant:.0f} instructions whatever the length"] if constant > 10 * slope else []
    for length, count in zip(lengths[1:-1], middle, strict=True):
        off = count / (constant + length * slope) - 1
        if abs(off) > 0.03:
            wrong.append(f"{length} bytes are {off:+.1%} off the line through {lengths[0]} and {lengths[-1]}")
    return wrong


def main() -> int:
    rustc = subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True).stdout.strip()
    counts = {}
    for model, backend, lengths in SERIES:
        for length in lengths:
            # What starting and loading cost drops out.
            more, fewer = (executed(model, backend, length, scores) for scores in (12, 2))
            counts[f"{model} {backend} {length}"] = (more - fewer) // 10
    if "--record" in sys.argv:
        RECORD.write_text(json.dumps({"rustc": rustc, "instructions per URL": counts}, indent=1) + "\n")
        return 0
    record = json.loads(RECORD.read_text())
    allowed = 1.03 if record["rustc"] == rustc else 1.15
    failed = 0
    for case, count in counts.items():
        before = record["instructions per URL"][case]
        verdict = "ok" if count <= allowed * before else "GREW"
        failed += verdict != "ok"
        print(f"{case:24} {count:>9} instructions per URL, recorded {before:>9}, {count / before - 1:+.1%} {verdict}")
    for series in SERIES:
        for wrong in growth(counts, *series):
            failed += 1
            print(f"{series[0]} {series[1]}: {wrong}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
