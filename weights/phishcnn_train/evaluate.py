"""Evaluation of a model or baseline: one JSON that every table, card and picture is made from.

Counts are stored, not rounded shares; intervals follow from them. Models are scored through the wheel
(what users get) and through JAX (what was trained), so that a difference between the two shows.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import metrics, mutations, network, sign_in, top_sites
from . import slices as by_url
from .data import DataError, Rows, digest, read_json, select
from .export import is_int8, read
from .groups import group_of
from .plan import PLAN, released
from .plan import read as read_plan
from .scores import Cache, Cached, Exported, Scorer
from .tokens import Tokens, tokenize
from .typed import Array, Figures

if TYPE_CHECKING:
    from .baselines import Baseline

SLICE_MIN = 50  # rows of a class under which a slice is left out
HARD = "login or bank_pay"
BUCKETS = [16, 24, 32, 48, 64, 96, 128, 192, 256]
CROSSED = ".cross_source.json"
WORST = 100  # pages of each list explained in the JSON


def load(model: Path, threads: int = 1) -> Exported | Baseline:
    """An exported model, or a baseline's pickle."""
    if model.suffix == ".pickle":
        from . import baselines

        return baselines.load(model)
    return Exported(model, threads)


def jax_logits(model: Path, urls: list[bytes]) -> Array:
    """float32 [n]: logits of the training framework for an exported file."""
    from .train import logits

    tensors, metadata = read(model)
    chars = tensors.pop("chars", None)
    tokens = tokenize(urls, metadata["phishcnn.input"], chars)
    rows = Tokens.unlabelled(tokens)
    longest = int(rows.lengths.max())
    buckets = [longest] if chars is not None else sorted({min(b, longest) for b in BUCKETS} | {longest})
    return logits(network.parse(metadata["phishcnn.layers"]), metadata["phishcnn.output"], tensors, rows, buckets)


def in_framework(model: Path) -> bool:
    """Whether JAX can score this file: it has all layers, but not what only the engine runs (int8)."""
    try:
        tensors, metadata = read(model)
        network.parse(metadata["phishcnn.layers"])
    except (network.LayerError, KeyError, ValueError):
        return False
    return not is_int8(tensors)


def counts(rows: Rows, scores: Array, keep: Array, thresholds: dict[str, float]) -> Figures:
    """Rows of both classes in a slice, and how many reach each threshold."""
    labels, scores = rows.labels[keep] > 0, scores[keep]
    return {
        "phishing_rows": int(labels.sum()),
        "caught": {k: int((labels & (scores >= t)).sum()) for k, t in thresholds.items()},
        "legitimate_rows": int((~labels).sum()),
        "flagged": {k: int((~labels & (scores >= t)).sum()) for k, t in thresholds.items()},
    }


def hard(rows: Rows) -> Array:
    """bool [n]: the legitimate rows of `HARD`."""
    found: Array = (rows.tagged("login") | rows.tagged("bank_pay")) & (rows.labels == 0)
    return found


def slices(rows: Rows, scores: Array, thresholds: dict[str, float]) -> Figures:
    """dimension -> value -> `counts`: by tag, source, month of the phishing rows, and what the URL shows.
    Rows carry several tags; of every other dimension each row has one value."""
    dimensions = {
        "source": np.array(rows.sources, object),
        "month": np.array(
            [m if label and len(m) == 7 else "" for m, label in zip(rows.months, rows.labels, strict=True)], object
        ),
        **by_url.of(rows.urls),
    }
    out: Figures = {"tag": {}}
    for tag in sorted({t for tags in rows.tags for t in tags}):
        out["tag"][tag] = counts(rows, scores, rows.tagged(tag), thresholds)
    out["tag"][HARD] = counts(rows, scores, hard(rows), thresholds)
    for name, values in dimensions.items():
        out[name] = {
            value: counts(rows, scores, values == value, thresholds) for value in sorted(set(values.tolist())) if value
        }

    def enough(found: Figures) -> bool:
        return bool(max(found["phishing_rows"], found["legitimate_rows"]) >= SLICE_MIN)

    return {name: {v: c for v, c in found.items() if enough(c)} for name, found in out.items()}


def sample(rows: Rows, label: int, n: int) -> Rows:
    """n rows of one class, the same ones whatever the order of the file."""
    index = np.flatnonzero(rows.labels == label)
    order = sorted(index.tolist(), key=lambda i: hashlib.sha256(rows.urls[i]).digest())
    return rows.take(np.array(sorted(order[:n]), np.int64))


