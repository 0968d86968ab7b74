"""Guards the engine's speed by what does not waver: executed instructions, counted by valgrind.

    python instructions.py            fails where a count grew by more than 3 % over instructions.json
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
CASES = [
    (model, backend, length)
    for model, backends, lengths in (
        ("int8", ("portable", "sse4.1", "avx2"), (16, 64, 256)),
        ("f32", ("portable", "avx2"), (16, 64, 256)),
        ("keras", ("avx2",), (16, 64, 200)),
    )
    for backend in backends
    for length in lengths
]


def executed(model: str, backend: str, length: int, scores: int) -> int:
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", MEASURE, "once"]
    command += [HERE / f"models/{model}.safetensors", backend, str(length), str(scores)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return int(told.rpartition("Collected : ")[2].split()[0])


def main() -> int:
    rustc = subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True).stdout.strip()
    counts = {}
    for case in CASES:
        # What starting and loading cost drops out.
        counts[" ".join(map(str, case))] = (executed(*case, 12) - executed(*case, 2)) // 10
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
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
