"""The two baselines that need no network: hashed character n-grams with logistic regression, and
gradient-boosted trees on lexical features. Same cleaned rows and weights as the network; what is chosen,
is chosen on the validation rows by the figure that chooses the network's epoch."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import resource
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import phishcnn
from numpy.typing import ArrayLike

from . import calibrate
from .data import Rows
from .scores import Scores
from .typed import Array, Figures, Log
from .urlparts import boundaries

GIVEN = {
    "ngrams": "character 2- to 5-grams of the canonical URL with a mark at both ends, hashed, rows of length 1; logistic"
    " regression by averaged SGD; strength of the L2 penalty (1e-9, 1e-8, 3e-8, 1e-7), number of passes (up to 16; three"
    " without a better one end a run) and number of columns (2^20, and 2^22 with the best strength) chosen on valid",
    "trees": "{features} lexical features (lengths and character classes of each URL part, entropy, digits, vowels,"
    " bait words, brands, file type, public suffix as a category and its frequency in training); LightGBM, each"
    " tree on half of the rows and three fifths of the features; size of the trees (63 leaves at a rate of 0.1, 255 and"
    " 511 at 0.08) and their number (up to 1,000; 100 without a better one end a run) chosen on valid",
}
CHUNK = 50_000

BAIT = (
    "login signin sign-in log-in secure security verify verif account update confirm bank wallet pay support service"
    " billing invoice password auth webmail mail admin client customer recover unlock suspend limited alert bonus gift"
    " free claim airdrop token connect metamask track delivery parcel post tax refund online id"
).split()
BRANDS = (
    "paypal apple icloud amazon microsoft office outlook google facebook instagram whatsapp netflix dhl usps fedex ups"
    " chase wellsfargo bankofamerica citi hsbc santander barclays rakuten docomo aeon smbc mufg jcb saison mercari"
    " yahoo ebay steam telegram binance coinbase ledger trezor blockchain opensea linkedin dropbox docusign adobe"
    " telekom orange ing sbb postbank sparkasse credit-agricole laposte correos amex visa roblox tiktok allegro olx"
).split()
FILE_TYPES = ("php", "html", "htm", "asp", "aspx", "jsp", "cgi", "exe", "zip", "pdf", "apk", "js")


def _words(words: Iterable[str]) -> re.Pattern[bytes]:
    return re.compile(b"|".join(re.escape(w.encode()) for w in words))


# One bit each; the rest of a byte's classes follows from the lengths.
CLASSES = {
    "digit": b"0123456789",
    "upper": bytes(range(65, 91)),
    "vowel": b"aeiouAEIOU",
    "hyphen": b"-",
    "dot": b".",
    "slash": b"/",
    "percent": b"%",
    "equals": b"=",
    "ampersand": b"&",
    "underscore": b"_",
    "other": b"!$'()*+,:;@[]~\\|<>\"{}^` ",
    "non_ascii": bytes(range(128, 256)),
}
REGIONS = {"sub": (2, 3), "name": (3, 4), "suffix": (4, 5), "path": (6, 7), "query": (7, 9)}
PART_NAMES = ("scheme", "user", "sub", "name", "suffix", "port", "path", "query", "fragment")


def lexical(urls: list[bytes], suffixes: dict[bytes, int], counts: Array) -> tuple[Array, list[str]]:
    """(float32 [n, features], names); the first feature is the category of the public suffix.

    Args:
        suffixes: suffix -> category, 1 to 253; 0 is any other.
        counts: training rows of each category, [254].
    """
    data, starts = boundaries(urls)
    columns: list[Array] = []
    names: list[str] = []

    def add(name: str, values: ArrayLike) -> None:
        names.append(name)
        columns.append(np.asarray(values, np.float32))

    text = data.tobytes()
    rows = starts.tolist()
    category = np.array([suffixes.get(text[r[4] : r[5]], 0) for r in rows])
    add("suffix", category)
    add("suffix_frequency", np.log1p(counts[category]))
    for part, name in enumerate(PART_NAMES):
        add(f"{name}_length", starts[:, part + 1] - starts[:, part])
    add("length", starts[:, -1] - starts[:, 0])
    for kind, members in CLASSES.items():
        table = np.zeros(256, np.int64)
        table[list(members)] = 1
        below = np.concatenate([[0], np.cumsum(table[data])])
        for region, (first, last) in REGIONS.items():
            add(f"{region}_{kind}", below[starts[:, last]] - below[starts[:, first]])
    more = np.zeros((len(urls), 10), np.float32)
    bait, brand = _words(BAIT), _words(BRANDS)
    for i, r in enumerate(rows):
        host, rest = text[r[2] : r[5]], text[r[6] : r[9]].lower()
        domain = text[r[3] : r[4]]
        segments = re.split(rb"[/?&=.-]", rest)
        file_type = rest.partition(b"?")[0].rpartition(b"/")[2].rpartition(b".")[2].decode("latin-1")
        more[i] = (
            len(bait.findall(host)),
            len(bait.findall(rest)),
            len(brand.findall(text[r[2] : r[3]])),
            len(brand.findall(domain)),
            len(brand.findall(rest)),
            FILE_TYPES.index(file_type) + 1 if file_type in FILE_TYPES else 0,
            max(map(len, segments)),
            max(map(len, re.split(rb"[.-]", host))),
            b"http" in rest or b"www." in rest,
            b"xn--" in host,
        )
    for name, values in zip(
        (
            "host_bait",
            "rest_bait",
            "sub_brand",
            "name_brand",
            "rest_brand",
            "file_type",
            "longest_rest",
            "longest_label",
            "url_in_rest",
            "punycode",
        ),
        more.T,
        strict=True,
    ):
        add(name, values)
    for region in ("name", "path"):
        first, last = REGIONS[region]
        add(f"{region}_entropy", _entropy(data, starts[:, first], starts[:, last]))
    return np.stack(columns, 1), names


def _entropy(data: Array, begin: Array, end: Array) -> Array:
    """Bits per byte of each row's bytes; 0 for none."""
    out = np.zeros(len(begin), np.float32)
    for i, (a, b) in enumerate(zip(begin.tolist(), end.tolist(), strict=True)):
        if b > a:
            share = np.bincount(data[a:b])
            share = share[share > 0] / (b - a)
            out[i] = -(share * np.log2(share)).sum()
    return out


