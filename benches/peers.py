"""The same network on other engines, in turn with ours in one run: writes RESULTS.md and results.png.

Ours is timed natively, from the URL's bytes to the probability. Peers start from token ids that are ready, on one
thread, in the form that they run fastest (a convolution over time as one over a picture of height 1), and are called
from Python: what their call costs, measured on an empty network, is taken off.
"""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import networks
import numpy as np
from networks import example

HERE = Path(__file__).resolve().parent
MODELS = HERE / "models"
MEASURE = HERE / "target/release/measure"
LENGTHS = (16, 32, 64, 128, 256)
ROUNDS = 15
CALLS = 100


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


class OnnxRuntime:
    def __init__(self, network, int8: bool) -> None:
        import onnx

        self.rows = networks.trigram_rows(network[0])

        path, quantised, empty = (MODELS / f"peer-{name}.onnx" for name in ("f32", "int8", "empty"))
        onnx.save(networks.onnx_model(*network), path)
        if int8:
            networks.quantise_onnx(path, quantised, self.rows)
        self.session = networks.session(quantised if int8 else path)
        build_empty(empty)
        self.empty = networks.session(empty)

    def logit(self, length: int) -> float:
        return float(np.ravel(self.session.run(None, networks.feed(self.rows, *example(length)))[0])[0])

    def measure(self, length: int) -> float:
        feed = networks.feed(self.rows, *example(length))
        return timed(lambda: self.session.run(None, feed)) - timed(lambda: self.empty.run(None, feed))


def build_empty(path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, [1, "length"]) for n in networks.TABLES]
    outputs = [helper.make_tensor_value_info("out", TensorProto.INT64, [1, "length"])]
    graph = helper.make_graph(
        [helper.make_node("Add", ["ids", "parts"], ["sum"]), helper.make_node("Add", ["sum", "trigrams"], ["out"])],
        "empty",
        inputs,
        outputs,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)


class LiteRt:
    """An interpreter for each length, its input set once."""

    def __init__(self, network, int8: bool) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.network, self.int8, self.engines = network, int8, {}
        self.empty = Interpreter(model_content=build_empty_tflite(), num_threads=1)
        self.empty.allocate_tensors()

    def engine(self, length: int) -> networks.LiteRt:
        if length not in self.engines:
            engine = self.engines[length] = networks.LiteRt(*self.network, length, self.int8)
            engine.set(engine.input(networks.embedded(self.network[0], *example(length))[0]))
        return self.engines[length]

    def logit(self, length: int) -> float:
        self.engine(length).run()
        return self.engine(length).logit()

    def measure(self, length: int) -> float:
        """Without its inputs' embedding, and without what a call of an empty network costs."""
        return timed(self.engine(length).interpreter.invoke) - timed(self.empty.invoke)


def build_empty_tflite() -> bytes:
    import tensorflow as tf

    inputs = tf.keras.Input((1,), batch_size=1)
    return tf.lite.TFLiteConverter.from_keras_model(tf.keras.Model(inputs, inputs + inputs)).convert()


def main() -> int:
    network = networks.read((MODELS / "f32.safetensors").read_bytes())
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
        ("ONNX Runtime f32", "onnxruntime", lambda: OnnxRuntime(network, False)),
        ("ONNX Runtime int8", "onnxruntime", lambda: OnnxRuntime(network, True)),
        ("LiteRT f32", "ai-edge-litert", lambda: LiteRt(network, False)),
        ("LiteRT int8", "ai-edge-litert", lambda: LiteRt(network, True)),
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
        "Ours is timed from the URL's bytes to the probability, over 64 different URLs of each length (what is zero is "
        "skipped, so it matters what is read); peers from ready token ids (LiteRT: from ready embeddings), the cost of "
        "calling an empty network from Python taken off.",
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
