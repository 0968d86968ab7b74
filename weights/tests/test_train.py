"""A real training in about a minute: it learns, repeats itself to the byte, goes on from a checkpoint,
and the wheel scores the exported file as JAX does."""

import dataclasses
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import unicodedata
from urllib.parse import unquote_to_bytes

import numpy as np
import phishcnn
import pytest
import synthetic
from phishcnn_train import (
    augment,
    calibrate,
    card,
    data,
    evaluate,
    export,
    metrics,
    network,
    ngrams,
    opinion,
    prepare,
    teach,
    tokens,
    train,
    witness,
)
from phishcnn_train.params import Params, ParamsError

LONG_AND_ODD = [
    b"http://x.org/" + b"a/" * 400,
    b"?",
    b"http://",
    b"\xff\x00.com",
    b"https://U@Host.co.uk:81/P?q=1&r#f",
    b"a",
]


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    """Training rows, validation rows, and the latter's phishing as that of unseen domains."""
    folder = tmp_path_factory.mktemp("rows")
    rows = [data.read_rows(synthetic.write(folder / f"{seed}.tsv", n, seed)) for seed, n in ((1, 6000), (2, 4000))]
    train_rows, valid_rows = (prepare.with_groups(prepare.clean(r, log=lambda _: None)) for r in rows)
    return train_rows, valid_rows, valid_rows.take(valid_rows.labels == 1)


@pytest.fixture(scope="module")
def arrays(collected, tiny):
    return [tokens.tokens_of(r, tiny) for r in collected]


def finish(params, arrays, work, **how):
    """Trains, calibrates and exports into `work`; the bytes of the model file."""
    train.train(params, *arrays, work, quiet=True, **how)
    for name, part in zip(("train", "valid"), arrays, strict=False):
        part.save(work / f"{name}.npz")
    calibrate.calibrate(params, work)
    export.export(params, work, work / "m.safetensors", None)
    return (work / "m.safetensors").read_bytes()


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny, arrays):
    work = tmp_path_factory.mktemp("run")
    return work, finish(tiny, arrays, work)


def test_it_learns(trained, tiny, arrays):
    work, _ = trained
    scores = train.logits(network.parse(tiny.layers), tiny.output, train.load_weights(work), arrays[1], [256])
    from sklearn.metrics import roc_auc_score

    assert roc_auc_score(arrays[1].labels > 0.5, scores) > 0.95


def test_same_seed_same_bytes_and_resumed_run_too(trained, tiny, arrays, tmp_path):
    train.train(tiny, *arrays, tmp_path, quiet=True, stop_after=2)
    assert finish(tiny, arrays, tmp_path) == trained[1]


def test_training_ends_when_no_epoch_is_better(tiny, arrays, tmp_path, monkeypatch):
    recalls = iter((0.5, 0.9, 0.8, 0.7, 0.6))
    found = train.validation
    monkeypatch.setattr(
        train, "validation", lambda *of: found(*of) | dict.fromkeys(("recall", "recall_unseen"), next(recalls))
    )
    patient = dataclasses.replace(tiny, train={**tiny.train, "epochs": 5, "patience": 2})
    train.train(patient, *arrays, tmp_path, quiet=True)
    history = json.loads((tmp_path / "history.json").read_text())
    assert [entry["kept"] for entry in history] == [False, True, False, False]
    train.train(patient, *arrays, tmp_path, quiet=True)  # and not one more when it is started again
    assert json.loads((tmp_path / "history.json").read_text()) == history


def test_a_finished_run_gives_its_best_weights_again(trained, tiny, arrays, tmp_path):
    """DVC takes a stage's files away before it runs it again, all but the checkpoint."""
    shutil.copy(trained[0] / "checkpoint.npz", tmp_path)
    assert finish(tiny, arrays, tmp_path) == trained[1]


def test_other_code_starts_again(tiny, arrays, tmp_path, monkeypatch):
    before = train.identity(tiny, *arrays)
    (tmp_path / "network.py").write_text("# another network")
    monkeypatch.setattr(network, "__file__", str(tmp_path / "network.py"))
    assert train.identity(tiny, *arrays) != before


def test_tokens_of_an_older_version_are_refused_by_name(arrays, tmp_path):
    arrays[2].save(tmp_path / "train.npz")
    with np.load(tmp_path / "train.npz") as kept:
        np.savez(tmp_path / "old.npz", **{name: kept[name] for name in kept.files if name != "phishing"})
    with pytest.raises(data.DataError, match="old.npz: of another version of this program; run .* tokenize"):
        tokens.Tokens.load(tmp_path / "old.npz")


def test_a_checkpoint_of_other_parameters_is_dropped(trained, tiny, arrays, tmp_path):
    other = dataclasses.replace(tiny, train={**tiny.train, "peak_lr": 1e-4, "epochs": 1})
    train.train(other, *arrays, tmp_path, quiet=True)
    assert finish(tiny, arrays, tmp_path) == trained[1]


