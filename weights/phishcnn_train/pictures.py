"""The report's pictures, drawn from the metrics JSONs and nothing else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from .metrics import BASE_RATES, share
from .typed import Figures

TITLES = {
    "phishcnn-compact": "phishcnn-compact",
    "phishcnn-large": "phishcnn-large",
    "dephides-retrained": "DEPHIDES' architecture, retrained (120,000 rows)",
    "trees": "boosted trees on lexical features",
    "ngrams": "hashed 2–5-grams + logistic regression",
    "dephides-published": "DEPHIDES' published weights",
}
SETS = {
    "test": "test",
    "test_unseen": "test, unseen domains",
    "test_domains": "unseen domains, before the cut-off",
    "cross_openphish": "another feed",
    "valid": "valid",
}
COLOURS = {
    "phishcnn-compact": "#c0392b",
    "phishcnn-large": "#6c3483",
    "dephides-retrained": "#1f6fb2",
    "trees": "#2e8b57",
    "ngrams": "#d98e04",
    "dephides-published": "#7f8c8d",
}
SET_COLOURS = {
    "test": "#c0392b",
    "test_unseen": "#d98e04",
    "test_domains": "#2e8b57",
    "cross_openphish": "#1f6fb2",
    "valid": "#7f8c8d",
}
BAD, GOOD = "#c0392b", "#1f6fb2"
DIMENSIONS = {
    "tld": "top-level domain",
    "script": "script",
    "length": "length in bytes",
    "depth": "what follows the host",
    "host": "host",
    "labels": "labels of the host",
}
BARS = 22  # sources shown per class


def digest(all_metrics: dict[str, Figures]) -> str:
    """SHA-256 of what the report is made from."""
    return hashlib.sha256(json.dumps(all_metrics, sort_keys=True).encode()).hexdigest()


def _figure(columns: int = 1, rows: int = 1, size: tuple[float, float] = (9.6, 4.2), **how: Any) -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(
        {
            "font.family": "DejaVu Sans",
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#e4e6e8",
            "grid.linewidth": 0.7,
            "axes.axisbelow": True,
            "axes.edgecolor": "#9aa0a6",
            "axes.titlesize": 10,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "legend.frameon": False,
            "legend.fontsize": 8,
        }
    )
    return plt.subplots(rows, columns, figsize=size, layout="constrained", **how)


def _percent(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g} %"))


def called(name: str) -> str:
    """What a model is called in the report."""
    return TITLES.get(name, name)


def _colour(name: str, i: int) -> str:
    return COLOURS.get(name, f"C{i}")


def _roc(all_metrics: Figures, main: str) -> Any:
    figure, (left, right) = _figure(2)
    for i, (name, m) in enumerate(all_metrics.items()):
        if "test" not in m["sets"]:
            continue
        x, y = np.array(m["sets"]["test"]["roc"]).T
        style = {"color": _colour(name, i), "lw": 2.2 if name == main else 1.4, "zorder": 3 if name == main else 2}
        auc = m["sets"]["test"]["engine"]["auc"]
        left.plot(np.append(0, x), np.append(0, y), label=f"{called(name)} ({auc:.4f})", **style)
        right.step(x, y, where="post", label=called(name), **style)
    left.set(title="ROC on test (AUC)", xlabel="false-positive rate", ylabel="recall", xlim=(0, 1), ylim=(0, 1.01))
    left.legend(loc="lower right")
    right.set(title="Recall against false-positive rate", xlabel="false-positive rate (log)", ylim=(0, 1), xscale="log")
    for rate in (0.001, 0.01):
        right.axvline(rate, color="#555", lw=0.8, ls=":")
    for axes in (left, right):
        _percent(axes.xaxis)
        _percent(axes.yaxis)
    return figure


def _sets(all_metrics: Figures, main: str) -> Any:
    figure, (left, right) = _figure(2, gridspec_kw={"width_ratios": [1.2, 1]})
    sets = all_metrics[main]["sets"]
    for name in (n for n in SETS if n in sets):
        x, y = np.array(sets[name]["roc"]).T
        left.step(x, y, where="post", color=SET_COLOURS[name], label=SETS[name], lw=1.7)
    left.set(
        title=f"{main} on each set", xlabel="false-positive rate (log)", ylabel="recall", xscale="log", ylim=(0, 1)
    )
    left.legend(loc="lower right")
    _percent(left.xaxis)
    _percent(left.yaxis)
    names = [n for n in SETS if n in sets]
    for offset, (rate, colour) in zip((-0.2, 0.2), (("0.01", GOOD), ("0.001", BAD)), strict=True):
        points = [sets[n]["engine"]["recall_at_fpr"][rate] for n in names]
        y = np.arange(len(names)) + offset
        v = np.array([p.get("recall", 0) for p in points])
        low, high = (np.array([p.get(k, 0) for p in points]) for k in ("low", "high"))
        right.barh(y, v, 0.36, color=colour, alpha=0.85, label=f"at FPR {100 * float(rate):g} %")
        right.errorbar(v, y, xerr=[np.maximum(v - low, 0), np.maximum(high - v, 0)], fmt="none", ecolor="#222", lw=1)
        for at, value in zip(y, v, strict=True):
            right.text(value + 0.02, at, f"{100 * value:.1f}", va="center", fontsize=8)
    right.set(title="Recall and its 95 % interval", xlim=(0, 1), yticks=range(len(names)))
    right.set_yticklabels([SETS[n] for n in names])
    right.invert_yaxis()
    right.grid(axis="y", visible=False)
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=2)
    _percent(right.xaxis)
    return figure


def _precision(all_metrics: Figures, main: str) -> Any:
    figure, axes = _figure(len(BASE_RATES), sharey=True)
    for panel, (title, rate) in zip(axes, BASE_RATES.items(), strict=True):
        for i, (name, m) in enumerate(all_metrics.items()):
            if "test" not in m["sets"]:
                continue
            x, y = np.array(m["sets"]["test"]["roc"]).T
            value = rate * y / np.maximum(rate * y + (1 - rate) * x, 1e-12)
            panel.plot(y, value, color=_colour(name, i), lw=2.2 if name == main else 1.4, label=called(name))
        for threshold, mark in (("phishing", "o"), ("suspicious", "s")):
            c = all_metrics[main]["sets"]["test"]["engine"]["confusion"][threshold]
            at = all_metrics[main]["sets"]["test"]["engine"]["precision"][threshold][title]
            if at["precision"] is not None:
                panel.plot(
                    c["tp"] / (c["tp"] + c["fn"]),
                    at["precision"],
                    mark,
                    color="#222",
                    ms=5,
                    label=f"released: {threshold}",
                )
        panel.set(title=f"phishing is {title} of all URLs", xlabel="recall", xlim=(0, 1), ylim=(0, 1.02))
        _percent(panel.xaxis)
        _percent(panel.yaxis)
    axes[0].set_ylabel("precision")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def _calibration(all_metrics: Figures, main: str) -> Any:
    figure, (left, right) = _figure(2)
    for name in (n for n in SETS if n in all_metrics[main]["sets"]):
        entry = all_metrics[main]["sets"][name]
        bins = entry["reliability"]
        error = entry["engine"]["calibration_error"]
        left.plot(
            [b["probability"] for b in bins],
            [b["phishing"] for b in bins],
            "o-",
            ms=3.5,
            lw=1.3,
            color=SET_COLOURS[name],
            label=f"{SETS[name]} ({error:.3f})",
        )
    left.plot([0, 1], [0, 1], color="#555", lw=0.8, ls=":")
    left.set(
        title="Calibration at base rate 0.5 (expected error)",
        xlabel="probability told",
        ylabel="share of phishing",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    left.legend(loc="upper left")
    bins = all_metrics[main]["sets"]["test"]["reliability"]
    right.bar([b["probability"] for b in bins], [b["rows"] for b in bins], 0.05, color="#8aa4bd")
    right.set(
        title="Rows of test by probability", xlabel="probability told", yscale="log", xlim=(0, 1), ylabel="rows (log)"
    )
    return figure


def _scores(all_metrics: Figures, main: str) -> Any:
    figure, panels = _figure(2, sharey=False)
    for panel, name in zip(panels, ("test", "cross_openphish"), strict=True):
        if name not in all_metrics[main]["sets"]:
            continue
        h = all_metrics[main]["sets"][name]["histogram"]
        for label, colour in (("legitimate", GOOD), ("phishing", BAD)):
            n = np.array(h[label], float)
            x = h["from"] + h["width"] * np.arange(len(n))
            panel.bar(x, n / max(n.sum(), 1), h["width"], align="edge", color=colour, alpha=0.55, label=label)
        for threshold, t in all_metrics[main]["thresholds"].items():
            panel.axvline(
                t, color="#222", lw=1, ls="--" if threshold == "suspicious" else "-", label=f"{threshold} threshold"
            )
        panel.set(title=f"Logits on {SETS[name]}", xlabel="logit", ylabel="share of the class per 0.5")
        panel.set_xlim(-20, 15)
        panel.legend(loc="upper left")
        _percent(panel.yaxis)
    return figure


def months(m: Figures, set_names: list[str], threshold: str) -> tuple[list[str], list[Figures]]:
    """(months, recall shares at the threshold) over these sets' phishing rows."""
    total: dict[str, list[int]] = {}
    for name in set_names:
        for month, c in m["sets"].get(name, {"slices": {"month": {}}})["slices"]["month"].items():
            hits = total.setdefault(month, [0, 0])
            hits[0] += c["caught"][threshold]
            hits[1] += c["phishing_rows"]
    order = sorted(total)
    return order, [share(*total[month]) for month in order]


