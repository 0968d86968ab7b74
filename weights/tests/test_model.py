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
from phishcnn_train import baselines, evaluate, metrics, mutations, repair, schema, slices, top_sites
from phishcnn_train.__main__ import main
from phishcnn_train.data import Rows, pool, read_rows, select, write_rows
from phishcnn_train.export import parent_of
from phishcnn_train.prepare import canonical, clean, held_out, prepare, with_groups
from phishcnn_train.scores import Cached, Exported
from phishcnn_train.tokens import weigh

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

JUDGED = {  # values of each dimension that the examples have rows of both classes of
    "tld": {"com", "country", "older generic", "newer generic", "IDN", "none"},
    "script": {
        "ASCII",
        "Latin beyond ASCII",
        "Cyrillic",
        "Arabic",
        "Chinese or Japanese",
        "Korean",
        "other",
        "not UTF-8",
    },
    "length": {"to 16", "to 32", "to 64", "to 128", "over 128"},
    "depth": {"host only", "path", "query"},
    "host": {"own domain", "free hosting", "IP address", "punycode"},  # a shortener tells nothing
    "labels": {"2", "3", "4", "5 or more"},
}
# Of the phishing rows of a value: area under the curve against all honest rows, and share at `suspicious`, at least. Of
# its honest rows: area against all phishing, at least, and share at `suspicious`, at most. One row more or less is
# chance, but where the limit is one row or two.
LIMITS = {True: (0.9, 0.7), False: (0.9, 0.1)}
# Where the released models reach less. In brackets area and rows at `suspicious` of compact and large 0.7.0.
WEAKER = {
    ("script", "Arabic", True): (0.85, 0.2),  # 0.92, 1 of 5; 0.96, 3
    ("script", "other", True): (0.9, 0.4),  # 0.97, 2 of 5; 0.98, 4
    ("kind", "script", True): (0.9, 0.5),  # 0.96, 17 of 29; 0.98, 22
    ("length", "to 128", True): (0.9, 0.5),  # 0.96, 6 of 11; 0.98, 9
    ("tld", "IDN", False): (0.8, 0.4),  # 0.89, 1 of 5; 0.90, 2
    ("tld", "none", False): (0.8, 0.4),  # 0.88, 2 of 6; 0.94, 1: the same as IP addresses
    ("host", "IP address", False): (0.8, 0.4),
    ("host", "punycode", False): (0.85, 0.2),  # 0.92, 1 of 9; 0.93, 2
}


def values_of(examples: Rows) -> dict[tuple[str, str], np.ndarray]:
    """(dimension, value) -> bool [n], its rows; kinds of page (tags) are a dimension, too."""
    found = {(d, v): column == v for d, column in slices.of(examples.urls).items() for v in JUDGED.get(d, ())}
    return found | {("kind", tag): examples.tagged(tag) for tag in {t for tags in examples.tags for t in tags}}


def lost_slices(examples: Rows, logits, suspicious: float) -> set[tuple[str, str, bool]]:
    """(dimension, value, phishing) of the rows that are not told apart from the other class."""
    labels, lost = examples.labels > 0, set()
    for (dimension, value), inside in values_of(examples).items():
        for label, other in ((True, logits[~labels]), (False, logits[labels])):
            some = logits[inside & (labels == label)]
            if len(some) < 4:
                continue
            area, share = WEAKER.get((dimension, value, label), LIMITS[label])
            reached = metrics.auc(np.repeat([label, not label], [len(some), len(other)]), np.append(some, other))
            beyond, limit = int((some >= suspicious).sum()), share * len(some)
            chance = 1 if limit > 2 or not label else 0
            enough = beyond + chance >= limit if label else beyond - chance <= limit
            if reached < area or not enough:
                lost.add((dimension, value, label))
    return lost


def test_the_examples_have_rows_of_both_classes_in_every_slice(examples):
    for (dimension, value), inside in values_of(examples).items():
        counts = [int((inside & (examples.labels == label)).sum()) for label in (0, 1)]
        assert dimension == "kind" or min(counts) >= 5, f"{dimension} {value}: {counts}"
    assert {d for d, v in PLAN["gate"]["slices"] if v not in JUDGED[d]} == set()


@by_name
def test_every_slice_of_the_examples_is_told_apart(path, examples):
    """No part of a kind may be lost while the whole looks good; whichever is lost is noticed."""
    scorer = Exported(path)
    logits, labels = scorer.score(examples.urls).logit, examples.labels > 0
    suspicious = scorer.thresholds["suspicious"]
    assert metrics.auc(labels, logits) > 0.97
    assert lost_slices(examples, logits, suspicious) == set()
    for (dimension, value), inside in values_of(examples).items():
        below, above = np.minimum(logits, suspicious - 0.01), np.maximum(logits, suspicious)  # the counts alone
        for label, spoilt in ((True, logits.min()), (False, logits.max()), (True, below), (False, above)):
            some = inside & (labels == label)
            if some.sum() >= 4:
                assert (dimension, value, label) in lost_slices(examples, np.where(some, spoilt, logits), suspicious)


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