def test_training_goes_on_from_a_model(trained, tiny, arrays, tmp_path):
    """Fine-tuning: one more epoch at a low rate stays near the model; another shape is refused by name."""
    start = str(trained[0] / "m.safetensors")
    more = dataclasses.replace(tiny, start=start, train={**tiny.train, "epochs": 1, "peak_lr": 1e-5})
    weights = train.train(more, *arrays, tmp_path, quiet=True)
    before = train.load_weights(trained[0])
    assert max(np.abs(weights[k] - before[k]).max() for k in before) < 0.01
    part = dataclasses.replace(more, train={**more.train, "blend": [0.25]})
    quarter = train.train(part, *arrays, tmp_path / "part", quiet=True)
    for k in before:
        np.testing.assert_allclose(quarter[k], before[k] + (weights[k] - before[k]) / 4, atol=1e-5)
    wide = dataclasses.replace(tiny, start=start, sizes={**tiny.sizes, "d1": 24})
    with pytest.raises(ParamsError, match="d1.bias, d1.weight, d2.weight differ"):
        train.train(wide, *arrays, tmp_path / "wide", quiet=True)


def with_ngrams(tiny, **how) -> Params:
    return dataclasses.replace(
        tiny,
        layers=f"{tiny.layers}; ngrams words 2..5",
        sizes={**tiny.sizes, "words": 4096},
        ngrams={"penalty": 1e-6, "passes": 3, "cuts": [0.99], "shares": [0.5], "query": 0.25, **how},
    )


def test_ngrams_join_the_network_that_was_trained_without_them(trained, tiny, arrays, tmp_path):
    """What is chosen is what the network with the table gives, and what is exported; a later training leaves it out."""
    more, work, quiet = with_ngrams(tiny), tmp_path / "work", lambda *_, **__: None
    layer, net = ngrams.layer_of(more), train.load_weights(trained[0])
    shutil.copytree(trained[0], work)
    with pytest.raises(ParamsError, match="has no table of n-grams"):
        calibrate.calibrate(more, work)
    ngrams.add(layer, more, *arrays, work, quiet)
    weights = train.load_weights(work, more)
    [*epochs, last] = json.loads((work / "history.json").read_text())
    chosen = last["ngrams"]
    assert epochs == json.loads((trained[0] / "history.json").read_text())
    told = card.training_of([*epochs, last], more, more.version)
    assert "; the table of n-grams: " in told and " weights cut at the quantile 0.99, 0.5 of its logit" in told
    table, scales = weights["words.weight"].astype(np.float32), weights["words.scale"]
    assert scales[0] == scales[1] == scales[2] == 4 * scales[3]
    scores, unseen = (train.logits(network.parse(more.layers), "logit", weights, t, [256]) for t in arrays[1:])
    told = train.validation(arrays[1].labels > 0.5, scores, unseen)
    assert (
        abs(told["auc"] - chosen["auc"]) < 1e-3
        and np.abs(weights["words.weight"]).max() == 127
        and chosen["passes"] <= 3
    )
    alone = train.logits(network.parse(tiny.layers), "logit", train.load_weights(trained[0]), arrays[1], [256])
    found = ngrams.chunks(layer, 4096, arrays[1], np.arange(len(scores)), more, {})
    sums = [np.concatenate([ngrams.columns(x, r) @ table for x in found]) * scale for r, scale in enumerate(scales)]
    product = ngrams.limited(sums)
    assert all(abs(sum(ngrams.columns(x, r) for r in range(4)) - ngrams.columns(x)).max() < 1e-6 for x in found)
    np.testing.assert_allclose(scores, alone + product, atol=1e-3)
    calibrate.calibrate(more, work)
    export.export(more, work, work / "m.safetensors", None)
    model = phishcnn.Model.load(str(work / "m.safetensors"))
    urls = [b"http://paypal.com.verify.example.net/login", b"example.org"]
    tokens_of = tokens.Tokens.unlabelled(phishcnn.tokenize_batch(urls, input=more.input))
    want = train.logits(network.parse(more.layers), "logit", weights, tokens_of, [256])
    np.testing.assert_allclose(model.score_batch(urls).logit, want, atol=1e-3)
    start = dataclasses.replace(more, start=str(work / "m.safetensors"))
    apart = {"words.weight", "words.scale"}
    assert train.started(start, network.shapes(network.parse(tiny.layers), tiny.sizes)).keys() == weights.keys() - apart
    again, _ = ngrams.fit(layer, more, *arrays, net, quiet)
    assert again.keys() == apart and all(np.array_equal(again[name], weights[name]) for name in apart)
    train.train(tiny, *arrays, work, quiet=True)
    assert "words.weight" not in train.load_weights(work)


def test_a_table_of_n_grams_is_kept_where_no_pass_is_asked_for(trained, tiny, arrays, tmp_path):
    """As the start's file has it, beside the network that was trained on; a start without one is told before training."""
    more, work = with_ngrams(tiny, passes=1), tmp_path / "work"
    shutil.copytree(trained[0], work)
    for params, file in ((tiny, "plain"), (more, "more")):
        if params is more:
            ngrams.add(ngrams.layer_of(more), more, *arrays, work, lambda *_, **__: None)
        calibrate.calibrate(params, work)
        export.export(params, work, tmp_path / f"{file}.safetensors", None)
    first = train.load_weights(work, more)
    keep = dataclasses.replace(with_ngrams(tiny, passes=0), start=str(tmp_path / "more.safetensors"))
    shutil.copy(trained[0] / "best.npz", work)
    ngrams.add(ngrams.layer_of(keep), keep, *arrays, work)
    again = train.load_weights(work, keep)
    assert again.keys() == first.keys() and all(np.array_equal(again[name], first[name]) for name in first)
    history = json.loads((work / "history.json").read_text())
    assert history[-1]["ngrams"]["start"] == keep.start
    assert f"; the table of n-grams is that of `{keep.start}`" in card.training_of(
        history[:-2] + history[-1:], keep, "1"
    )
    for other in (
        dataclasses.replace(keep, start=str(tmp_path / "plain.safetensors")),
        dataclasses.replace(keep, start=""),
        dataclasses.replace(keep, layers=f"{tiny.layers}; ngrams words 2..4"),
        dataclasses.replace(keep, sizes={**keep.sizes, "words": 2048}),
    ):
        with pytest.raises(ParamsError, match="keeps the start's table of n-grams"):
            ngrams.layer_of(other)


