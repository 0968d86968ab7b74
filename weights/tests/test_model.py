"""The released models after the ML Test Score: data, slices, determinism, relations, skew, cost.

They run on small hand-written fixtures, so that nobody needs the training data; on the real data the same
checks are figures of `evaluate`. docs/ml-test-score.md says which test is where.
"""

from __future__ import annotations

import json
import resource
import time
import tomllib

import numpy as np
import phishcnn
import pytest
import synthetic
from conftest import WEIGHTS
from phishcnn_train import baselines, evaluate, metrics, mutations, repair, schema, top_sites
from phishcnn_train.__main__ import main
from phishcnn_train.data import Rows, read_rows, select
from phishcnn_train.export import parent_of
from phishcnn_train.scores import Cached, Exported

MODELS = [WEIGHTS / "models" / f"phishcnn-{n}.safetensors" for n in ("compact", "large")]
FLOATS = [p for path in MODELS if (p := parent_of(path))]
EXAMPLES = WEIGHTS / "fixtures" / "examples.tsv"
PLAN = tomllib.loads((WEIGHTS / "evaluation.toml").read_text())
by_name = pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)


@pytest.fixture(scope="module")
def examples() -> Rows:
    return read_rows(EXAMPLES)


@pytest.fixture(scope="module")
def urls(examples) -> list[bytes]:
    return examples.urls + [p.url.encode() for p in top_sites.read()]


# Behaviour on slices


def lost_slices(examples: Rows, logits) -> list[str]:
    """Tags whose rows of one class are not told apart from the other class."""
    labels, lost = examples.labels > 0, []
    for tag in {t for tags in examples.tags for t in tags}:
        inside = examples.tagged(tag)
        for label in (True, False):
            some = inside & (labels == label)
            if some.sum() >= 4:
                area = metrics.auc(
                    np.append(labels[some], labels[labels != label]), np.append(logits[some], logits[labels != label])
                )
                if area <= 0.9:
                    lost.append(tag)
    return lost


@by_name
def test_every_slice_of_the_examples_is_told_apart(path, examples):
    """No part of a kind may be lost while the whole looks good; one that is lost is noticed."""
    logits = Exported(path).score(examples.urls).logit
    assert metrics.auc(examples.labels > 0, logits) > 0.98
    assert lost_slices(examples, logits) == []
    blind = np.where(examples.tagged("punycode") & (examples.labels > 0), logits.min(), logits)
    assert metrics.auc(examples.labels > 0, blind) > 0.85 and "punycode" in lost_slices(examples, blind)


@by_name
def test_most_pages_of_the_best_known_sites_are_benign(path):
    """The release gate judges the exact counts; this keeps a gross fault from passing unseen."""
    scorer = Exported(path)
    pages = top_sites.read()
    logits = scorer.score([p.url.encode() for p in pages]).logit
    assert (logits >= scorer.thresholds["phishing"]).mean() < 0.02
    assert (logits >= scorer.thresholds["suspicious"]).mean() < 0.06
    homes = np.array([p.kind == "home" for p in pages])
    assert (logits[homes] >= scorer.thresholds["phishing"]).mean() < 0.01


# Relations


@by_name
@pytest.mark.parametrize("name", mutations.EQUAL)
def test_equal_by_construction(path, name, urls):
    changed = mutations.apply(mutations.EQUAL[name], urls)
    pairs = [(u, c) for u, c in zip(urls, changed, strict=True) if c is not None]
    assert len(pairs) > 100
    before, after = (Exported(path).score([p[side] for p in pairs]).logit for side in (0, 1))
    assert before.tobytes() == after.tobytes()


@by_name
@pytest.mark.parametrize("name", mutations.SAME_VERDICT)
def test_the_verdict_mostly_stays(path, name, urls):
    found = evaluate.relations(Cached(Exported(path), None), Rows(urls=urls))["same_verdict"][name]
    assert found["rows"] > 100 and found["same"] / found["rows"] >= PLAN["same_verdict"][name]


def test_the_stated_rates_were_measured_on_the_released_models():
    for path in MODELS:
        told = json.loads((WEIGHTS / "models" / f"{path.stem}.metrics.json").read_text())["relations"]
        for name, least in PLAN["same_verdict"].items():
            assert told["same_verdict"][name]["same"] / told["same_verdict"][name]["rows"] >= least
        assert all(c["same"] == c["rows"] > 100 for c in told["equal"].values())


