"""The model file: a byte-reproducible safetensors writer, its reader for training, and the exporter."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from .params import Params
from .typed import Array, Figures, Tensors

DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "I8": np.dtype("i1"),
}
FLOAT = "f32"  # folder beside an int8 model: the f32 model of the same name that it was quantised from
ALIGNMENT = 64  # the engine borrows the tensors where they lie; a cache line


def encode(tensors: Tensors, metadata: dict[str, str]) -> bytes:
    """A safetensors file. Same input, same bytes: metadata and tensors are sorted by name, those of whole cache
    lines first, so that each begins with one, and spaces behind the JSON bring the data to a multiple of 64."""
    for key, value in metadata.items():
        if not isinstance(value, str) or any(c in '"\\' or ord(c) < 32 or ord(c) == 127 for c in key + value):
            raise ValueError(f"metadata {key}: quotes, backslashes and control characters cannot be written")
    header: Figures = {"__metadata__": dict(sorted(metadata.items()))}
    data = b""
    for name in sorted(tensors, key=lambda name: (tensors[name].nbytes % ALIGNMENT != 0, name)):
        array = np.ascontiguousarray(tensors[name])
        dtype = next((name for name, known in DTYPES.items() if array.dtype == known), None)
        if dtype is None or array.size == 0:
            raise ValueError(f"tensor {name}: {array.dtype} {array.shape} cannot be written")
        raw = array.astype(DTYPES[dtype]).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text + data


def read(path: Path) -> tuple[Tensors, dict[str, str]]:
    """(tensors, metadata) of a file that `encode` wrote; the engine's `model check` judges others. Raises ValueError,
    which names the file, where it is none."""
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    data, tensors = raw[start:], {}
    try:
        header = json.loads(raw[8:start])
        metadata = header.pop("__metadata__")
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            tensors[name] = np.frombuffer(data[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a model file that `export` or `quantize` wrote") from error
    return tensors, metadata


def is_int8(tensors: Tensors) -> bool:
    """Whether only the engine can run these: its embedding is of integers (a table of n-grams is in any model)."""
    return any(tensor.dtype.kind == "i" for name, tensor in tensors.items() if name.startswith("embed."))


def number(value: float) -> str:
    """The shortest decimal that reads back as the same float32; the format has no exponents."""
    return np.format_float_positional(np.float32(value), trim="0")


def parent_of(model: Path) -> Path | None:
    """Where the f32 model must lie that an int8 model was quantised from; None of an f32 model."""
    return model.parent / FLOAT / model.name if "phishcnn.quantised_from" in read(model)[1] else None


def export(params: Params, work: Path, output: Path, chars: Array | None) -> str:
    """Writes the best epoch with its calibration and thresholds, and NAME.history.json beside it; returns
    the SHA-256 of the model file."""
    from . import witness
    from .calibrate import metadata as of_calibration
    from .tokens import Tokens
    from .train import load_weights

    tensors = load_weights(work, params)
    if chars is not None:
        tensors["chars"] = chars.astype("<u4")
    metadata = {
        "phishcnn.format": "1",
        "phishcnn.name": params.name,
        "phishcnn.version": params.version,
        "phishcnn.input": params.input,
        "phishcnn.layers": params.layers,
        "phishcnn.output": params.output,
        "phishcnn.trained_until": params.trained_until,
        "phishcnn.data_sha256": Tokens.load(work / "train.npz").digest(),
    }
    metadata |= of_calibration(json.loads((work / "calibration.json").read_text()))
    if params.fixed_length is None:  # `keras-char` knows no parts of a URL
        metadata["phishcnn.golden"] = witness.golden(params, tensors)
        metadata["phishcnn.reference"] = witness.reference(params, tensors, Tokens.load(work / "valid.npz"))
    output.parent.mkdir(parents=True, exist_ok=True)
    blob = encode(tensors, metadata)
    output.write_bytes(blob)
    output.with_suffix(".history.json").write_text((work / "history.json").read_text())
    return hashlib.sha256(blob).hexdigest()