@by_name
def test_pages_of_known_sites_are_counted_as_the_file_scores_them(path):
    told = json.loads((path.parent / f"{path.stem}.metrics.json").read_text())
    for key, file in (("top_sites", top_sites.FILE), ("valid_sites", top_sites.VALID)):
        pages = top_sites.read(file)
        scores = phishcnn.Model.load(str(path)).score_batch([p.url for p in pages])
        flagged = {"phishing": int((scores.verdict == 2).sum()), "suspicious": int((scores.verdict >= 1).sum())}
        assert told[key]["all"] == {"rows": len(pages), "flagged": flagged}


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
    # Each repair comes from a row of the same label whose verdict is another one, and keeps its tags.
    original = read_rows(rows)
    verdict = dict(zip(original.urls, phishcnn.Model.load(path).score_batch(original.urls).verdict, strict=True))
    told = dict(zip(original.urls, zip(original.labels.tolist(), original.tags, strict=True), strict=True))
    origin: dict[bytes, set[bytes]] = {}
    for mutation in mutations.SAME_VERDICT.values():
        for url, new in zip(original.urls, mutations.apply(mutation, original.urls), strict=True):
            if new is not None:
                origin.setdefault(new, set()).add(url)
    verdicts = phishcnn.Model.load(path).score_batch(found.urls).verdict
    for url, y, tags, v in zip(found.urls, found.labels.tolist(), found.tags, verdicts, strict=True):
        assert any(told[o] == (y, tags - {repair.TAG}) and verdict[o] != v for o in origin[url])
    assert main([*command, "--most", "5"]) == 0 and len(select(str(tmp_path / "repair.tsv"))) == 5


def test_prepare_takes_repairs_as_rows_of_their_own(tmp_path, compact):
    """Beside the rows that they come from, with their label, domain, source and weight; held out with their domain;
    none twice, and none against a row that is there."""
    train, valid = (synthetic.write(tmp_path / f"{i}.tsv", 3000, i) for i in (11, 12))
    repairs = tmp_path / "repair.tsv"
    model = str(WEIGHTS / "models" / "phishcnn-compact.safetensors")
    assert main(["repair", model, str(train), "-o", str(repairs), "--cache", str(tmp_path / "kept")]) == 0
    made = clean(read_rows(repairs), log=lambda _: None)
    known, denied = made.take(np.arange(2)), made.take(np.arange(2, 4))
    known.tags, denied.labels, denied.tags = [frozenset()] * 2, 1 - denied.labels, [frozenset()] * 2
    write_rows(tmp_path / "more.tsv", pool([known, denied]))
    prepare([train, tmp_path / "more.tsv", repairs], [valid], tmp_path / "rows", log=lambda _: None)
    before, after = (read_rows(f) for f in (train, tmp_path / "rows" / "train.tsv.gz"))
    form = dict(zip(canonical(after), range(len(after)), strict=True))
    assert len(form) == len(after)
    taken = after.tagged(repair.TAG)
    groups = with_groups(made).groups
    out = {g for g, kept in zip(groups, held_out(made), strict=True) if kept}
    want = [i for i in range(4, len(made)) if not (made.labels[i] and groups[i] in out)]
    assert taken.sum() == len(want) > 10
    _, weights, _ = weigh(after, compact)
    for i in want:
        j = form[phishcnn.canonicalize(made.urls[i])]
        assert taken[j] and after.labels[j] == made.labels[i] and after.groups[j] == groups[i]
        assert (after.sources[j], after.months[j]) == ("synthetic", made.months[i])
        hard, weak = ("login" in made.tags[i] and not made.labels[i]), "weak" in made.tags[i]
        assert weights[j] == (compact.weights["hard_negative"] if hard else compact.weights["weak"] if weak else 1)
    assert all(not taken[form[key]] for key in canonical(known) if key in form)
    assert not form.keys() & set(canonical(denied))
    honest = {key for key, y in zip(canonical(before), before.labels, strict=True) if not y}
    assert honest - set(canonical(read_rows(valid))) <= form.keys()  # none is lost to its own repair


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
    monkeypatch.setattr(baselines.Trees, "iterations", 50)
    made = baselines.train(kind, rows, np.ones(len(rows), np.float32), valid, domains, path, log=lambda *_, **__: None)
    assert made.training["rows"] == 3000 and made.training["peak_memory_mib"] > 0
    if kind == "trees":  # three sizes
        assert made.training["tried"] == 6 and made.training["chosen"]["iterations"] in (25, 50)
    plan = tmp_path / "plan.toml"
    plan.write_text((WEIGHTS / "evaluation.toml").read_text().replace("rows = 4000", "rows = 200"))
    sets = {"test": str(synthetic.write(tmp_path / "t", 4400, 3))}
    found = evaluate.evaluate(path, sets, tmp_path / "m.json", plan=plan)
    judged = found["sets"]["test"]["engine"]
    assert judged["auc"] > 0.95 and "training_framework" not in found["sets"]["test"]
    assert len(judged["recall_at_fpr"]["0.01"]["resampled"]) == 500  # for a paired comparison with the models
    scores = baselines.load(path).score([b"", b"http://a.org/"])
    assert scores.errors.tolist() == [201, 0] and np.isnan(scores.logit).tolist() == [True, False]