def _after(month: str, cut: str) -> int:
    return 12 * (int(month[:4]) - int(cut[:4])) + int(month[5:]) - int(cut[5:])


def _months(all_metrics: Figures, main: str) -> Any:
    m = all_metrics[main]
    cut = m.get("trained_until") or "2025-03"
    figure, panels = _figure(2, sharey=True)
    series = {
        "unseen domains": (["test_domains"], SET_COLOURS["test_domains"]),
        "valid and test": (["valid", "test"], SET_COLOURS["test"]),
        "another feed": (["cross_openphish"], SET_COLOURS["cross_openphish"]),
    }
    for panel, threshold in zip(panels, ("suspicious", "phishing"), strict=True):
        for title, (names, colour) in series.items():
            order, found = months(m, names, threshold)
            x = np.array([_after(month, cut) for month in order])
            keep = x >= -18
            if not keep.any():
                continue
            v, low, high = (np.array([f[k] for f in found])[keep] for k in ("share", "low", "high"))
            panel.plot(x[keep], v, "o-", ms=3.5, lw=1.5, color=colour, label=title)
            panel.fill_between(x[keep], low, high, color=colour, alpha=0.15, lw=0)
        panel.axvline(0.5, color="#555", lw=0.9, ls=":")
        panel.set(
            title=f"Recall at the released threshold: {threshold}", xlabel=f"months after {cut}, the training cut-off"
        )
        panel.set_ylim(0, 1)
        _percent(panel.yaxis)
    panels[0].legend(loc="lower left")
    return figure


