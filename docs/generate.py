"""Fills in what README and the docs quote: figures from the models' metrics, output and help of the binary,
the HTTP and C references from the OpenAPI document and the header, vectors from the oracle's.

python docs/generate.py          rewrite the blocks (<!-- name --> … <!-- /name -->) and the generated pages
python docs/generate.py --check  fail if one is not what it should be
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import architecture

ROOT = Path(__file__).resolve().parents[1]
BINARY = Path(os.environ.get("PHISHCNN_BINARY", ROOT / "target/release/phishcnn"))
EMBEDDED = "phishcnn-compact"
THRESHOLDS = ("phishing", "suspicious")
URLS = [
    "https://en.wikipedia.org/wiki/Phishing",
    "https://accounts.google.com/signin/v2/identifier?service=mail",
    "http://paypal.com.secure-login.account-verify.ru/webscr?cmd=_login",
]
SETS = {
    "test": "test",
    "test_unseen": "test, unseen domains",
    "test_domains": "unseen domains, before the cut-off",
    "cross_openphish": "another feed",
}


def rows_of(name: str) -> str:
    """The words "the project's rows", and of which day where the baselines' paragraph of weights/DATA.md names the model."""
    told = re.findall(r"^Baselines: .*?(?=\n\n|\Z)", (ROOT / "weights/DATA.md").read_text(), re.M | re.S)
    days = [re.findall(r"\d{4}-\d\d-\d\d", text)[0] for text in told if f"`{name}`" in text]
    return " of ".join(["the project's rows", *days])


MODELS = {
    f"models/{EMBEDDED}": f"**`{EMBEDDED}`** (embedded)",
    "models/phishcnn-large": "`phishcnn-large`, for servers",
    "models/dephides-retrained": f"`dephides-retrained`: the published architecture, retrained on 120,000 of {rows_of('dephides-retrained')}",
    "baselines/ngrams": f"hashed 2–5-grams + logistic regression, on {rows_of('ngrams')}",
    "baselines/trees": f"boosted trees on lexical features, on {rows_of('trees')}",
    "baselines/dephides-published": "the published weights as they are",
}
Json = dict[str, Any]


@cache
def metrics(name: str = f"models/{EMBEDDED}") -> Json:
    path = ROOT / "weights" / f"{name}.metrics.json"
    return json.loads(path.read_text()) if path.exists() else {}


def environment() -> dict[str, str]:
    """What the product's programs are started with: no setting of the shell (PHISHCNN_*) may change what is quoted."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PHISHCNN_")}
    return {**kept, "COLUMNS": "100", "NO_COLOR": "1"}


def binary(*arguments: str | Path) -> str:
    command = [BINARY, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment()).stdout


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]).replace(
        "| " + " | ".join(["---"] * len(head)) + " |", "|---" * len(head) + "|"
    )


def fence(text: str, language: str) -> str:
    return f"```{language}\n{text}\n```"


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %"


# README


def recall(name: str, key: str) -> list[str]:
    """Recall at FPR 1 % and 0.1 %, in per cent."""
    reported = metrics(name)["sets"]
    if key not in reported:
        return []
    points = [reported[key]["engine"]["recall_at_fpr"][f] for f in ("0.01", "0.001")]
    return [f"{100 * p['recall']:.1f}" if p["resolvable"] else "not resolvable" for p in points]


def results() -> str:
    """Recall at FPR 1 % / 0.1 % of each model on each set, in per cent."""
    rows: list[list[str]] = []
    counts: dict[str, tuple[int, int]] = {}
    for name, title in MODELS.items():
        if not metrics(name):
            continue
        rows.append([title, *(" / ".join(recall(name, key)) or "–" for key in SETS)])
        for key, reported in metrics(name)["sets"].items():
            counts.setdefault(key, (reported["engine"]["phishing_rows"], reported["engine"]["legitimate_rows"]))
    rows.append(["phishing / legitimate rows of the set", *(f"{counts[k][0]:,} / {counts[k][1]:,}" for k in SETS)])
    return table(["recall at FPR 1 % / 0.1 %", *SETS.values()], rows)


def released() -> str:
    """What the embedded model's own thresholds give on test and on the pages of known sites."""
    test, top, second = metrics()["sets"]["test"], metrics()["top_sites"], metrics()["valid_sites"]
    told = []
    for name in THRESHOLDS:
        c = test["engine"]["confusion"][name]
        found, fpr = c["tp"] / (c["tp"] + c["fn"]), c["fp"] / (c["fp"] + c["tn"])
        told.append(
            f"`{name}` finds {100 * found:.1f} % of the phishing rows and flags {100 * fpr:.2f} % of the others"
        )
    hard = test["slices"]["tag"]["login or bank_pay"]
    rows = [f"{100 * hard['flagged'][t] / hard['legitimate_rows']:.1f} %" for t in THRESHOLDS]
    return (
        f"At the released thresholds, on `test`: {told[0]}; {told[1]}; of the legitimate sign-in and bank rows {rows[0]} and"
        f" {rows[1]}. Of {top['all']['rows']} home, sign-in and other pages of the best-known sites they flag"
        f" {flagged(top['all'])}: {by_domain(top)}. Of {second['all']['rows']} pages, sign-in pages above all, of"
        " [a second list](weights/fixtures/valid_sites.tsv) that was written without sight of the first they flag"
        f" {flagged(second['all'])}: {by_domain(second)}. Training made other pages of the domains that"
        " [known_sites.txt](weights/known_sites.txt) lists: of a site that it does not list expect the latter figures."
    )


