"""Training: length buckets, AdamW on a one-cycle rate, weight averaging, resumable epochs."""

from __future__ import annotations

import hashlib
import json
import math
import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from . import augment, metrics, network
from .calibrate import threshold_at
from .export import read
from .network import Layer
from .params import Params, ParamsError
from .tokens import Tokens
from .typed import Array, Figures, Tensors

FPRS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02)
LONG = 128  # tokens
TIE = 0.001  # of the mean recall


def pad(tokens: Tokens, rows: Array, lengths: Array, positions: int) -> tuple[Array, Array]:
    """(ids, parts) as [n, positions]; what lies behind a row's length is 0."""
    columns = np.arange(positions)
    index = tokens.offsets[rows][:, None] + columns
    inside = columns < lengths[:, None]
    index = np.where(inside, index, 0)
    return np.where(inside, tokens.ids[index], 0), np.where(inside, tokens.parts[index], 0)


def weighed(tokens: Tokens, rows: Array, lengths: Array, params: Params) -> Array:
    """float32 [n]: weights in the loss. Beside phishing of over `LONG` tokens, and beside hosts in punycode that are phishing,
    there are few honest rows, which is how they were collected: these count `long` and `punycode` times.

    Args:
        rows: int [n], positions in `tokens`.
        lengths: int [n], tokens that are seen of them.
    """
    weights = tokens.weights[rows].copy()
    weights[(lengths > LONG) & ~tokens.phishing[rows]] *= params.weights["long"]
    weights[tokens.punycode[rows] & ~tokens.phishing[rows]] *= params.weights["punycode"]
    return weights


def batches(tokens: Tokens, params: Params, epoch: int) -> Iterator[tuple[Any, ...]]:
    """Batches of one epoch as (ids, parts, lengths, labels, weights), each of a bucket's static shape.
    A pure function of (tokens, params, epoch): a resumed run sees the same batches."""
    rng = np.random.default_rng([params.train["seed"], 1, epoch])
    size = params.train["batch"]
    lengths = augment.cut(tokens, params, rng)
    order = rng.permutation(np.flatnonzero(rng.random(len(tokens)) < tokens.chances))
    longer, certain = augment.changed(tokens, params, order, rng)
    for row, (ids, _) in longer.items():
        lengths[row] = len(ids)
    buckets = np.array(params.train["buckets"])
    bucket_of = np.searchsorted(buckets, lengths[order])
    plan = []
    for b, positions in enumerate(buckets):
        rows = order[bucket_of == b]
        plan += [(int(positions), rows[i : i + size]) for i in range(0, len(rows), size)]
    for i in rng.permutation(len(plan)):
        positions, rows = plan[i]
        weights = np.zeros(size, np.float32)
        weights[: len(rows)] = weighed(tokens, rows, lengths[rows], params)
        rows = np.resize(rows, size)  # a bucket's last batch repeats rows, with weight 0
        n = lengths[rows]
        ids, parts = pad(tokens, rows, np.minimum(n, tokens.lengths[rows]), positions)
        labels = tokens.labels[rows]
        for j, row in enumerate(rows.tolist()):
            if row in longer:
                ids[j, : n[j]], parts[j, : n[j]] = longer[row]
            if row in certain:
                labels[j] = 1
        if params.augment["lower_case"]:
            ids = augment.lower_case(ids, parts, rng.random(size) < params.augment["lower_case"])
        if params.augment["mask"]:
            ids = augment.mask_segment(ids, parts, n, rng.random(size) < params.augment["mask"], rng)
        yield len(plan), ids.astype(np.int32), parts.astype(np.int32), n.astype(np.int32), labels, weights


def loss_of(output_line: str, outputs: jax.Array, labels: jax.Array, weights: jax.Array) -> jax.Array:
    """Weighted cross-entropy, a float32 scalar: of the logit, or of both outputs where two sigmoids are trained.

    Args:
        output_line: the model file's `phishcnn.output`.
        outputs: float32 [n, units of the last layer].
        labels: float32 [n], soft: in [0, 1].
        weights: float32 [n]; the mean is over their sum.
    """
    if output_line.startswith("sigmoid2"):
        positive = int(output_line[-1])
        targets = jnp.stack([1 - labels, labels] if positive == 1 else [labels, 1 - labels], 1)
        losses = optax.sigmoid_binary_cross_entropy(outputs, targets).mean(1)
    else:
        losses = optax.sigmoid_binary_cross_entropy(network.logit(output_line, outputs), labels)
    mean: jax.Array = (losses * weights).sum() / jnp.maximum(weights.sum(), 1e-6)
    return mean


