"""What the report tells in tables: all models and baselines beside each other, from the metrics JSONs. A figure that
a JSON does not hold is `not measured` or `not resolvable` in its cell."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from .metrics import BASE_RATES, FPRS, difference, share
from .pictures import SETS, called
from .plan import PLAN
from .plan import read as read_plan
from .typed import Figures

DATA = Path(__file__).resolve().parents[1] / "DATA.md"
THRESHOLDS = ("phishing", "suspicious")
HARD = ("login", "bank_pay", "login or bank_pay")  # tags of legitimate rows
CHANGED_AT = {  # key of the counts: what it is called
    **{t: f"`{t}`" for t in THRESHOLDS},
    "fpr_0.01": "FPR 1 % of the unchanged rows",
    "fpr_0.001": "FPR 0.1 % of the unchanged rows",
}
SHORT = {
    "phishcnn-compact": "compact",
    "phishcnn-large": "large",
    "dephides-retrained": "DEPHIDES retrained",
    "dephides-published": "DEPHIDES published",
    "ngrams": "n-grams",
}
Cell: TypeAlias = str | tuple[str, str]  # a figure, and what stands small below it
NOT_MEASURED: Cell = "not measured"
NOT_RESOLVABLE = "not resolvable"


@dataclass(frozen=True)
class Table:
    title: str
    told: str  # what it shows; Markdown, with `code` and no other mark-up
    head: list[str]
    rows: list[tuple[str, list[Cell]]]  # (model that the row is of or "", cells)

    def markdown(self, main: str) -> list[str]:
        """Lines of a section; what stands small below a figure follows in brackets."""
        lines = [f"### {self.title}", "", *([self.told, ""] if self.told else [])]
        if not self.rows:
            return lines
        lines += ["| " + " | ".join(self.head) + " |", "|---" * len(self.head) + "|"]
        for of, cells in self.rows:
            shown = [c if isinstance(c, str) else f"{c[0]} ({c[1]})" for c in cells]
            shown[0] = f"**{shown[0]}**" if of == main else shown[0]
            lines.append("| " + " | ".join(shown) + " |")
        return [*lines, ""]


def paragraph(begins: str) -> str:
    """The paragraph of DATA.md with these first words, in one line; "" where there is none."""
    paragraphs = (" ".join(p.split()) for p in DATA.read_text().split("\n\n"))
    return next((p for p in paragraphs if p.startswith(begins)), "")


def seen_pages(name: str) -> str:
    """What DATA.md says that a model and its teachers had seen of the best-known sites' pages; "" of other models."""
    told = paragraph("Pages of the best-known sites")
    return told if f"`{name}`" in told else ""


def title(name: str) -> str:
    """What a model is called, and the day of the rows that it learned from where DATA.md gives one."""
    told = paragraph("Baselines")
    day = re.search(r"\d{4}-\d\d-\d\d", told)
    return f"{called(name)}; rows of {day[0]}" if day and f"`{name}`" in told else called(name)


def span(low: float, high: float, digits: int = 1) -> str:
    """Both ends of an interval of a share, in per cent."""
    return f"{100 * low:.{digits}f}–{100 * high:.{digits}f}"


def recall(point: Figures | None) -> Cell:
    """Recall at a false-positive rate, in per cent; small: interval, phishing found / legitimate rows flagged."""
    few = point.get("indicative") if point else None
    at = point if point and point.get("resolvable") else few
    if not at:
        return NOT_RESOLVABLE if point else NOT_MEASURED
    told = f"{span(at['low'], at['high'])}; {at['tp']:,} / {at['fp']:,}"
    figure = f"{100 * at['recall']:.1f}"
    return (NOT_RESOLVABLE, f"{figure}, {told}") if few else (figure, told)


def precision(point: Figures | None, base: str) -> Cell:
    """Precision at a ROC point where phishing has that base rate, in per cent; small: interval."""
    if not point or not point.get("resolvable"):
        return NOT_RESOLVABLE if point else NOT_MEASURED
    at = point.get("precision", {}).get(base)
    if not at or at["precision"] is None:
        return NOT_MEASURED
    return f"{100 * at['precision']:.1f}", span(at["low"], at["high"])


