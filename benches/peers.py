"""The same network on other engines, in turn with ours in one run: writes RESULTS.md and results.png.

Ours is timed natively, from the URL's bytes to the probability. Peers start from token ids that are ready, on one
thread, in the form that they run fastest (a convolution over time as one over a picture of height 1), and are called
from Python: what their call costs, measured on an empty network, is taken off.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
MODELS = HERE / "models"
MEASURE = HERE / "target/release/measure"
LENGTHS = (16, 32, 64, 128, 256)
ROUNDS = 15
CALLS = 100


def read(path: Path) -> dict[str, np.ndarray]:
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    header.pop("__metadata__")
    out = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        out[name] = np.frombuffer(raw[start + begin : start + end], "<f4").reshape(entry["shape"])
    return out


class Ours:
    """Our engine, in a process of its own that measures on demand."""

    process = None

    def __init__(self, model: str, backend: str) -> None:
        self.model, self.backend = model, backend
        if Ours.process is None:
            Ours.process = subprocess.Popen([MEASURE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def measure(self, length: int) -> float:
        Ours.process.stdin.write(f"{MODELS / self.model}.safetensors {self.backend} {length} {CALLS}\n")
        Ours.process.stdin.flush()
        return float(Ours.process.stdout.readline()) / 1000


def timed(call) -> float:
    """Median microseconds of a call."""
    times = []
    for _ in range(CALLS):
        start = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - start)
    return statistics.median(times) / 1000


def example(length: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(length)
    return rng.integers(97, 123, (1, length)).astype(np.int64), rng.integers(1, 8, (1, length)).astype(np.int64)


class OnnxRuntime:
    """The network as ONNX; int8 by ONNX Runtime's own static quantisation (QDQ)."""

    def __init__(self, weights: dict[str, np.ndarray], int8: bool) -> None:
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)
        self.path = MODELS / f"peer-{'int8' if int8 else 'f32'}.onnx"
        build_onnx(weights, MODELS / "peer-f32.onnx")
        if int8:
            quantise_onnx(MODELS / "peer-f32.onnx", self.path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(self.path, options, ["CPUExecutionProvider"])
        empty = MODELS / "empty.onnx"
        build_empty(empty)
        self.empty = onnxruntime.InferenceSession(empty, options, ["CPUExecutionProvider"])

    def logit(self, length: int) -> float:
        ids, parts = example(length)
        return float(np.ravel(self.session.run(None, {"ids": ids, "parts": parts})[0])[0])

    def measure(self, length: int) -> float:
        ids, parts = example(length)
        feed = {"ids": ids, "parts": parts}
        return timed(lambda: self.session.run(None, feed)) - timed(lambda: self.empty.run(None, feed))


def build_onnx(w: dict[str, np.ndarray], path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants = [], []

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    x = node("Gather", [constant("bytes", w["embed.bytes"]), "ids"], "byte")
    y = node("Gather", [constant("part", w["embed.parts"]), "parts"], "of_part")
    x = node("Add", [x, y], "embedded")
    x = node("Transpose", [x], "nct", perm=[0, 2, 1])
    x = node("Unsqueeze", [x, constant("axis", np.array([2]))], "picture")
    for name in ("c1", "c2", "c3"):
        kernel = constant(f"{name}_w", w[f"{name}.weight"].transpose(2, 1, 0)[:, :, None, :])
        inputs = [x, kernel, constant(f"{name}_b", w[f"{name}.bias"])]
        y = node("Relu", [node("Conv", inputs, f"{name}_sum", pads=[0, 2, 0, 2])], f"{name}_relu")
        if name == "c3":
            x = node("Add", [y, x], "added")
        else:
            x = node("MaxPool", [y], f"{name}_out", kernel_shape=[1, 2], strides=[1, 2], ceil_mode=1)
    x = node("Concat", [node("GlobalMaxPool", [x], "max"), node("GlobalAveragePool", [x], "avg")], "pooled", axis=1)
    x = node("Flatten", [x], "vector")
    x = node("Gemm", [x, constant("d1_w", w["d1.weight"]), constant("d1_b", w["d1.bias"])], "d1_sum")
    x = node("Relu", [x], "d1_out")
    node("Gemm", [x, constant("d2_w", w["d2.weight"]), constant("d2_b", w["d2.bias"])], "logit")
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, [1, "length"]) for n in ("ids", "parts")]
    outputs = [helper.make_tensor_value_info("logit", TensorProto.FLOAT, [1, 1])]
    graph = helper.make_graph(nodes, "compact", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    onnx.save(model, path)


def build_empty(path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, [1, "length"]) for n in ("ids", "parts")]
    outputs = [helper.make_tensor_value_info("out", TensorProto.INT64, [1, "length"])]
    graph = helper.make_graph([helper.make_node("Add", ["ids", "parts"], ["out"])], "empty", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)


