"""Leaving sources out, on made-up rows: who trains on what, and that a stopped run goes on."""

import dataclasses
import json

import numpy as np
import pytest
import synthetic
from phishcnn_train import cross_source, sign_in, tables
from phishcnn_train.data import Rows, read_rows, write_rows


@pytest.fixture
def folder(tmp_path):
    """Rows as `prepare` leaves them: three sources a class, the domain of each row its own."""
    for seed, (name, n) in enumerate({"train": 2400, "valid": 800, "valid_domains": 200, "test": 2400}.items(), 1):
        rows = read_rows(synthetic.write(tmp_path / "made.tsv", n, seed))
        rows.groups = [f"domain{i // 4}" for i in range(n)]
        rows.sources = [("bad" if y else "good") + str((i // 2) % 3) for i, y in enumerate(rows.labels)]
        write_rows(tmp_path / f"{name}.tsv.gz", rows)
    return tmp_path


def test_the_largest_sources_of_each_class():
    labels = np.array([1, 1, 1, 0, 0, 0, 0], np.uint8)
    sources = ["a", "b", "b", "c", "d", "d", ""]
    tags = [frozenset()] * 5 + [frozenset({sign_in.TAG})] + [frozenset()]
    rows = Rows(labels, [b"x"] * 7, sources, [""] * 7, [""] * 7, tags)
    assert cross_source.largest(rows, 1) == [(1, "b"), (0, "c")]


def test_no_run_trains_on_its_source_or_a_judged_domain_and_a_stopped_run_goes_on(folder, tiny, monkeypatch):
    recipe = {**tiny.train, "buckets": [256], "peak_lr": 1e-3, "blend": [0.3]}  # of a fine-tuning, as the released ones
    tiny = dataclasses.replace(tiny, start="a release.safetensors", train=recipe)
    trained = []
    real = cross_source.train.train

    def spy(params, tokens, valid, domains, work):
        trained.append(len(tokens))
        assert (params.start, params.train["peak_lr"], params.train["blend"]) == ("", 4e-3, [1.0])
        if len(trained) == 2:
            raise KeyboardInterrupt
        return real(params, tokens, valid, domains, work, quiet=True)

    seen = []
    drawn = cross_source.drawn
    monkeypatch.setattr(cross_source, "drawn", lambda rows, *a: seen.append(drawn(rows, *a)) or seen[-1])
    monkeypatch.setattr(cross_source.train, "train", spy)
    output = folder / "out.json"
    args = (tiny, folder, folder / "test.tsv.gz", output, folder / "work", 600, 1, 1, lambda *_, **__: None)
    with pytest.raises(KeyboardInterrupt):
        cross_source.run(*args)
    assert [r["left_out"] for r in json.loads(output.read_text())["runs"]] == [None]
    found = cross_source.run(*args)
    assert [r["left_out"] for r in found["runs"]] == [None, "bad0", "good0"]
    assert trained == [600] * 4  # control; stopped; the two that were missing
    assert cross_source.run(*args) == found and len(trained) == 4
    judged, parts = seen[:2], [p for p in seen if len(p) == 600]
    domains = {g for rows in judged for g in rows.groups}
    assert domains and all(not domains & set(p.groups) for p in parts)
    assert {"bad0", "good0"} <= set(parts[0].sources)
    assert "bad0" not in parts[-2].sources and "good0" not in parts[-1].sources
    for run in found["runs"]:
        assert 0.5 < run["test"]["auc"] <= 1 and set(run["test"]["recall_at_fpr"]) == {"0.01", "0.001", "0.0001"}
        for rate, allowed in (("0.01", 0.01 * 1200), ("0.001", 0.001 * 1200), ("0.0001", 0)):  # test: 1,200 honest rows
            counts = run["held"]["bad0"][rate]
            assert counts["rows"] == len(judged[0]) and counts["hits"] <= counts["rows"] and counts["fp"] <= allowed
        assert 0.5 < run["held"]["bad0"]["auc"] <= 1 and 0.5 < run["held"]["good0"]["auc"] <= 1
    assert found["settings"]["peak_lr"] == 4e-3 and "from random weights on 600 rows, 1 epochs" in found["what"]
    table = tables.crossed({"cross_source": found, "version": found["version"]})
    assert [cells[0] for _, cells in table.rows] == ["nothing (control)", "bad0", "good0"]
    own, counts = dict(zip(table.head, table.rows[1][1], strict=True)), found["runs"][1]["held"]["bad0"]
    figure, told = own["its own rows at 1 %, left out"]
    assert figure == f"{100 * counts['0.01']['hits'] / counts['0.01']['rows']:.2f}"
    assert told.endswith(f"; {counts['0.01']['hits']:,} of {counts['0.01']['rows']:,}")
    assert own["its own rows AUC, left out"] == f"{counts['auc']:.4f}"


def test_a_source_is_ranked_against_the_other_class_of_test():
    test = Rows(np.array([1, 0, 0, 1], np.uint8), [b"x"] * 4, [""] * 4, [""] * 4, [""] * 4, [frozenset()] * 4)
    scores = {"test": np.array([4.0, 1, 3, 5]), "bad": np.array([2.0, 9]), "good": np.array([4.5, 0])}
    assert cross_source._auc(scores, test, "bad", 1) == 3 / 4
    assert cross_source._auc(scores, test, "good", 0) == 3 / 4
    assert cross_source._auc(scores, test, "other", 0) is None


def test_other_settings_start_again(folder, tiny, monkeypatch):
    monkeypatch.setattr(cross_source.train, "train", lambda *_, **__: {})
    monkeypatch.setattr(cross_source.train, "logits", lambda *a: np.linspace(0, 1, len(a[3])).astype(np.float32))
    args = [
        tiny,
        folder,
        folder / "test.tsv.gz",
        folder / "out.json",
        folder / "work",
        600,
        1,
        1,
        lambda *_, **__: None,
    ]
    first = cross_source.run(*args)
    args[5] = 500
    second = cross_source.run(*args)
    assert [r["train_rows"] for r in first["runs"] + second["runs"]] == [600] * 3 + [500] * 3