def part(hits: int, rows: int) -> Cell:
    """A share in per cent; small: interval and counts. – of nothing."""
    found = share(hits, rows)
    return (
        (f"{100 * hits / rows:.2f}", f"{span(found['low'], found['high'], 2)}; {hits:,} of {rows:,}") if rows else "–"
    )


def models(all_metrics: Figures) -> Table:
    rows: list[tuple[str, list[Cell]]] = []
    for name, m in all_metrics.items():
        cost = m.get("cost", {})
        counts = [
            f"{cost[k]:,}" if k in cost else NOT_MEASURED for k in ("parameters", "file_bytes", "multiply_adds_64")
        ]
        rows.append((name, [title(name), m.get("version", "–"), *counts]))
    told = "Parameters are the numbers in the model file; of an int8 model its scales are among them."
    return Table(
        "The models", told, ["model", "version", "parameters", "bytes of file", "multiply-adds, 64 tokens"], rows
    )


def results(all_metrics: Figures, main: str, full: bool) -> list[Table]:
    """A table for each set of the main model; full: with precision, too."""
    tables = []
    for key, own in all_metrics[main]["sets"].items():
        rows: list[tuple[str, list[Cell]]] = []
        for name, m in all_metrics.items():
            entry = m["sets"].get(key)
            engine = entry["engine"] if entry else {"auc": None, "recall_at_fpr": {}}
            points = engine["recall_at_fpr"]
            other = "" if not entry or entry["sha256"] == own["sha256"] else " (other rows)"
            cells: list[Cell] = [title(name) + other, "–" if engine["auc"] is None else f"{engine['auc']:.4f}"]
            cells += [recall(points.get(rate)) for rate in FPRS]
            cells += [precision(points.get("0.001"), base) for base in BASE_RATES if full]
            rows.append((name, cells))
        head = ["model", "AUC", *(f"recall at FPR {100 * rate:g} %" for rate in FPRS.values())]
        head += [f"precision at FPR 0.1 %, {base}" for base in BASE_RATES if full]
        counts = own["engine"]
        told = f"{counts['phishing_rows']:,} phishing and {counts['legitimate_rows']:,} legitimate rows."
        tables.append((key, Table(f"On {SETS.get(key, key)}", told, head, rows)))
    order = list(SETS)
    return [t for _, t in sorted(tables, key=lambda kv: order.index(kv[0]) if kv[0] in order else len(order))]


def at_thresholds(all_metrics: Figures) -> list[Table]:
    """A table for each threshold: recall, false positives, hard negatives and pages of the best-known sites."""
    tables = []
    for threshold in THRESHOLDS:
        rows: list[tuple[str, list[Cell]]] = []
        for name, m in all_metrics.items():
            cells: list[Cell] = [title(name)]
            test = m["sets"].get("test")
            c = test["engine"]["confusion"][threshold] if test else None
            cells += [part(c[a], c[a] + c[b]) if c else NOT_MEASURED for a, b in (("tp", "fn"), ("fp", "tn"))]
            tags = test["slices"].get("tag", {}) if test else {}
            hard = [tags.get(tag) for tag in HARD]
            cells += [part(h["flagged"][threshold], h["legitimate_rows"]) if h else NOT_MEASURED for h in hard]
            sites = [m.get(key, {}).get("all") for key in ("top_sites", "valid_sites")]
            cells += [part(c["flagged"][threshold], c["rows"]) if c else NOT_MEASURED for c in sites]
            rows.append((name, cells))
        head = ["model", "phishing found", "legitimate rows flagged", *(f"`{tag}` rows flagged" for tag in HARD)]
        head += ["best-known sites' pages flagged", "pages of the second list flagged"]
        tables.append(Table(f"At each model's own threshold `{threshold}`", "", head, rows))
    return tables


def single(m: Figures) -> bool:
    """Whether a model has one threshold for both verdicts: its own, not one for a false-positive rate."""
    return len(set(m["thresholds"].values())) == 1


