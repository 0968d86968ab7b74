"""The pieces of the evaluation: parts, slices, mutations, kept scores, counts."""

import json
from urllib.parse import unquote, urlsplit

import numpy as np
import phishcnn
import pytest
import synthetic
from conftest import WEIGHTS
from phishcnn_train import evaluate, mutations, slices, top_sites
from phishcnn_train.data import DataError, Rows, read_rows
from phishcnn_train.scores import Cache, Cached, Exported, Scores
from phishcnn_train.urlparts import split

COMPACT = WEIGHTS / "models" / "phishcnn-compact.safetensors"
ODD = [
    b"http://u:p@a.b.example.co.uk:81/x/y?q=1#f",
    b"",
    b"http://",
    b"192.168.1.1/x",
    b"ftp://www.x.org/",
    b"\xff\xfe/\x00",
    b"http://[::1]:8080/x",
    b"a.b\\c",
    b"x" * 70_000,
]


def test_parts_are_the_canonical_form():
    for url, parts in zip(ODD, split(ODD), strict=True):
        try:
            assert bytes(parts) == phishcnn.canonicalize(url)
        except ValueError:
            assert bytes(parts) == b""
    first = split(ODD)[0]
    assert (first.user, first.host, first.port, first.path, first.query, first.fragment) == (
        b"u:p",
        b"a.b.example.co.uk",
        b":81",
        b"/x/y",
        b"?q=1",
        b"#f",
    )
    assert split([b"http://"])[0].host == b"" and split([])[0:] == []


def test_parts_agree_with_the_standard_library():
    urls = [p.url for p in top_sites.read()]
    for url, parts in zip(urls, split([u.encode() for u in urls]), strict=True):
        told = urlsplit(url)
        assert parts.host.decode() == told.hostname.removeprefix("www.")
        assert parts.query.decode().removeprefix("?") == told.query
        assert parts.fragment.decode().removeprefix("#") == told.fragment


@pytest.mark.parametrize(
    "url, dimension, value",
    [
        ("https://a.com/", "tld", "com"),
        ("https://a.co.uk/", "tld", "country"),
        ("https://a.online/", "tld", "newer generic"),
        ("https://a.org/", "tld", "older generic"),
        ("https://xn--d1acufc.xn--p1ai/", "tld", "IDN"),
        ("http://10.0.0.1/", "tld", "none"),
        ("https://a.co.jp/", "country", "jp"),
        ("http://xn--bcher-kva.example/", "script", "Latin beyond ASCII"),
        ("https://x.ru/%D0%B0", "script", "Cyrillic"),
        ("https://x.jp/%E3%81%82", "script", "Chinese or Japanese"),
        ("https://x.org/%ff", "script", "not UTF-8"),
        ("https://x.org/a%20b", "script", "ASCII"),
        ("https://x.org/?a", "depth", "query"),
        ("https://x.org/a", "depth", "path"),
        ("https://x.org/", "depth", "host only"),
        ("http://0x7f.1/", "host", "IP address"),
        ("http://[::1]/", "host", "IP address"),
        ("http://localhost/", "host", "own domain"),
        ("http://a.pages.dev/", "host", "free hosting"),
        ("https://bit.ly/x", "host", "shortener"),
        ("http://xn--bcher-kva.example/", "host", "punycode"),
        ("http://a.b.c.d.e.org/", "labels", "5 or more"),
        ("http://a.org/", "length", "to 16"),
        ("http://a.org/" + "x" * 200, "length", "over 128"),
    ],
)
def test_slices(url, dimension, value):
    assert slices.of([url.encode()])[dimension].tolist() == [value]


def all_mutations():
    for table in ("EQUAL", "SAME_VERDICT", "EVASION", "LEGITIMATE"):
        for name, mutation in getattr(mutations, table).items():
            yield pytest.param(table, name, mutation, id=f"{table} {name}")


@pytest.mark.parametrize("table, name, mutation", list(all_mutations()))
def test_mutations_are_functions_of_the_url(table, name, mutation, tmp_path):
    urls = read_rows(synthetic.write(tmp_path / "rows", 300, 5)).urls + ODD
    once = mutations.apply(mutation, urls)
    assert once == mutations.apply(mutation, urls[::-1])[::-1]
    changed = [(u, c) for u, c in zip(urls, once, strict=True) if c is not None]
    assert len(changed) > 20
    for url, new in changed:
        assert new != phishcnn.canonicalize(url)
        if table == "EQUAL":
            assert phishcnn.canonicalize(new) == phishcnn.canonicalize(url)


