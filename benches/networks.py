"""The compact network for other engines: as ONNX, and for LiteRT as a .tflite for each length.

Both have the form that their engine runs fastest: a convolution over time is one over a picture of height 1.
int8 is each engine's own static quantisation, fitted to random letters: its speed is that of any other, its
scores mean nothing.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

Tensors = dict[str, np.ndarray]


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
    assert embed == ["embed", "bytes+parts+trigrams"]
    return rest


TABLES = {
    "ids": "embed.bytes",
    "parts": "embed.parts",
    "trigrams": "embed.trigrams",
}  # by the input that names their rows


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


def embedded(w: Tensors, ids: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """(n, length, channels)"""
    return sum(w[TABLES[name]][rows] for name, rows in feed(trigram_rows(w), ids, parts).items())


def example(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and part ids of random letters, each int64 (1, length)."""
    rng = np.random.default_rng(length)
    return rng.integers(97, 123, (1, length)).astype(np.int64), rng.integers(1, 8, (1, length)).astype(np.int64)


def onnx_model(w: Tensors, metadata: dict[str, str]):
    """Inputs as of `feed`: int64 (n, length). Output `logit`: float32 (n, 1)."""
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

    byte, part, trigram = (node("Gather", constant(table, w[table]), rows) for rows, table in TABLES.items())
    x = node("Transpose", node("Add", node("Add", byte, part), trigram), perm=[0, 2, 1])
    x = node("Unsqueeze", x, constant("axis", np.array([2])))
    for kind, *words in layers(metadata):
        if kind == "conv":
            name, *options = words
            assert options[:2] == ["same", "relu"] and options[2:] in ([], ["add"])
            kernel = w[f"{name}.weight"].transpose(2, 1, 0)[:, :, None]
            before, after = (kernel.shape[-1] - 1) // 2, kernel.shape[-1] // 2
            bias = constant(f"{name}.bias", w[f"{name}.bias"])
            y = node("Relu", node("Conv", x, constant(name, kernel), bias, pads=[0, before, 0, after]))
            x = node("Add", y, x) if options[2:] else y
        elif kind == "maxpool":
            assert words == ["2", "ceil"]
            x = node("MaxPool", x, kernel_shape=[1, 2], strides=[1, 2], ceil_mode=1)
        elif kind == "pool":
            assert words == ["max+avg"]
            x = node("Concat", node("GlobalMaxPool", x), node("GlobalAveragePool", x), axis=1)
            x = node("Flatten", x)
        elif kind == "dense":
            name, *options = words
            x = node("Gemm", x, constant(name, w[f"{name}.weight"]), constant(f"{name}.bias", w[f"{name}.bias"]))
            x = node("Relu", x) if options else x
    nodes.append(helper.make_node("Identity", [x], ["logit"]))
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["n", "length"]) for n in TABLES]
    logit = helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["n", 1])
    graph = helper.make_graph(nodes, "compact", inputs, [logit], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def quantise_onnx(source: Path, path: Path, rows: int) -> None:
    """ONNX Runtime's static quantisation (QDQ); `rows` of the table of trigrams."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Examples(CalibrationDataReader):
        def __init__(self) -> None:
            self.lengths = iter([*range(16, 80, 4), 128, 256])

        def get_next(self):
            length = next(self.lengths, None)
            return None if length is None else feed(rows, *example(length))

    quantize_static(
        source,
        path,
        Examples(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )


def tflite(w: Tensors, metadata: dict[str, str], length: int, int8: bool) -> bytes:
    """Input: the embedding, (1, 1, length, channels); output: the logit. int8: TensorFlow's full-integer conversion."""
    import tensorflow as tf

    inputs = x = tf.keras.Input((1, length, w["embed.bytes"].shape[1]), batch_size=1)
    weights = []
    for kind, *words in layers(metadata):
        if kind == "conv":
            name, *options = words
            kernel = w[f"{name}.weight"]
            layer = tf.keras.layers.Conv2D(kernel.shape[2], (1, kernel.shape[0]), padding="same", activation="relu")
            y = layer(x)
            weights.append((layer, [kernel[None], w[f"{name}.bias"]]))
            x = x + y if "add" in options else y
        elif kind == "maxpool":
            x = tf.keras.layers.MaxPool2D((1, 2), padding="same")(x)
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
        rng = np.random.default_rng(1)

        def examples():
            for _ in range(30):
                ids, parts = rng.integers(97, 123, (1, length)), rng.integers(1, 8, (1, length))
                yield [embedded(w, ids, parts)[:, None].astype("f4")]

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = examples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


class LiteRt:
    """One interpreter, on one thread, for URLs of one length."""

    def __init__(self, w: Tensors, metadata: dict[str, str], length: int, int8: bool) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(model_content=tflite(w, metadata, length, int8), num_threads=1)
        self.interpreter.allocate_tensors()
        (self.source,), (self.target,) = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        self.int8 = int8

    def input(self, x: np.ndarray) -> np.ndarray:
        """What `set` takes, from one URL's embedding (length, channels)."""
        if self.int8:
            scale, zero = self.source["quantization"]
            x = np.clip(np.rint(x / scale + zero), -128, 127)
        return x[None, None].astype(self.source["dtype"])

    def set(self, x: np.ndarray) -> None:
        self.interpreter.set_tensor(self.source["index"], x)

    def run(self) -> None:
        self.interpreter.invoke()

    def logit(self) -> float:
        value = float(np.ravel(self.interpreter.get_tensor(self.target["index"]))[0])
        scale, zero = self.target["quantization"]
        return (value - zero) * scale if self.int8 else value


def session(path: Path | bytes):
    """ONNX Runtime on one thread."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