LISTS = {  # key of the metrics: what the list is, and what is to be known of it
    "top_sites": (
        "Pages of the best-known sites, flagged",
        "`fixtures/top_sites.tsv`: made-up pages of training were worked out with an eye on it.",
    ),
    "valid_sites": (
        "Pages of the second list, flagged",
        "`fixtures/valid_sites.tsv`: sign-in pages above all, written without sight of the first list; by it choices are made.",
    ),
}


def sites(all_metrics: Figures) -> list[Table]:
    """For each list, its pages by kind, and by what `known_sites.txt` lists."""
    found = []
    for key, (name_of, about) in LISTS.items():
        kinds = sorted({k for m in all_metrics.values() for k in m.get(key, {}).get("kind", {})})
        columns = [*(("kind", kind) for kind in kinds), ("domain", "listed"), ("domain", "not listed")]
        rows: list[tuple[str, list[Cell]]] = []
        for name, m in all_metrics.items():
            cells: list[Cell] = [title(name)]
            for field, value in columns:
                c = m.get(key, {}).get(field, {}).get(value)
                flagged = " / ".join(f"{c['flagged'][t]:,}" for t in THRESHOLDS) if c else ""
                cells.append((flagged, f"of {c['rows']:,}") if c else NOT_MEASURED)
            rows.append((name, cells))
        told = f"{about} At `phishing` / `suspicious`, by kind and by whether `known_sites.txt` lists the domain."
        head = ["model", *(f"domain {value}" if field == "domain" else value for field, value in columns)]
        found.append(Table(name_of, told, head, rows))
    return found


PAGES = {"top_sites": "best-known sites' pages", "valid_sites": "second list's pages"}


def targets(all_metrics: Figures, plan: Path = PLAN) -> Table | None:
    """Floor, goal and what was reached, of the models that the plan has floors for; None where it has none of them."""
    rules = read_plan(plan)
    goals, limits = rules.get("goals", {}), rules["gate"]["limits"]
    models = [name for name in all_metrics if name in limits]
    if not models:
        return None
    rows: list[tuple[str, list[Cell]]] = []
    for key, wanted in goals.get("recall", {}).items():
        for rate, goal, which in zip(("0.01", "0.001"), wanted, (0, 1), strict=True):
            cells: list[Cell] = [f"{SETS.get(key, key)}: recall at FPR {100 * FPRS[rate]:g} %", f"{100 * goal:g}"]
            for name in models:
                floor = limits[name].get("recall", {}).get(key, [0, 0])[which]
                point = all_metrics[name]["sets"].get(key, {"engine": {"recall_at_fpr": {}}})["engine"]["recall_at_fpr"]
                cells += [f"{100 * floor:g}", _judged(point.get(rate), floor, goal)]
            rows.append(("", cells))
    gate, wanted = rules["gate"], goals.get("flagged", {})
    for what in dict.fromkeys([*gate["flagged"], *wanted, *gate["sites"]]):
        for threshold, which in zip(THRESHOLDS, (0, 1), strict=True):
            # The gate's limits are shares of tagged rows, but numbers of pages; goals are shares.
            share_of_tag = gate["flagged"][what][which] if what in gate["flagged"] else None
            pages = gate["sites"][what][which] if what in gate["sites"] else None
            goal = wanted[what][which] if what in wanted else share_of_tag
            floor = _most(share_of_tag) if pages is None else f"at most {pages} page{'s' * (pages != 1)}"
            cells = [f"{PAGES.get(what, f'`{what}` rows of test')} flagged at `{threshold}`", _most(goal)]
            for name in models:
                m = all_metrics[name]
                tags = m["sets"].get("test", {}).get("slices", {}).get("tag", {})
                c = m.get(what, {}).get("all") if what in PAGES else tags.get(what)
                if not c:
                    cells += [floor, NOT_MEASURED]
                    continue
                hits, of = c["flagged"][threshold], c["rows" if what in PAGES else "legitimate_rows"]
                least = pages if share_of_tag is None else share_of_tag * of
                said = _said(
                    {
                        "floor": None if least is None else hits <= least,
                        "goal": None if goal is None else hits <= goal * of,
                    }
                )
                cells += [floor, (f"{100 * hits / of:.2f}", f"{said}; {hits:,} of {of:,}")]
            rows.append(("", cells))
    head = ["what", "goal"] + [f"{SHORT.get(name, name)}{what}" for name in models for what in (": floor", "")]
    told = "Per cent. Floors refuse a release (`evaluation.toml`); goals, there too, refuse nothing."
    return Table("Floors and goals", told, head, rows)