def test_of_shares_about_as_good_the_smallest_is_kept(trained, tiny, arrays, monkeypatch):
    ranks = [0.69, 0.6, 0.7, 0.6893, 0.6995, 0.65]
    figures = iter({"recall": r, "recall_unseen": r} for r in ranks)
    monkeypatch.setattr(ngrams, "validation", lambda *_: next(figures))
    more = with_ngrams(tiny, passes=1, cuts=[0.9, 1.0], shares=[0.25, 0.5, 0.75])
    net, quiet = train.load_weights(trained[0]), lambda *_, **__: None
    _, chosen = ngrams.fit(ngrams.layer_of(more), more, *arrays, net, quiet)
    assert (chosen["cut"], chosen["share"]) == (1.0, 0.5)
    assert chosen["tried"] == {"0.25": 0.69, "0.5": 0.6995, "0.75": 0.7}


def test_ngrams_keep_the_best_pass_cut_and_share(trained, tiny, arrays, monkeypatch):
    """Three passes without a better one end it."""
    ranks = [0.5, 0.6, 0.7, 0.6, *[0.65] * 12]
    figures = iter({"recall": r, "recall_unseen": r} for r in ranks)
    monkeypatch.setattr(ngrams, "validation", lambda *_: next(figures))
    more = with_ngrams(tiny, passes=9, cuts=[0.9, 1.0], shares=[0.25, 0.5])
    net, quiet = train.load_weights(trained[0]), lambda *_, **__: None
    table, chosen = ngrams.fit(ngrams.layer_of(more), more, *arrays, net, quiet)
    assert (chosen["passes"], chosen["cut"], chosen["share"]) == (1, 1.0, 0.25) and not list(figures)
    once = with_ngrams(tiny, passes=1, cuts=[1.0], shares=[1.0])
    figures = iter([{"recall": 1, "recall_unseen": 1}])
    all_of_it, _ = ngrams.fit(ngrams.layer_of(once), once, *arrays, net, quiet)
    assert np.array_equal(all_of_it["words.weight"], table["words.weight"])
    np.testing.assert_allclose(all_of_it["words.scale"] / 4, table["words.scale"])


def test_a_layer_of_ngrams_and_its_parameters_need_each_other(tiny, monkeypatch):
    both = with_ngrams(tiny)
    for params in (dataclasses.replace(both, ngrams={}), dataclasses.replace(both, layers=tiny.layers)):
        with pytest.raises(ParamsError, match="need each other"):
            ngrams.layer_of(params)
    assert ngrams.layer_of(tiny) is None
    with pytest.raises(network.LayerError, match="has no words"):
        ngrams.layer_of(dataclasses.replace(both, sizes=tiny.sizes))
    monkeypatch.setattr(ngrams, "find_spec", lambda name: None)
    with pytest.raises(ParamsError, match="needs scikit-learn"):
        ngrams.layer_of(both)


def test_the_best_share_of_the_way_is_kept(trained, tiny, arrays, tmp_path):
    """A rate that ruins the model: the less of the way, the better, and what is kept is the point that is told."""
    start = trained[0] / "m.safetensors"
    ruin = {**tiny.train, "epochs": 1, "peak_lr": 3.0, "ema": 0.5, "blend": [1.0, 0.0001, 0.5]}
    gone_on = dataclasses.replace(tiny, start=str(start), train=ruin)
    kept = train.train(gone_on, *arrays, tmp_path, quiet=True)
    [entry] = json.loads((tmp_path / "history.json").read_text())
    assert entry["blend"] == 0.0001 and set(entry["tried"]) == {"1", "0.0001", "0.5"}
    assert entry["tried"]["0.0001"] == max(entry["tried"].values()) > min(entry["tried"].values()) and entry["kept"]
    scores = train.logits(network.parse(tiny.layers), tiny.output, kept, arrays[1], tiny.train["buckets"])
    assert metrics.auc(arrays[1].labels > 0.5, scores) == entry["auc"]
    before = train.load_weights(trained[0])
    assert max(np.abs(kept[k] - before[k]).max() for k in before) < 0.01


def test_a_training_that_diverges_is_an_error(trained, tiny, arrays, tmp_path):
    wild = dataclasses.replace(tiny, train={**tiny.train, "epochs": 1, "peak_lr": 1e15})
    with pytest.raises(ParamsError, match="epoch 1: logits are not finite; train.peak_lr is too high"):
        train.train(wild, *arrays, tmp_path, quiet=True)


ALONE = """
import pickle, sys
from pathlib import Path
from phishcnn_train import train

params, rows, valid, unseen = pickle.loads(Path(sys.argv[1]).read_bytes())
batches, kept = train.batches, []
if sys.argv[3] == "leak":
    train.batches = lambda *of: (kept.append(batch) or batch for batch in batches(*of))
train.train(params, rows, valid, unseen, Path(sys.argv[2]), quiet=True)
"""


