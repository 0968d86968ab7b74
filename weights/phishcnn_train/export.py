"""The model file: a byte-reproducible safetensors writer, its reader for training, and the exporter."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from .params import Params

DTYPES = {"F32": np.dtype("<f4"), "U32": np.dtype("<u4")}
ALIGNMENT = 16  # the engine borrows the tensors where they lie


def encode(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> bytes:
    """A safetensors file. Same input, same bytes: metadata and tensors are sorted by name, and spaces
    behind the JSON bring the data to a multiple of 16."""
    for key, value in metadata.items():
        if not isinstance(value, str) or any(c in '"\\' or ord(c) < 32 or ord(c) == 127 for c in key + value):
            raise ValueError(f"metadata {key}: quotes, backslashes and control characters cannot be written")
    header: dict = {"__metadata__": dict(sorted(metadata.items()))}
    data = b""
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        dtype = {"f": "F32", "u": "U32"}.get(array.dtype.kind)
        if dtype is None or array.dtype != DTYPES[dtype] or array.size == 0:
            raise ValueError(f"tensor {name}: {array.dtype} {array.shape} cannot be written")
        raw = array.astype(DTYPES[dtype]).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text + data


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(tensors, metadata) of a file that `encode` wrote; the engine's `model check` judges others."""
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    metadata = header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = np.frombuffer(raw[start + begin : start + end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors, metadata


def number(value: float) -> str:
    """The shortest decimal that reads back as the same float32; the format has no exponents."""
    return np.format_float_positional(np.float32(value), trim="0")


def export(params: Params, work: Path, output: Path, chars: np.ndarray | None) -> str:
    """Writes the best epoch with its calibration and thresholds, and NAME.history.json beside it; returns
    the SHA-256 of the model file."""
    from . import witness
    from .tokens import Tokens
    from .train import load_weights

    tensors = load_weights(work)
    if chars is not None:
        tensors["chars"] = chars.astype("<u4")
    fit = json.loads((work / "calibration.json").read_text())
    best = fit["valid"]
    metadata = {
        "phishcnn.format": "1",
        "phishcnn.name": params.name,
        "phishcnn.version": params.version,
        "phishcnn.input": params.input,
        "phishcnn.layers": params.layers,
        "phishcnn.output": params.output,
        "phishcnn.calibration": f"{number(fit['a'])} {number(fit['b'])}",
        "phishcnn.thresholds": f"phishing={number(fit['phishing'])} suspicious={number(fit['suspicious'])}",
        "phishcnn.trained_until": params.trained_until,
        "phishcnn.data_sha256": Tokens.load(work / "train.npz").digest(),
        "phishcnn.metrics": " ".join(f"valid.{k}={v:.4f}" for k, v in sorted(best.items())),
    }
    if params.fixed_length is None:  # `keras-char` knows no parts of a URL
        metadata["phishcnn.golden"] = witness.golden(params, tensors)
        metadata["phishcnn.reference"] = witness.reference(params, tensors, Tokens.load(work / "valid.npz"))
    output.parent.mkdir(parents=True, exist_ok=True)
    blob = encode(tensors, metadata)
    output.write_bytes(blob)
    output.with_suffix(".history.json").write_text((work / "history.json").read_text())
    return hashlib.sha256(blob).hexdigest()