def make_step(layers: list[Layer], params: Params) -> tuple[optax.GradientTransformation, Callable[..., Any]]:
    """(optimizer, jitted step). The rate is an argument: it follows the share of the run that is done."""
    decay = {"mask": lambda tree: {k: k.endswith(".weight") for k in tree}}
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.scale_by_adam(),
        optax.add_decayed_weights(params.train["weight_decay"], **decay),
    )

    @partial(jax.jit, donate_argnums=0)
    def step(
        state: Tensors,
        rate: float,
        ids: jax.Array,
        parts: jax.Array,
        lengths: jax.Array,
        labels: jax.Array,
        weights: jax.Array,
    ) -> tuple[Tensors, jax.Array]:
        key = jax.random.fold_in(jax.random.key(params.train["seed"]), state["count"])

        def objective(net: Tensors) -> jax.Array:
            outputs = network.forward(layers, net, ids, parts, lengths, params.train["dropout"], key)
            return loss_of(params.output, outputs, labels, weights)

        loss, gradient = jax.value_and_grad(objective)(state["weights"])
        updates, adam = optimizer.update(gradient, state["adam"], state["weights"])
        net = jax.tree.map(lambda w, u: w - rate * u, state["weights"], updates)
        count = state["count"] + 1
        keep = jnp.minimum(params.train["ema"], (1 + count) / (10 + count))  # short memory at first
        mean = jax.tree.map(lambda m, w: keep * m + (1 - keep) * w, state["mean"], net)
        return state | {"weights": net, "mean": mean, "adam": adam, "count": count}, loss

    return optimizer, step


def rate_at(done: float, params: Params) -> float:
    """Learning rate when the share `done` of the run is over: linear warm-up, then a half cosine to 1 %."""
    warmup, peak = float(params.train["warmup"]), float(params.train["peak_lr"])
    if done < warmup:
        return peak * (0.04 + 0.96 * done / warmup)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup))))


@partial(jax.jit, static_argnums=(0, 1))  # compiled once per bucket for all epochs
def _logits(
    layers: tuple[Layer, ...],
    output_line: str,
    weights: Tensors,
    ids: jax.Array,
    parts: jax.Array,
    lengths: jax.Array,
) -> Any:
    return network.logit(output_line, network.forward(layers, weights, ids, parts, lengths))


def logits(
    layers: list[Layer], output_line: str, weights: Tensors, tokens: Tokens, buckets: Sequence[int], batch: int = 1024
) -> Array:
    """float32 [n]: the network's logits of all rows, in order."""
    lengths = tokens.lengths
    bucket_of = np.searchsorted(buckets, lengths)
    out = np.empty(len(tokens), np.float32)
    for b, positions in enumerate(buckets):
        rows = np.flatnonzero(bucket_of == b)
        for i in range(0, len(rows), batch):
            pick = rows[i : i + batch]
            full = np.resize(pick, batch)
            ids, parts = pad(tokens, full, lengths[full], int(positions))
            out[pick] = _logits(
                tuple(layers),
                output_line,
                weights,
                ids.astype(np.int32),
                parts.astype(np.int32),
                lengths[full].astype(np.int32),
            )[: len(pick)]
    return out