def test_percent_encoding_keeps_the_resource():
    for mutation in (mutations.percent_one, mutations.percent_many):
        (new,) = mutations.apply(mutation, [b"http://x.org/Path/a%20b%E3%81%82?q=word"])
        assert new != b"x.org/Path/a%20b%E3%81%82?q=word"
        assert unquote(new.decode()) == "x.org/Path/a bあ?q=word"


def test_homograph_decodes_to_a_look_alike():
    (new,) = mutations.apply(mutations.homograph, [b"http://paypal.example.com/x"])
    label = new.split(b".")[1]
    plain = label[4:].decode("punycode")
    assert label.startswith(b"xn--") and len(plain) == len("example") and not plain.isascii()


def test_kept_scores_are_the_scores(tmp_path):
    urls = read_rows(synthetic.write(tmp_path / "rows", 200, 6)).urls + [b"", b"http://"]
    scorer = Exported(COMPACT)
    want = scorer.score(urls)
    asked = []

    class Counting:
        name, sha256, digest, thresholds = "m", "0", "1" * 64, {}

        def score(self, some):
            asked.append(len(some))
            return scorer.score(some)

    for part in (urls[:50], urls, urls[::-1]):
        Cached(Counting(), tmp_path).score(part)
    assert sum(asked) == len(set(urls))
    for a, b in zip(want, Cached(Counting(), tmp_path).score(urls), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_cache_without_a_file_and_without_urls():
    assert Cache(None, 1).of([], lambda urls: np.zeros(0)).shape == (0, 1)


def test_another_engine_does_not_answer_from_old_scores(monkeypatch):
    old = Exported(COMPACT).digest
    monkeypatch.setattr("phishcnn_train.scores.engine_digest", lambda: "another")
    assert Exported(COMPACT).digest != old


def test_slice_counts_by_loops(tmp_path):
    rows = read_rows(synthetic.write(tmp_path / "rows", 2000, 7))
    scores = np.random.default_rng(1).normal(size=len(rows)).astype(np.float32)
    found = evaluate.slices(rows, scores, {"t": 0.5})
    for label, caught, total in ((1, "caught", "phishing_rows"), (0, "flagged", "legitimate_rows")):
        assert sum(c[total] for c in found["tld"].values()) <= (rows.labels == label).sum()
        want = [s for s, y, t in zip(scores, rows.labels, rows.tags, strict=True) if y == label and "weak" in t]
        assert found["tag"]["weak"][total] == len(want)
        assert found["tag"]["weak"][caught]["t"] == sum(s >= 0.5 for s in want)
    assert set(found["month"]) == {f"2024-{m:02}" for m in range(2, 13, 2)}  # phishing rows are the odd ones
    assert all(c["legitimate_rows"] == 0 for c in found["month"].values())
    assert found["source"]["synthetic"]["phishing_rows"] == 1000


def test_samples_do_not_depend_on_the_order(tmp_path):
    rows = read_rows(synthetic.write(tmp_path / "rows", 500, 8))
    a = evaluate.sample(rows, 1, 40)
    b = evaluate.sample(rows.take(np.arange(len(rows))[::-1]), 1, 40)
    assert sorted(a.urls) == sorted(b.urls) and len(a) == 40 and a.labels.all()
    assert evaluate.digest(a) != evaluate.digest(evaluate.sample(rows, 0, 40))


def test_json_is_readable_and_the_same_value():
    value = {"b": {"x": [1, 2.5, None], "y": {"z": {"é": "w"}}}, "a": [[1, 2]] * 60, "c": {}}
    assert json.loads(evaluate.dumps(value)) == value
    assert evaluate.dumps(value).endswith("}\n") and max(map(len, evaluate.dumps(value).split("\n"))) < 200


@pytest.mark.parametrize("file", [top_sites.FILE, top_sites.VALID])
def test_pages_of_known_sites_cannot_be_trained_on(file):
    with pytest.raises(DataError):
        read_rows(file)


def test_pages_of_known_sites_are_many_and_different():
    pages, more = top_sites.read(), top_sites.read(top_sites.VALID)
    assert len(pages) > 500 and len(more) > 400 and len({p.country for p in pages}) > 30
    canonical = [phishcnn.canonicalize(p.url) for p in (*pages, *more)]
    assert len(set(canonical)) == len(canonical)  # what chooses judges nothing


def test_a_bad_page_is_named(tmp_path):
    (tmp_path / "t").write_text("# remark\nhome\tbank\tus\thttps://a.com/\nfront\tbank\tus\thttps://b.com/\n")
    with pytest.raises(DataError, match="t:3"):
        top_sites.read(tmp_path / "t")


def test_relations_count_rows(tmp_path):
    found = evaluate.relations(Cached(Exported(COMPACT), None), Rows(urls=[b"http://example.org/a", b"example.com"]))
    assert found["equal"]["www."] == {"rows": 2, "same": 2}
    assert found["equal"]["trailing slash"] == {"rows": 1, "same": 1}
    assert found["same_verdict"]["deeper page"]["rows"] == 2


def test_the_worst_pages_are_explained():
    """The parts against the standard library's, the order against scores of single URLs."""
    pages, model = top_sites.read()[:120], phishcnn.Model()
    found = evaluate.judge_sites(pages, Exported(COMPACT))["worst"]
    logits = [page["logit"] for page in found]
    assert logits == sorted((model.score(p.url).logit for p in pages), reverse=True)[: evaluate.WORST]
    for page in found:
        told, parts = urlsplit(page["url"]), page["segments"]
        host = "".join(s["text"] for s in parts if s["part"] in ("subdomain", "registrable_label", "public_suffix"))
        assert host.lstrip(".") == told.hostname.removeprefix("www.")
        path = "".join(s["text"] for s in parts if s["part"] == "path")
        assert path.strip("/") == told.path.strip("/")  # a lone slash at the end is no part
        assert any(s["contribution"] for s in parts)


def test_what_cannot_be_explained_has_no_parts():
    assert evaluate.explain(ByLength(), "https://example.com/") == []


class ByLength:
    """Longer is worse: what is changed is known beforehand."""

    name, sha256, digest, thresholds = "m", "0", "1" * 64, {"phishing": 30.0}

    def score(self, urls):
        logits = np.array([len(u) for u in urls], np.float32)
        return Scores(logits, logits, np.zeros(len(urls), np.uint16))


def test_changed_urls_are_counted_at_fixed_rates_and_against_both_kinds_of_honest_rows():
    phishing, honest = Rows(urls=[b"evil.example/abc"]), Rows(urls=[b"good.example/a", b"x.example/" + b"a" * 30])
    unchanged = ByLength().score(honest.urls).logit  # 14 and 40
    found = evaluate.evasion(ByLength(), phishing, honest, unchanged, {"phishing": 30.0, "fpr_0.01": 41.0})
    padded = found["phishing"]["query padded"]  # 16 bytes become more than 100
    assert padded["phishing"] == {"before": 0, "after": 1, "lost": 0} == padded["fpr_0.01"]
    assert padded["auc"]["before"] == 0.5 and padded["auc"]["after"] == 1.0
    (old, new) = ([len(u) for u in mutations.apply(mutations.padded_query, rows.urls)] for rows in (honest, phishing))
    assert padded["auc"]["both_changed"] == sum((new[0] > n) + (new[0] == n) / 2 for n in old) / 2
    assert "both_changed" not in found["phishing"]["look-alike digit"]["auc"]  # no owner's change is this one
    assert found["legitimate"]["query padded"]["fpr_0.01"] == {"before": 0, "after": 2, "lost": 0}


def test_hard_negatives_are_the_only_honest_rows_that_they_are_measured_against():
    tags = [frozenset()] * 3 + [
        frozenset({"login"}),
        frozenset({"bank_pay"}),
        frozenset({"weak"}),
        frozenset({"login"}),
    ]
    rows = Rows(np.array([1, 1, 1, 0, 0, 0, 1], np.uint8), [b"x"] * 7, [""] * 7, [""] * 7, [""] * 7, tags)
    scores = np.array([1, 3, 5, 2, 4, 9, 0], np.float32)
    found = evaluate.hard_negatives(rows, scores)
    assert found["rows"] == 2 and found["auc"] == (0 + 1 + 2 + 0) / 8
    assert found["recall_at_fpr"]["0.01"]["indicative"]["tp"] == 1
    assert evaluate.hard_negatives(rows.take(np.arange(3)), scores[:3]) is None
