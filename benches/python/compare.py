"""The same URLs scored from Python in other ways: `python benches/python/compare.py [URLS]`.

- ONNX Runtime and LiteRT run the wheel's own network (same weights, results compared), on one thread, from
  ready token ids: ONNX Runtime in batches of URLs of one length, LiteRT one by one, as its converted models are.
- scikit-learn runs what an analyst would train: hashed 2- to 5-grams of characters and a linear model, from the
  URL's text. Its weights do not matter for the time.

The ways take turns; the ratios are medians over the turns, by processor time. A peer that is not installed
is left out and named.
"""

import json
import os
import statistics
import sys
import time
from collections import defaultdict

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import phishcnn
from urls import urls

TURNS = 9


def weights(file: bytes) -> dict[str, np.ndarray]:
    start = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:start])
    header.pop("__metadata__")
    return {
        name: np.frombuffer(file[start:][slice(*tensor["data_offsets"])], "<f4").reshape(tensor["shape"])
        for name, tensor in header.items()
    }


def by_length(batch: list[str]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows, ids and part ids of the URLs of each length."""
    tokens = phishcnn.tokenize_batch(batch)
    groups = defaultdict(list)
    for row, (start, end) in enumerate(zip(tokens.offsets, tokens.offsets[1:], strict=False)):
        groups[end - start].append((row, start))
    out = []
    for length, rows in groups.items():
        at = np.array([start for _, start in rows])[:, None] + np.arange(length)
        index = np.array([row for row, _ in rows])
        out.append((index, tokens.ids[at].astype(np.int64), tokens.parts[at].astype(np.int64)))
    return out


class OnnxRuntime:
    name = "ONNX Runtime"

    def __init__(self, w: dict[str, np.ndarray]) -> None:
        import onnxruntime
        from onnx import TensorProto, checker, helper, numpy_helper

        nodes, constants = [], []

        def constant(name: str, value: np.ndarray) -> str:
            constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
            return name

        def node(kind: str, *inputs: str, **attributes) -> str:
            output = f"x{len(nodes)}"
            nodes.append(helper.make_node(kind, inputs, [output], **attributes))
            return output

        x = node("Gather", constant("bytes", w["embed.bytes"]), "ids")
        x = node("Add", x, node("Gather", constant("of_part", w["embed.parts"]), "parts"))
        # A convolution over a picture of height 1, which it runs faster than one over time.
        x = node("Unsqueeze", node("Transpose", x, perm=[0, 2, 1]), constant("axis", np.array([2])))
        for conv in ("c1", "c2", "c3"):
            kernel = constant(f"{conv}_w", w[f"{conv}.weight"].transpose(2, 1, 0)[:, :, None])
            y = node("Relu", node("Conv", x, kernel, constant(f"{conv}_b", w[f"{conv}.bias"]), pads=[0, 2, 0, 2]))
            pooled = {"kernel_shape": [1, 2], "strides": [1, 2], "ceil_mode": 1}
            x = node("Add", y, x) if conv == "c3" else node("MaxPool", y, **pooled)
        x = node("Flatten", node("Concat", node("GlobalMaxPool", x), node("GlobalAveragePool", x), axis=1))
        x = node("Relu", node("Gemm", x, constant("d1_w", w["d1.weight"]), constant("d1_b", w["d1.bias"])))
        x = node("Gemm", x, constant("d2_w", w["d2.weight"]), constant("d2_b", w["d2.bias"]))
        inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["n", "length"]) for n in ("ids", "parts")]
        output = helper.make_tensor_value_info(x, TensorProto.FLOAT, ["n", 1])
        graph = helper.make_graph(nodes, "compact", inputs, [output], constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 9
        checker.check_model(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])

    def logits(self, groups, out: np.ndarray) -> None:
        for rows, ids, parts in groups:
            for i in range(0, len(rows), 64):
                some = slice(i, i + 64)
                out[rows[some]] = self.session.run(None, {"ids": ids[some], "parts": parts[some]})[0][:, 0]


class LiteRt:
    name = "LiteRT"

    def __init__(self, w: dict[str, np.ndarray]) -> None:
        import ai_edge_litert.interpreter  # noqa: F401
        import tensorflow  # noqa: F401

        self.w, self.interpreters = w, {}

    def interpreter(self, length: int):
        from ai_edge_litert.interpreter import Interpreter

        if length not in self.interpreters:
            found = Interpreter(model_content=self.converted(length), num_threads=1)
            found.allocate_tensors()
            (i,), (o,) = found.get_input_details(), found.get_output_details()
            self.interpreters[length] = found, i["index"], o["index"]
        return self.interpreters[length]

    def converted(self, length: int) -> bytes:
        import tensorflow as tf

        w, layers = self.w, []
        inputs = x = tf.keras.Input((1, length, w["embed.bytes"].shape[1]), batch_size=1)
        for conv in ("c1", "c2", "c3"):
            kernel = w[f"{conv}.weight"]
            layer = tf.keras.layers.Conv2D(kernel.shape[2], (1, 5), padding="same", activation="relu")
            y = layer(x)
            layers.append((layer, [kernel[None], w[f"{conv}.bias"]]))
            x = x + y if conv == "c3" else tf.keras.layers.MaxPool2D((1, 2), padding="same")(y)
        pools = [tf.keras.layers.GlobalMaxPool2D()(x), tf.keras.layers.GlobalAveragePooling2D()(x)]
        x = tf.keras.layers.Concatenate()(pools)
        for dense, activation in (("d1", "relu"), ("d2", None)):
            layer = tf.keras.layers.Dense(w[f"{dense}.bias"].shape[0], activation=activation)
            x = layer(x)
            layers.append((layer, [w[f"{dense}.weight"], w[f"{dense}.bias"]]))
        model = tf.keras.Model(inputs, x)
        for layer, values in layers:
            layer.set_weights(values)
        return tf.lite.TFLiteConverter.from_keras_model(model).convert()

    def logits(self, groups, out: np.ndarray) -> None:
        for rows, ids, parts in groups:
            found, source, target = self.interpreter(ids.shape[1])
            embedded = (self.w["embed.bytes"][ids] + self.w["embed.parts"][parts])[:, None, None]
            for row, x in zip(rows, embedded, strict=True):
                found.set_tensor(source, x)
                found.invoke()
                out[row] = found.get_tensor(target)[0, 0]


def ngrams():
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import SGDClassifier
    from sklearn.pipeline import make_pipeline

    pipeline = make_pipeline(
        HashingVectorizer(analyzer="char", ngram_range=(2, 5), n_features=2**20), SGDClassifier(loss="log_loss")
    )
    return pipeline.fit(urls(1000), [0, 1] * 500)


def seconds(work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main(count: int) -> None:
    model = phishcnn.Model()
    # Few lengths, so that each peer converts and plans few networks.
    batch = [url for url in urls(8 * count) if len(phishcnn.canonicalize(url)) in (20, 28, 36, 44, 60, 90)][:count]
    groups, expected = by_length(batch), model.score_batch(batch).logit
    ways, absent = {"the wheel": lambda: model.score_batch(batch)}, []
    for peer in (OnnxRuntime, LiteRt):
        try:
            engine = peer(weights(model.file))
        except ImportError as error:
            absent.append(f"{peer.name} ({error})")
            continue
        out = np.zeros(len(batch), np.float32)
        engine.logits(groups, out)
        assert np.abs(out - expected).max() < 1e-3, "another network would be no comparison"
        ways[peer.name] = lambda engine=engine, out=out: engine.logits(groups, out)
    pipeline = ngrams()
    ways["scikit-learn, hashed 2- to 5-grams"] = lambda: pipeline.predict_proba(batch)
    times = {name: [] for name in ways}
    for _ in range(TURNS):
        for name, work in ways.items():
            times[name].append(seconds(work))
    ours = times["the wheel"]
    print(f"{len(batch)} URLs, backend {model.backend}; left out: {', '.join(absent) or 'none'}")
    print("| way | µs per URL | ratio to the wheel |\n|---|---|---|")
    for name, values in times.items():
        ratio = statistics.median(a / b for a, b in zip(values, ours, strict=True))
        print(f"| {name} | {statistics.median(values) / len(batch) * 1e6:.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