def identity(params: Params, *tokens: Tokens) -> str:
    """SHA-256 of all that decides a run: a checkpoint of another run is of no use to this one."""
    decides = [params.input, params.layers, params.output, params.sizes, params.train, params.augment, params.weights]
    if params.start:
        decides.append(hashlib.sha256((params.path.parent / params.start).read_bytes()).hexdigest())
    code = [Path(module.__file__ or "").read_bytes() for module in (augment, network)] + [Path(__file__).read_bytes()]
    decides += [hashlib.sha256(text).hexdigest() for text in code]
    told = json.dumps([*decides, *(t.digest() for t in tokens)], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def started(params: Params, shape_of: Figures) -> Tensors:
    """The weights of the model that training goes on from, without n-grams, which are fitted or taken over apart (`ngrams.py`). A trigram
    table that it lacks is 0, and a smaller one is repeated row by row, because a row is the upper bits of a hash:
    neither changes a logit. Raises ParamsError where it has another shape."""
    path = params.path.parent / params.start
    tensors, metadata = read(path)
    tables = [layer.name for layer in network.parse(metadata["phishcnn.layers"]) if layer.kind == "ngrams"]
    apart = {"chars", *(f"{table}.{name}" for table in tables for name in ("weight", "scale"))}
    tensors = {name: tensor for name, tensor in tensors.items() if name not in apart}
    if "embed.trigrams" in shape_of:
        rows, width = shape_of["embed.trigrams"]
        table = tensors.get("embed.trigrams", np.zeros((1, width), "<f4"))
        tensors["embed.trigrams"] = table.repeat(max(1, rows // len(table)), axis=0)
    found = {name: (tensor.dtype.str, *tensor.shape) for name, tensor in tensors.items()}
    wanted = {name: ("<f4", *shape) for name, shape in shape_of.items()}
    if found != wanted:
        odd = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
        raise ParamsError(f"{path}: cannot be gone on from, its {', '.join(odd)} differ from the parameters' network")
    return tensors


def blended(start: Tensors, end: Tensors, share: float) -> Tensors:
    """Weights on the line from `start` to `end` (WiSE-FT, Wortsman et al. 2022), in memory of their own: a fine-tuned
    model part of the way back keeps what its start knew."""
    return {name: (1 - share) * start[name] + share * end[name] for name in start}


def save_state(path: Path, run: str, state: Any, history: list[Figures]) -> None:
    """Checkpoint: the run's identity, all leaves and the history, replaced in one step."""
    leaves: Tensors = {f"leaf{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    partial_path = path.with_suffix(".partial.npz")
    np.savez(partial_path, run=run, history=json.dumps(history), **leaves)
    os.replace(partial_path, path)


def load_state(path: Path, run: str, like: Any) -> tuple[Any, list[Figures]] | None:
    """(state, history) of the run's checkpoint, None of another run's; `like` gives the tree's structure."""
    leaves, tree = jax.tree.flatten(like)
    with np.load(path) as arrays:
        if str(arrays.get("run", "")) != run:
            return None
        return jax.tree.unflatten(tree, [arrays[f"leaf{i}"] for i in range(len(leaves))]), json.loads(
            str(arrays["history"])
        )


def train(
    params: Params,
    train_tokens: Tokens,
    valid_tokens: Tokens,
    domains_tokens: Tokens,
    work: Path,
    *,
    n_chars: int = 0,
    stop_after: int | None = None,
    quiet: bool = False,
) -> Figures:
    """Trains (or goes on from `work/checkpoint.npz`) and returns the weights of the best epoch (and share).

    The best has the highest validation recall (`rank`); of those within `TIE` of it, which is less than chance, the
    last epoch's largest share is kept, which has seen the most of the augmentation. Its averaged weights lie in
    `work/best.npz`. Where training goes on from a model, each epoch is validated at each of the shares `blend` of the way
    from it.

    Args:
        n_chars: characters that the table of a keras-char input has.
        stop_after: stop after that many epochs in all (the schedule stays that of the whole run).
    Raises:
        ParamsError: the start does not fit, or the training diverges.
    """
    work.mkdir(parents=True, exist_ok=True)
    layers = [layer for layer in network.parse(params.layers) if layer.kind != "ngrams"]  # fitted apart
    shape_of = network.shapes(layers, params.sizes, params.fixed_length, n_chars)
    first = started(params, shape_of) if params.start else network.init(shape_of, params.train["seed"])
    weights = jax.tree.map(jnp.asarray, first)
    optimizer, step = make_step(layers, params)
    state = {
        "weights": weights,
        "mean": jax.tree.map(jnp.copy, weights),
        "best": jax.tree.map(jnp.copy, weights),
        "adam": optimizer.init(weights),
        "count": jnp.zeros((), jnp.int32),
    }
    history: list[Figures] = []
    checkpoint = work / "checkpoint.npz"
    run = identity(params, train_tokens, valid_tokens, domains_tokens)
    found = load_state(checkpoint, run, state) if checkpoint.exists() else None
    if found:
        state, history = jax.tree.map(jnp.asarray, found[0]), found[1]
    elif checkpoint.exists() and not quiet:
        print(f"{checkpoint}: of another run; starting over", flush=True)
    epochs = params.train["epochs"]
    if not quiet:
        n = sum(int(np.prod(s)) for s in shape_of.values())
        print(
            f"{jax.devices()[0]}, {n} parameters, {network.multiply_adds(layers, weights, 64)} multiply-adds at 64 tokens,"
            f" {len(train_tokens)} rows, epochs {len(history)}..{epochs}",
            flush=True,
        )
    for epoch in range(len(history), min(epochs, stop_after or epochs)):
        if history and epoch - max(e["epoch"] for e in history if e["kept"]) >= params.train["patience"]:
            break
        start, mean_loss = time.monotonic(), 0.0
        bar = tqdm(desc=f"epoch {epoch + 1}/{epochs}", unit="batch", disable=quiet, mininterval=10, dynamic_ncols=True)
        losses = []
        for i, (total, *batch) in enumerate(batches(train_tokens, params, epoch)):
            bar.total = total
            state, loss = step(state, np.float32(rate_at((epoch + i / total) / epochs, params)), *batch)
            losses.append(loss)
            if i % 50 == 49:
                mean_loss = float(np.mean(jax.device_get(losses[-500:])))
                last = f"{rank(history[-1]):.3f}" if history else "-"
                bar.set_postfix_str(f"loss {mean_loss:.4f}, valid recall {last}", refresh=False)
            bar.update()
        bar.close()
        buckets = params.train["buckets"]
        tried = {}
        for share in params.train["blend"] if params.start else [1.0]:
            mean = blended(first, state["mean"], share)
            scores, unseen = (logits(layers, params.output, mean, t, buckets) for t in (valid_tokens, domains_tokens))
            if not (np.isfinite(scores).all() and np.isfinite(unseen).all()):
                raise ParamsError(f"epoch {epoch + 1}: logits are not finite; train.peak_lr is too high")
            tried[share] = validation(valid_tokens.labels > 0.5, scores, unseen)
        ranks = {f"{share:g}": round(rank(found), 6) for share, found in tried.items()}
        top = max(r for known in (ranks, *(e["tried"] for e in history)) for r in known.values())
        near = [share for share in tried if ranks[f"{share:g}"] >= top - TIE]
        share = max(near or tried, key=lambda share: share if near else rank(tried[share]))
        entry = {
            "epoch": epoch + 1,
            "loss": float(np.mean(jax.device_get(losses[-500:]))),
            **tried[share],
            "blend": share,
            "tried": ranks,
            "kept": bool(near),
            "seconds": round(time.monotonic() - start, 1),
            "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,  # of the process so far
        }
        if near:
            history = [earlier | {"kept": False} for earlier in history]
            state["best"] = blended(first, state["mean"], share)
        history.append(entry)
        save_state(checkpoint, run, state, history)
        if not quiet:
            print(json.dumps(entry), flush=True)
    np.savez(work / "best.npz", **jax.device_get(state["best"]))
    (work / "history.json").write_text(json.dumps(history, indent=1) + "\n")
    return load_weights(work)


def validation(truth: Array, scores: Array, unseen: Array) -> Figures:
    """Figures of an epoch: AUC and recalls; `recall` is None where no rate is resolvable.

    Args:
        truth: bool [n], of the validation rows: phishing.
        scores: float32 [n], their logits.
        unseen: float32 [m], logits of phishing on domains kept out of training, whose false positives are those of the
            validation rows, too.
    """
    legitimate, later = scores[~truth], scores[truth]
    entry: Figures = {"auc": metrics.auc(truth, scores) or 0.0}
    resolvable = [f for f in FPRS if len(legitimate) * f >= metrics.RESOLVABLE / 2 and len(later)]
    for name, positives in (("recall", later), ("recall_unseen", unseen)):
        recalls = [
            float((positives >= threshold_at(legitimate, f)).mean()) if len(positives) else 0.0 for f in resolvable
        ]
        entry |= {f"{name}_{f}": r for f, r in zip(resolvable, recalls, strict=True) if f in (0.01, 0.001)}
        entry[name] = float(np.mean(recalls)) if recalls else None
    return entry


def rank(entry: Figures) -> float:
    """What the best epoch has most of: the mean recall over six FPRs from 0.05 % to 2 % (`FPRS`), of the later months'
    phishing and of that on held-out domains alike; AUC where there are too few rows for any of these rates."""
    if entry["recall"] is None:
        return float(entry["auc"])
    return float((entry["recall"] + entry["recall_unseen"]) / 2)


def stored(path: Path) -> Tensors:
    """The arrays of an .npz file."""
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def load_weights(work: Path, params: Params | None = None) -> Tensors:
    """Averaged weights of the best epoch, and the table of n-grams. Raises ParamsError where the parameters' layers have
    one and the training ended before it was fitted."""
    weights = stored(work / "best.npz")
    last = network.parse(params.layers)[-1] if params else None
    if last and last.kind == "ngrams" and f"{last.name}.weight" not in weights:
        raise ParamsError(
            f"{work / 'best.npz'}: has no table of n-grams; run `python -m phishcnn_train train` to its end"
        )
    return weights