def test_repairs_are_rows_of_inconsistent_verdicts(tmp_path, capsys):
    path = WEIGHTS / "models" / "phishcnn-compact.safetensors"
    rows = synthetic.write(tmp_path / "train.tsv", 3000, 11)
    command = ["repair", str(path), str(rows), "-o", str(tmp_path / "repair.tsv"), "--cache", str(tmp_path / "kept")]
    assert main(command) == 0
    found = select(str(tmp_path / "repair.tsv"))
    assert 10 < len(found) and all(repair.TAG in tags for tags in found.tags) and set(found.sources) == {"synthetic"}
    # Each repair comes from a row of the same label whose verdict is another one.
    original = read_rows(rows)
    verdict = dict(zip(original.urls, phishcnn.Model.load(path).score_batch(original.urls).verdict, strict=True))
    label = dict(zip(original.urls, original.labels.tolist(), strict=True))
    origin: dict[bytes, set[bytes]] = {}
    for mutation in mutations.SAME_VERDICT.values():
        for url, new in zip(original.urls, mutations.apply(mutation, original.urls), strict=True):
            if new is not None:
                origin.setdefault(new, set()).add(url)
    verdicts = phishcnn.Model.load(path).score_batch(found.urls).verdict
    for url, y, v in zip(found.urls, found.labels.tolist(), verdicts, strict=True):
        assert any(label[o] == y and verdict[o] != v for o in origin[url])
    assert main([*command, "--most", "5"]) == 0 and len(select(str(tmp_path / "repair.tsv"))) == 5


def test_a_consistent_scorer_needs_no_repair(urls):
    class Constant:
        thresholds = {"phishing": 1.0, "suspicious": 0.5}

        def score(self, some):
            return Exported(MODELS[0]).score(some)._replace(logit=np.zeros(len(some), np.float32))

    rows = Rows(np.zeros(len(urls), np.uint8), urls, *[[""] * len(urls)] * 3, [frozenset()] * len(urls))
    assert len(repair.repairs(Constant(), rows)) == 0


# Determinism, skew


@by_name
def test_scores_do_not_depend_on_batch_order_or_threads(path, urls):
    model = phishcnn.Model.load(path)
    once = model.score_batch(urls).logit
    assert model.score_batch(urls[::-1], threads=2).logit[::-1].tobytes() == once.tobytes()
    alone = np.concatenate([model.score_batch([u]).logit for u in urls[:50]])
    assert alone.tobytes() == once[:50].tobytes()


@by_name
def test_what_is_evaluated_is_what_is_served(path, urls):
    """The pipeline's logits are the wheel's, bit for bit; the binary's are the wheel's (test_surfaces_agree)."""
    kept = Cached(Exported(path), None)
    kept.score(urls[:10])
    assert kept.score(urls).logit.tobytes() == phishcnn.Model.load(path).score_batch(urls).logit.tobytes()


@pytest.mark.parametrize("path", FLOATS, ids=lambda p: p.stem)
def test_training_and_serving_agree(path, urls):
    served = Exported(path).score(urls).logit
    np.testing.assert_allclose(served, evaluate.jax_logits(path, urls), atol=PLAN["gate"]["logit_difference"])


# Data


