"""Screening on made-up rows: what each variation trains with, that a stopped run goes on, and what names a mistake."""

import dataclasses
import json

import numpy as np
import pytest
import synthetic
from conftest import WEIGHTS
from phishcnn_train import cross_source, screen
from phishcnn_train.__main__ import main
from phishcnn_train.data import read_rows, write_rows
from phishcnn_train.params import ParamsError
from test_pipeline import small

PLAN = """
[all]
train = { row_limit = 400, epochs = 1, blend = [1.0], peak_lr = 4e-3, buckets = [256] }
[variations]
"as it is" = {}
"narrow" = { sizes = { c1 = [3, 8] } }
"""


@pytest.fixture
def folder(tmp_path):
    for seed, (name, n) in enumerate({"train": 600, "valid": 2400, "valid_domains": 200}.items(), 1):
        rows = read_rows(synthetic.write(tmp_path / "made.tsv", n, seed))
        rows.sources = [f"{label}{i % 3}" for i, label in enumerate(rows.labels)]
        write_rows(tmp_path / f"{name}.tsv.gz", rows)
    (tmp_path / "plan.toml").write_text(PLAN)
    return tmp_path


def test_each_variation_is_trained_once_and_told(folder, tiny, monkeypatch):
    trained = []
    real = screen.train.train

    def spy(params, tokens, *more):
        trained.append((params.sizes["c1"], len(tokens), params.start, params.teach))
        return real(params, tokens, *more, quiet=True)

    monkeypatch.setattr(screen.train, "train", spy)
    args = (tiny, folder / "plan.toml", folder, folder / "out.json", folder / "work", lambda *_, **__: None)
    found = screen.run(*args)
    assert trained == [([5, 16], 400, "", {}), ([3, 8], 400, "", {})]
    assert screen.run(*args) == found and len(trained) == 2
    wide, narrow = found["runs"].values()
    assert narrow["parameters"] < wide["parameters"] and narrow["multiply_adds_64"] < wide["multiply_adds_64"]
    assert wide["kept"]["epoch"] == 1 and json.loads((folder / "out.json").read_text()) == found
    rows = screen.table(found).splitlines()
    assert [row.split("|")[1].strip() for row in rows[2:]] == ["as it is", "narrow"]
    assert len({row.count("|") for row in rows}) == 1
    assert f" {100 * wide['kept']['recall_0.01']:.1f} / " in rows[2]
    newer = dataclasses.replace(tiny, version="9.0.0", purpose="Another.")  # which decides no training
    assert screen.run(newer, *args[1:]) == found and len(trained) == 2
    (folder / "plan.toml").write_text(PLAN.replace("[3, 8]", "[3, 12]").replace('"as it is" = {}', ""))
    narrow = screen.run(*args)
    assert [sizes for sizes, *_ in trained[2:]] == [[3, 12]]
    assert list(narrow["runs"]) == ["narrow"] and "as it is" not in screen.table(narrow)
    assert list(json.loads((folder / "out.json").read_text())["runs"]) == ["as it is", "narrow"]  # and not lost


def test_runs_on_other_rows_are_dropped_and_that_is_said(folder, tiny):
    (folder / "plan.toml").write_text("[all]\n[variations]\n")
    (folder / "out.json").write_text('{"settings": {}, "runs": {"a": {}, "b": {}}}')
    told = []
    found = screen.run(
        tiny, folder / "plan.toml", folder, folder / "out.json", folder, lambda text, **_: told.append(text)
    )
    assert told == [f"{folder / 'out.json'}: of other rows; its 2 runs are dropped"] and found["runs"] == {}


def test_the_command_trains_and_prints_the_table(folder, capsys):
    (folder / "small.toml").write_text(small(WEIGHTS / "compact.toml"))
    (folder / "plan.toml").write_text(PLAN.replace('"narrow" = { sizes = { c1 = [3, 8] } }', ""))
    command = ["screen", "--params", folder / "small.toml", "--plan", folder / "plan.toml", "--rows", folder]
    command += ["--work", folder, "-o", folder / "out.json"]
    assert main([str(word) for word in command]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("| as it is | ")


def test_cross_source_has_its_settings_from_the_command_or_its_module(folder, monkeypatch, capsys):
    monkeypatch.setattr(cross_source.train, "train", lambda *_, **__: {})
    monkeypatch.setattr(cross_source.train, "logits", lambda *a: np.linspace(0, 1, len(a[3])).astype(np.float32))
    command = [
        "cross-source",
        "--params",
        WEIGHTS / "compact.toml",
        "--rows",
        folder,
        "--test",
        folder / "valid.tsv.gz",
    ]
    command += ["--epochs", 2, "--sources", 1, "--work", folder, "-o", folder / "crossed.json"]
    assert main([str(word) for word in command]) == 0
    settings = json.loads((folder / "crossed.json").read_text())["settings"]
    assert (settings["rows"], settings["epochs"], settings["sources"]) == (cross_source.ROWS, 2, 1)


@pytest.mark.parametrize(
    "line, named",
    [
        ('"odd" = { tran = { epochs = 1 } }', "odd: tran"),
        ('"odd" = { train = { epoch = 1 } }', "odd: train: no key epoch"),
        ('"odd" = { layers = "conv" }', "odd"),
        ('"odd" = ', "plan.toml"),
    ],
)
def test_a_mistake_in_the_plan_is_named_before_anything_is_trained(folder, tiny, line, named):
    (folder / "plan.toml").write_text(PLAN + line)
    with pytest.raises(ParamsError, match=named):
        screen.plan(folder / "plan.toml", tiny)


def test_the_project_s_plan_can_be_run(compact):
    found = screen.plan(WEIGHTS / "screen.toml", compact)
    assert len(found) > 10 and all(p.start == "" and p.train["epochs"] == 3 for p in found.values())
    assert len({str(p) for p in found.values()}) == len(found)
