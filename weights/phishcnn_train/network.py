"""The network in JAX, built from the same layer line that the engine reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .typed import Array, Figures, Tensors

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "softmax": jax.nn.softmax,
    "": lambda x: x,
}
MASK_ID = 256  # byte id of a masked byte; parts keep their ids
N_BYTES, N_PARTS = 257, 9
ORDERS = re.compile(r"([1-8])\.\.([1-8])")
REGION_OF = (0, 1, 1, 0, 0, 0, 2, 3, 3)  # of each part, for n-grams: the registered name, sub-domains, path, query
REGIONS = 4
EXCUSE = 1.0  # what the n-grams of all regions but the name may take off the logit, each
EMBEDDINGS = ("bytes", "bytes+parts", "bytes+parts+trigrams", "chars")


class LayerError(Exception):
    """A layer line that cannot be built; the message quotes the layer."""


@dataclass(frozen=True)
class Layer:
    kind: str  # embed, conv, maxpool, pool, flatten, dense, ngrams
    name: str = ""  # of the tensors; for embed and pool: what is embedded or pooled
    padding: str = "same"
    dilation: int = 1
    activation: str = ""
    add: bool = False
    window: int = 1
    ceil: bool = False
    orders: tuple[int, int] = (0, 0)  # tokens of the shortest and of the longest n-grams


def parse(line: str) -> list[Layer]:
    """Layers of a line such as `embed bytes; conv c1 same relu; pool max; dense d1`."""
    layers: list[Layer] = []
    for text in line.split("; "):
        kind, *words = text.split(" ")
        try:
            if kind == "embed" and len(words) == 1 and words[0] in EMBEDDINGS:
                layer = Layer(kind, words[0])
            elif kind == "conv":
                name, padding, *rest = words
                if padding not in ("same", "valid"):
                    raise ValueError
                dilation = int(rest.pop(0)[9:]) if rest and rest[0].startswith("dilation=") else 1
                activation = rest.pop(0) if rest and rest[0] in ("relu", "tanh", "sigmoid") else ""
                add = rest == ["add"]
                if rest and not add:
                    raise ValueError
                layer = Layer(kind, name, padding, dilation, activation, add)
            elif kind == "maxpool" and words[1:] in ([], ["ceil"]):
                layer = Layer(kind, window=int(words[0]), ceil=len(words) == 2)
            elif kind == "pool" and words in (["max"], ["avg"], ["max+avg"]):
                layer = Layer(kind, words[0])
            elif kind == "flatten" and not words:
                layer = Layer(kind)
            elif kind == "dense" and len(words) in (1, 2) and ACTIVATIONS.get((words + [""])[1]):
                layer = Layer(kind, words[0], activation=(words + [""])[1])
            elif kind == "ngrams" and len(words) == 2 and (found := ORDERS.fullmatch(words[1])):
                layer = Layer(kind, words[0], orders=(int(found[1]), int(found[2])))
                if layer.orders[0] > layer.orders[1] or layers[-1].kind != "dense":
                    raise ValueError
            else:
                raise ValueError
        except (ValueError, IndexError):
            raise LayerError(f"cannot read layer {text!r}") from None
        layers.append(layer)
    if not layers or layers[0].kind != "embed":
        raise LayerError("the first layer must be an embed layer")
    if any(layer.kind == "ngrams" for layer in layers[:-1]):
        raise LayerError("no layer can stand behind ngrams")
    return layers


def shapes(
    layers: list[Layer], sizes: Figures, length: int | None = None, n_chars: int = 0
) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors that training learns, for the sizes of a parameter file (a table of n-grams is fitted apart);
    `length` (tokens) only matters to flatten."""
    out: dict[str, tuple[int, ...]] = {}
    width = 0
    for layer in layers:
        if layer.kind == "embed":
            width = sizes["embed"]
            if layer.name == "chars":
                out["embed.chars"] = (n_chars, width)
            else:
                out["embed.bytes"] = (N_BYTES, width)
                if "parts" in layer.name:
                    out["embed.parts"] = (N_PARTS, width)
                if "trigrams" in layer.name:
                    out["embed.trigrams"] = (sizes["trigrams"], width)
        elif layer.kind == "conv":
            kernel, channels = size_of(layer, sizes)
            out[f"{layer.name}.weight"] = (kernel, width, channels)
            out[f"{layer.name}.bias"] = (channels,)
            if length and layer.padding == "valid":
                length -= (kernel - 1) * layer.dilation
            width = channels
        elif layer.kind == "maxpool" and length:
            length = -(-length // layer.window) if layer.ceil else length // layer.window
        elif layer.kind == "pool":
            width *= 1 + (layer.name == "max+avg")
        elif layer.kind == "flatten":
            if not length:
                raise LayerError("flatten needs an input of fixed length")
            width *= length
        elif layer.kind == "dense":
            units = size_of(layer, sizes)
            out[f"{layer.name}.weight"] = (width, units)
            out[f"{layer.name}.bias"] = (units,)
            width = units
    return out


def size_of(layer: Layer, sizes: Figures) -> Any:
    """The layer's entry of `[sizes]`; LayerError where there is none."""
    if layer.name not in sizes:
        raise LayerError(f"{layer.kind} {layer.name}: [sizes] has no {layer.name}")
    return sizes[layer.name]


def init(shape_of: dict[str, tuple[int, ...]], seed: int) -> Tensors:
    """Fresh weights: He-normal kernels, zero biases, embeddings of unit total variance."""
    rng = np.random.default_rng([seed, 0])
    weights = {}
    for name in sorted(shape_of):
        shape = shape_of[name]
        if name == "embed.trigrams":
            scale = 0.0  # of rows that training never sees, too
        elif name.startswith("embed."):
            scale = 0.5
        elif len(shape) == 1:  # a bias
            scale = 0.0
        else:
            scale = np.sqrt(2.0 / np.prod(shape[:-1]))
        weights[name] = (scale * rng.standard_normal(shape)).astype(np.float32)
    return weights


def multiply_adds(layers: list[Layer], weights: Tensors, positions: int) -> int:
    """Multiply-adds of one URL of so many tokens, the first layer counted as a convolution."""
    total = 0
    for layer in layers:
        if layer.kind == "conv":
            kernel = weights[f"{layer.name}.weight"].shape[0]
            if layer.padding == "valid":
                positions -= (kernel - 1) * layer.dilation
            total += positions * int(np.prod(weights[f"{layer.name}.weight"].shape))
        elif layer.kind == "maxpool":
            positions = -(-positions // layer.window) if layer.ceil else positions // layer.window
        elif layer.kind == "dense":
            total += int(np.prod(weights[f"{layer.name}.weight"].shape))
    return total


def _conv(x: jax.Array, weight: jax.Array, bias: jax.Array, layer: Layer) -> jax.Array:
    reach = (weight.shape[0] - 1) * layer.dilation
    front = reach // 2 if layer.padding == "same" else 0
    behind = reach - front if layer.padding == "same" else 0
    y = jax.lax.conv_general_dilated(
        x, weight, (1,), [(front, behind)], rhs_dilation=(layer.dilation,), dimension_numbers=("NWC", "WIO", "NWC")
    )
    return ACTIVATIONS[layer.activation](y + bias)


def _maxpool(x: jax.Array, mask: jax.Array, layer: Layer) -> jax.Array:
    n, length, width = x.shape
    x = jnp.where(mask, x, -jnp.inf)
    over = -length % layer.window
    if over and layer.ceil:
        x = jnp.pad(x, ((0, 0), (0, over), (0, 0)), constant_values=-jnp.inf)
    elif over:
        x = x[:, : length - length % layer.window]
    return x.reshape(n, -1, layer.window, width).max(2)


def trigram_rows(ids: jax.Array | Array, rows: int) -> jax.Array:
    """Row of the trigram that ends at each id, as docs/model-file.md has it; `rows` is a power of two.

    Args:
        ids: int [n, L]
    """
    seen = jnp.pad(ids.astype(jnp.uint32), ((0, 0), (2, 0)))
    h: jax.Array = jnp.zeros(ids.shape, jnp.uint32)
    for back in (2, 1, 0):
        h = (h ^ seen[:, 2 - back : seen.shape[1] - back]) * jnp.uint32(16777619)
    mixed: jax.Array = (h ^ (h >> 15)) * jnp.uint32(2654435761)
    return mixed >> (32 - rows.bit_length() + 1)


def ngram_rows(
    ids: jax.Array | Array,
    parts: jax.Array | Array,
    lengths: jax.Array | Array,
    orders: tuple[int, int],
    rows: int,
) -> jax.Array:
    """Rows of the n-grams that end at each position and behind the last, as docs/model-file.md has them: uint32
    [n, L + 1, orders], `rows` for one that holds the mask or lies behind a row's end.

    Args:
        ids, parts: int [n, L]; positions at or behind `lengths` may hold anything.
        lengths: int [n], tokens of each row.
        orders: tokens of the shortest and of the longest n-grams.
        rows: of the table, a power of two.
    """
    shortest, longest = orders
    positions = ids.shape[1] + 1
    behind = jnp.arange(positions) - lengths[:, None]
    # As many zeros in front as the longest n-gram may reach, and one behind.
    seen = jnp.where(behind < 0, jnp.pad(ids.astype(jnp.uint32), ((0, 0), (0, 1))), 0)
    seen = jnp.pad(seen, ((0, 0), (longest - 1, 0)))
    last = jnp.pad(parts.astype(jnp.uint32) + 1, ((0, 0), (0, 1)))  # the part of the id that an n-gram ends with
    h, counts, found = jnp.where(behind < 0, last << 16, 0), behind <= 0, []
    for order in range(1, longest + 1):
        oldest = seen[:, longest - order : longest - order + positions]
        counts &= oldest != MASK_ID
        h = (h ^ oldest) * jnp.uint32(16777619)
        if order >= shortest:
            mixed = (h ^ (h >> 16)) * jnp.uint32(0x85EBCA6B)
            mixed = (mixed ^ (mixed >> 13)) * jnp.uint32(0xC2B2AE35)
            found.append(jnp.where(counts, (mixed ^ (mixed >> 16)) % rows, rows))
    return jnp.stack(found, 2)


def ngram_regions(parts: jax.Array | Array, lengths: jax.Array | Array) -> jax.Array:
    """int [n, L + 1]: the region (`REGION_OF`) that the n-grams ending at each position count in; behind the last token, its
    own; `REGIONS` beyond.

    Args:
        parts: int [n, L]; positions at or behind `lengths` may hold anything.
        lengths: int [n], tokens of each row.
    """
    found = jnp.pad(jnp.asarray(REGION_OF)[jnp.asarray(parts).astype(jnp.int32)], ((0, 0), (0, 1)))
    last = jnp.take_along_axis(found, jnp.asarray(lengths)[:, None] - 1, 1)
    behind = jnp.arange(found.shape[1]) - lengths[:, None]
    return jnp.where(behind < 0, found, jnp.where(behind == 0, last, REGIONS))


def ngram_roots(regions: jax.Array, orders: tuple[int, int]) -> jax.Array:
    """float32 [n, REGIONS]: root of the number of n-grams of each region, by which their sum is divided; of none, 1."""
    counts = (regions[:, :, None] == jnp.arange(REGIONS)).sum(1) * (orders[1] - orders[0] + 1)
    return jnp.maximum(counts, 1).astype(jnp.float32) ** 0.5


def ngrams(
    table: Any,
    scales: Any,
    orders: tuple[int, int],
    ids: jax.Array | Array,
    parts: jax.Array | Array,
    lengths: jax.Array | Array,
) -> jax.Array:
    """What a table adds to the logits: float32 [n].

    Args:
        table: int8 [rows], a power of two of them.
        scales: float32 [REGIONS], of the sums of each.
        orders, ids, parts, lengths: as for `ngram_rows`.
    """
    rows = ngram_rows(ids, parts, lengths, orders, len(table))
    weights = jnp.asarray(table).at[rows].get(mode="fill", fill_value=0).astype(jnp.int32).sum(2)
    regions = ngram_regions(parts, lengths)
    sums = jnp.where(regions[:, :, None] == jnp.arange(REGIONS), weights[:, :, None], 0).sum(1)
    added: jax.Array = (sums / ngram_roots(regions, orders) * scales).at[:, 1:].max(-EXCUSE).sum(1)
    return added


def _mask(lengths: jax.Array, positions: int) -> jax.Array:
    return (jnp.arange(positions)[None, :] < lengths[:, None])[..., None]


def forward(
    layers: Sequence[Layer],
    weights: Tensors,
    ids: jax.Array,
    parts: jax.Array,
    lengths: jax.Array,
    dropout: float = 0.0,
    key: jax.Array | None = None,
) -> Any:
    """Outputs of the last layer, float32 [n, units].

    Args:
        ids, parts: int [n, L]; positions at or behind `lengths` may hold anything.
        lengths: int [n], tokens of each row, 1..L.
        dropout, key: share of the pooled (or flattened) values set to 0, and JAX's random key for it.

    The engine sees exactly the tokens of a URL and zeros around them, so every layer's output is set
    back to zero behind a row's end before the next convolution reads it.
    """
    x: Any = None  # the first layer makes it
    tokens = lengths
    for before, layer in zip([layers[0], *layers], layers, strict=False):
        if layer.kind == "embed":
            x = weights["embed.chars" if layer.name == "chars" else "embed.bytes"][ids]
            if "parts" in layer.name:
                x = x + weights["embed.parts"][parts]
            if "trigrams" in layer.name:
                table = weights["embed.trigrams"]
                x = x + table[trigram_rows(ids, len(table))]
            mask = _mask(lengths, x.shape[1])
            x = jnp.where(mask, x, 0)
        elif layer.kind == "conv":
            weight = weights[f"{layer.name}.weight"]
            y = _conv(x, weight, weights[f"{layer.name}.bias"], layer)
            if layer.padding == "valid":
                lengths = lengths - (weight.shape[0] - 1) * layer.dilation
                mask = _mask(lengths, y.shape[1])
            x = jnp.where(mask, y + x if layer.add else y, 0)
        elif layer.kind == "maxpool":
            x = _maxpool(x, mask, layer)
            lengths = -(-lengths // layer.window) if layer.ceil else lengths // layer.window
            mask = _mask(lengths, x.shape[1])
            x = jnp.where(mask, x, 0)
        elif layer.kind == "pool":
            highest = jnp.where(mask, x, -jnp.inf).max(1)
            mean = x.sum(1) / lengths[:, None]
            x = {"max": highest, "avg": mean, "max+avg": jnp.concatenate([highest, mean], 1)}[layer.name]
        elif layer.kind == "flatten":
            x = x.reshape(x.shape[0], -1)
        elif layer.kind == "ngrams":
            table, scales = (weights[f"{layer.name}.{tensor}"] for tensor in ("weight", "scale"))
            x = x + ngrams(table, scales, layer.orders, ids, parts, tokens)[:, None]
        else:
            if dropout and key is not None and before.kind in ("pool", "flatten"):
                x = jnp.where(jax.random.bernoulli(key, 1 - dropout, x.shape), x / (1 - dropout), 0)
            x = ACTIVATIONS[layer.activation](x @ weights[f"{layer.name}.weight"] + weights[f"{layer.name}.bias"])
    return x


def logit(output_line: str, outputs: Any) -> Any:
    """The one logit [n] of the outputs, as `phishcnn.output` says."""
    kind, *words = output_line.split(" ")
    if kind == "logit" and not words:
        return outputs[:, 0]
    if kind in ("sigmoid2", "softmax2") and words in (["positive=0"], ["positive=1"]):
        positive = int(words[0][-1])
        return outputs[:, positive] - (outputs[:, 1 - positive] if kind == "softmax2" else 0)
    raise LayerError(f"cannot read output {output_line!r}")