def changed_digest(urls: list[bytes | None]) -> str:
    """SHA-256 of changed URLs: two counts compare only where this is equal."""
    return hashlib.sha256(b"\n".join(url or b"" for url in urls)).hexdigest()


def changed(scorer: Scorer, rows: Rows, mutation: mutations.Mutation) -> tuple[list[bytes | None], Array, Array]:
    """The n URLs as changed, None where the mutation does not apply; float32 [changed]: logits before and after."""
    urls = mutations.apply(mutation, rows.urls)
    before = scorer.score([old for old, new in zip(rows.urls, urls, strict=True) if new is not None])
    return urls, before.logit, scorer.score([url for url in urls if url is not None]).logit


def mutated(
    scorer: Scorer, rows: Rows, mutation: mutations.Mutation, thresholds: dict[str, float]
) -> tuple[Figures, Array, Array]:
    """Rows that the mutation changes, and how many of them reach each threshold before and after; with their logits."""
    urls, old, new = changed(scorer, rows, mutation)
    out: Figures = {"rows": len(old), "sha256": changed_digest(urls)}
    for name, t in thresholds.items():
        out[name] = {
            "before": int((old >= t).sum()),
            "after": int((new >= t).sum()),
            "lost": int(((old >= t) & ~(new >= t)).sum()),
        }
    return out, old, new


def evasion(
    scorer: Scorer, phishing: Rows, legitimate: Rows, honest: Array, thresholds: dict[str, float]
) -> dict[str, Figures]:
    """Class -> change -> the counts of `mutated`; of phishing with the AUC before and after the change against legitimate
    rows as they are, and after it against equally changed ones, where owners make this change.

    Args:
        honest: float [n], logits of all legitimate rows of the set, unchanged.
        thresholds: logits; `fpr_0.01` is the one that flags 1 % of them, and so on.
    """
    out: dict[str, Figures] = {"phishing": {}, "legitimate": {}}
    owners: dict[str, Array] = {}
    for name, mutation in mutations.LEGITIMATE.items():
        out["legitimate"][name], _, owners[name] = mutated(scorer, legitimate, mutation, thresholds)
    for name, mutation in mutations.EVASION.items():
        counts, old, new = mutated(scorer, phishing, mutation, thresholds)
        counts["auc"] = {"before": metrics.auc_of(old, honest), "after": metrics.auc_of(new, honest)}
        if name in owners:
            counts["auc"]["both_changed"] = metrics.auc_of(new, owners[name])
        out["phishing"][name] = counts
    return out


def hard_negatives(rows: Rows, scores: Array) -> Figures | None:
    """AUC and recall at each false-positive rate of the phishing rows against the legitimate `HARD` ones alone; None
    where one of both is missing."""
    keep = hard(rows) | (rows.labels > 0)
    labels, scores = rows.labels[keep], scores[keep]
    auc = metrics.auc(labels, scores) if len(labels) else None
    if auc is None:
        return None
    at = {rate: metrics.recall_at_fpr(labels, scores, f) for rate, f in metrics.FPRS.items()}
    return {"rows": int((labels == 0).sum()), "auc": auc, "recall_at_fpr": at}


def relations(scorer: Scorer, rows: Rows) -> Figures:
    """Metamorphic relations: how many rows keep their logit bit for bit, and how many their verdict."""
    limits = np.array(sorted(scorer.thresholds.values()))
    out: Figures = {"equal": {}, "same_verdict": {}}
    for kind, table in (("equal", mutations.EQUAL), ("same_verdict", mutations.SAME_VERDICT)):
        for name, mutation in table.items():
            _, old, new = changed(scorer, rows, mutation)
            if kind == "equal":
                same = old.view(np.uint32) == new.view(np.uint32)
            else:
                same = np.searchsorted(limits, old, side="right") == np.searchsorted(limits, new, side="right")
            out[kind][name] = {"rows": len(old), "same": int(same.sum())}
            if kind == "same_verdict" and len(old):
                out[kind][name]["median_logit_change"] = float(np.median(np.abs(new - old)))
    return out


def cost(model: Path, scorer: Exported, urls: list[bytes]) -> Figures:
    """Size, memory and time of the model on this machine; recorded, never judged."""
    urls = urls[:2000]
    scorer.model.score_batch(urls[:100])
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        scorer.model.score_batch(urls, threads=1)
        times.append((time.perf_counter() - begun) / len(urls))
    return {
        "file_bytes": model.stat().st_size,
        "parameters": scorer.model.parameters,
        "scratch_bytes": scorer.model.scratch_len,
        "multiply_adds_64": scorer.model.multiply_adds(64),
        "microseconds_per_url": round(1e6 * min(times), 1),
        "machine": f"{_processor()}, one thread, best of 5 runs over {len(urls)} URLs of test",
    }