class Baseline:
    """A fitted baseline as a scorer; `estimator` maps URLs to scores that `calibration` turns to logits."""

    def __init__(
        self,
        name: str,
        estimator: NGrams | Trees,
        calibration: tuple[float, float],
        thresholds: dict[str, float],
        training: Figures,
        sha256: str = "",
    ) -> None:
        self.name, self.estimator, self.calibration = name, estimator, calibration
        self.thresholds, self.training = thresholds, training
        self.sha256 = self.digest = sha256  # of the pickle that it was read from

    def score(self, urls: list[bytes]) -> Scores:
        """As the wheel: a URL that the product refuses has no score."""
        errors = np.asarray(phishcnn.tokenize_batch(urls, input="url-bytes/1 max=1").errors)
        logits = self.estimator.logits(urls)
        a, b = self.calibration
        with np.errstate(over="ignore"):
            probability = 1 / (1 + np.exp(-(a * logits.astype(np.float64) + b)))
        kept = [np.where(errors, np.nan, x).astype(np.float32) for x in (logits, probability)]
        return Scores(kept[0], kept[1], errors)


class NGrams:
    """Hashed character n-grams and a linear model."""

    strengths, passes, patience = (1e-9, 1e-8, 3e-8, 1e-7), 16, 3

    def __init__(self, columns: int = 2**20) -> None:
        from sklearn.feature_extraction.text import HashingVectorizer

        self.hashing = HashingVectorizer(
            analyzer="char",
            ngram_range=(2, 5),
            n_features=columns,
            lowercase=False,
            alternate_sign=False,
            norm="l2",
            dtype=np.float32,
        )
        self.weights: Array = np.zeros(columns)
        self.intercept = 0.0

    def columns(self, urls: list[bytes]) -> Any:
        data, starts = boundaries(urls)
        text = data.tobytes().decode("latin-1")
        return self.hashing.transform("\x02" + text[r[0] : r[-1]] + "\x03" for r in starts.tolist())

    def logits(self, urls: list[bytes]) -> Array:
        return np.asarray(self.columns(urls) @ self.weights + self.intercept, np.float32)

    def fit(self, rows: Rows, weights: Array, valid: Rows, domains: Rows, seed: int, log: Log = print) -> Figures:
        """Fits on the rows, with weights float32 [n]; columns, penalty and passes are those with the highest `target`.
        Returns what was chosen, and of how many."""
        columns = len(self.weights)
        tried = self._fit(self.strengths, rows, weights, valid, domains, seed, log)
        chosen = max(tried, key=lambda t: t["valid"])
        wider = NGrams(4 * columns)
        tried += wider._fit((chosen["alpha"],), rows, weights, valid, domains, seed, log)
        best = max(tried, key=lambda t: t["valid"])
        if best["columns"] > columns:
            self.hashing, self.weights, self.intercept = wider.hashing, wider.weights, wider.intercept
        return {"chosen": best, "tried": len(tried)}

    def _fit(
        self,
        strengths: Iterable[float],
        rows: Rows,
        weights: Array,
        valid: Rows,
        domains: Rows,
        seed: int,
        log: Log,
    ) -> list[Figures]:
        """`fit` with these columns and each of the strengths; returns what was tried."""
        from sklearn.linear_model import SGDClassifier

        parts = [slice(i, i + CHUNK) for i in range(0, len(rows), CHUNK)]
        order = np.random.default_rng([seed, 3]).permutation(len(rows))
        rows, weights = rows.take(order), weights[order]
        columns = [self.columns(rows.urls[p]) for p in parts]
        check, unseen = self.columns(valid.urls), self.columns(domains.urls)
        tried: list[Figures] = []
        best = -1.0
        for alpha in strengths:
            model = SGDClassifier(loss="log_loss", alpha=alpha, average=True, random_state=seed)
            figures: list[float] = []
            for passes in range(1, self.passes + 1):
                for p, x in zip(parts, columns, strict=True):
                    model.partial_fit(x, rows.labels[p], [0, 1], sample_weight=weights[p])
                figure = target(valid, model.decision_function(check), model.decision_function(unseen))
                figures.append(round(figure, 4))
                tried.append({"columns": len(self.weights), "alpha": alpha, "passes": passes, "valid": figures[-1]})
                log(json.dumps(tried[-1]), flush=True)
                if figures[-1] > best:
                    best = figures[-1]
                    self.weights, self.intercept = model.coef_[0].astype(np.float32), float(model.intercept_[0])
                if passes - (figures.index(max(figures)) + 1) == self.patience:
                    break
        return tried


