"""The same networks on other engines, in turn with ours in one run: writes RESULTS.md and results.png.

Ours is timed natively, from the URL's bytes to the probability. Peers start from token ids that are ready, on one
thread, in the form that they run fastest (a convolution over time as one over a picture of height 1). Those that are
called from Python have what their call costs, measured on an empty network, taken off; tract, rten and candle are timed
in Rust (`peers/`).
"""

from __future__ import annotations

import os
import platform
import statistics
import struct
import subprocess
import time
import tomllib
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import networks
import numpy as np
from networks import example

HERE = Path(__file__).resolve().parent
MODELS = HERE / "models"
MEASURE = HERE / "target/release/measure"
RUST = HERE / "target/peers-crate/release/phishcnn-peers"
RUST_CRATES = {"tract": "tract-onnx", "rten": "rten", "candle": "candle-core"}
ROUNDS = 21
# (URLs in a call, lengths, calls of a round)
SHAPES = ((1, (16, 32, 64, 128, 200, 256), 100), (64, (64, 200), 8))


@dataclass(frozen=True)
class Network:
    title: str
    f32: str
    int8: str
    lengths: tuple[int, ...]
    calls: float  # in a round, of those in SHAPES

    def read(self) -> tuple[networks.Tensors, dict[str, str]]:
        return networks.read((MODELS / f"{self.f32}.safetensors").read_bytes())


NETWORKS = (
    Network("The compact network", "f32", "int8", (16, 32, 64, 128, 200, 256), 1),
    Network("The published architecture", "published", "published-int8", (16, 64, 200), 0.25),
)


class Process:
    """An engine in a process of its own: `ENGINE LENGTH BATCH COUNT` → `NS FIRST LOGIT`."""

    def __init__(self, binary: Path, *words: str) -> None:
        self.binary, self.words = binary, words
        self.process = self.start()

    def start(self) -> subprocess.Popen[str]:
        environment = os.environ | {"BENCH_MODELS": str(MODELS), "RAYON_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        return subprocess.Popen([self.binary], stdin=pipe, stdout=pipe, text=True, env=environment)

    def ask(self, process: subprocess.Popen[str], length: int, batch: int, calls: int) -> tuple[float, float, float]:
        print(*self.words, length, batch, calls, file=process.stdin, flush=True)
        ns, first, logit = map(float, process.stdout.readline().split())
        return ns / 1000, first / 1000, logit

    def logit(self, length: int) -> float:
        return self.ask(self.process, length, 1, 1)[2]

    def measure(self, length: int, batch: int, calls: int) -> float:
        return self.ask(self.process, length, batch, calls)[0]

    def first(self, length: int) -> float:
        with self.start() as process:
            return self.ask(process, length, 1, 1)[1]


def timed(call, calls: int) -> float:
    """Median microseconds of a call."""
    times = []
    for _ in range(calls):
        start = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - start)
    return statistics.median(times) / 1000


class OnnxRuntime:
    def __init__(self, network: Network, int8: bool) -> None:
        import onnx

        self.w, layers = network.read()
        path, quantised = (MODELS / f"peer-{name}.onnx" for name in (network.f32, network.int8))
        onnx.save(networks.onnx_model(self.w, layers), path)
        if int8:
            networks.quantise_onnx(path, quantised, self.w)
        self.file = (quantised if int8 else path).read_bytes()
        self.session = networks.session(self.file)
        self.empty = networks.session(empty_onnx(list(networks.tables(self.w))))

    def logit(self, length: int) -> float:
        return float(self.session.run(None, example(self.w, length))[0][0, -1])

    def measure(self, length: int, batch: int, calls: int) -> float:
        feed = example(self.w, length, batch)
        called, nothing = (timed(lambda s=s: s.run(None, feed), calls) for s in (self.session, self.empty))
        return called - nothing

    def first(self, length: int) -> float:
        feed = example(self.w, length)
        return timed(lambda: networks.session(self.file).run(None, feed), 1)