def _bars(panel: Any, names: list[str], sides: list[tuple[str, str, list[Figures]]]) -> None:
    """Grouped horizontal bars of shares with intervals."""
    height = 0.8 / len(sides)
    for i, (title, colour, found) in enumerate(sides):
        y = np.arange(len(names)) - 0.4 + height * (i + 0.5)
        v = np.array([f["share"] for f in found])
        low, high = (np.array([f[k] for f in found]) for k in ("low", "high"))
        panel.barh(y, v, height * 0.92, color=colour, alpha=0.85, label=title)
        panel.errorbar(v, y, xerr=[np.maximum(v - low, 0), np.maximum(high - v, 0)], fmt="none", ecolor="#333", lw=0.8)
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.grid(axis="y", visible=False)
    _percent(panel.xaxis)


def _legend_below(figure: Any, *panels: Any) -> None:
    """One line of legend under all panels, where it hides no bar."""
    found = [panel.get_legend_handles_labels() for panel in panels]
    handles = [h for hs, _ in found for h in hs]
    figure.legend(handles, [t for _, ts in found for t in ts], loc="outside lower center", ncols=4)


def _sources(all_metrics: Figures, main: str) -> Any:
    sets = all_metrics[main]["sets"]
    caught: dict[str, Figures] = {}
    for name in ("test", "test_domains", "cross_openphish"):
        for source, c in sets.get(name, {"slices": {"source": {}}})["slices"]["source"].items():
            if c["phishing_rows"] >= 50:
                into = caught.setdefault(source, {"rows": 0, "phishing": 0, "suspicious": 0})
                into["rows"] += c["phishing_rows"]
                for t in ("phishing", "suspicious"):
                    into[t] += c["caught"][t]
    phishing = sorted(caught.items(), key=lambda kv: -kv[1]["rows"])[:BARS]
    legitimate = sorted(
        ((s, c) for s, c in sets["test"]["slices"]["source"].items() if c["legitimate_rows"] >= 50),
        key=lambda kv: -kv[1]["legitimate_rows"],
    )[:BARS]
    figure, (left, right) = _figure(2, size=(9.6, 6.4))
    _bars(
        left,
        [f"{s} ({c['rows']:,})" for s, c in phishing],
        [
            ("at the suspicious threshold", "#e2a19a", [share(c["suspicious"], c["rows"]) for _, c in phishing]),
            ("at the phishing threshold", BAD, [share(c["phishing"], c["rows"]) for _, c in phishing]),
        ],
    )
    left.set(title="Recall (test, unseen domains, other feed)", xlim=(0, 1))
    _bars(
        right,
        [f"{s} ({c['legitimate_rows']:,})" for s, c in legitimate],
        [
            (
                "at the suspicious threshold",
                "#a5c3dd",
                [share(c["flagged"]["suspicious"], c["legitimate_rows"]) for _, c in legitimate],
            ),
            (
                "at the phishing threshold",
                GOOD,
                [share(c["flagged"]["phishing"], c["legitimate_rows"]) for _, c in legitimate],
            ),
        ],
    )
    right.set(title="Legitimate rows flagged (test)")
    _legend_below(figure, left, right)
    for panel in (left, right):
        panel.tick_params(axis="y", labelsize=7)
    return figure