def flagged(c: Json) -> str:
    return " / ".join(str(c["flagged"][t]) for t in THRESHOLDS)


def by_domain(pages: Json) -> str:
    listed, rest = pages["domain"]["listed"], pages["domain"]["not listed"]
    return (
        f"{flagged(listed)} of the {listed['rows']} on listed domains, {flagged(rest)} of the {rest['rows']} on others"
    )


def scores() -> str:
    lines = [line.rstrip() for line in binary("score", *URLS).splitlines()]
    command = "$ cargo run --release -- score " + " \\\n    ".join(f"'{url}'" for url in URLS)
    return fence("\n".join([command, *lines]), "console")


def answer() -> str:
    request = json.dumps({"url": URLS[0]})
    said = binary("score", "--format", "ndjson", URLS[0]).strip()
    return fence(f"$ curl -s http://127.0.0.1:8000/v1/score -d '{request}'\n{said}", "console")


def share_before_after(kind: str, change: str, threshold: str = "phishing") -> str:
    c = metrics()["evasion"][kind][change]
    before, after = (percent(c[threshold][when], c["rows"]) for when in ("before", "after"))
    return f"{before} → {after}"


def from_to(kind: str, change: str) -> str:
    return "from " + share_before_after(kind, change).replace("→", "to")


def after(name: str, change: str) -> str:
    """Phishing that a model finds behind a change, at `phishing` and at `suspicious`."""
    c = metrics(f"models/{name}")["evasion"]["phishing"][change]
    return " / ".join(percent(c[t]["after"], c["rows"]) for t in THRESHOLDS)


def large() -> str:
    """What the large model finds behind changes, beside the embedded one."""
    told = [
        f"{what} {after('phishcnn-large', change)} (the embedded one {after(EMBEDDED, change)})"
        for what, change in (
            ("behind a redirect", "URL in query"),
            ("behind a padded path", "path padded"),
            ("behind a padded query", "query padded"),
        )
    ]
    return f"at `phishing` / `suspicious`, `phishcnn-large` finds {', '.join(told[:-1])} and {told[-1]}"


def padding() -> str:
    """What of the phishing found is still found behind padding."""
    told = []
    for change, what in (
        ("path padded", "a padded path"),
        ("query padded", "a padded query"),
        ("URL in query", "a redirect"),
    ):
        c = metrics()["evasion"]["phishing"][change]
        told.append(
            f"{100 * (c['phishing']['before'] - c['phishing']['lost']) / c['phishing']['before']:.0f} % behind {what}"
        )
    return f"of what `phishing` finds it still finds {', '.join(told[:-1])} and {told[-1]}"