class Trees:
    """Gradient-boosted trees (LightGBM) on `lexical` features."""

    sizes = ((63, 0.1), (255, 0.08), (511, 0.08))  # leaves, learning rate
    iterations, step, patience = 1000, 25, 4  # steps without a better one

    def features(self, urls: list[bytes]) -> Array:
        return np.concatenate(
            [lexical(urls[i : i + CHUNK], self.suffixes, self.counts)[0] for i in range(0, len(urls), CHUNK)]
        )

    def logits(self, urls: list[bytes]) -> Array:
        if not urls:
            return np.zeros(0, np.float32)
        logits = self.model.predict(self.features(urls), raw_score=True, num_iteration=self.chosen)
        return np.asarray(logits, np.float32)

    def fit(self, rows: Rows, weights: Array, valid: Rows, domains: Rows, seed: int, log: Log = print) -> Figures:
        """Fits on the rows, with weights float32 [n]; size and number of the trees are those with the highest `target`.
        Returns what was chosen, and of how many."""
        from collections import Counter

        import lightgbm

        data, starts = boundaries(rows.urls)
        text = data.tobytes()
        common = Counter(text[a:b] for a, b in starts[:, 4:6].tolist()).most_common(253)
        self.suffixes = {suffix: i for i, (suffix, _) in enumerate(common, 1)}
        self.counts = np.array([len(rows) - sum(n for _, n in common)] + [n for _, n in common] + [0] * 254)[:254]
        check = self.features(valid.urls + domains.urls)
        self.names = lexical([b"a"], self.suffixes, self.counts)[1]
        shared = {
            "objective": "binary",
            "min_data_in_leaf": 40,
            "lambda_l2": 1.0,
            "bagging_fraction": 0.5,  # of the rows, drawn anew for each tree
            "bagging_freq": 1,
            "feature_fraction": 0.6,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,  # else a trial at the start decides, and with it the sums' order
            "verbosity": -1,
        }
        columns = lightgbm.Dataset(
            self.features(rows.urls), rows.labels, weight=weights, categorical_feature=[0], params=shared
        )
        tried: list[Figures] = []
        best = -1.0
        for leaves, rate in self.sizes:
            model = lightgbm.Booster(shared | {"num_leaves": leaves, "learning_rate": rate}, columns)
            logits, figures = np.zeros(len(check)), list[float]()
            for begun in range(0, self.iterations, self.step):
                for _ in range(self.step):
                    model.update()
                logits += model.predict(check, raw_score=True, start_iteration=begun, num_iteration=self.step)
                figures.append(round(target(valid, logits[: len(valid)], logits[len(valid) :]), 4))
                iterations = begun + self.step
                tried.append({"leaves": leaves, "rate": rate, "iterations": iterations, "valid": figures[-1]})
                log(json.dumps(tried[-1]), flush=True)
                if figures[-1] > best:
                    best, chosen = figures[-1], tried[-1]
                    self.model, self.chosen = model, iterations
                if len(figures) - (figures.index(max(figures)) + 1) == self.patience:
                    break
        return {"chosen": chosen, "tried": len(tried), "features": len(self.names)}


