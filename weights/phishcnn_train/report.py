"""The report: one self-contained HTML page with its pictures, made from the metrics JSONs and nothing else.

No row of the data is needed or shown. The false positives that are explained are pages of our own list of
the best-known sites (`fixtures/top_sites.tsv`); those among the data's rows go to a local file only
(`worst_rows`), because the rows are not ours to publish.
"""

from __future__ import annotations

import base64
import html
import json
import re
from pathlib import Path

import numpy as np

from . import tables
from .pictures import PICTURES, TITLES, digest, draw
from .tables import SHORT, THRESHOLDS, Cell, Table, title
from .typed import Figures
from .urlparts import Parts


def collect(folder: Path) -> dict[str, Figures]:
    """The metrics of all models and baselines under the folder, in the order of TITLES: of whatever lies there, so that
    in `cache/` baselines that were evaluated at another time stand beside today's candidates."""
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
.wide{overflow-x:auto}.wide th:first-child,.wide td:first-child{position:sticky;left:0;max-width:40vw}
td:first-child{background:#fff}table{border-collapse:collapse;font-size:.88rem;width:100%}
th,td{padding:.35rem .55rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
th{background:var(--soft);font-weight:600}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}td.n{white-space:nowrap}td.n small,td:first-child small{display:block;white-space:normal}
tr.main td{background:#fdf3f1;font-weight:600}small{color:var(--dim);font-weight:400}
code{background:var(--soft);padding:.05em .3em;border-radius:3px}
.tiles{display:flex;flex-wrap:wrap;gap:.8rem;margin:1.2rem 0}
.tile{flex:1 1 12rem;border:1px solid var(--line);border-radius:8px;padding:.7rem .9rem;background:var(--soft)}
.tile b{display:block;font-size:1.35rem}.url{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.82rem;word-break:break-all}
.url span{border-radius:3px;padding:.05em 0}.badge{font-size:.75rem;border-radius:9px;padding:.1em .6em;color:#fff;white-space:nowrap}
.phishing{background:var(--bad)}.suspicious{background:#d98e04}.benign{background:#6b7885}
"""


def _cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return _code(cell)
    counts = re.sub(" (/|of) ", "\u00a0\\1\u00a0", cell[1])  # lines break between interval and counts
    return f"{_code(cell[0])}<small>{_code(counts)}</small>"


def _code(text: str) -> str:
    """HTML of plain text with `code`."""
    return re.sub("`([^`]*)`", r"<code>\1</code>", html.escape(text))


def _section(table: Table, main: str) -> str:
    head = [_code(table.head[0]), *(f">{_code(name)}" for name in table.head[1:])]
    rows = [("main" if of == main else "", [_cell(cell) for cell in cells]) for of, cells in table.rows]
    told = f"<p class=dim>{_code(table.told)}</p>" if table.told else ""
    return f"<h3>{_code(table.title)}</h3>{told}{_table(head, rows) if rows else ''}"


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


THRESHOLD_NOTE = (
    "Per cent; small or in brackets: 95 % interval and counts. Each model's thresholds are its own. Rows are those of"
    " `test`; `login` and `bank_pay` are tags of legitimate ones. Pages are hand-written."
)
CHANGED_NOTE = (
    "What an attacker can change, on phishing rows of test, and the owner of a site, on legitimate ones: per cent before"
    " → after the change; small or in brackets: 95 % interval after it. Where a model's metrics hold no digest of the"
    " changed URLs, their number alone tells that they are the same ones."
)


def _told(all_metrics: Figures) -> str:
    """How to read the comparison, and what differs between its rows."""
    # An older `evaluate` kept neither bootstrap samples nor scores; the ends of the interval came later.
    points = {
        n: m["sets"].get("test", {"engine": {"recall_at_fpr": {}}})["engine"]["recall_at_fpr"]
        for n, m in all_metrics.items()
    }
    older = [SHORT.get(n, n) for n, found in points.items() if "resampled" not in found.get("0.01", {})]
    told = [
        "All models scored the same rows, but where a line says otherwise; each one's point is read from its own ROC curve. Per cent; small or in brackets:"
        " 95 % interval (of recall and threshold together), then phishing rows found / legitimate rows flagged.",
        "Not resolvable is a rate at which fewer than 20 legitimate rows of the set are expected to be flagged; what so"
        " few rows say stands in brackets or small.",
        f"The intervals of {', '.join(older)} are read from 120 points of the ROC curve." if older else "",
        tables.paragraph("Baselines"),
    ]
    return " ".join(filter(None, told))


def _given(all_metrics: Figures) -> str:
    """What the baselines that need no network were given."""
    return "\n".join(
        f"<p class=dim><b>{html.escape(title(name))}</b> was given {t['rows']:,} cleaned rows, the network's"
        f" weights, and {html.escape(t['given'])}. Chosen: {html.escape(json.dumps(t['chosen']))} of"
        f" {t['tried']} tried; {t['seconds']:,} s on one thread, {t['peak_memory_mib']:,} MiB.</p>"
        for name, t in ((name, m["training"]) for name, m in all_metrics.items() if "training" in m)
    )


def _marked(url: str, segments: list[Figures]) -> str:
    """The URL with its segments tinted by contribution."""
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
    """Flagged pages first, then those that no threshold flags; each by falling logit. `list` of a page is shown where
    it has one."""
    rows: list[tuple[str, list[str]]] = []
    flagged = 0
    lists = any("list" in page for page in pages)
    for i, page in enumerate(sorted(pages, key=lambda page: -page["logit"]), 1):
        logit = page["logit"]
        verdict = next((v for v in THRESHOLDS if logit >= limits[v]), "benign")
        flagged += verdict != "benign"
        top = sorted(page["segments"], key=lambda s: -s["contribution"])[:2]
        why = ", ".join(f"<code>{html.escape(s['text'])}</code> {s['contribution']:+.1f}" for s in top)
        cells = [
            str(i),
            f"<span class='badge {verdict}'>{verdict}</span>",
            f"{logit:+.2f}",
            f'<span class="url">{_marked(page["url"], page["segments"])}</span>',
            why,
            *([page["list"]] if lists else []),
        ]
        rows.append(("", cells))
    head = [">", "verdict", ">logit", "page", "what speaks most for phishing", *(["list"] if lists else [])]
    parts = (
        (f"Flagged at <code>phishing</code> or <code>suspicious</code>: {flagged}", rows[:flagged]),
        (f"Not flagged: the {len(rows) - flagged} next in score", rows[flagged:]),
    )
    return "".join(f"<h3>{told}</h3>{_table(head, part)}" for told, part in parts if part)


def worst_pages(m: Figures) -> list[Figures]:
    """The highest-scored pages of both lists together, as many as each list has explained."""
    lists = {"first": m["top_sites"]["worst"], "second": m.get("valid_sites", {}).get("worst", [])}
    pages = [{**page, "list": name} for name, found in lists.items() for page in found]
    return sorted(pages, key=lambda page: -page["logit"])[: len(lists["first"])]


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
        pages.append({"url": url, "logit": float(logits[i]), "segments": evaluate.explain(scorer, url)})
    output.parent.mkdir(parents=True, exist_ok=True)
    head = f'<!doctype html><meta charset="utf-8"><title>{html.escape(scorer.name)}</title><style>{STYLE}</style><main>'
    told = f"<h1>{len(pages)} of {len(rows):,} legitimate rows on the best-known sites</h1><p>Rows of the data: keep it.</p>"
    output.write_text(head + told + _worst(pages, scorer.thresholds) + "</main>\n")
    return len(pages)


def _tiles(m: Figures) -> str:
    test = m["sets"]["test"]["engine"]
    tiles = []
    for rate, told in (("0.01", "1 %"), ("0.001", "0.1 %")):
        point = test["recall_at_fpr"][rate]
        if point["resolvable"]:
            tiles.append((f"{100 * point['recall']:.1f} %", f"recall on test at a false-positive rate of {told}"))
    tiles.append((f"{test['auc']:.4f}", "AUC on test"))
    tiles.append((f"{test['calibration_error']:.3f}", "expected calibration error on test"))
    top = m["top_sites"]["all"]
    counts = " / ".join(f"{top['flagged'][t]:,}" for t in ("phishing", "suspicious"))
    tiles.append((counts, f"of {top['rows']} pages of the best-known sites flagged: phishing / suspicious"))
    return '<div class="tiles">' + "".join(f'<div class="tile"><b>{v}</b>{t}</div>' for v, t in tiles) + "</div>"


def page(all_metrics: dict[str, Figures], main: str, pictures: dict[str, bytes]) -> str:
    """The HTML page; a function of the metrics, the pictures and the goals of `evaluation.toml` alone."""
    m = all_metrics[main]
    targets, crossed, worst = tables.targets(all_metrics), tables.crossed(m), worst_pages(m)
    pages = sum(m[key]["all"]["rows"] for key in tables.LISTS if key in m)

    def sections(found: list[Table]) -> str:
        return "\n".join(_section(table, main) for table in found)

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
{"<h2>Targets</h2>" + _section(targets, main) if targets else ""}
<h2>Against the baselines</h2>
<p>{_code(_told(all_metrics))}</p>
{_given(all_metrics)}
{sections([tables.models(all_metrics), *tables.results(all_metrics, main, full=True)])}
<h2>At the released thresholds</h2>
<p>{_code(THRESHOLD_NOTE)}</p>
{sections([*tables.at_thresholds(all_metrics), tables.hard_negatives(all_metrics), *tables.sites(all_metrics)])}
<h2>Changed URLs</h2>
<p>{CHANGED_NOTE}</p>
{sections([*tables.evasion(all_metrics, main), tables.finds_more(all_metrics, main)])}
<h2>Pictures</h2>
{figures}
{"<h2 id=cross>Sources never seen</h2>" + _section(crossed, main) if crossed else ""}
<h2>The {len(worst)} highest-scored pages of known sites</h2>
<p>Of the {pages:,} hand-written home, sign-in, account, payment, help and content pages of both lists.
{_code(tables.seen_pages(main))}
All are legitimate: what is flagged is a false positive. Red parts push towards phishing, blue ones away;
a part's contribution is the logit's change when the part is masked.</p>
{_worst(worst, m["thresholds"])}
</main></body></html>
"""


def readme(all_metrics: dict[str, Figures], main: str) -> str:
    """Markdown beside the pictures, for reading them in the repository: the main tables."""
    lines = [
        f"# Evaluation of {main}",
        "",
        "Generated by `python -m phishcnn_train report`; do not edit. `index.html` is the whole report in one file.",
        "",
    ]
    targets, crossed = tables.targets(all_metrics), tables.crossed(all_metrics[main])
    if targets:
        lines += ["## Targets", "", *targets.markdown(main)]
    lines += ["## Against the baselines", "", _told(all_metrics), ""]
    for table in [tables.models(all_metrics), *tables.results(all_metrics, main, full=False)]:
        lines += table.markdown(main)
    lines += ["## At the released thresholds", "", THRESHOLD_NOTE, ""]
    found = [*tables.at_thresholds(all_metrics), tables.hard_negatives(all_metrics), *tables.sites(all_metrics)]
    for table in found:
        lines += table.markdown(main)
    if seen := tables.seen_pages(main):
        lines += [seen, ""]
    lines += ["## Changed URLs", "", CHANGED_NOTE, ""]
    for table in [*tables.evasion(all_metrics, main), tables.finds_more(all_metrics, main)]:
        lines += table.markdown(main)
    if crossed:
        lines += ["## Sources never seen", "", *crossed.markdown(main)]
    lines += ["## Pictures"]
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