def rewritten(names: Sequence[str] = (EMBEDDED,)) -> str:
    """What the thresholds make of links that mail and chat programs rewrote."""
    told = []
    for name in names:
        sides = [metrics(f"models/{name}")["evasion"][side]["URL in query"] for side in ("legitimate", "phishing")]
        flagged, caught = (" / ".join(percent(c[t]["after"], c["rows"]) for t in THRESHOLDS) for c in sides)
        told.append(f"{flagged} of the legitimate and {caught} of the phishing ones (`{name}`)")
    return f"behind a link rewriter `phishing` / `suspicious` flag {', '.join(told)}"


def limits() -> str:
    """What evasion and age cost, in a sentence each."""
    months = metrics()["sets"]["cross_openphish"]["slices"]["month"]
    full = {m: c for m, c in months.items() if c["phishing_rows"] >= 1000}
    by_month = {m: c["caught"]["phishing"] / c["phishing_rows"] for m, c in full.items()}
    until = metrics()["trained_until"]
    inside = [v for m, v in by_month.items() if m <= until]
    outside = [v for m, v in by_month.items() if m > until]
    precision = 1000 / (1 + 999 * fpr() / found()) / 10
    return (
        f"- **An attacker who knows it passes.** A long harmless path takes what `phishing` finds"
        f" {from_to('phishing', 'path padded')}, a redirect in front {from_to('phishing', 'URL in query')}"
        f" ([evasion](docs/evasion.md)).\n"
        f"- **A rewritten link is judged by its front**, such as Safe Links': {rewritten()}. Take it apart first"
        f" ([how](docs/evasion.md#links-that-programs-rewrite)).\n"
        f"- **It ages**, and only {len(outside)} months of it are measured: trained on phishing until {until}, `phishing`"
        f" finds {100 * sum(inside) / len(inside):.0f} % of another feed in the months until then,"
        f" {100 * sum(outside) / len(outside):.0f} % after (means of months). By the project's own limit of twelve months"
        f" (`phishcnn_train staleness`) it is too old; newer rows were not there. Expect less with every month ([by month](docs/evasion.md#age)).\n"
        f"- **Rare phishing means false alarms.** If 1 URL in 1,000 is phishing, {precision:.0f} % of what `phishing` flags is."
    )


def fpr() -> float:
    c = metrics()["sets"]["test"]["engine"]["confusion"]["phishing"]
    return float(c["fp"] / (c["fp"] + c["tn"]))


def found() -> float:
    c = metrics()["sets"]["test"]["engine"]["confusion"]["phishing"]
    return float(c["tp"] / (c["tp"] + c["fn"]))


# Pages


def errors() -> str:
    """Numbers and texts as the C header has them, which is made from the core."""
    header = (ROOT / "ffi/include/phishcnn.h").read_text()
    found = re.findall(r"PHISHCNN_\w+ = (\d{3}), /\* (.*?) \*/", header)
    return table(["number", "meaning"], [[number, text] for number, text in found])


def vectors() -> str:
    """Canonical form and parts, for what fits a line."""
    lines = []
    for vector in json.loads((ROOT / "core/tests/vectors/url-bytes.json").read_text())["vectors"]:
        if "repeat" in vector:
            continue
        url = bytes.fromhex(vector["url_hex"]) if "url_hex" in vector else vector["url"].encode()
        if "error" in vector:
            lines.append(f"{shown(url)}\n  error {vector['error']}")
        elif vector["canonical_length"] <= 90:
            lines.append(f"{shown(url)}\n  {shown(bytes.fromhex(vector['canonical_hex']))}\n  {vector['parts'] or '-'}")
    return fence("\n".join(lines), "text")


def shown(text: bytes) -> str:
    """In quotes, so that a person reads every byte."""
    try:
        return json.dumps(text.decode())
    except UnicodeDecodeError:
        return '"' + "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\x{b:02x}" for b in text) + '"'


def changes(kind: str) -> str:
    rows = [
        [change, f"{c['rows']:,}", share_before_after(kind, change), share_before_after(kind, change, "suspicious")]
        for change, c in sorted(metrics()["evasion"][kind].items())
    ]
    return table(["change", "rows", "at `phishing`", "at `suspicious`"], rows)