def empty_onnx(names: list[str]) -> bytes:
    """Inputs as of the network, of which the first comes back."""
    from onnx import TensorProto, helper

    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["n", "length"]) for n in names]
    outputs = [helper.make_tensor_value_info("out", TensorProto.INT64, ["n", "length"])]
    graph = helper.make_graph([helper.make_node("Identity", names[:1], ["out"])], "empty", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


class LiteRt:
    """An interpreter for each shape, its input set once."""

    def __init__(self, network: Network, int8: bool) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.w, self.layers = network.read()
        self.int8, self.engines = int8, {}
        self.empty = Interpreter(model_content=empty_tflite(), num_threads=1)
        self.empty.allocate_tensors()

    def engine(self, length: int, batch: int) -> networks.LiteRt:
        if (length, batch) not in self.engines:
            engine = networks.LiteRt(self.w, self.layers, length, self.int8, batch)
            engine.set(engine.input(networks.embedded(self.w, example(self.w, length, batch))))
            self.engines[length, batch] = engine
        return self.engines[length, batch]

    def logit(self, length: int) -> float:
        self.engine(length, 1).run()
        return self.engine(length, 1).logit()

    def measure(self, length: int, batch: int, calls: int) -> float:
        """Without its inputs' embedding, and without what a call of an empty network costs."""
        return timed(self.engine(length, batch).run, calls) - timed(self.empty.invoke, calls)

    def first(self, length: int) -> float:
        engine = self.engine(length, 1)
        x = engine.input(networks.embedded(self.w, example(self.w, length)))
        return timed(lambda: (engine.load(), engine.set(x), engine.run()), 1)


def empty_tflite() -> bytes:
    import tensorflow as tf

    inputs = tf.keras.Input((1,), batch_size=1)
    return tf.lite.TFLiteConverter.from_keras_model(tf.keras.Model(inputs, inputs + inputs)).convert()


@dataclass
class Run:
    """What was measured of a network: microseconds by engine, length and batch, one for each round."""

    network: Network
    engines: dict = field(default_factory=dict)
    times: dict = field(default_factory=dict)
    first: dict = field(default_factory=dict)

    def shapes(self):
        return [(n, batch, calls) for batch, lengths, calls in SHAPES for n in lengths if n in self.network.lengths]

    def median(self, name: str, length: int, batch: int = 1) -> float:
        return statistics.median(self.times[name, length, batch]) / batch

    def ratios(self, name: str, to: str, length: int, batch: int = 1) -> list[float]:
        """Lower quartile, median and upper quartile of the ratios within the rounds."""
        pairs = zip(self.times[name, length, batch], self.times[to, length, batch], strict=True)
        return statistics.quantiles((a / b for a, b in pairs), n=4)


def ours(network: Network) -> dict[str, Process]:
    def engine(model: str, backend: str) -> Process:
        return Process(MEASURE, str(MODELS / f"{model}.safetensors"), backend)

    return {
        "PhishCNN int8": engine(network.int8, "best"),
        "PhishCNN int8, AVX2": engine(network.int8, "avx2"),
        "PhishCNN int8, SSE4.1": engine(network.int8, "sse4.1"),
        "PhishCNN int8, portable": engine(network.int8, "portable"),
        "PhishCNN f32": engine(network.f32, "best"),
        "PhishCNN f32, portable": engine(network.f32, "portable"),
    }


PEERS = {
    "ONNX Runtime f32": lambda network: OnnxRuntime(network, False),
    "ONNX Runtime int8": lambda network: OnnxRuntime(network, True),
    "LiteRT f32": lambda network: LiteRt(network, False),
    "LiteRT int8": lambda network: LiteRt(network, True),
    "tract f32": lambda network: Process(RUST, "tract", network.f32),
    "rten f32": lambda network: Process(RUST, "rten", network.f32),
    "candle f32": lambda network: Process(RUST, "candle", network.f32),
}


def same_network(network: Network, engines: dict, length: int) -> None:
    """Our logit of a URL against that of a peer that is fed the URL's tokens."""
    peer = engines["ONNX Runtime f32"]
    command = [MEASURE, "tokens", MODELS / f"{network.f32}.safetensors", str(length)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    ids, parts = (np.array([line.split()]).astype(np.int64) for line in told.splitlines())
    feed = {"ids": ids} if "chars" in peer.w else networks.feed(networks.trigram_rows(peer.w), ids, parts)
    theirs = float(peer.session.run(None, feed)[0][0, -1])
    for name in ("PhishCNN f32", "PhishCNN f32, portable"):
        mine = engines[name].logit(length)
        assert abs(mine - theirs) < 1e-3, (
            f"{network.title}, the same URL of {length} bytes: {name} says {mine}, ONNX Runtime {theirs}"
        )


def measured(network: Network) -> Run:
    w, _ = network.read()
    run = Run(network)
    for length, batch, _ in run.shapes():
        rows = np.stack(list(example(w, length, batch).values()))
        shape = np.array(rows.shape)
        (MODELS / f"peer-{network.f32}-{length}-{batch}.ids").write_bytes(shape.tobytes() + rows.tobytes())
    run.engines = ours(network)
    for name, make in PEERS.items():
        run.engines[name] = make(network)
    for length in network.lengths:  # another network would not be a comparison
        logits = {name: run.engines[name].logit(length) for name in PEERS if name.endswith("f32")}
        assert max(logits.values()) - min(logits.values()) < 1e-3, (length, logits)
        same_network(network, run.engines, length)
    for turn in range(-1, ROUNDS):  # the first to warm
        for length, batch, calls in run.shapes():
            for name, engine in run.engines.items():
                time = engine.measure(length, batch, max(2, round(calls * network.calls)))
                if turn >= 0:
                    run.times.setdefault((name, length, batch), []).append(time)
        for name, engine in run.engines.items():
            run.first.setdefault(name, []).append(engine.first(64))
    return run


def process() -> str:
    """What a process costs that scores one URL: a sentence."""
    library, binary = HERE.parent / "target/c/libphishcnn.a", HERE / "target/process"
    subprocess.run(["make", "--quiet", "-C", HERE.parent / "ffi", "all"], check=True)
    options = ["-Os", "-static", "-s", "-Wl,--gc-sections"]
    include = ["-I", HERE.parent / "ffi/include"]
    subprocess.run(["cc", *options, *include, HERE / "process.c", library, "-o", binary], check=True)
    out = subprocess.run([binary], check=True, capture_output=True).stdout
    _, heap = struct.unpack("fI", out[:8])
    peak = int(next(line for line in out[8:].decode().splitlines() if line.startswith("VmHWM")).split()[1])
    empty = HERE / "target/empty"
    subprocess.run(
        ["cc", *options, "-x", "c", "-", "-o", empty], check=True, text=True, input="int main(void) { return 0; }"
    )
    model = (MODELS / "int8.safetensors").stat().st_size
    return (
        f"A static program (`process.c`, glibc) that loads the embedded model, scores one URL and ends has "
        f"{peak / 1024:.1f} MiB resident at most and takes {heap} bytes from the heap. Its file has "
        f"{(binary.stat().st_size - model) / 1e6:.2f} MB without the model, of which {empty.stat().st_size / 1e6:.2f} MB "
        "are a program that does nothing."
    )


def table(run: Run, lengths: tuple[int, ...], batch: int) -> list[str]:
    lines = ["| engine | " + " | ".join(f"{n} bytes" for n in lengths) + " |", "|---|" + "---|" * len(lengths)]
    for name in run.engines:
        cells = [
            f"{run.median(name, n, batch):.1f} ({run.ratios(name, 'PhishCNN int8', n, batch)[1]:.2f})" for n in lengths
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


# What the project set out for: our time as a share of the best peer's, by network and numbers, for one URL of 64 bytes;
# 1 for one of 200 bytes; in batches 0.70 and 1.
TARGETS = {
    ("The compact network", "f32"): 0.55,
    ("The compact network", "int8"): 0.55,
    ("The published architecture", "f32"): 0.50,
    ("The published architecture", "int8"): 0.55,
}


def against(run: Run, kind: str, length: int, batch: int) -> str:
    """A line of the table: our time beside the best peer's, of the same kind of numbers."""
    peers = [name for name in PEERS if name.endswith(kind)]
    best = min(peers, key=lambda name: run.median(name, length, batch))
    mine = f"PhishCNN {kind}"
    low, middle, high = run.ratios(mine, best, length, batch)
    target = 1.0 if length == 200 else 0.7 if batch > 1 else TARGETS[run.network.title, kind]
    share = f"{middle:.2f} ({low:.2f} to {high:.2f})"
    return (
        f"| {run.network.title.removeprefix('The ')} | {kind} | {batch} | {length} | {run.median(mine, length, batch):.1f}"
        f" | {run.median(best, length, batch):.1f}, {best.removesuffix(kind).strip()}"
        f" | {f'**{share}**' if middle <= target else share} | {target:.2f} |"
    )


def write(runs: list[Run]) -> None:
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    rustc = subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True).stdout.strip()
    locked = tomllib.loads((HERE / "peers/Cargo.lock").read_text())["package"]
    crates = {package["name"]: package["version"] for package in locked}
    versions = [f"{name} {metadata.version(name)}" for name in ("onnxruntime", "ai-edge-litert")]
    versions += [f"{name} {crates[crate]}" for name, crate in RUST_CRATES.items()]
    lines = [
        "# Results",
        "",
        "Written by `make -C benches`: microseconds for one URL on one thread, medians over "
        f"{ROUNDS} interleaved rounds; in brackets the ratio to *PhishCNN int8* within the rounds.",
        "",
        f"{cpu.partition(':')[2].strip()}; {platform.system()} {platform.release()}; {rustc}; {', '.join(versions)}; "
        f"{time.strftime('%Y-%m-%d')}.",
        "",
        "Ours is timed from the URL's bytes to the probability, over 64 different URLs of each length (what is zero is "
        "skipped, so it matters what is read); peers from ready token ids (LiteRT: from ready embeddings). ONNX Runtime "
        "and LiteRT are called from Python, and the cost of calling an empty network is taken off; the others are "
        "called from Rust. Every f32 peer gives the same logits to 0.001, and ONNX Runtime ours when it is fed our tokens.",
        "",
        "## Our time as a share of the best peer's",
        "",
        "The share is the median (and the quartiles) of the ratios within the rounds; where times come in two kinds, "
        "fast and slow, it is not the ratio of the medians beside it. Bold where the target is reached.",
        "",
        "| network | numbers | URLs in a call | bytes | ours, µs for each | best peer | share | target |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        for kind in ("f32", "int8"):
            lines += [against(run, kind, length, batch) for batch in (1, 64) for length in (64, 200)]
    for run in runs:
        lines += ["", f"## {run.network.title}, one URL in a call", "", *table(run, run.network.lengths, 1)]
    lines += ["", "![time against length](results.png)"]
    for run in runs:
        lines += ["", f"## {run.network.title}, 64 URLs in a call", "", "Microseconds for each URL.", ""]
        lines += table(run, (64, 200), 64)
    lines += [
        "",
        "## From the model's bytes to the first logit",
        "",
        "Microseconds, a URL of 64 bytes; file and (LiteRT) conversion are there before.",
        "",
        "| engine | " + " | ".join(run.network.title.removeprefix("The ") for run in runs) + " |",
        "|---|" + "---|" * len(runs),
    ]
    for name in runs[0].engines:
        lines.append(f"| {name} | " + " | ".join(f"{statistics.median(run.first[name]):,.0f}" for run in runs) + " |")
    lines += ["", "## The smallest process", "", process(), ""]
    (HERE / "RESULTS.md").write_text("\n".join(lines))
    print("\n".join(lines))
    draw(runs)


def draw(runs: list[Run]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(runs), figsize=(6 * len(runs), 4.8))
    for axis, run in zip(axes, runs, strict=True):
        lengths = run.network.lengths
        for name in run.engines:
            style = "o-" if name.startswith("PhishCNN") else "s--"
            axis.loglog(lengths, [run.median(name, n) for n in lengths], style, label=name, markersize=4)
        axis.set_xticks(lengths, lengths)
        axis.minorticks_off()
        axis.set_title(run.network.title)
        axis.set_xlabel("bytes of the URL")
        axis.set_ylabel("µs per URL, one thread")
    axes[-1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.02, 0.5))
    figure.tight_layout()
    figure.savefig(HERE / "results.png", dpi=110)


if __name__ == "__main__":
    write([measured(network) for network in NETWORKS])
