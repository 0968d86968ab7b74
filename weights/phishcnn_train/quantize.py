"""From an f32 model file to an int8 one, after training: ranges, rounding and thresholds come from validation rows.

The arithmetic is that of docs/model-file.md. Activations of the sequence have seven bits, each channel its own
scale, which the next layer's weights absorb: up to the largest value seen behind a convolution, where cutting the
rarest costs more recall than finer steps bring; with the rarest cut where three tables are added (`narrowest`).
Weights have eight bits, each output its own scale; the dense layers read 16-bit activations. What rounding shifts a layer's sums by in the mean is taken off its bias. Calibration and
thresholds are fitted anew, to what the engine itself says of the validation rows.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import phishcnn

from . import calibrate, network, witness
from .data import Rows
from .export import encode, is_int8, read
from .network import Layer, LayerError
from .tokens import tokenize
from .typed import Array, Figures, Tensors

MAX = 127  # largest activation of the sequence
WIDE = 32767  # largest activation of a dense layer
POOLED = 256  # pooled values are this much finer than the sequence's
CUT = (1e-5, 3e-5, 1e-4, 2e-4, 4e-4, 1e-3)  # shares of the embedded values that may be cut, at either end
STRETCH = tuple(1 + i / 50 for i in range(8))  # of the steps
REACHED = 5  # positions that the first convolution adds
GROUP = 4  # channels that a kernel reads, and skips where all are zero, at once
ORDERED_BY = 1000  # URLs that decide the order of channels; more find no better one
BLOCK = 16  # columns that lie together in a convolution's weights
CURVES: dict[str, Callable[[Any], Any]] = {"tanh": np.tanh, "sigmoid": lambda x: 1 / (1 + np.exp(-x))}
# The ends of a curve's table: beyond, it is flat to seven bits.
REACH = {"tanh": 3.0, "sigmoid": 6.0}


@dataclass
class Sequence:
    """Rows of many URLs, one behind the other."""

    values: Array  # [positions, channels]
    lengths: Array  # int [URLs], positions of each

    @property
    def starts(self) -> Array:
        return np.cumsum(self.lengths) - self.lengths

    def windows(self, layer: Layer, kernel: int, zero: Array) -> tuple[Array, Array]:
        """([positions, kernel * channels], lengths): what each output of a convolution reads."""
        reach = (kernel - 1) * layer.dilation
        front = reach // 2 if layer.padding == "same" else 0
        behind = reach - front if layer.padding == "same" else 0
        lengths = self.lengths + front + behind - reach
        # Every URL with its padding, then the first row of each window.
        padded = np.tile(zero.astype(self.values.dtype), (int((self.lengths + front + behind).sum()), 1))
        starts = np.cumsum(self.lengths + front + behind) - (self.lengths + front + behind)
        padded[ranges(starts + front, self.lengths)] = self.values
        first = ranges(starts, lengths)
        taps = np.arange(kernel) * layer.dilation
        return padded[first[:, None] + taps].reshape(len(first), -1), lengths

    def maxpool(self, layer: Layer) -> Sequence:
        size = layer.window
        lengths = -(-self.lengths // size) if layer.ceil else self.lengths // size
        kept = lengths * size if not layer.ceil else self.lengths
        values = self.values[ranges(self.starts, kept)]
        begins = np.repeat(np.cumsum(kept) - kept, lengths) + size * (ranges(np.zeros_like(lengths), lengths))
        return Sequence(np.maximum.reduceat(values, begins, axis=0), lengths)

    def pooled(self) -> tuple[Array, Array]:
        """(maxima, sums), [URLs, channels] each."""
        return np.maximum.reduceat(self.values, self.starts, axis=0), np.add.reduceat(self.values, self.starts, axis=0)


def ranges(starts: Array, lengths: Array) -> Array:
    """start, start + 1, … of each length, one behind the other."""
    ends = np.cumsum(lengths)
    return np.asarray(np.arange(int(lengths.sum())) + np.repeat(starts - (ends - lengths), lengths))


def widened(layers: list[Layer], tensors: Tensors, length: int | None) -> Tensors:
    """The same network with dead channels added: embeddings in fours, convolutions in blocks."""
    out, real, wide = dict(tensors), 0, 0

    def grow(name: str, axis: int, index: Array, size: int) -> None:
        shape = list(out[name].shape)
        shape[axis] = size
        grown = np.zeros(shape, np.float64)
        np.moveaxis(grown, axis, 0)[index] = np.moveaxis(out[name].astype(np.float64), axis, 0)
        out[name] = grown

    index = np.zeros(0, int)
    for layer in layers:
        if layer.kind == "embed":
            names = ["embed.chars"] if layer.name == "chars" else ["embed.bytes"]
            names += [f"embed.{table}" for table in ("parts", "trigrams") if table in layer.name]
            real = tensors[names[0]].shape[1]
            wide = -(-real // 4) * 4
            for name in names:
                grow(name, 1, np.arange(real), wide)
            index = np.arange(real)
        elif layer.kind == "conv":
            grow(f"{layer.name}.weight", 1, index, wide)
            kernel, _, real = tensors[f"{layer.name}.weight"].shape
            wide = -(-real // BLOCK) * BLOCK
            index = np.arange(real)
            grow(f"{layer.name}.weight", 2, index, wide)
            grow(f"{layer.name}.bias", 0, index, wide)
            if length and layer.padding == "valid":
                length -= (kernel - 1) * layer.dilation
        elif layer.kind == "maxpool" and length:
            length = -(-length // layer.window) if layer.ceil else length // layer.window
        elif layer.kind in ("pool", "flatten"):
            times = (1 + (layer.name == "max+avg")) if layer.kind == "pool" else length or 0
            index = (np.arange(times)[:, None] * wide + np.arange(real)).ravel()
            wide *= times
        elif layer.kind == "dense":
            grow(f"{layer.name}.weight", 0, index, wide)
            wide = tensors[f"{layer.name}.bias"].shape[0]
            index = np.arange(wide)
    return {name: t if t.dtype.kind in "iu" else t.astype(np.float64) for name, t in out.items()}


def doubled(layers: list[Layer], tensors: Tensors) -> Tensors:
    """The same network with each channel of the embedding there twice, and half of its weights in the convolution behind
    it: rounded half a step apart, both together are twice as fine. LayerError without trigrams or a convolution there."""
    if "trigrams" not in layers[0].name or layers[1].kind != "conv" or layers[1].add:
        raise LayerError("a fine embedding needs trigrams, and a convolution without add behind it")
    out, weight = dict(tensors), f"{layers[1].name}.weight"
    for name in ("embed.bytes", "embed.parts", "embed.trigrams"):
        out[name] = np.concatenate([tensors[name]] * 2, 1)
    out[weight] = np.concatenate([tensors[weight] / 2] * 2, 1)
    return out


def grouped(active: Array) -> Array:
    """An order of the channels in which those that are zero together stand together, in fours: pairs, then pairs of
    pairs, each time the two that are left and most often active at the same position.

    Args:
        active: bool [positions, channels]
    """
    order = np.arange(active.shape[1])[:, None]
    while order.shape[1] < GROUP:
        used = np.asarray(active[:, order].any(2), np.float32)
        together = used.T @ used
        np.fill_diagonal(together, -1)
        pairs = []
        for _ in range(len(order) // 2):
            pair = np.array(np.unravel_index(together.argmax(), together.shape))
            together[pair], together[:, pair] = -1, -1
            pairs.append(order[pair].ravel())
        order = np.array(pairs)
    return order.ravel()


def ordered(layers: list[Layer], tensors: Tensors, active: Tensors) -> Tensors:
    """The same network with the channels between two convolutions in the order that `grouped` gives them.

    Args:
        tensors: of `widened`.
        active: by name of each convolution behind another, where its input is not zero: bool [positions, channels].
    """
    out, order = dict(tensors), None
    for i, layer in enumerate(layers):
        weight = f"{layer.name}.weight"
        if layer.kind == "conv":
            if order is not None:
                out[weight] = out[weight][:, order]
            if not layer.add:  # its own channels; with the sum they are those of its input
                reader = next((after.name for after in layers[i + 1 :] if after.kind == "conv"), None)
                order = grouped(active[reader]) if reader else None
            if order is not None:
                out[weight], out[f"{layer.name}.bias"] = out[weight][..., order], out[f"{layer.name}.bias"][order]
        elif layer.kind in ("pool", "flatten") and order is not None:
            times = 1 + (layer.name == "max+avg")
            if layer.kind == "flatten":
                times = len(out[f"{layers[i + 1].name}.weight"]) // len(order)
            order = (np.arange(times)[:, None] * len(order) + order).ravel()
        elif layer.kind == "dense" and order is not None:
            out[weight], order = out[weight][order], None
    return out


def trigram_rows(ids: Array, lengths: Array, rows: int) -> Array:
    """int [positions]: `network.trigram_rows` of many URLs, one behind the other."""
    positions = ranges(np.zeros_like(lengths), lengths)
    before = [np.where(positions >= back, np.roll(ids, back), 0) for back in (2, 1)]
    return np.asarray(network.trigram_rows(np.stack([*before, ids], 1), rows))[:, 2].astype(int)


def ngrams(table: Array, scales: Array, orders: tuple[int, int], ids: Array, parts: Array, lengths: Array) -> Array:
    """`network.ngrams` of many URLs, one behind the other in `ids` and `parts`."""
    inside = np.arange(int(lengths.max())) < lengths[:, None]
    tokens = [np.zeros(inside.shape, np.int32) for _ in (ids, parts)]
    for padded, flat in zip(tokens, (ids, parts), strict=True):
        padded[inside] = flat
    return np.asarray(network.ngrams(table, scales, orders, tokens[0], tokens[1], lengths))


def requantise(sums: Array, multiplier: Array) -> Array:
    """As the engine: floor(sum * multiplier / 2^32 + 1/2)."""
    return (np.rint(sums).astype(np.int64) * multiplier + (1 << 31)) >> 32


def multipliers(ratio: Array) -> Array:
    """int64 [outputs] of scale of the sums / scale of the outputs."""
    return np.clip(np.rint(ratio * 2.0**32), 0, 2**31 - 1).astype(np.int64)


def weight_scale(weight: Array, axes: tuple[int, ...]) -> Array:
    """float [outputs]: what one step of int8 stands for, so that the largest weight over `axes` becomes `MAX`."""
    largest = np.abs(weight).max(axis=axes)
    return np.where(largest > 0, largest, 1.0) / MAX


def packed(weight: Array) -> Array:
    """int8 [kernel, in, out] -> [out / 16, kernel * in / 4, 64], as the engine reads it."""
    kernel, inputs, outputs = weight.shape
    grouped = weight.reshape(kernel * inputs // 4, 4, outputs // BLOCK, BLOCK)
    return np.ascontiguousarray(grouped.transpose(2, 0, 3, 1)).reshape(outputs // BLOCK, -1, 4 * BLOCK)


def embedding(rows: Array, other: Array, low: Array, scale: Array, offset: float = 0.0) -> tuple[Array, Array, Array]:
    """(activation that stands for zero, rounded bytes, rounded parts); `low` becomes activation 0.

    Args:
        rows, other: float [bytes, channels] and [parts, channels], the tables; or [bytes] and [parts], one channel.
        low: float [channels], or a scalar: the least sum.
        scale: float [channels], or a scalar: what one step stands for.
        offset: of a step, added before rounding.
    """
    zero = np.rint(-low / scale)
    shift = np.rint(other.min(0) / scale)
    first = np.clip(np.rint(rows / scale + offset) + zero + shift, -128, 127)
    return zero, first, np.clip(np.rint(other / scale) - shift, -128, 127)


def narrowest(
    exact: Array,
    rows: Array,
    other: Array,
    table: Array,
    ids: Array,
    parts: Array,
    trigrams: Array,
    offset: float = 0.0,
) -> tuple[Array, Array, Array, Array, Array]:
    """(scale, zero, rounded bytes, parts and trigrams) of one channel of three tables that are added.

    What they could add up to is far more than what they do: the rarest sums are cut, for finer steps. A trigram's row
    stands for few bytes, and takes off what rounding adds to theirs in the mean (one that is not seen here is its own, rounded);
    parts have few rows, which happen to
    round well or not. Tried are cuts and steps; kept is what errs least over `REACHED` positions together.

    Args:
        exact: float [positions], the sums.
        rows, other, table: float [bytes], [parts] and [trigrams], this channel of their tables.
        ids, parts, trigrams: int [positions], rows of the three tables.
        offset: of a step, added before rounding: activations are that much more than what they stand for.
    """
    best: tuple[float, tuple[Array, ...]] = (np.inf, ())
    seen = np.bincount(trigrams, minlength=len(table))
    for rare in CUT:
        low, high = np.quantile(exact, (rare, 1 - rare))
        for stretch in STRETCH:
            low, high = min(low, 0.0), max(high, 0.0)
            scale = np.asarray((high - low if high > low else 1.0) * stretch / (MAX - 1))
            zero, first, second = embedding(rows, other, low, scale, offset)
            rounded = first[ids] + second[parts]
            owed = np.bincount(trigrams, exact / scale + zero + offset - rounded, len(table)) / np.maximum(seen, 1)
            third = np.clip(np.rint(np.where(seen > 0, owed, table / scale)), -128, 127)
            error = (np.clip(rounded + third[trigrams], 0, MAX) - zero - offset) * scale - exact
            loss = float((np.convolve(error, np.ones(REACHED), "valid") ** 2).mean())
            if loss < best[0]:
                best = loss, (scale, zero, first, second, third)
    scale, zero, first, second, third = best[1]
    return scale, zero, first, second, third


class Quantiser:
    """Carries calibration rows through both networks, layer by layer, and collects the int8 tensors."""

    def __init__(self, tensors: Tensors, fine: bool = False) -> None:
        self.tensors = tensors
        self.fine = fine  # the embedding is that of `doubled`
        self.out: Tensors = {}
        self.active: Tensors = {}  # what convolutions behind the first read: where it is not zero
        self.scale = self.zero = np.zeros(0)  # of the sequence, by channel
        # Both a `Sequence` up to the readout, behind it [URLs, features].
        self.exact: Any
        self.rounded: Any

    def embed(self, layer: Layer, ids: Array, parts: Array, lengths: Array) -> None:
        name = "embed.chars" if layer.name == "chars" else "embed.bytes"
        rows = self.tensors[name]
        other = self.tensors["embed.parts"] if "parts" in layer.name else np.zeros((1, rows.shape[1]))
        parts = parts if "parts" in layer.name else np.zeros_like(ids)
        exact = rows[ids] + other[parts]
        if "trigrams" in layer.name:
            table = self.tensors["embed.trigrams"]
            trigrams = trigram_rows(ids, lengths, len(table))
            exact = exact + table[trigrams]
            columns = [
                narrowest(exact[:, c], rows[:, c], other[:, c], table[:, c], ids, parts, trigrams, offset)
                for c, offset in enumerate(np.repeat((0.0, 0.5 * self.fine), rows.shape[1] // 2))
            ]
            self.scale, self.zero, first, second, third = (np.stack(t, -1) for t in zip(*columns, strict=True))
            rounded = first[ids] + second[parts] + third[trigrams]
            self.out["embed.trigrams"] = third.astype("i1")
        else:
            low, high = rows.min(0) + other.min(0), rows.max(0) + other.max(0)
            low, high = np.minimum(low, 0), np.maximum(high, 0)
            self.scale = np.where(high > low, high - low, 1.0) / (MAX - 1)
            self.zero, first, second = embedding(rows, other, low, self.scale)
            rounded = first[ids] + second[parts]
        self.out[name] = first.astype("i1")
        if "parts" in layer.name:
            self.out["embed.parts"] = second.astype("i1")
        self.out["embed.zero"] = self.zero.astype("i1")
        self.exact = Sequence(exact, lengths)
        self.rounded = Sequence(np.clip(rounded, 0, MAX), lengths)

    def conv(self, layer: Layer) -> None:
        name, weight, bias = layer.name, self.tensors[f"{layer.name}.weight"], self.tensors[f"{layer.name}.bias"]
        kernel, inputs, outputs = weight.shape
        windows, lengths = self.exact.windows(layer, kernel, np.zeros(inputs))
        exact = windows @ weight.reshape(-1, outputs) + bias
        scaled = weight * self.scale[:, None]
        scale = weight_scale(scaled, (0, 1))
        factor = np.zeros(outputs)
        if layer.add:
            # The input joins the sums as a whole multiple of their unit.
            factor = np.maximum(np.floor(self.scale / scale), 1)
            scale = np.maximum(self.scale / factor, scale)
            factor = np.rint(self.scale / scale)
        whole = np.clip(np.rint(scaled / scale), -MAX, MAX)
        windows, _ = self.rounded.windows(layer, kernel, self.zero)
        sums = windows @ whole.reshape(-1, outputs)
        # With it, the sums are right in the mean.
        whole_bias = np.rint((exact.mean(0) / scale) - sums.mean(0))
        sums = sums + whole_bias
        curve = CURVES.get(layer.activation)
        if curve and layer.add:
            raise LayerError(f"{name}: int8 models have no {layer.activation} with add")
        exact = curve(exact) if curve else np.maximum(exact, 0) if layer.activation == "relu" else exact
        if layer.activation == "relu":
            sums = np.maximum(sums, 0)
        if layer.add:
            exact = exact + self.exact.values
            sums = sums + self.rounded.values * factor - self.zero * factor
            self.out[f"{name}.residual"] = np.stack([factor, -self.zero * factor]).astype("<i4")
        signed = layer.activation in ("", "tanh") or exact.min() < 0
        zero = 64 if signed else 0
        largest = np.abs(exact).max(0)
        largest = np.maximum(largest, largest.max() * 1e-3)
        steps = np.where(largest > 0, largest, 1.0) / (MAX - zero)
        if curve:
            steps = np.full(outputs, 1.0 / (MAX - zero))
            unit = REACH[layer.activation] / MAX
            multiplier = multipliers(scale / unit)
            entries = np.rint(curve(np.arange(-128, 128) * unit) / steps[0]) + zero
            table = np.clip(entries, 0, MAX)
            self.out[f"{name}.table"] = table.astype("i1")
            values = table[np.clip(requantise(sums, multiplier), -128, 127) + 128]
        else:
            multiplier = multipliers(scale / steps)
            values = np.clip(requantise(sums, multiplier) + zero, 0, MAX).astype(np.float64)
        if zero:
            self.out[f"{name}.zero"] = np.array([zero], "i1")
        if np.abs(sums).max() >= 2**31:
            raise LayerError(f"{name}: its sums do not fit 32 bits")
        self.out[f"{name}.weight"] = packed(whole.astype("i1"))
        self.out[f"{name}.bias"] = whole_bias.astype("<i4")
        self.out[f"{name}.multiplier"] = multiplier.astype("<i4")
        self.scale, self.zero = steps, np.full(outputs, float(zero))
        self.exact, self.rounded = Sequence(exact, lengths), Sequence(values, lengths)

    def maxpool(self, layer: Layer) -> None:
        self.exact, self.rounded = self.exact.maxpool(layer), self.rounded.maxpool(layer)

    def pool(self, layer: Layer) -> None:
        lengths = self.exact.lengths[:, None]
        maxima, sums = self.exact.pooled()
        exact = {"max": [maxima], "avg": [sums / lengths], "max+avg": [maxima, sums / lengths]}[layer.name]
        maxima, sums = self.rounded.pooled()
        mean = (sums * POOLED + lengths // 2) // lengths
        rounded = {"max": [maxima * POOLED], "avg": [mean], "max+avg": [maxima * POOLED, mean]}[layer.name]
        self.exact, self.rounded = np.concatenate(exact, 1), np.concatenate(rounded, 1)
        self.scale = np.tile(self.scale / POOLED, len(exact))
        self.zero = np.tile(self.zero * POOLED, len(exact))

    def flatten(self) -> None:
        times = int(self.exact.lengths[0])
        self.exact = self.exact.values.reshape(len(self.exact.lengths), -1)
        self.rounded = self.rounded.values.reshape(len(self.exact), -1)
        self.scale, self.zero = np.tile(self.scale, times), np.tile(self.zero, times)

    def dense(self, layer: Layer, last: bool) -> None:
        name, weight, bias = layer.name, self.tensors[f"{layer.name}.weight"], self.tensors[f"{layer.name}.bias"]
        exact = self.exact @ weight + bias
        scaled = weight * self.scale[:, None]
        scale = weight_scale(scaled, (0,))
        whole = np.clip(np.rint(scaled / scale), -MAX, MAX)
        sums = self.rounded @ whole
        whole_bias = np.rint(exact.mean(0) / scale - sums.mean(0))
        sums = sums + whole_bias
        if (np.abs(whole).sum(0) * WIDE + np.abs(whole_bias)).max() >= 2**31:
            raise LayerError(f"{name}: its sums may not fit 32 bits")
        self.out[f"{name}.weight"] = np.ascontiguousarray(whole.T.astype("i1"))
        self.out[f"{name}.bias"] = whole_bias.astype("<i4")
        if last:
            self.out[f"{name}.scale"] = scale.astype("<f4")
            self.exact, self.rounded = exact, sums * scale
            return
        curve = CURVES.get(layer.activation)
        if curve:
            unit = REACH[layer.activation] / MAX
            multiplier, step = multipliers(scale / unit), 1.0 / WIDE
            table = np.rint(curve(np.arange(-128, 128) * unit) * WIDE)
            self.out[f"{name}.table"] = table.astype("<i4")
            values = table[np.clip(requantise(sums, multiplier), -128, 127) + 128]
            exact = curve(exact)
        elif layer.activation in ("", "relu"):
            low = 0 if layer.activation else -WIDE
            exact = np.maximum(exact, 0) if layer.activation else exact
            step = max(2 * np.abs(exact).max(), 1e-6) / WIDE  # with room: bits are plenty
            multiplier = multipliers(scale / step)
            values = np.clip(requantise(sums, multiplier), low, WIDE).astype(np.float64)
        else:
            raise LayerError(f"{name}: int8 models have no {layer.activation}")
        self.out[f"{name}.multiplier"] = multiplier.astype("<i4")
        self.exact, self.rounded = exact, values
        self.scale, self.zero = np.full(exact.shape[1], step), np.zeros(exact.shape[1])

    def ngrams(self, layer: Layer, ids: Array, parts: Array, lengths: Array) -> None:
        table, scales = (self.tensors[f"{layer.name}.{name}"] for name in ("weight", "scale"))
        self.out |= {f"{layer.name}.weight": table, f"{layer.name}.scale": scales.astype("<f4")}  # bytes as they are
        added = ngrams(table, scales.astype("<f4"), layer.orders, ids, parts, lengths)[:, None]
        self.exact, self.rounded = self.exact + added, self.rounded + added


def carried(layers: list[Layer], tensors: Tensors, ids: Array, parts: Array, lengths: Array, fine: bool) -> Quantiser:
    """A quantiser behind the last layer."""
    work = Quantiser(tensors, fine)
    last = max(i for i, layer in enumerate(layers) if layer.kind == "dense")
    for i, layer in enumerate(layers):
        if layer.kind == "embed":
            work.embed(layer, ids, parts, lengths)
        elif layer.kind == "dense":
            work.dense(layer, i == last)
        elif layer.kind == "ngrams":
            work.ngrams(layer, ids, parts, lengths)
        elif layer.kind == "flatten":
            work.flatten()
        else:
            if layer.kind == "conv" and i > 1:
                work.active[layer.name] = work.rounded.values != work.zero
            getattr(work, layer.kind)(layer)
    return work


def quantised(
    tensors: Tensors, metadata: dict[str, str], urls: list[bytes], fine: bool = False
) -> tuple[Tensors, Array, Array]:
    """(int8 tensors, f32 logits, int8 logits of the URLs as reckoned here)."""
    layers = network.parse(metadata["phishcnn.layers"])
    chars = tensors.get("chars")
    tokens = tokenize(urls, metadata["phishcnn.input"], chars)
    ids, parts = np.asarray(tokens.ids).astype(int), np.asarray(tokens.parts).astype(int)
    lengths = np.diff(np.asarray(tokens.offsets))
    fixed = int(lengths[0]) if chars is not None else None
    wide = widened(layers, {k: t for k, t in tensors.items() if k != "chars"}, fixed)
    if fine:
        wide = doubled(layers, wide)
    some = int(lengths[:ORDERED_BY].sum())
    draft = carried(layers, wide, ids[:some], parts[:some], lengths[:ORDERED_BY], fine)
    work = carried(layers, ordered(layers, wide, draft.active), ids, parts, lengths, fine)
    if chars is not None:
        work.out["chars"] = chars
    exact, rounded = (network.logit(metadata["phishcnn.output"], outputs) for outputs in (work.exact, work.rounded))
    return work.out, exact, rounded


def quantize(model: Path, rows: Rows, output: Path, sample: int = 24000, fine: bool = False) -> Figures:
    """Writes the int8 model; returns figures. Calibrates ranges on `sample` of the validation rows, and
    thresholds on all of them; `fine` embeds as `doubled` says. Same inputs, same bytes (on the same machine: sums of floats decide ties)."""
    tensors, metadata = read(model)
    if is_int8(tensors):
        raise ValueError(f"{model}: is int8 already")
    order = sorted(range(len(rows)), key=lambda i: hashlib.sha256(rows.urls[i]).digest())
    urls = [rows.urls[i] for i in sorted(order[:sample])]
    witnesses = [url.encode() for url in witness.GOLDEN]
    int8, exact, rounded = quantised(tensors, metadata, urls + witnesses, fine)
    metadata["phishcnn.quantised_from"] = hashlib.sha256(model.read_bytes()).hexdigest()
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "draft.safetensors"
        draft.write_bytes(encode(int8, metadata))
        scored = phishcnn.Model.load(str(draft)).score_batch(rows.urls)
    logits, errors = np.asarray(scored.logit), np.asarray(scored.errors)
    usable = errors == 0
    fit = calibrate.summary(rows.labels[usable] > 0.5, logits[usable])
    metadata |= calibrate.metadata(fit)
    if "phishcnn.golden" in metadata:
        # What the arithmetic above, not the engine, answers.
        answers = zip(rounded[-len(witnesses) :], witness.GOLDEN, strict=True)
        metadata["phishcnn.golden"] = " ".join(f"{logit:.4f} {url}" for logit, url in answers)
    if "phishcnn.reference" in metadata:
        shares = f"logit {witness.shares(logits[usable & (rows.labels == 0)], witness.BOUNDS['logit'])}"
        features = metadata["phishcnn.reference"].split("; ")
        metadata["phishcnn.reference"] = "; ".join(shares if f.startswith("logit ") else f for f in features)
    output.parent.mkdir(parents=True, exist_ok=True)
    blob = encode(int8, metadata)
    output.write_bytes(blob)
    return {
        "sha256": hashlib.sha256(blob).hexdigest(),
        "bytes": len(blob),
        "largest_change": float(np.abs(exact - rounded).max()),
        "mean_change": float(np.abs(exact - rounded).mean()),
        **fit["valid"],
    }