def months() -> str:
    rows = []
    sets = metrics()["sets"]
    for month in sorted({m for key in ("cross_openphish", "test") for m in sets[key]["slices"]["month"]}):
        cells = []
        for key in ("cross_openphish", "test"):
            c = sets[key]["slices"]["month"].get(month, {"phishing_rows": 0})
            n = c["phishing_rows"]
            cells += (
                [f"{n:,}", f"{percent(c['caught']['phishing'], n)} / {percent(c['caught']['suspicious'], n)}"]
                if n
                else ["", ""]
            )
        rows.append([month, *cells])
    return table(
        ["month", "rows of another feed", "`phishing` / `suspicious`", "rows of `test`", "`phishing` / `suspicious`"],
        rows,
    )


def help_texts() -> str:
    told = []
    for words in (
        ["score"],
        ["explain"],
        ["eval"],
        ["model", "info"],
        ["model", "check"],
        ["feedback", "import"],
        ["feedback", "export"],
        ["serve"],
    ):
        text = "\n".join(line.rstrip() for line in binary(*words, "--help").strip().splitlines())
        told.append(f"### phishcnn {' '.join(words)}\n\n{fence(text, 'text')}")
    return "\n\n".join(told)


def openapi() -> Json:
    """As a running service hands it out."""
    command = [str(BINARY), "serve", "--listen", "127.0.0.1:0", "--feedback", "none"]
    service = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment())
    try:
        assert service.stderr
        for line in service.stderr:
            if address := re.search(r"on (http://127\.0\.0\.1:\d+)", line):
                with urllib.request.urlopen(f"{address[1]}/openapi.json") as answer:
                    document: Json = json.load(answer)
                    return document
        sys.exit("the service did not start")
    finally:
        service.terminate()
        service.wait()