def test_memory_of_a_training_does_not_grow_with_its_epochs(tiny, arrays, tmp_path):
    """Peaks of a process of its own: in the last twenty epochs of 24 they grow by less than half of what the batches take,
    in one of three trainings, because the allocator's growth is chance, and all are below a GiB. One that keeps its batches
    is noticed each time."""
    sizes = {"embed": 4, "trigrams": 16, "c1": [3, 4], "c2": [3, 4], "c3": [3, 4], "d1": 4, "d2": 1}
    how = {**tiny.train, "epochs": 24, "patience": 24, "batch": 512, "buckets": [256]}
    params = dataclasses.replace(tiny, sizes=sizes, train=how)
    few = tokens.tokens_of(data.read_rows(synthetic.write(tmp_path / "few.tsv", 200, 4)), tiny)
    (tmp_path / "given").write_bytes(pickle.dumps((params, arrays[0], few, few)))
    batches = sum(ids.nbytes + parts.nbytes for _, ids, parts, *_ in train.batches(arrays[0], params, 0)) / 2**20

    def grown(kind):
        # From a shell, because a program begins with the peak of the process that it is started from: pytest's is large.
        command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", ALONE]
        command += [str(tmp_path / "given"), str(tmp_path / kind), kind]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}  # a GPU's driver has memory of its own
        subprocess.run(command, check=True, cwd=os.path.dirname(os.path.dirname(__file__)), env=environment)
        peaks = [entry["peak_memory_mib"] for entry in json.loads((tmp_path / kind / "history.json").read_text())]
        assert len(peaks) == 24 and peaks[-1] < 1024
        return peaks[-1] - peaks[3]

    assert any(grown("sound") < 10 * batches for _ in range(3))
    assert grown("leak") > 10 * batches


def test_auc_ranks_only_where_rows_are_too_few(arrays):
    """A first epoch without recall is worse than any with it, whatever its AUC."""
    truth = np.arange(6000) % 2 == 1
    useless = train.validation(truth, np.zeros(6000), np.zeros(5))
    assert useless["recall"] == 0.0 and train.rank(useless) == 0.0
    few = train.validation(truth[:40], truth[:40].astype(float), np.ones(5))
    assert few["recall"] is None and train.rank(few) == few["auc"] == 1.0


def test_of_points_that_are_as_good_the_last_is_kept(tiny, arrays, tmp_path, monkeypatch):
    """0.0005 under the best is as good, 0.002 is not; what is kept is told, and is in best.npz."""
    scored = iter([0.50, 0.60, 0.5995, 0.598])
    monkeypatch.setattr(train, "validation", lambda *_: {"recall": (r := next(scored)), "recall_unseen": r, "auc": 0.5})
    after = {}

    def saved(path, run, state, history):
        after[len(history)] = np.asarray(state["mean"]["d2.bias"])

    monkeypatch.setattr(train, "save_state", saved)
    weights = train.train(tiny, *arrays, tmp_path, quiet=True)
    history = json.loads((tmp_path / "history.json").read_text())
    assert [entry["kept"] for entry in history] == [False, False, True, False]
    assert np.array_equal(weights["d2.bias"], after[3]) and not np.array_equal(after[3], after[2])


def alone(path):
    """Parameters of one teacher."""
    return {"models": [str(path)], "ngrams": 0, "scale": 1, "share": 0.5}


def test_a_taught_row_moves_towards_its_teacher(trained, tiny, arrays, collected, tmp_path):
    """The engine's logit bends the label; JAX's tells by how much."""
    teacher = dataclasses.replace(tiny, teach=alone(trained[0] / "m.safetensors"))
    labels = teach.taught(arrays[1], collected[1].urls, teacher).labels
    scores = train.logits(network.parse(tiny.layers), tiny.output, train.load_weights(trained[0]), arrays[1], [256])
    bent = np.where(arrays[1].certain, arrays[1].labels, arrays[1].labels / 2 + 0.5 / (1 + np.exp(-scores)))
    np.testing.assert_allclose(labels, bent, atol=1e-5)
    assert 0 < arrays[1].certain.mean() < 0.5
    with pytest.raises(ParamsError, match="the teacher is not there"):
        teach.taught(arrays[1], collected[1].urls, dataclasses.replace(tiny, teach=alone(tmp_path / "none")))


def test_the_n_grams_have_their_say(trained, tiny, arrays, collected):
    path = str(trained[0] / "m.safetensors")
    rows, urls = arrays[1], collected[1].urls
    teachers = {"models": [path, path], "ngrams": 0.25, "scale": 0.5, "share": 1.0}
    ngrams = np.linspace(-9, 9, len(rows), dtype=np.float32)
    params = dataclasses.replace(tiny, teach=teachers)
    scores = train.logits(network.parse(tiny.layers), tiny.output, train.load_weights(trained[0]), rows, [256])
    opinion = 1 / (1 + np.exp(-0.5 * (scores + ngrams / 4)))
    np.testing.assert_allclose(
        teach.taught(rows, urls, params, ngrams).labels, np.where(rows.certain, rows.labels, opinion), atol=1e-5
    )
    for missing in (None, ngrams[1:]):
        with pytest.raises(ParamsError, match="run `opinion` first"):
            teach.taught(rows, urls, params, missing)