def quantise_onnx(source: Path, path: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Examples(CalibrationDataReader):
        def __init__(self) -> None:
            self.lengths = iter([*range(16, 80, 4), 128, 256])

        def get_next(self):
            length = next(self.lengths, None)
            return None if length is None else dict(zip(("ids", "parts"), example(length), strict=True))

    quantize_static(
        source,
        path,
        Examples(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )


class LiteRt:
    """The network as a .tflite for each length; int8 by TensorFlow's full-integer conversion."""

    def __init__(self, weights: dict[str, np.ndarray], int8: bool) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.weights, self.int8, self.interpreters = weights, int8, {}
        self.empty = Interpreter(model_content=build_empty_tflite(), num_threads=1)
        self.empty.allocate_tensors()

    def interpreter(self, length: int):
        from ai_edge_litert.interpreter import Interpreter

        if length not in self.interpreters:
            model = build_tflite(self.weights, length, self.int8)
            found = Interpreter(model_content=model, num_threads=1)
            found.allocate_tensors()
            embedded, parts = example(length)
            x = self.weights["embed.bytes"][embedded] + self.weights["embed.parts"][parts]
            detail = found.get_input_details()[0]
            if self.int8:
                scale, zero = detail["quantization"]
                x = np.clip(np.rint(x / scale + zero), -128, 127)
            found.set_tensor(detail["index"], x.reshape(1, 1, length, -1).astype(detail["dtype"]))
            self.interpreters[length] = found
        return self.interpreters[length]

    def logit(self, length: int) -> float:
        found = self.interpreter(length)
        found.invoke()
        detail = found.get_output_details()[0]
        value = float(np.ravel(found.get_tensor(detail["index"]))[0])
        scale, zero = detail["quantization"]
        return (value - zero) * scale if self.int8 else value

    def measure(self, length: int) -> float:
        """Without its inputs' embedding, and without what a call of an empty network costs."""
        return timed(self.interpreter(length).invoke) - timed(self.empty.invoke)


def build_tflite(w: dict[str, np.ndarray], length: int, int8: bool) -> bytes:
    import tensorflow as tf

    inputs = tf.keras.Input((1, length, w["embed.bytes"].shape[1]), batch_size=1)
    x, layers = inputs, []
    for name in ("c1", "c2", "c3"):
        kernel = w[f"{name}.weight"]
        layer = tf.keras.layers.Conv2D(kernel.shape[2], (1, 5), padding="same", activation="relu")
        y = layer(x)
        layers.append((layer, [kernel[None], w[f"{name}.bias"]]))
        x = x + y if name == "c3" else tf.keras.layers.MaxPool2D((1, 2), padding="same")(y)
    pools = [tf.keras.layers.GlobalMaxPool2D()(x), tf.keras.layers.GlobalAveragePooling2D()(x)]
    x = tf.keras.layers.Concatenate()(pools)
    for name, activation in (("d1", "relu"), ("d2", None)):
        layer = tf.keras.layers.Dense(w[f"{name}.bias"].shape[0], activation=activation)
        x = layer(x)
        layers.append((layer, [w[f"{name}.weight"], w[f"{name}.bias"]]))
    model = tf.keras.Model(inputs, x)
    for layer, values in layers:
        layer.set_weights(values)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if int8:
        rng = np.random.default_rng(1)

        def examples():
            for _ in range(30):
                ids, parts = rng.integers(97, 123, (1, length)), rng.integers(1, 8, (1, length))
                yield [(w["embed.bytes"][ids] + w["embed.parts"][parts]).reshape(1, 1, length, -1).astype("f4")]

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = examples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def build_empty_tflite() -> bytes:
    import tensorflow as tf

    inputs = tf.keras.Input((1,), batch_size=1)
    return tf.lite.TFLiteConverter.from_keras_model(tf.keras.Model(inputs, inputs + inputs)).convert()


def main() -> int:
    weights = read(MODELS / "f32.safetensors")
    engines = {
        "PhishCNN int8": Ours("int8", "best"),
        "PhishCNN int8, AVX2": Ours("int8", "avx2"),
        "PhishCNN int8, SSE4.1": Ours("int8", "sse4.1"),
        "PhishCNN int8, portable": Ours("int8", "portable"),
        "PhishCNN f32": Ours("f32", "best"),
        "PhishCNN f32, portable": Ours("f32", "portable"),
    }
    versions, absent = [], []
    for name, package, make in (
        ("ONNX Runtime f32", "onnxruntime", lambda: OnnxRuntime(weights, False)),
        ("ONNX Runtime int8", "onnxruntime", lambda: OnnxRuntime(weights, True)),
        ("LiteRT f32", "ai-edge-litert", lambda: LiteRt(weights, False)),
        ("LiteRT int8", "ai-edge-litert", lambda: LiteRt(weights, True)),
    ):
        try:
            engine = make()
            for length in LENGTHS:
                engine.logit(length)
        except ImportError as error:
            absent.append(f"{name} ({error})")
            continue
        engines[name] = engine
        versions.append(f"{package} {metadata.version(package)}")
    if "ONNX Runtime f32" in engines and "LiteRT f32" in engines:
        for length in LENGTHS:  # another network would not be a comparison
            a, b = engines["ONNX Runtime f32"].logit(length), engines["LiteRT f32"].logit(length)
            assert abs(a - b) < 1e-3, (length, a, b)
    times = {(name, length): [] for name in engines for length in LENGTHS}
    for engine in engines.values():
        [engine.measure(length) for length in LENGTHS]  # warm
    for _ in range(ROUNDS):
        for length in LENGTHS:
            for name, engine in engines.items():
                times[name, length].append(engine.measure(length))
    medians = {key: statistics.median(values) for key, values in times.items()}
    write(engines, times, medians, sorted(set(versions)), absent)
    return 0


def write(engines, times, medians, versions, absent) -> None:
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    rustc = subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True).stdout.strip()
    lines = [
        "# Results",
        "",
        "Written by `make -C benches`: microseconds for one URL on one thread, batch 1, the compact network. "
        f"Medians over {ROUNDS} interleaved rounds of {CALLS} calls each, and in brackets the ratio to "
        "*PhishCNN int8* within the rounds.",
        "",
        f"{cpu.partition(':')[2].strip()}; {platform.system()} {platform.release()}; {rustc}; {', '.join(versions)}; "
        f"{time.strftime('%Y-%m-%d')}." + (f" Not there: {'; '.join(absent)}." if absent else ""),
        "",
        "Ours is timed from the URL's bytes to the probability, over 64 different URLs of each length (zeros are "
        "skipped, so that what is read matters); peers from ready token ids (LiteRT: from ready embeddings), the cost "
        "of calling an empty network from Python taken off.",
        "",
        "| engine | " + " | ".join(f"{n} bytes" for n in LENGTHS) + " |",
        "|---|" + "---|" * len(LENGTHS),
    ]
    for name in engines:
        cells = []
        for length in LENGTHS:
            ours = times["PhishCNN int8", length]
            ratio = statistics.median(t / o for t, o in zip(times[name, length], ours, strict=True))
            cells.append(f"{medians[name, length]:.1f} ({ratio:.2f})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "![time against length](results.png)", ""]
    (HERE / "RESULTS.md").write_text("\n".join(lines))
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.figure(figsize=(7, 4.5))
    for name in engines:
        style = "o-" if name.startswith("PhishCNN") else "s--"
        pyplot.plot(LENGTHS, [medians[name, n] for n in LENGTHS], style, label=name, markersize=4)
    pyplot.loglog()
    pyplot.xticks(LENGTHS, LENGTHS)
    pyplot.minorticks_off()
    pyplot.xlabel("bytes of the URL")
    pyplot.ylabel("µs per URL, one thread")
    pyplot.legend(fontsize=7)
    pyplot.tight_layout()
    pyplot.savefig(HERE / "results.png", dpi=110)
    print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
