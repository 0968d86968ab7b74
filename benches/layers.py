"""Where the int8 engine's time goes: prints microseconds of each part of the compact network, as differences between
the network cut off behind one layer and behind the next, medians of turns; for made-up URLs of 64 tokens.

Beside it the multiply-adds that are done (the third convolution leaves out groups of four zeros) and their share of
the processor's peak, from its clock in GHz and how many products of 64 bytes it does in a cycle (Zen 4: one, Zen 5:
two): `python layers.py [GHZ PRODUCTS]`.

`python layers.py --write FOLDER` writes the cut networks, f32 and int8, for criterion (`make -C benches bench`).
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import phishcnn

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "weights"), str(ROOT / "benches/python")]
from phishcnn_train import network, quantize  # noqa: E402
from phishcnn_train.export import encode, read  # noqa: E402
from urls import urls  # noqa: E402

TOKENS, URLS, TURNS = 64, 2000, 25
F32 = ROOT / "weights/models/f32/phishcnn-compact.safetensors"
PARTS = ("form, tokens, embedding, call", "first convolution", "second convolution", "third convolution, dense layers")


def of_length(model: phishcnn.Model) -> list[str]:
    """URLs whose canonical form has `TOKENS` bytes."""
    made = urls(300_000, seed=1)
    lengths = np.diff(np.asarray(phishcnn.tokenize_batch(made, input=model.info["phishcnn.input"]).offsets))
    return [made[i] for i in np.flatnonzero(lengths == TOKENS)[:URLS]]


def cut_off(folder: Path, urls: list[str]) -> list[Path]:
    """The int8 forms of the compact network up to the embedding, the first and the second convolution, each with a
    pooling layer and one dense unit behind it: FOLDER/int8/LAYER.safetensors, and beside them FOLDER/f32/. The URLs
    give the ranges of int8."""
    tensors, metadata = read(F32)
    metadata = {key: value for key, value in metadata.items() if key not in ("phishcnn.golden", "phishcnn.reference")}
    lines = metadata["phishcnn.layers"].split("; ")
    paths = []
    for names, keep in ((("embed",), 1), (("embed", "c1"), 3), (("embed", "c1", "c2"), 5)):
        cut = {key: tensor for key, tensor in tensors.items() if key.split(".")[0] in names}
        width = cut[f"{names[-1]}.bias"].shape[0] if keep > 1 else cut["embed.bytes"].shape[1]
        cut |= {"d2.weight": np.ones((width, 1), "<f4"), "d2.bias": np.zeros(1, "<f4")}
        said = metadata | {"phishcnn.layers": "; ".join([*lines[:keep], "pool max", "dense d2"])}
        rounded = quantize.quantised(cut, said, [url.encode() for url in urls])[0]
        for kind, some in (("f32", cut), ("int8", rounded)):
            path = folder / kind / f"{names[-1]}.safetensors"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(some, said))
        paths.append(path)
    return paths


def main() -> None:
    embedded = phishcnn.Model()
    some = of_length(embedded)
    if sys.argv[1:2] == ["--write"]:
        cut_off(Path(sys.argv[2]), some)
        return
    peak = 64e3 * float(sys.argv[1]) * int(sys.argv[2]) if len(sys.argv) > 1 else None  # multiply-adds in a microsecond
    tensors, metadata = read(F32)
    with tempfile.TemporaryDirectory() as folder:
        models = [*(phishcnn.Model.load(str(path)) for path in cut_off(Path(folder), some)), embedded]
    times: list[list[float]] = [[] for _ in models]
    for _ in range(TURNS):
        for model, taken in zip(models, times, strict=True):
            start = time.process_time()
            model.score_batch(some)
            taken.append((time.process_time() - start) / len(some) * 1e6)
    until = [statistics.median(taken) for taken in times]

    layers = network.parse(metadata["phishcnn.layers"])
    tokens = quantize.tokenize([url.encode() for url in some], metadata["phishcnn.input"])
    ids, parts = np.asarray(tokens.ids).astype(int), np.asarray(tokens.parts).astype(int)
    lengths = np.full(len(some), TOKENS)
    wide = quantize.widened(layers, tensors, None)
    active = quantize.carried(layers, wide, ids, parts, lengths).active
    active = quantize.carried(layers, quantize.ordered(layers, wide, active), ids, parts, lengths).active
    full = {name: float(x.reshape(len(x), -1, quantize.GROUP).any(2).mean()) for name, x in active.items()}
    sizes = [int(np.prod(tensors[f"c{i}.weight"].shape)) * TOKENS >> (i - 1) for i in (1, 2, 3)]
    done = [0, sizes[0], sizes[1], round(sizes[2] * full["c3"])]
    print(f"{len(some)} URLs of {TOKENS} tokens, {embedded.backend}; groups that are not zero: {full}")
    for part, end, begin, products in zip(PARTS, until, [0.0, *until], done, strict=False):
        share = f", {100 * products / peak / (end - begin):.0f} % of the peak" if peak and products else ""
        print(f"{part}: {end - begin:.2f} us, {products / 1e6:.2f} M multiply-adds{share}")
    share = f", {100 * sum(done) / peak / (until[-1] - until[0]):.0f} % of the peak" if peak else ""
    print(f"all: {until[-1]:.2f} us; the network alone {sum(done) / 1e6:.2f} M{share}")


if __name__ == "__main__":
    main()
