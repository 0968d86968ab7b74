"""The golden vectors with nothing but the wheel, for clean and foreign machines: `python golden.py`."""

import json
import platform
from pathlib import Path

import phishcnn

VECTORS = Path(__file__).parents[2] / "core/tests/vectors"

checked = 0
for name in ("url-bytes", "keras-char", "int8-url-bytes", "int8-keras-char"):
    model = phishcnn.Model.load(VECTORS / f"{name}.safetensors")
    for row in json.loads((VECTORS / f"{name}.json").read_text())["vectors"]:
        url = row["url"].encode() if "url" in row else bytes.fromhex(row["url_hex"])
        repeat = row.get("repeat", {"text": "", "times": 0})
        url += repeat["text"].encode() * repeat["times"]
        scores = model.score_batch([url])
        assert scores.errors[0] == row.get("error", 0), row
        if "sum" in row:
            assert float(scores.logit[0]) * (1 << 20) == row["sum"], row
        elif "error" not in row:
            assert abs(scores.logit[0] - row["logit"]) < 1e-4, row
            assert phishcnn.VERDICTS[scores.verdict[0]] == row["verdict"], row
        checked += 1
assert checked > 200 and phishcnn.Model().score_batch(["a", None]).errors.tolist() == [0, 203]
print(f"{checked} golden vectors on {platform.machine()}, CPython {platform.python_version()}, {model.backend}")
