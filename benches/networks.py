"""Our networks for other engines: as ONNX, and for LiteRT as a .tflite for each shape.

Both have the form that their engine runs fastest: a convolution over time is one over a picture of height 1.
int8 is each engine's own static quantisation, fitted to random letters: its speed is that of any other, its
scores mean nothing.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np

Tensors = dict[str, np.ndarray]
CURVES = {"relu": "Relu", "tanh": "Tanh"}  # ONNX's names


def read(file: bytes) -> tuple[Tensors, dict[str, str]]:
    """Tensors by name, and the metadata, of a model file of float32."""
    start = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:start])
    metadata = header.pop("__metadata__")
    data = file[start:]
    return {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], "<f4").reshape(entry["shape"])
        for name, entry in header.items()
    }, metadata


def layers(metadata: dict[str, str]) -> list[list[str]]:
    """The layers behind the embedding, each its kind and what follows."""
    embed, *rest = (layer.split() for layer in metadata["phishcnn.layers"].split("; "))
    assert embed[1:] in (["bytes+parts+trigrams"], ["chars"])
    assert rest[-1][0] == "dense", "n-grams beside the network are not built here"
    return rest


# Tables of the embedding by the input that names their rows.
TABLES = {"ids": "embed.bytes", "parts": "embed.parts", "trigrams": "embed.trigrams"}
CHARACTERS = {"ids": "embed.chars"}  # of the published architecture
PADDED = 200  # its every URL


def tables(w: Tensors) -> dict[str, str]:
    return CHARACTERS if "chars" in w else TABLES


def feed(rows: int, ids: np.ndarray, parts: np.ndarray) -> dict[str, np.ndarray]:
    """The inputs, int64 (n, length) each, of a network whose table of trigrams has `rows` rows (docs/model-file.md)."""
    # In place: a service pays for each of these calls more than for the arithmetic.
    byte = ids.astype(np.uint32)
    h = np.zeros_like(byte)
    h[:, 2:] = byte[:, :-2]
    h *= np.uint32(16777619)
    h[:, 1:] ^= byte[:, :-1]
    h *= np.uint32(16777619)
    h ^= byte
    h *= np.uint32(16777619)
    h ^= h >> 15
    h *= np.uint32(2654435761)
    trigrams = h >> (33 - rows.bit_length())
    return {"ids": ids, "parts": parts, "trigrams": trigrams.astype(np.int64)}


def trigram_rows(w: Tensors) -> int:
    return len(w[TABLES["trigrams"]])


def embedded(w: Tensors, fed: dict[str, np.ndarray]) -> np.ndarray:
    """(n, positions, channels)"""
    return sum(w[tables(w)[name]][rows] for name, rows in fed.items())


def example(w: Tensors, length: int, n: int = 1) -> dict[str, np.ndarray]:
    """The inputs of URLs of random letters, int64 (n, positions) each."""
    rng = np.random.default_rng(length)
    if "chars" in w:
        ids = np.zeros((n, PADDED), np.int64)
        ids[:, PADDED - length :] = rng.integers(1, len(w["chars"]), (n, length))
        return {"ids": ids}
    ids, parts = rng.integers(97, 123, (n, length)), rng.integers(1, 8, (n, length))
    return feed(trigram_rows(w), ids, parts)


def onnx_model(w: Tensors, metadata: dict[str, str]):
    """Inputs as of `example`: int64 (n, positions). Output `logit`: float32 (n, 1), or (n, 2) whose last is meant."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants = [], []

    def constant(name: str, array: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(kind: str, *inputs: str, **attributes) -> str:
        output = f"x{len(nodes)}"
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    rows = [node("Gather", constant(table, w[table]), name) for name, table in tables(w).items()]
    x = node("Transpose", functools.reduce(lambda a, b: node("Add", a, b), rows), perm=[0, 2, 1])
    x = node("Unsqueeze", x, constant("axis", np.array([2])))
    for kind, *words in layers(metadata):
        if kind == "conv":
            name, padding, curve, *add = words
            assert padding in ("same", "valid") and curve in CURVES and add in ([], ["add"])
            kernel = w[f"{name}.weight"].transpose(2, 1, 0)[:, :, None]
            reach = kernel.shape[-1] - 1 if padding == "same" else 0
            bias = constant(f"{name}.bias", w[f"{name}.bias"])
            pads = [0, reach // 2, 0, reach - reach // 2]
            # (rten wants it all said.)
            y = node("Conv", x, constant(name, kernel), bias, pads=pads, strides=[1, 1], dilations=[1, 1])
            y = node(CURVES[curve], y)
            x = node("Add", y, x) if add else y
        elif kind == "maxpool":
            size, *ceil = words
            shape = [1, int(size)]
            x = node("MaxPool", x, kernel_shape=shape, strides=shape, ceil_mode=int(ceil == ["ceil"]))
        elif kind == "flatten":
            x = node("Flatten", node("Transpose", x, perm=[0, 3, 2, 1]))
        elif kind == "pool":
            assert words == ["max+avg"]
            x = node("Concat", node("GlobalMaxPool", x), node("GlobalAveragePool", x), axis=1)
            x = node("Flatten", x)
        elif kind == "dense":
            name, *options = words
            x = node("Gemm", x, constant(name, w[f"{name}.weight"]), constant(f"{name}.bias", w[f"{name}.bias"]))
            x = node("Relu", x) if options else x
    nodes.append(helper.make_node("Identity", [x], ["logit"]))
    positions = PADDED if "chars" in w else "length"
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["n", positions]) for n in tables(w)]
    logit = helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["n", len(w[f"{name}.bias"])])
    graph = helper.make_graph(nodes, "network", inputs, [logit], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def quantise_onnx(source: Path, path: Path, w: Tensors) -> None:
    """ONNX Runtime's static quantisation (QDQ)."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Examples(CalibrationDataReader):
        def __init__(self) -> None:
            self.lengths = iter([*range(16, 80, 4), 128, 200])

        def get_next(self):
            length = next(self.lengths, None)
            return None if length is None else example(w, length)

    quantize_static(
        source,
        path,
        Examples(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )


def tflite(w: Tensors, metadata: dict[str, str], length: int, int8: bool, n: int = 1) -> bytes:
    """Input: the embedding, (n, 1, positions, channels); output: (n, 1), or (n, 2) whose last is meant.

    int8: TensorFlow's full-integer conversion.
    """
    import tensorflow as tf

    inputs = x = tf.keras.Input((1, *embedded(w, example(w, length)).shape[1:]), batch_size=n)
    weights = []
    for kind, *words in layers(metadata):
        if kind == "conv":
            name, padding, curve, *add = words
            kernel = w[f"{name}.weight"]
            layer = tf.keras.layers.Conv2D(kernel.shape[2], (1, kernel.shape[0]), padding=padding, activation=curve)
            y = layer(x)
            weights.append((layer, [kernel[None], w[f"{name}.bias"]]))
            x = x + y if add else y
        elif kind == "maxpool":
            size, *ceil = words
            x = tf.keras.layers.MaxPool2D((1, int(size)), padding="same" if ceil else "valid")(x)
        elif kind == "flatten":
            x = tf.keras.layers.Flatten()(x)
        elif kind == "pool":
            pools = [tf.keras.layers.GlobalMaxPool2D()(x), tf.keras.layers.GlobalAveragePooling2D()(x)]
            x = tf.keras.layers.Concatenate()(pools)
        elif kind == "dense":
            name, *options = words
            layer = tf.keras.layers.Dense(w[f"{name}.bias"].shape[0], activation=options[0] if options else None)
            x = layer(x)
            weights.append((layer, [w[f"{name}.weight"], w[f"{name}.bias"]]))
    model = tf.keras.Model(inputs, x)
    for layer, values in weights:
        layer.set_weights(values)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if int8:
        some = embedded(w, example(w, length, 30 * n))[:, None].astype("f4")

        def examples():
            for i in range(0, len(some), n):
                yield [some[i : i + n]]

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = examples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


class LiteRt:
    """One interpreter, on one thread, for `n` URLs of one length at a time."""

    def __init__(self, w: Tensors, metadata: dict[str, str], length: int, int8: bool, n: int = 1) -> None:
        self.file, self.int8 = tflite(w, metadata, length, int8, n), int8
        self.load()

    def load(self) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(model_content=self.file, num_threads=1)
        self.interpreter.allocate_tensors()
        (self.source,), (self.target,) = self.interpreter.get_input_details(), self.interpreter.get_output_details()

    def input(self, x: np.ndarray) -> np.ndarray:
        """What `set` takes, from the embedding (n, positions, channels)."""
        if self.int8:
            scale, zero = self.source["quantization"]
            x = np.clip(np.rint(x / scale + zero), -128, 127)
        return x[:, None].astype(self.source["dtype"])

    def set(self, x: np.ndarray) -> None:
        self.interpreter.set_tensor(self.source["index"], x)

    def run(self) -> None:
        self.interpreter.invoke()

    def logit(self) -> float:
        """The first row's."""
        value = float(self.interpreter.get_tensor(self.target["index"])[0, -1])
        scale, zero = self.target["quantization"]
        return (value - zero) * scale if self.int8 else value


def session(path: Path | bytes):
    """ONNX Runtime on one thread."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