def _slices(all_metrics: Figures, main: str) -> Any:
    found = all_metrics[main]["sets"]["test"]["slices"]
    rows = []
    for d in DIMENSIONS:
        ranked = sorted(found.get(d, {}).items(), key=lambda kv: len(kv[0]) if d == "length" else 0)
        rows += [(value, c, DIMENSIONS[d]) for value, c in ranked]
    figure, (left, right) = _figure(2, size=(9.6, 0.27 * len(rows) + 1.2), sharey=True)
    names = [f"{value}  ({c['phishing_rows']:,} / {c['legitimate_rows']:,})" for value, c, _ in rows]
    rate = {"fpr_0.01": "at FPR 1 % of test", "fpr_0.001": "at FPR 0.1 % of test"}
    resolved = all(t in c["caught"] for t in rate for _, c, _ in rows)
    available = list(rate) if resolved else ["suspicious", "phishing"]

    def shares(key: str, total: str, threshold: str) -> list[Figures]:
        nothing = {"share": 0.0, "low": 0.0, "high": 0.0}
        return [share(c[key][threshold], c[total]) if c[total] >= 20 else nothing for _, c, _ in rows]

    for panel, key, total, colours in (
        (left, "caught", "phishing_rows", ("#e2a19a", BAD)),
        (right, "flagged", "legitimate_rows", ("#a5c3dd", GOOD)),
    ):
        _bars(
            panel,
            names,
            [(rate.get(t, t), colour, shares(key, total, t)) for t, colour in zip(available, colours, strict=True)],
        )
        panel.tick_params(axis="y", labelsize=7.5)
        before = None
        for i, (_, _, dimension) in enumerate(rows):
            if dimension != before:
                if i:
                    panel.axhline(i - 0.5, color="#9aa0a6", lw=0.8)
                if panel is right:
                    where = {"transform": panel.get_yaxis_transform(), "ha": "left", "va": "top"}
                    panel.text(1.01, i - 0.4, dimension, fontsize=7.5, color="#555", style="italic", **where)
                before = dimension
    _legend_below(figure, left, right)
    left.set(title="Recall on slices of test", xlim=(0, 1))
    worst = max((s["high"] for t in available for s in shares("flagged", "legitimate_rows", t)), default=0.1)
    right.set(title="Legitimate rows flagged", xlim=(0, min(1, 1.05 * worst)))
    return figure


