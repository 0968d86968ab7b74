"""The model card, generated from the model file, its metrics and its parameters; never edited by hand."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import phishcnn

from .data import DataError, read_json
from .export import FLOAT, parent_of, read
from .metrics import BASE_RATES, FPRS, share
from .params import Params
from .tables import THRESHOLDS, recall, seen_pages
from .train import TIE
from .typed import Figures

LIMITS = """\
- It sees the URL's text and nothing else: no page, no certificate, no age, no reputation of the domain. A
  phishing page on an honest host with an ordinary path cannot be told from it.
- Login pages of real brands look like what phishing imitates; see the hard-negative table.
- Scheme, `www.`, host case, default port and a lone slash are removed before scoring and never count.
- Training data ends {until}: phishing changes, and recall on later months falls.
- Attackers who can query the model can search for URLs that it misses. Use it as one signal of several."""


def _share(value: float) -> str:
    return f"{100 * value:.2f} %"


def _within(hits: int, rows: int) -> str:
    """A share with its 95 % interval."""
    found = share(hits, rows)
    return f"{_share(found['share'])} ({100 * found['low']:.1f}–{100 * found['high']:.1f})"


def _recall(point: Figures | None) -> str:
    figure = recall(point)
    return figure if isinstance(figure, str) else f"{figure[0]} ({figure[1]})"


def parameters(model: Path, metrics: Figures) -> str:
    """The numbers in the model file, by its metrics or, without them, its tensors; of an int8 model those of its f32
    parent, too."""
    parent = parent_of(model)
    count = metrics.get("cost", {}).get("parameters") or _size(model)
    return f"{count:,}" + (f" in the file, with int8's scales; {_size(parent):,} were trained" if parent else "")


def _size(model: Path) -> int:
    return sum(int(tensor.size) for name, tensor in read(model)[0].items() if name != "chars")


def history_of(model: Path) -> list[Figures]:
    """The epochs of its training, and behind them the table of n-grams, where they lie beside it: what was done, whatever
    the parameters say now."""
    path = model.with_suffix(".history.json")
    if not path.exists():
        path = model.parent / FLOAT / path.name
    return json.loads(path.read_text()) if path.exists() else []


def training_of(history: list[Figures], params: Params, version: str) -> str:
    """How the model was trained: by its parameters where they are still of this version, by the history alone otherwise."""
    epochs = [entry for entry in history if "epoch" in entry]
    if params.version != version:
        told = f"{len(epochs)} epochs{kept_point(epochs, '')}"
    else:
        run = params.train
        told = f"{run['row_limit']:,} rows drawn from the training file" if run["row_limit"] else "all training rows"
        if run["epochs"]:
            told += f", {len(epochs) or run['epochs']} epochs, AdamW, peak rate {run['peak_lr']}, seed {run['seed']}"
            told += f" (`{params.path.name}`){kept_point(epochs, params.start)}"
        else:
            told += f" (`{params.path.name}`); the network of `{params.start}` as it is"
    for table in (entry["ngrams"] for entry in history if "ngrams" in entry):
        if "start" in table:
            told += f"; the table of n-grams is that of `{table['start']}`"
            continue
        told += f"; the table of n-grams: {table['passes']} passes of averaged SGD, weights cut at the quantile"
        told += f" {table['cut']:g}, {table['share']:g} of its logit, the best together with the network on the validation rows"
    if params.version != version:
        told += f"; `{params.path.name}` has become that of {params.version}"
    return told


def kept_point(history: list[Figures], start: str) -> str:
    """What its training began with, and which point of it the file is."""
    begun = f"; begun with `{start}`" if start else ""
    kept = next((entry for entry in history if entry.get("kept")), None)
    if kept is None:  # older histories do not say
        return begun
    way = f", {kept['blend']:g} of the way to it," if kept["blend"] < 1 else ""
    best = f"the best on the validation rows or within {100 * TIE:g} points of it"
    only = "" if len(kept["tried"]) > 1 or not way else "; no other share was tried"
    return f"{begun}; epoch {kept['epoch']}{way} is kept, {best}{only}"


def _of(hits: int, rows: int) -> str:
    return f"{hits:,} of {rows:,}" + (f" ({_share(hits / rows)})" if rows else "")


def _more(metrics: Figures, params: Params | None) -> list[str]:
    """Base rates, hard negatives, top sites, mutations and cost, as far as the metrics have them."""
    lines: list[str] = []
    test = metrics["sets"].get("test")
    if test:
        rates = list(BASE_RATES)
        lines += ["", "### What a flag is worth", ""]
        lines += ["Share of the flagged URLs of `test` that would be phishing if so many of all URLs were.", ""]
        lines += ["| threshold | " + " | ".join(rates) + " |", "|---" * (1 + len(rates)) + "|"]
        for name, at in test["engine"]["precision"].items():
            cells = [
                "–"
                if at[r]["precision"] is None
                else f"{_share(at[r]['precision'])} ({100 * at[r]['low']:.1f}–{100 * at[r]['high']:.1f})"
                for r in rates
            ]
            lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
        lines += ["", "### Hard negatives of `test`", ""]
        lines += ["Legitimate rows with each tag that are flagged: number, and share with 95 % interval.", ""]
        lines += ["| tag | rows | at `phishing` | at `suspicious` |", "|---|---|---|---|"]
        for tag, c in test["slices"]["tag"].items():
            if c["legitimate_rows"]:
                told = [f"{c['flagged'][t]:,}: {_within(c['flagged'][t], c['legitimate_rows'])}" for t in THRESHOLDS]
                lines.append(f"| {tag} | {c['legitimate_rows']:,} | " + " | ".join(told) + " |")
    if "top_sites" in metrics:
        top = metrics["top_sites"]
        second = metrics.get("valid_sites", {"kind": {}, "domain": {}})
        lines += ["", "### Pages of known sites", ""]
        lines += [
            "Hand-written, never trained on: flagged pages of the best-known sites (`fixtures/top_sites.tsv`) and of a"
        ]
        lines += [
            "second list (`fixtures/valid_sites.tsv`, written without sight of it; choices are made by it), by kind."
        ]
        if seen_pages(metrics["model"]):
            lines += ["What the networks behind this one had seen of them is told under Data."]
        if not params or params.augment["well_known"] > 0:
            lines += [
                "Training made other pages of the domains that `known_sites.txt` lists, so that the last line is what a"
            ]
            lines += ["site that it does not list should expect; add those that your users visit."]
        lines += ["", "| kind | first: at `phishing` | at `suspicious` | second: at `phishing` | at `suspicious` |"]
        lines += ["|---|---|---|---|---|"]
        for kind, pair in {
            **{kind: [m["kind"].get(kind) for m in (top, second)] for kind in {**top["kind"], **second["kind"]}},
            "all": [m.get("all") for m in (top, second)],
            **{f"on domains {d}": [m["domain"].get(d) for m in (top, second)] for d in ("listed", "not listed")},
        }.items():
            told = [_of(c["flagged"][t], c["rows"]) if c else "not measured" for c in pair for t in THRESHOLDS]
            lines.append(f"| {kind} | " + " | ".join(told) + " |")
    if "evasion" in metrics:
        lines += ["", "### Changed URLs", ""]
        lines += ["What an attacker can change, on phishing rows, and the owner of a site, on legitimate ones:"]
        lines += ["share flagged before and after, with 95 % interval.", ""]
        lines += ["| rows | change | changed rows | at `phishing` | at `suspicious` |", "|---|---|---|---|---|"]
        for side, found in sorted(metrics["evasion"].items(), reverse=True):
            for name, c in found.items():
                told = [
                    f"{_share(c[t]['before'] / c['rows'])} → {_within(c[t]['after'], c['rows'])}" if c["rows"] else "–"
                    for t in THRESHOLDS
                ]
                lines.append(f"| {side} | {name} | {c['rows']:,} | " + " | ".join(told) + " |")
    if "relations" in metrics:
        lines += ["", "### Relations", ""]
        equal, same = metrics["relations"]["equal"], metrics["relations"]["same_verdict"]
        hits, rows = (sum(c[k] for c in equal.values()) for k in ("same", "rows"))
        lines += [f"Same logit to the bit under changes that the canonical form removes ({', '.join(equal)}):"]
        lines += [f"{_of(hits, rows)}. Same verdict under a change that keeps the page:", ""]
        lines += ["| change | same verdict |", "|---|---|"]
        lines += [f"| {name} | {_of(c['same'], c['rows'])} |" for name, c in same.items()]
    if "cost" in metrics:
        c = metrics["cost"]
        lines += ["", "### Cost", ""]
        lines += [
            f"{c['file_bytes']:,} bytes of file, {c['scratch_bytes']:,} bytes of scratch memory,"
            f" {c['multiply_adds_64']:,} multiply-adds for 64 tokens, {c['microseconds_per_url']} µs a URL ({c['machine']})."
        ]
    return lines


def f32_metrics(parent: Path, metrics: Figures) -> Figures:
    """The evaluation of the f32 model that an int8 one, of these metrics, was quantised from."""
    path = parent.parent / f"{parent.stem}.metrics.json"
    if not path.exists():
        raise DataError(f"{path}: not there; evaluate the f32 model first")
    found = read_json(path)
    if missing := metrics["sets"].keys() - found["sets"].keys():
        raise DataError(f"{path}: without {', '.join(sorted(missing))}; evaluate the f32 model on all sets first")
    return found


def text(model: Path, metrics: Figures, params: Params | None) -> str:
    """Markdown of the card."""
    meta, parent = read(model)[1], parent_of(model)
    fixed = dict(w.split("=") for w in meta["phishcnn.input"].split(" ")[1:]).get("length")
    positions = int(fixed or 64)
    until = meta.get("phishcnn.trained_until", "(not stated)")
    lines = [
        f"# {meta['phishcnn.name']} {meta['phishcnn.version']}",
        "",
        "Generated by `python -m phishcnn_train card`; do not edit.",
        "",
        "Gives the probability that a URL is phishing, from its characters alone."
        + (f" {params.purpose}" if params else ""),
        "",
        "| | |",
        "|---|---|",
        f"| SHA-256 | `{hashlib.sha256(model.read_bytes()).hexdigest()}` |",
        f"| Input | `{meta['phishcnn.input']}` |",
        f"| Layers | `{meta['phishcnn.layers']}` |",
        f"| Output | `{meta['phishcnn.output']}` |",
        f"| Parameters | {parameters(model, metrics)} |",
        f"| Multiply-adds | {phishcnn.Model.load(model).multiply_adds(positions):,} for {positions} tokens |",
        f"| Calibration `a b` | `{meta['phishcnn.calibration']}` at base rate 0.5 |",
        f"| Thresholds (logits) | `{meta['phishcnn.thresholds']}`, at FPR 0.1 % and 1 % of the validation rows |",
        f"| Trained until | {until} |",
        f"| Data digest | `{meta.get('phishcnn.data_sha256', '(not stated)')}` |",
    ]
    if parent:
        digest = meta["phishcnn.quantised_from"]
        lines.append(
            f"| Quantised from | `{digest}` (`{FLOAT}/{model.name}`); 8-bit weights by channel, 7-bit activations |"
        )
    if params:
        lines.append(f"| Training | {training_of(history_of(model), params, meta['phishcnn.version'])} |")
    if params:
        lines += ["", "## Data", "", (params.path.parent / params.data).read_text().strip()]
    lines += ["", "## Results", ""]
    lines += [
        "Recall in per cent at the ROC point of each set itself; in brackets its 95 % interval, and phishing rows found /"
        " legitimate rows flagged. Where fewer than 20 of those are expected to be flagged, the rate is not resolvable.",
        "",
        "| set | rows of | phishing / legitimate | AUC | recall at FPR 1 % | at 0.1 % | at 0.01 % |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, entry in metrics["sets"].items():
        report = entry["engine"]
        cells = [
            name,
            f"`{entry['rows_of']}`",
            f"{report['phishing_rows']:,} / {report['legitimate_rows']:,}",
            "–" if report["auc"] is None else f"{report['auc']:.4f}",
            *(_recall(report["recall_at_fpr"].get(rate)) for rate in FPRS),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "What the released thresholds give there:",
        "",
        "| set | `phishing`: recall, FPR | `suspicious`: recall, FPR | calibration error |",
        "|---|---|---|---|",
    ]
    for name, entry in metrics["sets"].items():
        report, cells = entry["engine"], [name]
        for threshold in THRESHOLDS:
            c = report["confusion"][threshold]
            cells.append(
                ", ".join(_share(a / (a + b)) if a + b else "–" for a, b in ((c["tp"], c["fn"]), (c["fp"], c["tn"])))
            )
        cells.append(f"{report['calibration_error']:.3f}")
        lines.append("| " + " | ".join(cells) + " |")
    before = f32_metrics(parent, metrics) if parent else metrics
    difference = [e["largest_logit_difference"] for e in before["sets"].values() if "largest_logit_difference" in e]
    if difference:
        whose = "Of the f32 model that it was quantised from, the" if parent else "The"
        lines += [
            "",
            f"{whose} engine and the training framework differ by at most {max(difference):.1e} in any logit of these sets.",
        ]
    if parent:
        lines += [
            "",
            "Recall at FPR 1 % / 0.1 %, before and after quantisation:",
            "",
            "| set | f32 | int8 |",
            "|---|---|---|",
        ]
        for name, entry in metrics["sets"].items():
            told = (e["engine"]["recall_at_fpr"] for e in (before["sets"][name], entry))
            shown = (
                " / ".join(_share(p[f]["recall"]) if p[f]["resolvable"] else "–" for f in ("0.01", "0.001"))
                for p in told
            )
            lines.append(f"| {name} | {' | '.join(shown)} |")
    lines += _more(metrics, params)
    lines += ["", "## Limits", "", LIMITS.format(until=until), ""]
    return "\n".join(lines)


def write(model: Path, params: Path | None) -> Path:
    """Writes NAME.md beside the model; NAME.metrics.json must be that of this very file."""
    metrics = read_json(model.parent / f"{model.stem}.metrics.json")
    if metrics["sha256"] != hashlib.sha256(model.read_bytes()).hexdigest():
        raise ValueError(f"{model.stem}.metrics.json belongs to another model file; run evaluate again")
    card = model.parent / f"{model.stem}.md"
    card.write_text(text(model, metrics, Params.load(params) if params else None))
    return card