def http_reference() -> str:
    document = openapi()
    schemas = document["components"]["schemas"]
    lines = [
        "# HTTP reference",
        "",
        "Generated by `docs/generate.py` from the service's OpenAPI document (`GET /openapi.json`); do not edit.",
        "The [guide](../server/README.md) has the other routes: the page, probes, metrics, the Open Inference Protocol.",
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            lines += ["", f"## {method.upper()} {path}", "", text_of(operation.get("summary")), ""]
            if operation.get("description"):
                lines += [text_of(operation["description"]), ""]
            for kind, body in operation.get("requestBody", {}).get("content", {}).items():
                lines += [f"Body, `{kind}`: {type_of(body.get('schema', {})) or 'lines'}", ""]
            rows = []
            for status, response in operation["responses"].items():
                kinds = [f"`{k}`: {type_of(c.get('schema', {}))}" for k, c in response.get("content", {}).items()]
                rows.append([status, cell(response.get("description", "")), "; ".join(kinds)])
            lines.append(table(["status", "when", "body"], rows))
    lines += ["", "## Types"]
    for name, schema in schemas.items():
        lines += ["", f"### {name}", ""]
        if schema.get("description"):
            lines += [text_of(schema["description"]), ""]
        fields = properties(schema)
        if fields:
            required = schema.get("required", [])
            rows = [
                [
                    f"`{key}`" + ("" if key in required else " (may be absent)"),
                    type_of(s),
                    cell(s.get("description", "")),
                ]
                for key, s in fields.items()
            ]
            lines.append(table(["field", "type", "what"], rows))
        else:
            lines.append(type_of(schema) or "Anything.")
    return "\n".join(lines) + "\n"


def properties(schema: Json) -> Json:
    found: Json = dict(schema.get("properties", {}))
    for part in schema.get("allOf", []):
        found |= properties(part)
    return found


def type_of(schema: Json) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    for key in ("oneOf", "anyOf", "allOf"):
        if key in schema:
            return " or ".join(type_of(s) for s in schema[key])
    kind = schema.get("type", "")
    if kind == "array":
        return f"list of {type_of(schema.get('items', {})) or 'anything'}"
    kinds = " or ".join(kind) if isinstance(kind, list) else str(kind)
    values = ", ".join(f"`{json.dumps(v, ensure_ascii=False)}`" for v in schema.get("enum", []))
    return f"{kinds}: {values}" if values else kinds


def text_of(text: str | None) -> str:
    return "\n".join(line.rstrip() for line in (text or "").strip().splitlines())


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def c_reference() -> str:
    """Functions, types and numbers of the header, with its own words."""
    header = (ROOT / "ffi/include/phishcnn.h").read_text()
    about = re.search(r"Conventions:\n(.*?)\*/", header, re.S)
    assert about
    conventions = re.sub(r"^ \*( ?)", "", about[1], flags=re.M)
    conventions = re.sub(r"\n    ", " ", conventions)
    lines = [
        "# C reference",
        "",
        "Generated by `docs/generate.py` from [`phishcnn.h`](../ffi/include/phishcnn.h); do not edit. The",
        "[guide](../ffi/README.md) shows how to use it.",
        "",
        "## Conventions",
        "",
        "\n".join(line.strip().replace("- ", "- ", 1) for line in conventions.strip().splitlines()),
    ]
    items = re.findall(
        r"/\*\*\n(.*?) \*/\n((?:typedef struct.*?\} \w+|[^;]*?\)|typedef [^;{]*|#define [^\n]*));?\n", header, re.S
    )
    for title, wanted in (("Functions", "("), ("Types", "typedef"), ("Constants", "#define")):
        lines += ["", f"## {title}"]
        for comment, code in items:
            kind = "#define" if code.startswith("#define") else "typedef" if code.startswith("typedef") else "("
            if kind != wanted:
                continue
            name = (
                re.search(r"(phishcnn_\w+)\(", code)
                if kind == "("
                else re.search(r"(PHISHCNN_\w+|phishcnn_\w+)$", code) or re.search(r"(PHISHCNN_\w+)", code)
            )
            if not name:
                continue
            text = re.sub(r"^ \* ?", "", comment, flags=re.M).strip()
            ending = "" if kind == "#define" else ";"
            lines += ["", f"### {name[1]}", "", fence(code.strip() + ending, "c"), "", fence(text, "text")]
    lines += ["", "## Statuses", "", errors()]
    return "\n".join(lines) + "\n"


BLOCKS: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {
        "results": results,
        "released": released,
        "scores": scores,
        "answer": answer,
        "limits": limits,
        "large": large,
    },
    "docs/concepts.md": {"errors": errors},
    "docs/preprocessing.md": {"vectors": vectors},
    "docs/evasion.md": {
        "evasion": lambda: changes("phishing"),
        "padding": padding,
        "large": large,
        "rewritten": lambda: rewritten((EMBEDDED, "phishcnn-large")),
        "honest": lambda: changes("legitimate"),
        "months": months,
        "until": lambda: str(metrics()["trained_until"]),
    },
    "docs/migration.md": {
        "published": lambda: recall("baselines/dephides-published", "test")[0] + " %",
        "builtin": lambda: recall(f"models/{EMBEDDED}", "test")[0] + " %",
    },
    "docs/command.md": {"help": help_texts},
}
PAGES: dict[str, Callable[[], str]] = {
    "docs/http-reference.md": http_reference,
    "docs/c-reference.md": c_reference,
    "docs/architecture.svg": architecture.svg,
}


def filled(page: str, text: str) -> str:
    for name, make in BLOCKS[page].items():
        # A block within a line stays within it.
        pattern = rf"(<!-- {name} -->)(\n?).*?(\n?<!-- /{name} -->)"
        parts = re.split(pattern, text, flags=re.S)
        count = len(parts) // 4
        if count == 1:
            before, opens, newline, closes, after = parts
            text = before + opens + newline + make() + (newline and "\n") + closes.strip() + after
        if count != 1:
            sys.exit(f"{page}: {count} blocks '{name}', 1 is needed")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if something is out of date")
    check = parser.parse_args().check
    stale = []
    for page in [*BLOCKS, *PAGES]:
        path = ROOT / page
        text = path.read_text() if path.exists() else ""
        new = PAGES[page]() if page in PAGES else filled(page, text)
        if new != text:
            stale.append(page)
            if not check:
                path.write_text(new)
    if stale and check:
        sys.exit(f"out of date: {', '.join(stale)}; run make figures")


if __name__ == "__main__":
    main()