def measure_again(model: Path, rows: str, output: Path | None = None) -> Figures:
    """Puts today's `cost` into the JSON that `evaluate` wrote: after another engine the scores are as they were."""
    output = output or model.parent / f"{model.stem}.metrics.json"
    result = read_json(output)
    scorer = load(model, 1)
    if not isinstance(scorer, Exported) or result["sha256"] != scorer.sha256:
        raise DataError(f"{output}: of another model; evaluate this one first")
    result["cost"] = cost(model, scorer, select(rows).urls)
    output.write_text(dumps(result))
    return result


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def explain(scorer: Scorer, url: str) -> list[Figures]:
    """The URL's parts with what each adds to the logit; none of a baseline, which has no explanation."""
    if not isinstance(scorer, Exported):
        return []
    segments = scorer.model.explain(url).segments
    return [{"part": s.part, "text": s.text, "contribution": round(s.contribution, 6)} for s in segments]


def judge_sites(pages: list[top_sites.Page], scorer: Scorer) -> Figures:
    """Hand-written pages of known sites: counts by kind, sector, country and whether known_sites.txt lists them; and
    those with the highest logits, explained."""
    logits = scorer.score([p.url.encode() for p in pages]).logit
    out: Figures = {
        "all": _reached(logits, scorer.thresholds),
        "sha256": changed_digest([p.url.encode() for p in pages]),
    }
    for field in ("kind", "sector", "country"):
        values = np.array([getattr(p, field) for p in pages])
        out[field] = {v: _reached(logits[values == v], scorer.thresholds) for v in sorted(set(values.tolist()))}
    known = set(sign_in.known_sites().groups)  # domains that training made other pages of
    listed = np.array([group_of(p.url.encode()) in known for p in pages])
    out["domain"] = {
        "listed": _reached(logits[listed], scorer.thresholds),
        "not listed": _reached(logits[~listed], scorer.thresholds),
    }
    out["worst"] = [
        {"url": pages[i].url, "logit": float(logits[i]), "segments": explain(scorer, pages[i].url)}
        for i in np.argsort(-logits, kind="stable")[:WORST].tolist()
    ]
    return out


def _reached(logits: Array, thresholds: dict[str, float]) -> Figures:
    return {"rows": len(logits), "flagged": {k: int((logits >= t).sum()) for k, t in thresholds.items()}}


def standard_sets(data: Path, plan: Path = PLAN) -> dict[str, str]:
    """The sets of the plan, with the files of that folder."""
    found = read_plan(plan)["sets"].items()
    return {name: ",".join(f"{data}/{item}" for item in spec.split(",")) for name, spec in found}


