"""The report: one self-contained HTML page with its pictures, made from the metrics JSONs and nothing else.

No row of the data is needed or shown. The false positives that are explained are pages of our own list of
the best-known sites (`fixtures/top_sites.tsv`); those among the data's rows go to a local file only
(`worst_rows`), because the rows are not ours to publish.
"""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path

import numpy as np

from .pictures import PICTURES, SETS, TITLES, called, digest, draw
from .typed import Figures
from .urlparts import Parts


def collect(folder: Path) -> dict[str, Figures]:
    """The metrics of all models and baselines under `weights`, in the order of TITLES."""
    found = {}
    for path in sorted([*folder.glob("models/*.metrics.json"), *folder.glob("baselines/*.metrics.json")]):
        found[path.name.removesuffix(".metrics.json")] = json.loads(path.read_text())
    order = list(TITLES)
    return dict(sorted(found.items(), key=lambda kv: (order.index(kv[0]) if kv[0] in order else len(order), kv[0])))


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
            cells = [html.escape(called(name))]
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
            f"<p class=dim><b>{html.escape(called(name))}</b> was given {training['rows']:,} cleaned rows, the network's"
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
    told = found["what"]
    if found.get("version") != m["version"]:
        told += f" The network is that of version {found.get('version', '(unknown)')}; it was not measured again since."
    return f"<h2 id=cross>Sources never seen</h2><p>{html.escape(told)}</p>" + _table(head, rows)


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
<p>Of {m["top_sites"]["all"]["rows"]} hand-written home, sign-in, account, payment, help and content pages, of
which <code>prepare</code> leaves none in training, {m["top_sites"]["domain"]["listed"]["rows"]} of them on domains that <code>known_sites.txt</code> lists, other pages of which it did see. All are legitimate: what is flagged is a false positive. Red parts push towards phishing, blue ones away;
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
            found = m["sets"].get(s)
            points = [found["engine"]["recall_at_fpr"][rate] for rate in ("0.01", "0.001")] if found else []
            cells.append(" / ".join(f"{100 * p['recall']:.1f}" if p["resolvable"] else "?" for p in points) or "–")
        title = f"**{called(name)}**" if name == main else called(name)
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
