"""The report: pictures and one self-contained HTML page, made from the metrics JSONs and nothing else.

No row of the data is needed or shown. The false positives that are explained are pages of our own list of
the best-known sites (`fixtures/top_sites.tsv`); those among the data's rows go to a local file only
(`worst_rows`), because the rows are not ours to publish.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from pathlib import Path
from typing import Any

import numpy as np

from .metrics import BASE_RATES, share
from .typed import Figures
from .urlparts import Parts

TITLES = {
    "phishcnn-compact": "phishcnn-compact",
    "phishcnn-large": "phishcnn-large",
    "dephides-retrained": "DEPHIDES' architecture, retrained",
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


def collect(folder: Path) -> dict[str, Figures]:
    """The metrics of all models and baselines under `weights`, in the order of TITLES."""
    found = {}
    for path in sorted([*folder.glob("models/*.metrics.json"), *folder.glob("baselines/*.metrics.json")]):
        found[path.name.removesuffix(".metrics.json")] = json.loads(path.read_text())
    order = list(TITLES)
    return dict(sorted(found.items(), key=lambda kv: (order.index(kv[0]) if kv[0] in order else len(order), kv[0])))


def digest(all_metrics: dict[str, Figures]) -> str:
    """SHA-256 of what the report is made from."""
    return hashlib.sha256(json.dumps(all_metrics, sort_keys=True).encode()).hexdigest()


# Pictures


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


def _title(name: str) -> str:
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
        left.plot(np.append(0, x), np.append(0, y), label=f"{_title(name)} ({auc:.4f})", **style)
        right.step(x, y, where="post", label=_title(name), **style)
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
    right.legend(loc="lower right")
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
            panel.plot(y, value, color=_colour(name, i), lw=2.2 if name == main else 1.4, label=_title(name))
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
    available = [t for t in rate if all(t in c["caught"] for _, c, _ in rows)] or ["suspicious", "phishing"]

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


PICTURES = {
    "roc": (_roc, "All models on the same rows of <code>test</code>. Dotted: false-positive rates of 0.1 % and 1 %."),
    "sets": (_sets, "The embedded model on each set; intervals are 95 % (Wilson)."),
    "precision_recall": (
        _precision,
        "What a flag is worth where phishing is rare: precision on <code>test</code>, re-weighted to each base rate.",
    ),
    "calibration": (_calibration, "Probability told against share of phishing, both classes weighing one half."),
    "scores": (_scores, "Distribution of the logits of both classes, and the released thresholds."),
    "months": (
        _months,
        "How fast the model ages: recall by month of first sight, at the released thresholds; bands are 95 % intervals."
        " Left of the dotted line lie months that training saw, though not these domains or this feed.",
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


# Page

STYLE = """
:root{--ink:#1d2126;--dim:#5c6570;--line:#dfe3e7;--soft:#f5f7f9;--bad:#c0392b;--good:#1f6fb2}
*{box-sizing:border-box}
body{margin:0;color:var(--ink);background:#fff;font:15px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1060px;margin:0 auto;padding:2rem 1.2rem 4rem}
h1{font-size:1.7rem;margin:0 0 .3rem}h2{font-size:1.2rem;margin:2.6rem 0 .5rem;padding-top:.6rem;border-top:1px solid var(--line)}
p{margin:.4rem 0 .8rem;max-width:70ch}.dim,figcaption{color:var(--dim);font-size:.9em}
figure{margin:1rem 0}figure img{width:100%;height:auto;border:1px solid var(--line);border-radius:6px}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.88rem;width:100%}
th,td{padding:.35rem .55rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
th{background:var(--soft);font-weight:600}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
tr.main td{background:#fdf3f1;font-weight:600}small{color:var(--dim);font-weight:400}
code{background:var(--soft);padding:.05em .3em;border-radius:3px}
.tiles{display:flex;flex-wrap:wrap;gap:.8rem;margin:1.2rem 0}
.tile{flex:1 1 12rem;border:1px solid var(--line);border-radius:8px;padding:.7rem .9rem;background:var(--soft)}
.tile b{display:block;font-size:1.35rem}.url{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.82rem;word-break:break-all}
.url span{border-radius:3px;padding:.05em 0}.badge{font-size:.75rem;border-radius:9px;padding:.1em .6em;color:#fff;white-space:nowrap}
.phishing{background:var(--bad)}.suspicious{background:#d98e04}.benign{background:#6b7885}
"""


def _cell(point: Figures | None) -> str:
    if not point:
        return "–"
    if point["resolvable"]:
        return f"{100 * point['recall']:.1f} <small>{100 * point['low']:.1f}–{100 * point['high']:.1f}</small>"
    return "<small>not resolvable</small>"


def _table(head: list[str], rows: list[tuple[str, list[str]]]) -> str:
    """head: names, a leading > marks numbers; rows: (class, cells)."""
    number = [h.startswith(">") for h in head]
    cells = "".join(f"<th{' class=n' * n}>{h.removeprefix('>')}</th>" for h, n in zip(head, number, strict=True))
    body = "".join(
        f"<tr{f' class={kind}' if kind else ''}>"
        + "".join(f"<td{' class=n' * n}>{c}</td>" for c, n in zip(row, number, strict=True))
        + "</tr>\n"
        for kind, row in rows
    )
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>\n{body}</tbody></table></div>'


def _comparison(all_metrics: Figures, main: str) -> str:
    sets = [s for s in SETS if s in all_metrics[main]["sets"]]
    parts = []
    for rate, title in (("0.01", "1 %"), ("0.001", "0.1 %")):
        rows = []
        for name, m in all_metrics.items():
            cells = [html.escape(_title(name))]
            for s in sets:
                entry = m["sets"].get(s)
                same = entry and entry["sha256"] == all_metrics[main]["sets"][s]["sha256"]
                cell = _cell(entry["engine"]["recall_at_fpr"][rate] if entry else None)
                cells.append(cell if same or not entry else f"{cell} <small>(other rows)</small>")
            rows.append(("main" if name == main else "", cells))
        parts.append(f"<h3>Recall at a false-positive rate of {title}, per cent, with 95 % interval</h3>")
        parts.append(_table(["model", *(f">{SETS[s]}" for s in sets)], rows))
    given = [(n, m["training"]) for n, m in all_metrics.items() if "training" in m]
    for name, training in given:
        parts.append(
            f"<p class=dim><b>{html.escape(_title(name))}</b> was given {training['rows']:,} cleaned rows, the network's"
            f" weights, and {html.escape(training['given'])}. Chosen: {html.escape(json.dumps(training['chosen']))} of"
            f" {training['tried']} tried; {training['seconds']:,} s on one thread, {training['peak_memory_mib']:,} MiB.</p>"
        )
    return "\n".join(parts)


def _marked(url: str, segments: list[Figures] | None) -> str:
    """The URL with its segments tinted by contribution."""
    if not segments:
        return html.escape(url)
    most = max((abs(s["contribution"]) for s in segments), default=0) or 1
    out, at = [], 0
    for s in segments:
        start = url.find(s["text"], at)
        if start < 0:
            continue
        tint = min(0.6, 0.6 * abs(s["contribution"]) / most)
        colour = f"rgba({'192,57,43' if s['contribution'] > 0 else '31,111,178'},{tint:.2f})"
        text, told = html.escape(s["text"]), f"{s['part']} {s['contribution']:+.2f}"
        out.append(f'{html.escape(url[at:start])}<span style="background:{colour}" title="{told}">{text}</span>')
        at = start + len(s["text"])
    return "".join(out) + html.escape(url[at:])


def _worst(pages: list[Figures], limits: dict[str, float]) -> str:
    rows = []
    for i, page in enumerate(pages, 1):
        logit = page["logit"]
        verdict = next((v for v in ("phishing", "suspicious") if logit >= limits[v]), "benign")
        top = sorted(page["segments"] or [], key=lambda s: -s["contribution"])[:2]
        why = ", ".join(f"<code>{html.escape(s['text'])}</code> {s['contribution']:+.1f}" for s in top)
        cells = [
            str(i),
            f"<span class='badge {verdict}'>{verdict}</span>",
            f"{logit:+.2f}",
            f'<span class="url">{_marked(page["url"], page["segments"])}</span>',
            why,
        ]
        rows.append(("", cells))
    return _table([">", "verdict", ">logit", "page", "what speaks most for phishing"], rows)


def worst_rows(model: Path, rows_of: str, output: Path, most: int = 100) -> int:
    """Writes the highest-scored legitimate rows on the best-known sites' domains, explained, to a local page
    (it shows rows of the data: never commit it); returns their number."""
    from . import evaluate, top_sites
    from .data import select
    from .urlparts import split

    def domain(parts: Parts) -> bytes:
        return (parts.name + parts.suffix).lstrip(b"@.")

    known = {domain(p) for p in split([page.url.encode() for page in top_sites.read()])}
    rows = select(rows_of)
    rows = rows.take(rows.labels == 0)
    rows = rows.take(np.array([domain(p) in known for p in split(rows.urls)], bool))
    scorer = evaluate.load(model)
    logits = scorer.score(rows.urls).logit
    pages = []
    for i in np.argsort(-logits, kind="stable")[:most].tolist():
        url = rows.urls[i].decode("utf-8", "replace")
        pages.append({"url": url, "logit": float(logits[i]), "segments": evaluate.explain(model, url)})
    output.parent.mkdir(parents=True, exist_ok=True)
    head = f'<!doctype html><meta charset="utf-8"><title>{html.escape(scorer.name)}</title><style>{STYLE}</style><main>'
    told = f"<h1>{len(pages)} of {len(rows):,} legitimate rows on the best-known sites</h1><p>Rows of the data: keep it.</p>"
    output.write_text(head + told + _worst(pages, scorer.thresholds) + "</main>\n")
    return len(pages)


def _tiles(m: Figures) -> str:
    test = m["sets"]["test"]["engine"]
    tiles = []
    for rate, title in (("0.01", "1 %"), ("0.001", "0.1 %")):
        point = test["recall_at_fpr"][rate]
        if point["resolvable"]:
            tiles.append((f"{100 * point['recall']:.1f} %", f"recall on test at a false-positive rate of {title}"))
    tiles.append((f"{test['auc']:.4f}", "AUC on test"))
    tiles.append((f"{test['calibration_error']:.3f}", "expected calibration error on test"))
    top = m["top_sites"]["all"]
    counts = " / ".join(f"{top['flagged'][t]:,}" for t in ("phishing", "suspicious"))
    tiles.append((counts, f"of {top['rows']} pages of the best-known sites flagged: phishing / suspicious"))
    return '<div class="tiles">' + "".join(f'<div class="tile"><b>{v}</b>{t}</div>' for v, t in tiles) + "</div>"


def _crossed(m: Figures) -> str:
    """The cross-source test, where it was run."""
    found = m.get("cross_source")
    if not found:
        return ""
    control = next((run for run in found["runs"] if run["left_out"] is None), None)
    rows = []
    for run in found["runs"]:
        source = run["left_out"]
        cells = [html.escape(source or "nothing (control)"), run["class"] or "–", f"{run['train_rows']:,}"]
        cells += [_cell(run["test"]["recall_at_fpr"][rate]) for rate in ("0.01", "0.001")]
        for rate in ("0.01", "0.001"):
            pair = [_against(r["held"][source], rate) for r in (run, control) if r and source]
            cells.append(" / ".join(pair) or "–")
        rows.append(("", cells))
    head = ["source left out", "class", ">training rows", ">test: recall at 1 %", ">at 0.1 %"]
    head += [">its own rows: left out / control, at 1 %", ">at 0.1 %"]
    return f"<h2 id=cross>Sources never seen</h2><p>{html.escape(found['what'])}</p>" + _table(head, rows)


def _against(counts: Figures, rate: str) -> str:
    c = counts[rate]
    return f"{100 * c['hits'] / c['rows']:.1f} %" if c["rows"] else "–"


def page(all_metrics: dict[str, Figures], main: str, pictures: dict[str, bytes]) -> str:
    """The HTML page; a function of the metrics and the pictures alone."""
    m = all_metrics[main]
    figures = "".join(
        f'<figure id="{name}"><img alt="{name}" src="data:image/png;base64,{base64.b64encode(pictures[name]).decode()}">'
        f"<figcaption>{caption}</figcaption></figure>\n"
        for name, (_, caption) in PICTURES.items()
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(main)}: evaluation</title><style>{STYLE}</style></head><body><main>
<h1>{html.escape(main)} {html.escape(m.get("version", ""))}: evaluation</h1>
<p class=dim>Model <code>{m["sha256"][:16]}</code>, trained until {html.escape(m.get("trained_until") or "?")}. Generated from
the metrics <code>{digest(all_metrics)[:16]}</code> by <code>python -m phishcnn_train report</code>; nothing here is written by hand.</p>
{_tiles(m)}
<h2>Against the baselines</h2>
<p>Every model scored the same rows; each one's point is read from its own ROC curve.</p>
{_comparison(all_metrics, main)}
<h2>Pictures</h2>
{figures}{_crossed(m)}
<h2>The {len(m["top_sites"]["worst"])} highest-scored pages of the best-known sites</h2>
<p>Of {m["top_sites"]["all"]["rows"]} hand-written home, sign-in, account, payment, help and content pages that no training
saw, {m["top_sites"]["domain"]["listed"]["rows"]} of them on domains that <code>known_sites.txt</code> lists, other pages of which it did see. All are legitimate: what is flagged is a false positive. Red parts push towards phishing, blue ones away;
a part's contribution is the logit's change when the part is masked.</p>
{_worst(m["top_sites"]["worst"], m["thresholds"])}
</main></body></html>
"""


def readme(all_metrics: dict[str, Figures], main: str) -> str:
    """Markdown beside the pictures, for reading them in the repository."""
    sets = [s for s in SETS if s in all_metrics[main]["sets"]]
    lines = [
        f"# Evaluation of {main}",
        "",
        "Generated by `python -m phishcnn_train report`; do not edit. `index.html` is the",
    ]
    lines += ["whole report in one file.", "", "Recall at a false-positive rate of 1 % / 0.1 %, per cent:", ""]
    lines += ["| model | " + " | ".join(SETS[s] for s in sets) + " |", "|---" * (1 + len(sets)) + "|"]
    for name, m in all_metrics.items():
        cells = []
        for s in sets:
            points = m["sets"][s]["engine"]["recall_at_fpr"] if s in m["sets"] else {}
            told = [f"{100 * p['recall']:.1f}" if p["resolvable"] else "?" for r, p in points.items() if r != "0.0001"]
            cells.append(" / ".join(told) or "–")
        title = f"**{_title(name)}**" if name == main else _title(name)
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    for name, (_, caption) in PICTURES.items():
        lines += ["", f"![{name}]({name}.png)", "", caption.replace("<code>", "`").replace("</code>", "`")]
    return "\n".join(lines) + "\n"


def write(folder: Path, main: str, output: Path) -> Path:
    """Draws and writes the report of everything under `folder` (weights); returns the page's path."""
    all_metrics = collect(folder)
    if main not in all_metrics:
        raise ValueError(f"{folder}/models/{main}.metrics.json is not there; run evaluate")
    draw(all_metrics, main, output)
    write_text(all_metrics, main, output)
    return output / "index.html"


def write_text(all_metrics: Figures, main: str, output: Path) -> None:
    pictures = {name: (output / f"{name}.png").read_bytes() for name in PICTURES}
    (output / "index.html").write_text(page(all_metrics, main, pictures))
    (output / "README.md").write_text(readme(all_metrics, main))