def test_the_n_grams_keep_their_best_pass(tmp_path, monkeypatch):
    """Columns, strength and passes with the highest figure; three passes without a better one end a strength."""
    rising = [i / 100 for i in range(60, 76)]
    figures = [0.5, 0.7, 0.7, 0.6, 0.6, *rising, *(wider := [0.74, 0.8, 0.7, 0.7, 0.7])]
    seen = []

    def scripted(valid, scores, unseen):
        seen.append(scores)
        return figures[len(seen) - 1]

    monkeypatch.setattr(baselines, "target", scripted)
    monkeypatch.setattr(baselines.NGrams, "strengths", (1e-4, 1e-5))
    rows = read_rows(synthetic.write(tmp_path / "t", 60, 1))
    grams = baselines.NGrams(2**8)
    how = (rows, np.ones(len(rows), np.float32), rows, rows, 1, lambda *_, **__: None)
    found = grams.fit(*how)
    assert found == {"chosen": {"columns": 2**10, "alpha": 1e-5, "passes": 2, "valid": 0.8}, "tried": len(figures)}
    np.testing.assert_allclose(grams.logits(rows.urls), seen[len(figures) - 4], rtol=1e-4)
    figures[-len(wider) :] = [0.1] * 4
    seen.clear()
    assert baselines.NGrams(2**8).fit(*how)["chosen"] == {"columns": 2**8, "alpha": 1e-5, "passes": 16, "valid": 0.75}


def test_the_trees_keep_their_best_number(tmp_path, monkeypatch):
    """Size and number with the highest figure; `patience` steps without a better one end a size."""
    figures = [0.5, 0.6, 0.6, 0.6, *(second := [0.7, 0.8, 0.75, 0.9]), *[0.1] * 4]
    seen = []

    def scripted(valid, scores, unseen):
        seen.append((scores.copy(), unseen.copy()))
        return figures[len(seen) - 1]

    monkeypatch.setattr(baselines, "target", scripted)
    for name, value in {"sizes": ((3, 0.1), (7, 0.1), (7, 0.2)), "step": 2, "iterations": 8, "patience": 4}.items():
        monkeypatch.setattr(baselines.Trees, name, value)
    rows = read_rows(synthetic.write(tmp_path / "t", 400, 1))
    valid, domains = rows.take(np.arange(300)), rows.take(np.arange(300, 400))
    trees = baselines.Trees()
    found = trees.fit(rows, np.ones(len(rows), np.float32), valid, domains, 1, lambda *_, **__: None)
    assert found["chosen"] == {"leaves": 7, "rate": 0.1, "iterations": 8, "valid": 0.9}
    assert found["tried"] == len(seen) == 4 + len(second) + 4
    for part, scores in zip((valid, domains), seen[7], strict=True):
        np.testing.assert_allclose(trees.logits(part.urls), scores, rtol=1e-5, atol=1e-5)


@by_name
def test_memory_and_latency_stay_within_bounds(path, urls, record_property):
    """A busy machine says little about a model, so that the bound is a hundred times what is measured: an engine that was
    built without optimisation, or a network far over its budget, does not pass."""
    model = phishcnn.Model.load(path)
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        model.score_batch(urls)
        times.append(1e6 * (time.perf_counter() - begun) / len(urls))
    record_property("microseconds_per_url", round(min(times), 1))
    record_property("peak_memory_mib", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    assert min(times) < 700
    told = json.loads((path.parent / f"{path.stem}.metrics.json").read_text())["cost"]
    assert told["file_bytes"] == path.stat().st_size and told["parameters"] == model.parameters
    assert told["scratch_bytes"] == model.scratch_len and told["multiply_adds_64"] == model.multiply_adds(64)
    assert 0 < told["microseconds_per_url"] < 700


@pytest.mark.parametrize("path", FLOATS, ids=lambda p: p.stem)
def test_training_took_no_more_memory_than_a_small_machine_has(path):
    """On the real rows, as the history tells; tests/test_train.py has a training of its own."""
    history = json.loads(path.with_suffix(".history.json").read_text())
    peaks = [entry.get("ngrams", entry)["peak_memory_mib"] for entry in history]
    epochs = [entry["peak_memory_mib"] for entry in history if "ngrams" not in entry]
    assert max(peaks) < 6144 and epochs[-1] < 1.5 * epochs[0]
