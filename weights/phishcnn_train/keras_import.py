"""Conversion of Keras 2 Sequential character CNNs (HDF5) into model files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import h5py
import numpy as np

from .data import DataError
from .export import encode
from .typed import Array, Figures, Tensors

NO_CHARACTER, UNKNOWN = 0xFFFFFFFF, 0xFFFFFFFE
UNKNOWN_KEY = "-n-"  # Keras Tokenizer(oov_token="-n-")
ACTIVATIONS = {"linear": "", None: "", "relu": "relu", "tanh": "tanh", "sigmoid": "sigmoid"}


class KerasImportError(ValueError):
    """A network that cannot be converted; the message names the layer."""


def read_chars(path: str | Path) -> Array:
    """uint32 [V]: the code point of each id. Ids without a character (0 is Keras padding) are
    0xFFFFFFFF, the unknown character's id is 0xFFFFFFFE.

    Keys that are not one character (some published tables list an empty string) are never looked up;
    their ids have no character.
    """
    try:
        index = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}") from error
    if UNKNOWN_KEY not in index:
        raise DataError(f"{path}: no id for unknown characters ({UNKNOWN_KEY!r})")
    table = np.full(max(index.values()) + 1, NO_CHARACTER, np.uint32)
    for key, number in index.items():
        if len(key) == 1:
            table[number] = ord(key)
    table[index[UNKNOWN_KEY]] = UNKNOWN
    return table


def _sequence(weights: h5py.File, architecture: str | Path | None) -> list[Figures]:
    if architecture:
        text = Path(architecture).read_text()
    else:
        text = weights.attrs.get("model_config")
        if text is None:
            raise KerasImportError("the file has no model_config; give the architecture with --architecture")
        text = text.decode() if isinstance(text, bytes) else text
    model = json.loads(text)
    model = json.loads(model) if isinstance(model, str) else model  # some tools store JSON within JSON
    if model.get("class_name") != "Sequential":
        raise KerasImportError(f"{model.get('class_name')}: only Sequential networks can be imported")
    config = model["config"]
    layers: list[Figures] = config["layers"] if isinstance(config, dict) else config
    return layers


def _tensors_of(weights: h5py.File, layer: str) -> list[Array]:
    root = weights["model_weights"] if "model_weights" in weights else weights
    if layer not in root:
        raise KerasImportError(f"{layer}: no weights of that name in the file")
    names = root[layer].attrs.get("weight_names", [])
    return [np.asarray(root[layer][n.decode() if isinstance(n, bytes) else n], np.float32) for n in names]


def _one(config: Figures, key: str, layer: str) -> int:
    value = config[key]
    value = value[0] if isinstance(value, list) else value
    if not isinstance(value, int):
        raise KerasImportError(f"{layer}: {key} {config[key]!r} is not supported")
    return value


def _demand(condition: bool, layer: str, what: str) -> None:
    if not condition:
        raise KerasImportError(f"{layer}: {what} is not supported")


def _activation(config: Figures, layer: str) -> str:
    name = config.get("activation")
    _demand(name in ACTIVATIONS, layer, f"activation {name!r}")
    return f" {ACTIVATIONS[name]}".rstrip()


def convert(
    weights_path: str | Path,
    architecture: str | Path | None,
    chars_path: str | Path,
    output: Path,
    length: int | None = None,
    name: str | None = None,
    canonical: bool = False,
) -> str:
    """Writes the model file and returns its SHA-256.

    Raises:
        KerasImportError: a layer, option or shape that the engine does not have.
    """
    chars = read_chars(chars_path)
    line: list[str] = []
    tensors: Tensors = {"chars": chars}
    with h5py.File(weights_path) as weights:
        layers = [(layer["class_name"], layer["config"]) for layer in _sequence(weights, architecture)]
        used = [(kind, config) for kind, config in layers if kind not in ("Dropout", "SpatialDropout1D", "InputLayer")]
        if not used or used[0][0] != "Embedding":
            raise KerasImportError(
                f"{used[0][1].get('name') if used else 'network'}: the first layer must be an Embedding"
            )
        shape = next((c[k] for _, c in layers for k in ("batch_input_shape", "batch_shape") if c.get(k)), [None, None])
        length = length or used[0][1].get("input_length") or shape[1]
        if not length:
            raise KerasImportError("the architecture does not say the input length; give it with --length")
        out = None
        for i, (kind, config) in enumerate(used):
            layer, last = config["name"], i == len(used) - 1
            _demand(out is None, layer, "a layer behind the output" if out else "")
            if kind == "Embedding":
                _demand(i == 0 and not config.get("mask_zero"), layer, "masking or a second Embedding")
                (table,) = _tensors_of(weights, layer)
                if len(table) < len(chars):
                    raise KerasImportError(
                        f"{layer}: {len(table)} rows, but the character table has ids up to {len(chars) - 1}"
                    )
                tensors["embed.chars"] = table
                tensors["chars"] = np.concatenate([chars, np.full(len(table) - len(chars), NO_CHARACTER, np.uint32)])
                line.append("embed chars")
            elif kind == "Conv1D":
                _demand(config["padding"] in ("same", "valid"), layer, f"padding {config['padding']!r}")
                _demand(_one(config, "strides", layer) == 1, layer, "a stride other than 1")
                _demand(config.get("groups", 1) == 1, layer, "grouped convolution")
                _demand(config.get("data_format", "channels_last") == "channels_last", layer, "channels_first")
                _demand(config.get("activation") != "softmax", layer, "softmax")
                dilation = _one(config, "dilation_rate", layer) if "dilation_rate" in config else 1
                _weigh(tensors, weights, layer, 3)
                line.append(
                    f"conv {layer} {config['padding']}"
                    + (f" dilation={dilation}" if dilation > 1 else "")
                    + _activation(config, layer)
                )
            elif kind == "MaxPooling1D":
                window = _one(config, "pool_size", layer)
                strides = _one(config, "strides", layer) if config.get("strides") else window
                _demand(
                    strides == window and config.get("padding", "valid") == "valid",
                    layer,
                    "overlapping or padded pooling",
                )
                line.append(f"maxpool {window}")
            elif kind in ("GlobalMaxPooling1D", "GlobalAveragePooling1D"):
                _demand(not config.get("keepdims"), layer, "keepdims")
                line.append("pool max" if "Max" in kind else "pool avg")
            elif kind == "Flatten":
                line.append("flatten")
            elif kind == "Dense":
                _weigh(tensors, weights, layer, 2)
                if last:
                    out = _output(config, layer)
                    line.append(f"dense {layer}")
                else:
                    line.append(f"dense {layer}" + _activation(config, layer))
            elif kind == "Activation":
                _demand(not last and line[-1].split(" ")[0] in ("conv", "dense"), layer, "an activation here")
                _demand(line[-1].split(" ")[-1] not in ACTIVATIONS.values(), layer, "a second activation")
                line[-1] += _activation(config, layer)
            else:
                raise KerasImportError(f"{layer}: layer type {kind} is not supported")
    if out is None:
        raise KerasImportError(f"{used[-1][1]['name']}: the last layer must be a Dense with sigmoid or softmax")
    metadata = {
        "phishcnn.format": "1",
        "phishcnn.name": name or output.stem,
        "phishcnn.version": "0.1.0",
        "phishcnn.input": f"keras-char/1 length={length} pad=pre truncate=pre canonical={'yes' if canonical else 'no'}",
        "phishcnn.layers": "; ".join(line),
        "phishcnn.output": out,
        "phishcnn.calibration": "1 0",
        "phishcnn.thresholds": "phishing=0 suspicious=0",
    }
    blob = encode(tensors, metadata)
    output.write_bytes(blob)
    return hashlib.sha256(blob).hexdigest()


def _weigh(tensors: Figures, weights: h5py.File, layer: str, rank: int) -> None:
    """Takes over kernel and bias (zeros where Keras had none); both layouts agree."""
    found = _tensors_of(weights, layer)
    if len(found) not in (1, 2) or found[0].ndim != rank:
        raise KerasImportError(f"{layer}: weights of shapes {[f.shape for f in found]} are not those of its type")
    tensors[f"{layer}.weight"] = found[0]
    tensors[f"{layer}.bias"] = found[1] if len(found) == 2 else np.zeros(found[0].shape[-1], np.float32)


def _output(config: Figures, layer: str) -> str:
    outputs = {(1, "sigmoid"): "logit", (2, "sigmoid"): "sigmoid2 positive=1", (2, "softmax"): "softmax2 positive=1"}
    key = (int(config["units"]), str(config.get("activation")))
    _demand(key in outputs, layer, f"an output of {key[0]} units with activation {key[1]!r}")
    return outputs[key]