def _evasion(all_metrics: Figures, main: str) -> Any:
    found = all_metrics[main]["evasion"]
    figure, panels = _figure(2, size=(9.6, 4.4))
    for panel, side, title in (
        (panels[0], "phishing", "Phishing rows changed by an attacker"),
        (panels[1], "legitimate", "Legitimate rows changed by their owner"),
    ):
        names = [n for n, c in found[side].items() if c["rows"]]
        colours = ("#e2a19a", BAD) if side == "phishing" else ("#a5c3dd", GOOD)
        for i, (threshold, colour) in enumerate(zip(("suspicious", "phishing"), colours, strict=True)):
            y = np.arange(len(names)) + (i - 0.5) * 0.34
            before, after = (
                np.array([found[side][n][threshold][k] / found[side][n]["rows"] for n in names])
                for k in ("before", "after")
            )
            panel.hlines(y, before, after, color=colour, lw=2)
            panel.plot(before, y, "o", ms=5, mfc="white", mec=colour, label=f"{threshold}, before")
            panel.plot(after, y, "o", ms=5, color=colour, label=f"{threshold}, after")
        panel.set_yticks(range(len(names)), names)
        panel.set_ylim(len(names) - 0.4, -0.6)
        panel.set(title=title, xlabel="share flagged", xlim=(0, 1 if side == "phishing" else None))
        panel.grid(axis="y", visible=False)
        _percent(panel.xaxis)
    _legend_below(figure, *panels)
    return figure


OLDER = "Some baselines learned from older rows; the tables name their day."
PICTURES = {
    "roc": (
        _roc,
        "All models on the same rows of <code>test</code>. Dotted: false-positive rates of 0.1 % and 1 %. " + OLDER,
    ),
    "sets": (_sets, "The embedded model on each set, with 95 % intervals of recall and threshold together."),
    "precision_recall": (
        _precision,
        "What a flag is worth where phishing is rare: precision on <code>test</code>, re-weighted to each base rate. "
        + OLDER,
    ),
    "calibration": (_calibration, "Probability told against share of phishing, both classes weighing one half."),
    "scores": (_scores, "Distribution of the logits of both classes, and the released thresholds."),
    "months": (
        _months,
        "How fast the model ages: recall by month of first sight, at the released thresholds; bands are 95 % intervals."
        " Left of the dotted line lie months that training saw, though not this feed, and few of its domains.",
    ),
    "slices": (
        _slices,
        "By what the URL shows, with the numbers of phishing / legitimate rows. Slices of fewer than 20 rows of a class have no bar there.",
    ),
    "sources": (_sources, "By collection, with the number of rows."),
    "evasion": (_evasion, "The same rows before and after a change; see <code>phishcnn_train/mutations.py</code>."),
}


def draw(all_metrics: dict[str, Figures], main: str, folder: Path) -> None:
    """Writes the PNGs, each with the digest of what it shows in its description."""
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    text = {"Software": None, "Description": digest(all_metrics)}
    for name, (make, _) in PICTURES.items():
        figure = make(all_metrics, main)
        figure.savefig(folder / f"{name}.png", dpi=130, metadata=text)
        plt.close(figure)