def _judged(point: Figures | None, floor: float, goal: float) -> Cell:
    """Recall at a false-positive rate, in per cent; small: whether floor and goal are reached."""
    if not point or not point.get("resolvable"):
        return NOT_RESOLVABLE if point else NOT_MEASURED
    return f"{100 * point['recall']:.1f}", _said({"floor": point["recall"] >= floor, "goal": point["recall"] >= goal})


def _said(reached: dict[str, bool | None]) -> str:
    return ", ".join(f"{what} {'reached' if ok else 'not reached'}" for what, ok in reached.items() if ok is not None)


def _most(bound: float | None) -> str:
    return "–" if bound is None else f"at most {100 * bound:g}" if bound else "none"


def hard_negatives(all_metrics: Figures) -> Table:
    """AUC and recall of the phishing rows of test against its hard negatives alone."""
    rows: list[tuple[str, list[Cell]]] = []
    for name, m in all_metrics.items():
        found = m["sets"].get("test", {}).get("hard_negatives")
        cells: list[Cell] = [recall(found["recall_at_fpr"].get(rate) if found else None) for rate in FPRS]
        rows.append((name, [title(name), f"{found['auc']:.4f}" if found else NOT_MEASURED, *cells]))
    head = ["model", "AUC", *(f"recall at FPR {100 * rate:g} %" for rate in FPRS.values())]
    told = (
        "The phishing rows of `test` against its `login or bank_pay` rows alone: the false-positive rate is of those."
    )
    return measured(Table("Against hard negatives", told, head, rows))


def measured(table: Table) -> Table:
    """The table, or one sentence instead of its rows where no model was measured so."""
    if any(cell != NOT_MEASURED for _, cells in table.rows for cell in cells[1:]):
        return table
    return replace(table, told=f"{table.told} Not measured yet for any of these models.".strip(), rows=[])


def same_rows(one: Figures, other: Figures) -> bool:
    """Whether two counts are of the same changed URLs, by their digests or, where one has none, by their number."""
    digests = {c["sha256"] for c in (one, other) if "sha256" in c}
    return one["rows"] == other["rows"] and len(digests) < 2


def evasion(all_metrics: Figures, main: str) -> list[Table]:
    """A table for each class and threshold: share flagged before and after each change, a column per model; and one for
    the AUC of changed phishing."""
    found = []
    for side, what in (("phishing", "phishing found"), ("legitimate", "legitimate rows flagged")):
        for threshold, at in CHANGED_AT.items():
            found.append(_by_change(all_metrics, main, side, f"Changed URLs at {at}: {what}", threshold))
    found.append(_by_change(all_metrics, main, "phishing", "Changed URLs: AUC of phishing", "auc"))
    return found if all_metrics[main].get("evasion") else []


def _by_change(all_metrics: Figures, main: str, side: str, name_of: str, key: str) -> Table:
    rows: list[tuple[str, list[Cell]]] = []
    for change, counts in all_metrics[main].get("evasion", {}).get(side, {}).items():
        cells: list[Cell] = [(change, f"{counts['rows']:,} rows")]
        for m in all_metrics.values():
            c = m.get("evasion", {}).get(side, {}).get(change, {})
            if key not in c:
                cells.append(NOT_MEASURED)
            elif not same_rows(c, counts):
                cells.append("other rows")
            else:
                cells.append(_areas(c["auc"]) if key == "auc" else before_after(c, key))
        rows.append(("", cells))
    told = ""
    if key == "auc":
        told = (
            "Before → after the change, against unchanged legitimate rows; small or in brackets: after it, against"
            " legitimate rows that were changed likewise."
        )
    return measured(Table(name_of, told, ["change", *(SHORT.get(name, name) for name in all_metrics)], rows))


