"""The JAX network against loops over exactly the tokens of one URL."""

from functools import partial

import jax
import numpy as np
import pytest
from phishcnn_train import network

SIZES = {"embed": 4, "trigrams": 16, "words": 64, "c1": [4, 6], "c2": [3, 6], "d1": 5, "d2": 1}
ACT = {"relu": lambda x: np.maximum(x, 0), "tanh": np.tanh, "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "": lambda x: x}


def trigram_row(ids, rows):
    """As docs/model-file.md has it, in Python's integers."""
    h = 0
    for i in ids:
        h = (h ^ i) * 16777619 % 2**32
    return (h ^ h // 2**15) * 2654435761 % 2**32 // (2**32 // rows)


def ngram_rows(ids, parts, shortest, longest, rows):
    """Of the n-grams of one URL that hold no mask, position by position, as docs/model-file.md has them, in Python's
    integers."""
    found = []
    for end in range(len(ids) + 1):
        found.append([])
        for order in range(shortest, longest + 1):
            ngram = [int(ids[i]) if 0 <= i < len(ids) else 0 for i in range(end - order + 1, end + 1)]
            if 256 in ngram:
                continue
            h = 65536 * (int(parts[end]) + 1) if end < len(ids) else 0
            for i in ngram[::-1]:
                h = (h ^ i) * 16777619 % 2**32
            h = (h ^ h // 2**16) * 0x85EBCA6B % 2**32
            h = (h ^ h // 2**13) * 0xC2B2AE35 % 2**32
            found[-1].append((h ^ h // 2**16) % rows)
    return found


def with_table(layers, weights, rng):
    """The weights with a table of random bytes where the layers end with n-grams, which training does not learn."""
    if layers[-1].kind != "ngrams":
        return weights
    table = rng.integers(-128, 128, SIZES["words"]).astype("i1")
    return weights | {"words.weight": table, "words.scale": np.array([0.03, 0.04, 0.02, 0.01], "<f4")}


def oracle(layers, weights, ids, parts):
    """float64, one URL, no padding anywhere."""
    weights = {k: v.astype(np.float64) for k, v in weights.items()}
    x = None
    for layer in layers:
        if layer.kind == "embed":
            x = weights["embed.bytes"][ids]
            if "parts" in layer.name:
                x = x + weights["embed.parts"][parts]
            if "trigrams" in layer.name:
                before = [0, 0, *ids.tolist()]
                x = x + weights["embed.trigrams"][[trigram_row(before[t : t + 3], 16) for t in range(len(ids))]]
        elif layer.kind == "conv":
            w, d = weights[f"{layer.name}.weight"], layer.dilation
            reach = (len(w) - 1) * d
            if layer.padding == "same":
                front = reach // 2
                padded = np.concatenate([np.zeros((front, x.shape[1])), x, np.zeros((reach - front, x.shape[1]))])
            else:
                padded = x
            y = np.array([sum(padded[t + i * d] @ w[i] for i in range(len(w))) for t in range(len(padded) - reach)])
            y = ACT[layer.activation](y + weights[f"{layer.name}.bias"])
            x = y + x if layer.add else y
        elif layer.kind == "maxpool":
            n = len(x) if layer.ceil else len(x) - len(x) % layer.window
            x = np.array([x[i : i + layer.window][: n - i].max(0) for i in range(0, n, layer.window)])
        elif layer.kind == "pool":
            x = np.concatenate(
                [f(x, 0) for name, f in (("max", np.max), ("avg", np.mean)) if name in layer.name.split("+")]
            )
        elif layer.kind == "flatten":
            x = x.reshape(-1)
        elif layer.kind == "ngrams":
            table, (shortest, longest) = weights[f"{layer.name}.weight"], layer.orders
            rows = ngram_rows(ids, parts, shortest, longest, len(table))
            regions = {0, 3, 4, 5}, {1, 2}, {6}, {7, 8}
            for region, scale in zip(regions, weights[f"{layer.name}.scale"], strict=True):
                inside = [r for r, part in zip(rows, [*parts, parts[-1]], strict=True) if int(part) in region]
                if inside:
                    total = sum(table[row] for r in inside for row in r)
                    mine = total / np.sqrt(len(inside) * (longest - shortest + 1)) * scale
                    x = x + (mine if 0 in region else np.maximum(mine, -1))
        else:
            x = ACT[layer.activation](x @ weights[f"{layer.name}.weight"] + weights[f"{layer.name}.bias"])
    return x


LINES = [
    "embed bytes+parts; conv c1 same relu; maxpool 2 ceil; conv c2 same relu; conv c2 same relu add; pool max+avg; dense d1 relu; dense d2",
    "embed bytes; conv c1 same dilation=2 tanh; maxpool 3 ceil; conv c2 same dilation=2 sigmoid add; pool max; dense d1 tanh; dense d2",
    "embed bytes+parts+trigrams; conv c1 valid; maxpool 2; conv c2 same tanh add; pool avg; dense d1; dense d2",
    "embed bytes; maxpool 3 ceil; pool max; dense d2; ngrams words 2..5",
    "embed bytes; pool avg; dense d2; ngrams words 1..8",
]


@pytest.mark.parametrize("line", LINES, ids=["residual", "dilated", "valid", "ngrams", "all orders"])
def test_padding_does_not_exist(line):
    layers = network.parse(line)
    weights = network.init(network.shapes(layers, SIZES), 1)
    rng = np.random.default_rng(2)
    weights = {k: v + 0.3 * rng.standard_normal(v.shape).astype(np.float32) for k, v in weights.items()}
    weights = with_table(layers, weights, rng)
    lengths = np.array([5, 7, 8, 12, 19, 20, 1 if "valid" not in line else 9])
    ids, parts = rng.integers(0, 257, (7, 20)), rng.integers(0, 9, (7, 20))
    ids[:, 3] = network.MASK_ID
    got = jax.jit(partial(network.forward, layers))(weights, ids, parts, lengths)
    for row, n in enumerate(lengths):
        want = oracle(layers, weights, ids[row, :n], parts[row, :n])
        np.testing.assert_allclose(got[row], want, atol=2e-5)


def test_flatten_of_fixed_length():
    layers = network.parse("embed bytes; conv c1 valid tanh; maxpool 3; flatten; dense d2")
    weights = network.init(network.shapes(layers, SIZES, length=20), 1)
    assert weights["d2.weight"].shape == (5 * 6, 1)
    rng = np.random.default_rng(4)
    ids = rng.integers(0, 257, (3, 20))
    got = jax.jit(partial(network.forward, layers))(weights, ids, ids * 0, np.full(3, 20))
    for row in range(3):
        np.testing.assert_allclose(got[row], oracle(layers, weights, ids[row], None), atol=2e-5)


@pytest.mark.parametrize(
    "text",
    [
        "conv c1",
        "conv c1 half",
        "conv c1 same relu add add",
        "maxpool",
        "maxpool 2 floor",
        "pool",
        "dense",
        "dense d1 gelu",
        "ngrams words 2..5",
        "pool max; dense d1; ngrams words",
        "pool max; dense d1; ngrams words 5..2",
        "pool max; dense d1; ngrams words 0..2",
        "pool max; dense d1; ngrams words 2..9",
        "pool max; dense d1; ngrams words 2..5 relu",
        "lstm 3",
    ],
)
def test_unknown_layers_are_refused(text):
    with pytest.raises(network.LayerError, match="cannot read layer"):
        network.parse(f"embed bytes; {text}")
    with pytest.raises(network.LayerError, match="behind ngrams"):
        network.parse("embed bytes; pool max; dense d1; ngrams words 2..5; dense d2")


def test_output_lines():
    outputs = np.array([[1.0, 4.0]])
    assert network.logit("sigmoid2 positive=1", outputs) == 4
    assert network.logit("softmax2 positive=0", outputs) == -3
    with pytest.raises(network.LayerError):
        network.logit("argmax", outputs)


def test_compact_fits_its_budget(compact):
    layers = network.parse(compact.layers)
    weights = network.init(network.shapes(layers, compact.sizes), 1)
    assert network.multiply_adds(layers, weights, 64) <= 2_500_000
    assert sum(w.size for w in weights.values()) <= 160_000  # 160 KiB as int8, the header included
