"""The same URLs scored from Python in other ways: `make -C benches python`.

- The wheel scores from the URL's text, in one call.
- ONNX Runtime and LiteRT run the same network (same weights, f32 results compared), on one thread: ONNX Runtime from
  ready token ids, in batches of URLs of one length; LiteRT from ready embeddings, one by one, as its models are.
- scikit-learn runs what an analyst would train: hashed 2- to 5-grams of characters and a linear model, from the
  URL's text. Its weights do not matter for the time.

The ways take turns; the ratios are medians over the turns, by processor time.
"""

import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import phishcnn
from urls import urls

BENCHES = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(BENCHES)]
import networks  # noqa: E402

TURNS = 9
LENGTHS = (20, 28, 36, 44, 60, 90)  # few, so that each peer converts and plans few networks


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


def onnx_runtime(w, metadata, groups, out: np.ndarray, int8: bool):
    """A call that writes the logits of all groups to `out`."""
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        path, quantised = Path(folder, "f32.onnx"), Path(folder, "int8.onnx")
        onnx.save(networks.onnx_model(w, metadata), path)
        if int8:
            networks.quantise_onnx(path, quantised, w)
        session = networks.session(quantised if int8 else path)
    feeds = [
        (rows[i : i + 64], networks.feed(networks.trigram_rows(w), ids[i : i + 64], parts[i : i + 64]))
        for rows, ids, parts in groups
        for i in range(0, len(rows), 64)
    ]

    def work() -> None:
        for rows, feed in feeds:
            out[rows] = session.run(None, feed)[0][:, 0]

    return work


def litert(w, metadata, groups, out: np.ndarray, int8: bool):
    calls = []
    for rows, ids, parts in groups:
        engine = networks.LiteRt(w, metadata, ids.shape[1], int8)
        vectors = networks.embedded(w, networks.feed(networks.trigram_rows(w), ids, parts))
        calls += [(row, engine, engine.input(x[None])) for row, x in zip(rows, vectors, strict=True)]

    def work() -> None:
        for row, engine, x in calls:
            engine.set(x)
            engine.run()
            out[row] = engine.logit()

    return work


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
    models = {kind: phishcnn.Model.load(BENCHES / f"models/{kind}.safetensors") for kind in ("int8", "f32")}
    batch = [url for url in urls(8 * count) if len(phishcnn.canonicalize(url)) in LENGTHS][:count]
    groups, expected = by_length(batch), models["f32"].score_batch(batch).logit
    network = networks.read(models["f32"].file)
    ways = {f"the wheel, {kind}": lambda model=model: model.score_batch(batch) for kind, model in models.items()}
    for name, peer in {"ONNX Runtime": onnx_runtime, "LiteRT": litert}.items():
        for int8 in (False, True):
            out = np.zeros(len(batch), np.float32)
            work = peer(*network, groups, out, int8)
            work()
            assert int8 or np.abs(out - expected).max() < 1e-3, "another network would be no comparison"
            ways[f"{name}, {'int8' if int8 else 'f32'}"] = work
    pipeline = ngrams()
    ways["scikit-learn, hashed 2- to 5-grams"] = lambda: pipeline.predict_proba(batch)
    times = {name: [] for name in ways}
    for _ in range(TURNS):
        for name, work in ways.items():
            times[name].append(seconds(work))
    print(f"{len(batch)} URLs of {LENGTHS[0]} to {LENGTHS[-1]} bytes, backend {models['int8'].backend}\n")
    print("| way | µs per URL | ratio to the wheel with int8 | with f32 |\n|---|---|---|---|")
    for name, values in times.items():
        ratios = [
            statistics.median(a / b for a, b in zip(values, times[f"the wheel, {kind}"], strict=True))
            for kind in ("int8", "f32")
        ]
        print(f"| {name} | {statistics.median(values) / len(batch) * 1e6:.1f} | {ratios[0]:.2f} | {ratios[1]:.2f} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