def evaluate(
    model: Path,
    sets: dict[str, str],
    output: Path | None,
    threads: int = 1,
    cache: Path | None = None,
    plan: Path = PLAN,
    framework: bool = True,
) -> Figures:
    """Reports on each named set (`data.select` syntax) and writes the JSON.

    Args:
        cache: folder that keeps scores; None keeps none.
        framework: also score models through JAX.
    """
    scorer = load(model, threads)
    kept = Cached(scorer, cache)
    result: Figures = {
        "model": scorer.name,
        "sha256": scorer.sha256,
        "thresholds": scorer.thresholds,
        "sets": {},
    }
    if isinstance(scorer, Exported) and framework and not in_framework(model):
        framework = False
        print(f"{model.name}: only the engine can score it, JAX cannot")
    if isinstance(scorer, Exported):
        info = scorer.model.info
        result["version"] = info["phishcnn.version"]
        result["trained_until"] = info.get("phishcnn.trained_until")
        code = b"".join((Path(__file__).parent / f).read_bytes() for f in ("network.py", "train.py"))
        name = f"{scorer.name}-{hashlib.sha256(scorer.digest.encode() + code).hexdigest()[:16]}.jax.npz"
        trained_cache = Cache(cache / name if cache else None, 1)
    else:
        result["training"] = scorer.training
    chosen = read_plan(plan)["mutations"]
    judged: Rows | None = None
    for name, spec in sets.items():
        rows = select(spec)
        if not len(rows):
            raise DataError(f"{name}={spec}: no row is left")
        scored = kept.score(rows.urls)
        usable = scored.errors == 0
        refused = int((~usable).sum())
        rows = rows.take(usable)
        logit, probability = scored.logit[usable], scored.probability[usable]
        report = metrics.report(rows.labels, logit, probability, scorer.thresholds)
        thresholds = dict(scorer.thresholds)
        for rate, point in report["recall_at_fpr"].items():
            if point["resolvable"] and point["threshold"] is not None:
                thresholds[f"fpr_{rate}"] = point["threshold"]
        for rate, recalls in metrics.resampled(rows.labels, logit).items():
            report["recall_at_fpr"][rate]["resampled"] = recalls
        entry = {
            "rows_of": ", ".join(item.replace("\\", "/").rsplit("/", 1)[-1] for item in spec.split(",")),
            "sha256": digest(rows),
            "engine": report,
            "refused_rows": refused,
            "slices": slices(rows, logit, thresholds),
            "hard_negatives": hard_negatives(rows, logit),
            "roc": metrics.curve(rows.labels, logit),
            "reliability": metrics.reliability(rows.labels, probability),
            "histogram": metrics.histogram(rows.labels, logit),
        }
        if isinstance(scorer, Exported) and framework:
            trained = trained_cache.of(rows.urls, lambda urls: jax_logits(model, urls), "JAX")[:, 0]
            a, b = scorer.calibration
            with np.errstate(over="ignore"):
                trained_p = 1 / (1 + np.exp(-(a * trained.astype(np.float64) + b)))
            entry["training_framework"] = metrics.report(rows.labels, trained, trained_p, scorer.thresholds)
            entry["largest_logit_difference"] = float(np.abs(logit - trained).max())
        result["sets"][name] = entry
        if judged is None or name == chosen["set"]:
            judged, honest, limits = rows, logit[rows.labels == 0], thresholds
        print(name, summary(report), flush=True)
    if judged is None:
        raise DataError("no set to report on")
    phishing, legitimate = (sample(judged, label, chosen["rows"]) for label in (1, 0))
    result["evasion"] = evasion(kept, phishing, legitimate, honest, limits)
    both = sample(judged, 1, chosen["rows"] // 2), sample(judged, 0, chosen["rows"] // 2)
    result["relations"] = relations(kept, Rows(urls=[u for r in both for u in r.urls]))
    result["top_sites"] = judge_sites(top_sites.read(), scorer)
    result["valid_sites"] = judge_sites(top_sites.read(top_sites.VALID), scorer)
    if isinstance(scorer, Exported):
        result["cost"] = cost(model, scorer, judged.urls)
    # Too long a test for each version: where this one has none, that of the released model, which says its version.
    for crossed in (model.with_suffix(CROSSED), released(plan)[0] / f"{scorer.name}{CROSSED}"):
        if "cross_source" not in result and crossed.exists():
            result["cross_source"] = read_json(crossed)
    output = output or model.parent / f"{model.stem}.metrics.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(dumps(result))
    headlines = output.with_name(output.name.removesuffix(".metrics.json").removesuffix(".json") + ".headlines.json")
    headlines.write_text(json.dumps(headline_figures(result), indent=1) + "\n")
    return result


def headline_figures(result: Figures) -> Figures:
    """Set -> its AUC and recalls: what one looks at to compare two runs (`dvc metrics show`)."""
    out = {}
    for name, entry in result["sets"].items():
        points = entry["engine"]["recall_at_fpr"].items()
        out[name] = {"auc": entry["engine"]["auc"]} | {f"recall_{f}": p["recall"] for f, p in points if p["resolvable"]}
    return out


def dumps(value: Any, indent: int = 0) -> str:
    """JSON with sorted keys and one line for what holds no further object: readable, and small in a diff."""
    plain = json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False)
    nested = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    deep = any(isinstance(v, dict | list) for v in nested)
    if not deep or len(plain) + indent <= 160:
        return plain + ("" if indent else "\n")
    pad = " " * (indent + 1)
    if isinstance(value, dict):
        lines = [f"{pad}{json.dumps(k, ensure_ascii=False)}: {dumps(v, indent + 1)}" for k, v in sorted(value.items())]
        body = "{\n" + ",\n".join(lines) + "\n" + " " * indent + "}"
    else:
        body = "[\n" + ",\n".join(pad + dumps(v, indent + 1) for v in value) + "\n" + " " * indent + "]"
    return body + ("" if indent else "\n")


def summary(report: Figures) -> str:
    """One line for the terminal."""
    recall = {
        k: f"{v['recall']:.4f}" if v["resolvable"] else "not resolvable" for k, v in report["recall_at_fpr"].items()
    }
    return f"auc {report['auc']} recall at FPR {recall} ece {report['calibration_error']:.4f}"