def test_a_sound_file_has_no_errors(tmp_path, capsys):
    lines = [
        f"{i % 2}\thttps://www.site{i}.org/a?b\tsource\t2024-{1 + i % 12:02}\tsite{i}.org\tlogin" for i in range(300)
    ]
    (tmp_path / "rows.tsv").write_text("\n".join(lines) + "\n")
    assert main(["check-data", str(tmp_path / "rows.tsv"), "--newest", "2024-12"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (
        told["errors"] == told["warnings"] == []
        and told["phishing"] == 150
        and told["months"] == ["2024-01", "2024-12"]
    )
    assert schema.problems(read_rows(EXAMPLES))[0] == []


@pytest.mark.parametrize(
    "line, problem",
    [
        ("1\thttp://a.com/\ts\t2031-01\ta.com\t", "dated after"),
        ("1\thttp://a.com/\ts\t2024\tb.com\t", "group does not occur"),
        ("1\thttp://a.com/\ts\t2024\ta.com\tLog In", "no words"),
        ("0\thttp://a.com/\ts\t2024\ta.com\t\n1\thttps://www.A.com\ts\t2024\ta.com\t", "both labels"),
    ],
)
def test_what_is_wrong_with_a_file_is_an_error(tmp_path, line, problem, capsys):
    (tmp_path / "rows.tsv").write_text(f"0\thttp://fine.org/\ts\t2024-01\tfine.org\t\n{line}\n")
    assert main(["check-data", str(tmp_path / "rows.tsv"), "--newest", "2026-11"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert any(problem in e for e in told["errors"])


def test_habits_of_collectors_are_named(tmp_path):
    rows = [f"{i % 2}\t{'https://www.' if i % 2 else ''}site{i}.org/" for i in range(200)]
    (tmp_path / "rows").write_text("\n".join(rows) + "\n")
    _, warnings = schema.problems(read_rows(tmp_path / "rows"))
    assert {w.split("'")[1] for w in warnings if w.startswith("habit")} == {"https", "no scheme", "www."}


def test_leaks_and_shifts(tmp_path, capsys):
    train, later = (read_rows(synthetic.write(tmp_path / f"{i}", 3000, i)) for i in (1, 2))
    again = train.take(np.arange(100))
    assert schema.leaks(train, again)["urls_in_train"] > 90
    data = [str(tmp_path / "1"), "--newest", "2026-11"]
    assert main(["check-data", *data]) == 0
    assert main(["check-data", *data, "--train", str(tmp_path / "1")]) == 1
    assert "URLs are training rows, too" in capsys.readouterr().out
    assert max(schema.shift(train, later).values()) < 0.1
    other = Rows(later.labels, [b"http://x.zip/" + b"p" * 150 for _ in later.urls], *list(vars(later).values())[2:])
    assert max(schema.shift(train, other).values()) > schema.SHIFT


# Baselines, cost


@pytest.mark.parametrize("kind", baselines.KINDS)
def test_a_baseline_learns_and_reports_as_a_model(kind, tmp_path, monkeypatch):
    rows, valid = (read_rows(synthetic.write(tmp_path / f"{i}", n, i)) for i, n in ((1, 3000), (2, 4000)))
    path = tmp_path / f"{kind}.pickle"
    domains = valid.take(valid.labels == 1).take(np.arange(500))
    monkeypatch.setattr(baselines.Trees, "iterations", 25)
    made = baselines.train(kind, rows, np.ones(len(rows), np.float32), valid, domains, path, log=lambda *_, **__: None)
    assert made.training["rows"] == 3000 and made.training["peak_memory_mib"] > 0
    plan = tmp_path / "plan.toml"
    plan.write_text((WEIGHTS / "evaluation.toml").read_text().replace("rows = 4000", "rows = 200"))
    sets = {"test": str(synthetic.write(tmp_path / "t", 4400, 3))}
    found = evaluate.evaluate(path, sets, tmp_path / "m.json", plan=plan)
    assert found["sets"]["test"]["engine"]["auc"] > 0.95 and "training_framework" not in found["sets"]["test"]
    scores = baselines.load(path).score([b"", b"http://a.org/"])
    assert scores.errors.tolist() == [201, 0] and np.isnan(scores.logit).tolist() == [True, False]


@by_name
def test_memory_and_latency_are_recorded(path, urls, record_property):
    """Recorded, not judged: a busy machine says nothing about a model."""
    model = phishcnn.Model.load(path)
    begun = time.perf_counter()
    model.score_batch(urls)
    record_property("microseconds_per_url", round(1e6 * (time.perf_counter() - begun) / len(urls), 1))
    record_property("peak_memory_mib", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    told = json.loads((path.parent / f"{path.stem}.metrics.json").read_text())["cost"]
    assert told["file_bytes"] == path.stat().st_size and told["parameters"] == model.parameters
    assert told["scratch_bytes"] == model.scratch_len and told["multiply_adds_64"] == model.multiply_adds(64)
    assert told["microseconds_per_url"] > 0