def test_an_opinion_comes_from_models_that_never_saw_the_domain(tmp_path, monkeypatch):
    """Both labels of a domain's rows are swapped for the fit: out of fold, its own rows cannot give that away."""
    monkeypatch.setattr(opinion, "COLUMNS", 2**12)
    rows = data.read_rows(synthetic.write(tmp_path / "t.tsv", 1500, 5))
    rows.groups = [f"d{i // 5}.org" for i in range(len(rows))]
    weights = np.ones(len(rows), np.float32)
    logits = opinion.out_of_fold(rows, rows.labels, weights, 1, log=lambda *_, **__: None)
    assert np.isfinite(logits).all() and metrics.auc(rows.labels > 0, logits) > 0.9
    noise = np.random.default_rng(1).integers(0, 2, len(rows) // 5).repeat(5)  # one label for a whole domain
    blind = opinion.out_of_fold(rows, noise, weights, 1, log=lambda *_, **__: None)
    assert abs(metrics.auc(noise > 0, blind) - 0.5) < 0.1


def test_made_up_rows_get_no_opinion_and_give_none(tmp_path, monkeypatch):
    monkeypatch.setattr(opinion, "COLUMNS", 2**12)
    rows = data.read_rows(synthetic.write(tmp_path / "t.tsv", 1500, 5))
    weights = np.ones(len(rows), np.float32)
    quiet = {"log": lambda *_, **__: None}
    alone = opinion.out_of_fold(rows, rows.labels, weights, 1, **quiet)
    made = rows.take(np.arange(500))
    made.labels, made.tags = 1 - made.labels, [frozenset({"well_known"})] * 500  # they would teach the opposite
    both = data.pool([rows, made])
    weights = np.ones(2000, np.float32)
    opinion.write(both, both.labels, weights, tmp_path / "o.npz", 1, **quiet)
    weights[1500:] = 3  # of made-up rows; they decide nothing
    written = opinion.read(tmp_path / "o.npz", both, weights, 1)
    np.testing.assert_array_equal(written[:1500], alone)
    assert not written[1500:].any()
    np.savez(tmp_path / "old.npz", rows="1" * 64, logits=written)  # as versions before wrote it
    other = [("o", both.take(np.arange(2000)[::-1]), weights, 1), ("o", both, 2 * weights, 1), ("o", both, weights, 2)]
    for name, *of in [*other, ("old", both, weights, 1)]:
        with pytest.raises(data.DataError, match=f"{name}.npz: of other rows, weights or seed"):
            opinion.read(tmp_path / f"{name}.npz", *of)
    with pytest.raises(data.DataError, match="none.npz: not there"):
        opinion.read(tmp_path / "none.npz", both, weights, 1)


def test_another_seed_gives_another_model_that_is_as_good(trained, tiny, arrays, tmp_path):
    """Non-determinism: the AUC of two seeds lies within two points."""
    other = dataclasses.replace(tiny, train={**tiny.train, "seed": 2})
    assert finish(other, arrays, tmp_path) != trained[1]
    areas = []
    for work in (trained[0], tmp_path):
        weights = train.load_weights(work)
        scores = train.logits(network.parse(tiny.layers), tiny.output, weights, arrays[1], [256])
        areas.append(metrics.auc(arrays[1].labels > 0.5, scores))
    assert abs(areas[0] - areas[1]) < 0.02


def test_the_wheel_scores_what_was_trained(trained, tmp_path):
    path = trained[0] / "m.safetensors"
    urls = data.read_rows(synthetic.write(tmp_path / "t.tsv", 500, 3)).urls + LONG_AND_ODD
    scored = phishcnn.Model.load(str(path)).score_batch(urls)
    assert not np.asarray(scored.errors).any()
    np.testing.assert_allclose(scored.logit, evaluate.jax_logits(path, urls), atol=1e-4)


def test_evaluation_and_card(trained, tmp_path, tiny):

    path = trained[0] / "m.safetensors"
    rows = synthetic.write(tmp_path / "t.tsv", 4400, 3)
    metrics = evaluate.evaluate(path, {"test": str(rows), "bad": f"{rows}:label=1"}, None)
    result = metrics["sets"]["test"]
    for place in ("engine", "training_framework"):
        assert result[place]["auc"] > 0.95
    assert result["largest_logit_difference"] < 1e-4
    point = result["engine"]["recall_at_fpr"]["0.01"]
    assert min(point["resampled"]) <= point["recall"] <= max(point["resampled"]) and len(point["resampled"]) == 500
    assert result["slices"]["tag"]["login"]["legitimate_rows"] > 20
    assert result["rows_of"] == "t.tsv"
    again = evaluate.measure_again(path, str(rows))
    assert {k: v for k, v in again.items() if k != "cost"} == {
        k: v for k, v in json.loads(evaluate.dumps(metrics)).items() if k != "cost"
    }
    assert again["cost"].keys() == metrics["cost"].keys() and again["cost"]["microseconds_per_url"] > 0
    told = card.text(path, metrics, tiny)
    assert all(part in told for part in ("| login |", "| sign-in |", "| phishing | shortener |", "1:1,000"))
    assert "of the way to it" not in told
    assert "is kept, the best on the validation rows or within 0.1 points of it" in told
    history = [entry | {"blend": 0.7} for entry in card.history_of(path)]
    path.with_suffix(".history.json").write_text(json.dumps(history))
    gone_on = dataclasses.replace(tiny, start="a.safetensors")
    told = card.text(path, metrics, gone_on)
    assert re.search("; begun with `a.safetensors`; epoch [1-4], 0.7 of the way to it, is kept", told)


def test_batches_are_a_function_of_the_seed(tiny, arrays):
    def digest(params, epoch):
        return [hash(b"".join(x.tobytes() for x in batch[1:])) for batch in train.batches(arrays[0], params, epoch)]

    other = dataclasses.replace(tiny, train={**tiny.train, "seed": 2})
    assert digest(tiny, 0) == digest(tiny, 0)
    assert digest(tiny, 0) != digest(tiny, 1) and digest(tiny, 0) != digest(other, 0)


def test_rows_come_as_often_as_their_chance_says(tiny, arrays):
    rows = dataclasses.replace(arrays[0], chances=np.where(arrays[0].labels > 0.5, 0.25, 1).astype(np.float32))
    seen = np.concatenate([batch[4][batch[5] > 0] for batch in train.batches(rows, tiny, 0)])
    phishing = int((rows.labels > 0.5).sum())
    assert (seen <= 0.5).sum() == len(rows) - phishing
    assert (seen > 0.5).sum() == pytest.approx(phishing / 4, rel=0.1)


def test_augmentations_keep_to_their_parts():
    urls = [b"http://Sub.Example.com/Path/To?A=B&c=D#F", b"https://x.org"]
    rows = tokens.Tokens.unlabelled(phishcnn.tokenize_batch(urls))
    lengths = rows.lengths
    ids, parts = train.pad(rows, np.arange(2), lengths, 48)

    def shown(ids, row):
        return "".join("*" if i == 256 else chr(i) for i in ids[row, : lengths[row]])

    assert shown(augment.lower_case(ids, parts, np.array([True, True])), 0) == "sub.example.com/path/to?a=b&c=d#f"
    seen = set()
    for seed in range(200):
        masked = augment.mask_segment(ids, parts, lengths, np.array([True, False]), np.random.default_rng(seed))
        assert shown(masked, 1) == "x.org"
        seen.add(shown(masked, 0))
    masks = {
        "***.example.com/Path/To?A=B&c=D#F",
        "sub********.com/Path/To?A=B&c=D#F",
        "sub.example****/Path/To?A=B&c=D#F",
    }
    masks |= {
        "sub.example.com*****/To?A=B&c=D#F",
        "sub.example.com/Path***?A=B&c=D#F",
        "sub.example.com/Path/To****&c=D#F",
    }
    masks |= {"sub.example.com/Path/To?A=B****#F", "sub.example.com/Path/To?A=B&c=D**"}
    assert seen == masks


def test_padding_is_borrowed_from_honest_rows_and_keeps_the_url():
    """The wheel reads the longer URL as it was put together: same bytes, same parts."""
    urls = [b"x.org", b"x.org/own", b"x.org/own?a=1", b"x.org/own#part"]
    urls += [b"honest.org/some/long/path", b"honest.net/?query=long&b=2", b"honest.org/less", b"bank.org/sure/of/this"]
    rows = dataclasses.replace(
        tokens.Tokens.unlabelled(phishcnn.tokenize_batch(urls)),
        phishing=np.array([True] * 4 + [False] * 4),
        certain=np.array([False] * 7 + [True]),
        path_start=np.array([url.find(b"/") if b"/" in url else len(url) for url in urls], np.int32),
        query_start=np.array([len(url.partition(b"?")[0].partition(b"#")[0]) for url in urls], np.int32),
    )
    path, query = b"(/some/long/path){1,3}", rb"query=long&b=2(&query=long&b=2){0,2}"
    forms = [
        rb"x\.org(" + path + rb"|/\?" + query + b")",
        rb"x\.org(" + path + rb"/own|/own\?" + query + b")",
        rb"x\.org(" + path + rb"/own\?a=1|/own\?a=1&" + query + b")",
    ]
    seen = set()
    for seed in range(40):
        longer = augment.padded(rows, np.arange(4), 256, np.random.default_rng(seed))
        assert set(longer) == {0, 1, 2}  # nothing stands behind a fragment
        for row, (ids, parts) in longer.items():
            text = bytes(ids.tolist())
            assert re.fullmatch(forms[row], text)
            own = phishcnn.tokenize_batch([text])
            assert np.array_equal(own.ids, ids) and np.array_equal(own.parts, parts)
            seen.add(text)
    assert len(seen) == 3 * (3 + 3)
    short = augment.padded(rows, np.arange(4), 12, np.random.default_rng(0))
    assert all(len(ids) == len(parts) <= 12 for ids, parts in short.values())
    nothing_to_lend = dataclasses.replace(rows, phishing=np.ones(8, bool))
    assert augment.padded(nothing_to_lend, np.arange(4), 256, np.random.default_rng(0)) == {}


def test_a_wrapped_row_is_the_url_that_a_link_rewriter_would_make():
    """The wheel reads it as it was put together, and the address can be read back."""
    urls = [
        b"x.org",
        b"x.org/own?a=1&b=%20",
        b"x.org/own#part",
        b"front.org",
        b"front.net/some/page",
        b"a.org/?q=1&r=2",
    ]
    urls += [b"evil.org/" + b"f" * 20, b"long.org/" + b"f" * 80]
    rows = dataclasses.replace(
        tokens.Tokens.unlabelled(phishcnn.tokenize_batch(urls)),
        phishing=np.array([True] * 3 + [False] * 3 + [True, False]),
        certain=np.zeros(8, bool),
        path_start=np.array([url.find(b"/") if b"/" in url else len(url) for url in urls], np.int32),
        query_start=np.array([len(url.partition(b"?")[0].partition(b"#")[0]) for url in urls], np.int32),
    )
    fronts, tails, addresses = set(), set(), set()
    for seed in range(200):
        longer = augment.wrapped(rows, np.arange(3), 256, np.random.default_rng(seed))
        assert set(longer) == {0, 1}  # a fragment would become the longer URL's
        for row, (ids, parts) in longer.items():
            text = bytes(ids.tolist())
            own = phishcnn.tokenize_batch([text])
            assert np.array_equal(own.ids, ids) and np.array_equal(own.parts, parts)
            front, _, query = text.partition(b"?")
            _, _, rest = query.partition(b"=")
            address = unquote_to_bytes(rest) if b"%3A" in rest or urls[row] not in rest else rest
            scheme, tail = address.split(urls[row], 1)
            fronts.add(front)
            tails.add(tail)
            addresses.add(scheme)
    assert fronts == {b"front.org/", b"front.net/", b"front.net/some/page"}
    assert tails == {b"", b"&q=1&r=2"} and addresses == {b"https://", b"http://", b""}
    for longest in range(12, 80):  # the address is there to its end, or the row is left out
        for row, (ids, parts) in augment.wrapped(rows, np.arange(3), longest, np.random.default_rng(0)).items():
            assert len(ids) == len(parts) <= longest
            assert urls[row] in unquote_to_bytes(bytes(ids.tolist())) or urls[row] in bytes(ids.tolist())
    assert not augment.wrapped(rows, np.arange(3), 12, np.random.default_rng(0))
    nothing_in_front = dataclasses.replace(rows, phishing=np.ones(8, bool))
    assert augment.wrapped(nothing_in_front, np.arange(3), 256, np.random.default_rng(0)) == {}


def decoded(urls, names, longer):
    """(row, its new name) of the rows respelled; the wheel reads each as it was put together, and its punycode decodes."""
    for row, (ids, parts) in longer.items():
        text = bytes(ids.tolist())
        own = phishcnn.tokenize_batch([text])
        assert np.array_equal(own.ids, ids) and np.array_equal(own.parts, parts)
        front, behind = urls[row].split(names[row].encode())
        assert text.startswith(front + b"xn--") and text.endswith(behind)
        yield row, text[len(front) + 4 : len(text) - len(behind)].decode("punycode")


def test_a_homograph_is_the_name_with_letters_of_another_script():
    """It looks like the name."""
    urls = [
        b"secure.paypal.com/a?b=1",
        b"user@shop.example.co.uk:8080",
        b"1.2.3.4/login",
        b"honest.org",
        b"xn--ppal-4ve9j.com",
    ]
    rows = dataclasses.replace(
        tokens.Tokens.unlabelled(phishcnn.tokenize_batch(urls)), phishing=np.array([True, True, True, False, True])
    )
    names, changes = {0: "paypal", 1: "example"}, set()
    for seed in range(100):
        longer = augment.homograph(rows, np.arange(5), 256, np.random.default_rng(seed))
        assert set(longer) == {0, 1}  # an address has no such letters, an honest name has none, and one is enough
        for row, name in decoded(urls, names, longer):
            changed = [(a, b) for a, b in zip(names[row], name, strict=True) if a != b]
            assert 1 <= len(changed) <= 2
            for _, other in changed:
                assert other in "ɡᴢ" or unicodedata.name(other).split()[0] in ("CYRILLIC", "GREEK", "ARMENIAN")
            changes.add(len(changed))
    assert changes == {1, 2}
    short = augment.homograph(rows, np.arange(2), 12, np.random.default_rng(0))
    assert all(len(ids) == len(parts) == 12 for ids, parts in short.values())


def test_an_accent_is_put_where_honest_names_have_them():
    """Of both classes; made-up pages and other top-level domains stay as they are."""
    urls = [b"sub.koeln.de:8080/a?b=1", b"zug.co.uk", b"brand.ch", b"evil.de", b"1.2.3.4/at", b"malmo.se", b"bcd.pl"]
    rows = dataclasses.replace(
        tokens.Tokens.unlabelled(phishcnn.tokenize_batch(urls)),
        phishing=np.array([False] * 3 + [True] + [False] * 3),
        certain=np.array([False] * 2 + [True] + [False] * 4),
        path_start=np.array([url.find(b"/") if b"/" in url else len(url) for url in urls], np.int32),
    )
    names, seen = {0: "koeln", 3: "evil", 5: "malmo", 6: "bcd"}, set()
    for seed in range(60):
        longer = augment.accented(rows, np.arange(7), 256, np.random.default_rng(seed))
        assert set(longer) == set(names)
        for row, name in decoded(urls, names, longer):
            for a, b in zip(names[row], name, strict=True):
                assert a == b or a == {"ø": "o"}.get(b, unicodedata.normalize("NFD", b)[0])
            seen.add(name)
    assert len(seen) > 20 and all(name.isalpha() and not name.isascii() for name in seen)


@pytest.mark.parametrize("change", ["padded", "wrapped"])
def test_augmented_rows_reach_the_batches(change, tiny, arrays):
    """All rows longer, and what each batch holds is as long as it says."""
    part = {
        **tiny.augment,
        "padded": 0,
        "wrapped": 0,
        "accented": 0,
        "homograph": 0,
        "mask": 0,
        "cut_path": 0,
        "cut_query": 0,
    }
    many = dataclasses.replace(tiny, augment={**part, change: 1})
    none = dataclasses.replace(tiny, augment=part)
    seen = [np.concatenate([b[3][b[5] > 0] for b in train.batches(arrays[0], p, 0)]) for p in (none, many)]
    assert len(seen[0]) == len(seen[1]) and seen[1].mean() > 1.5 * seen[0].mean()
    for _, ids, parts, lengths, _, _ in train.batches(arrays[0], many, 0):
        inside = np.arange(ids.shape[1]) < lengths[:, None]
        assert (ids[inside] > 0).all() and not ids[~inside].any() and not parts[~inside].any()


def test_long_honest_rows_weigh_more(tiny, arrays, monkeypatch):
    """By the length that is seen, behind augmentation; phishing does not."""
    monkeypatch.setattr(train, "LONG", 30)
    part = {**tiny.augment, "wrapped": 0.5, "homograph": 0, "mask": 0}
    rows = dataclasses.replace(arrays[0], weights=np.ones(len(arrays[0]), np.float32), labels=arrays[0].phishing + 0.0)
    more = dataclasses.replace(tiny, augment=part, weights={**tiny.weights, "long": 3.0})
    seen = set()
    for _, _, _, lengths, labels, weights in train.batches(rows, more, 0):
        seen |= set(zip((lengths > 30).tolist(), (labels > 0).tolist(), weights.tolist(), strict=True))
    assert {(*s, w) for *s, w in seen if w} == {(True, False, 3), (True, True, 1), (False, False, 1), (False, True, 1)}


def test_honest_rows_in_punycode_weigh_more(tiny, arrays):
    """As often as the parameter says, beside what long ones weigh; phishing does not. The tokens keep their weights."""
    n = len(arrays[0])
    rows = dataclasses.replace(
        arrays[0], punycode=np.arange(n) % 2 == 0, phishing=np.arange(n) % 4 > 1, weights=np.full(n, 0.5, np.float32)
    )
    more = dataclasses.replace(tiny, weights={**tiny.weights, "punycode": 3.0, "long": 10.0})
    lengths = np.repeat([train.LONG, train.LONG + 1], 4)
    assert train.weighed(rows, np.arange(8), lengths, more).tolist() == [1.5, 0.5, 0.5, 0.5, 15, 5, 0.5, 0.5]
    assert (rows.weights == 0.5).all()


def test_a_homograph_is_phishing_whatever_a_teacher_thinks(tiny, arrays):
    """Each has the label 1, and no other row has another one than its own."""
    doubted = dataclasses.replace(arrays[0], labels=np.where(arrays[0].labels > 0.5, 0.7, 0.2).astype(np.float32))
    only = dataclasses.replace(tiny, augment={**tiny.augment, "padded": 0, "wrapped": 0, "homograph": 0.5, "mask": 0})
    sure = 0
    for _, ids, _, lengths, labels, weights in train.batches(doubted, only, 0):
        texts = [bytes(i[:n].astype(np.uint8)) for i, n in zip(ids, lengths, strict=True)]
        homographs = np.array([b"xn--" in text for text in texts])
        assert set(labels[homographs & (weights > 0)].tolist()) <= {np.float32(1), np.float32(0.2)}
        assert set(labels.tolist()) <= {np.float32(1), np.float32(0.7), np.float32(0.2)}
        assert homographs[labels == 1].all()
        sure += int((labels == 1).sum())
    assert sure > 50


def test_errors_are_sentences_not_traces(tmp_path):
    run = [
        sys.executable,
        "-m",
        "phishcnn_train",
        "tokenize",
        "--params",
        str(tmp_path / "no.toml"),
    ]
    done = subprocess.run(run, capture_output=True, text=True, cwd=os.path.dirname(os.path.dirname(__file__)))
    assert done.returncode == 1 and "no.toml" in done.stderr and "Traceback" not in done.stderr


def test_the_file_witnesses_its_answers_and_its_urls(trained, arrays):
    """`phishcnn.golden` holds to the engine; `phishcnn.reference` to a count over canonical forms."""
    work, _ = trained
    metadata = export.read(work / "m.safetensors")[1]
    words = metadata["phishcnn.golden"].split(" ")
    scores = phishcnn.Model.load(str(work / "m.safetensors")).score_batch(words[1::2])
    assert scores.errors.tolist() == [0] * 6
    assert np.abs(scores.logit - np.array(words[::2], float)).max() < 1e-3
    features = dict(text.split(" ", 1) for text in metadata["phishcnn.reference"].split("; "))
    assert list(features) == ["length", "host", "path", "query", "logit"]
    for text in features.values():
        shares = [float(word.split(":")[1]) for word in text.split(" ")]
        assert abs(sum(shares) - 1) < 0.01 and text.split(" ")[-1].startswith("+:")
    honest = ~arrays[1].phishing
    short = np.mean(arrays[1].lengths[honest] <= 24)
    told = [w.split(":") for w in features["length"].split(" ")]
    assert sum(float(s) for b, s in told if b != "+" and int(b) <= 24) == pytest.approx(short, abs=1e-3)
    tiny_layers, output = metadata["phishcnn.layers"], metadata["phishcnn.output"]
    logits = train.logits(network.parse(tiny_layers), output, train.load_weights(work), arrays[1], [256])
    told = [float(w.split(":")[1]) for w in features["logit"].split(" ")]
    for rows, drifts in ((honest, False), (~honest, True)):  # the service's index; 0.25 raises its alarm
        live = np.bincount(np.searchsorted(witness.BOUNDS["logit"], logits[rows]), minlength=len(told)) / rows.sum()
        live, reference = np.maximum(live, 1e-4), np.maximum(told, 1e-4)
        assert (np.sum((live - reference) * np.log(live / reference)) > 0.25) == drifts