KINDS = {"ngrams": NGrams, "trees": Trees}


def target(valid: Rows, scores: Array, unseen: Array) -> float:
    """What is maximised, as for the network's epochs: recall of later phishing and of phishing on domains
    that training never saw, at the false-positive rates that the validation rows resolve."""
    from .train import rank, validation  # loads JAX

    return rank(validation(valid.labels > 0, scores, unseen))


def train(
    kind: str, rows: Rows, weights: Array, valid: Rows, domains: Rows, output: Path, seed: int = 1, log: Log = print
) -> Baseline:
    """Fits on the network's cleaned rows, calibrates on `valid` and writes the pickle. Pickles run code when
    they are read: only read what you wrote.

    Args:
        weights: float32 [n], the rows' weights in the loss times their chance of being seen in an epoch.
        domains: phishing of domains that training never saw, of `prepare`.
    """
    begun = time.monotonic()
    estimator = KINDS[kind]()
    found = estimator.fit(rows, weights, valid, domains, seed, log)
    scores = estimator.logits(valid.urls)
    truth = valid.labels > 0
    thresholds = {
        "phishing": calibrate.threshold_at(scores[~truth], 0.001),
        "suspicious": calibrate.threshold_at(scores[~truth], 0.01),
    }
    training = {
        "given": GIVEN[kind].format(**found),
        "rows": len(rows),
        "seconds": round(time.monotonic() - begun),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        **found,
    }
    baseline = Baseline(kind, estimator, calibrate.fit(truth, scores), thresholds, training)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(pickle.dumps(baseline))
    log(json.dumps(training), flush=True)
    return baseline


def load(path: Path) -> Baseline:
    """The scorer of a pickle that `train` wrote."""
    raw = path.read_bytes()
    baseline: Baseline = pickle.loads(raw)
    baseline.sha256 = baseline.digest = hashlib.sha256(raw).hexdigest()
    return baseline