def _areas(auc: Figures) -> Cell:
    before, after, both = ("–" if auc.get(k) is None else f"{auc[k]:.4f}" for k in ("before", "after", "both_changed"))
    return f"{before} → {after}", both


def before_after(c: Figures, threshold: str) -> Cell:
    """Share flagged before → after a change, in per cent; small: interval after it."""
    if not c["rows"]:
        return "–"
    before, after = (f"{100 * c[threshold][k] / c['rows']:.1f}" for k in ("before", "after"))
    found = share(c[threshold]["after"], c["rows"])
    return f"{before} → {after}", span(found["low"], found["high"])


def finds_more(all_metrics: Figures, main: str) -> Table:
    """Changes behind which another model finds more phishing, beyond the 95 % interval of the difference."""
    rows: list[tuple[str, list[Cell]]] = []
    ours = all_metrics[main].get("evasion", {"phishing": {}, "legitimate": {}})
    others = {name: m for name, m in all_metrics.items() if name != main and "evasion" in m and not single(m)}
    for change, own in ours["phishing"].items():
        for threshold in THRESHOLDS:
            for name, m in others.items():
                c = m["evasion"]["phishing"].get(change)
                if not c or not c["rows"] or not same_rows(c, own):
                    continue
                found, our = (share(k[threshold]["after"], k["rows"]) for k in (c, own))
                if difference(found, our)[0] <= 0:
                    continue
                flagged = [e["legitimate"].get(change) for e in (m["evasion"], ours)]
                prices = [f"{100 * f[threshold]['after'] / f['rows']:.1f}" if f and f["rows"] else "–" for f in flagged]
                cells: list[Cell] = [change, f"`{threshold}`", title(name)]
                cells += [f"{100 * f['hits'] / f['rows']:.1f}" for f in (found, our)]
                rows.append((name, [*cells, *prices]))
    by = ("by it", f"by {SHORT.get(main, main)}")
    head = ["change", "at", "model", *(f"phishing found {it}" for it in by)]
    head += [f"legitimate rows so changed flagged {it}" for it in by]
    told = "Each model at its own thresholds, in per cent; where the difference is beyond its 95 % interval. –: no legitimate rows are so changed."
    for name, m in all_metrics.items():
        if single(m) and "test" in m["sets"]:
            c = m["sets"]["test"]["engine"]["confusion"]["phishing"]
            flagged = 100 * c["fp"] / max(c["fp"] + c["tn"], 1)
            told += f" {called(name)} are left out: their one threshold flags {flagged:.0f} % of the legitimate rows of `test`."
    return Table("Where another model finds more", told, head, rows)


def crossed(m: Figures) -> Table | None:
    """The cross-source test, where it was run."""
    found = m.get("cross_source")
    if not found:
        return None
    control = next((run for run in found["runs"] if run["left_out"] is None), None)
    rows: list[tuple[str, list[Cell]]] = []
    for run in found["runs"]:
        source = run["left_out"]
        cells: list[Cell] = [source or "nothing (control)", run["class"] or "–", f"{run['train_rows']:,}"]
        cells += [recall(run["test"]["recall_at_fpr"].get(rate)) for rate in ("0.01", "0.001")]
        own = [r["held"][source] if r and source else None for r in (run, control)]
        for rate in ("0.01", "0.001"):
            cells += [part(c[rate]["hits"], c[rate]["rows"]) if c else "–" for c in own]
        aucs = ["–" if not c else NOT_MEASURED if c.get("auc") is None else f"{c['auc']:.4f}" for c in own]
        rows.append(("", [*cells, *aucs]))
    head = ["source left out", "class", "training rows", "test: recall at FPR 1 %", "test: at 0.1 %"]
    head += [f"its own rows {at}, {who}" for at in ("at 1 %", "at 0.1 %", "AUC") for who in ("left out", "control")]
    told = found["what"]
    if found.get("version") != m["version"]:
        told += f" The network is that of version {found.get('version', '(unknown)')}; it was not measured again since."
    return Table("Sources left out", told, head, rows)
