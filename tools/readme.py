"""Fills README.md's figures and example output in from the models' metrics and the binary.

python tools/readme.py          rewrite the blocks
python tools/readme.py --check  fail if a block is not what it should be
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BINARY = ROOT / "target" / "release" / "phishcnn"
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
MODELS = {
    "models/phishcnn-compact": "**`phishcnn-compact`** (embedded)",
    "models/phishcnn-large": "`phishcnn-large`, for servers",
    "models/dephides-retrained": "`dephides-retrained`: the published architecture, retrained on 120,000 of the rows",
    "baselines/ngrams": "hashed 2–5-grams + logistic regression, same rows",
    "baselines/trees": "boosted trees on lexical features, same rows",
    "baselines/dephides-published": "the published weights as they are",
}


def results() -> str:
    """Recall at FPR 1 % / 0.1 % of each model on each set, in per cent."""
    lines = ["| recall at FPR 1 % / 0.1 % | " + " | ".join(SETS.values()) + " |", "|---" * (1 + len(SETS)) + "|"]
    rows = {}
    for name, title in MODELS.items():
        path = ROOT / "weights" / f"{name}.metrics.json"
        if not path.exists():
            continue
        reported = json.loads(path.read_text())["sets"]
        cells = []
        for key in SETS:
            engine = reported[key]["engine"] if key in reported else None
            points = [engine["recall_at_fpr"][f] for f in ("0.01", "0.001")] if engine else []
            shares = [f"{100 * p['recall']:.1f}" if p["resolvable"] else "not resolvable" for p in points]
            cells.append(" / ".join(shares) or "–")
            if engine:
                rows.setdefault(key, (engine["phishing_rows"], engine["legitimate_rows"]))
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    counts = [f"{p:,} / {n:,}" for p, n in (rows[key] for key in SETS)]
    lines.append("| phishing / legitimate rows of the set | " + " | ".join(counts) + " |")
    return "\n".join(lines)


def released() -> str:
    """What the embedded model's own thresholds give on test and on the best-known sites."""
    metrics = json.loads((ROOT / "weights/models/phishcnn-compact.metrics.json").read_text())
    test, top = metrics["sets"]["test"], metrics["top_sites"]["all"]
    told = []
    for name in ("phishing", "suspicious"):
        c = test["engine"]["confusion"][name]
        recall, fpr = c["tp"] / (c["tp"] + c["fn"]), c["fp"] / (c["fp"] + c["tn"])
        told.append(
            f"`{name}` finds {100 * recall:.1f} % of the phishing rows and flags {100 * fpr:.2f} % of the others"
        )
    hard = test["slices"]["tag"]["login or bank_pay"]
    sites = [f"{top['flagged'][t]}" for t in ("phishing", "suspicious")]
    rows = [f"{100 * hard['flagged'][t] / hard['legitimate_rows']:.1f} %" for t in ("phishing", "suspicious")]
    return (
        f"At the released thresholds, on `test`: {told[0]}; {told[1]}. Of {top['rows']} home, sign-in and other pages"
        f" of the best-known sites, `phishing` flags {sites[0]} and `suspicious` {sites[1]}; of the legitimate sign-in"
        f" and bank rows of `test`, {rows[0]} and {rows[1]}."
    )


def scores() -> str:
    """The output of the example command."""
    done = subprocess.run([BINARY, "score", *URLS], check=True, capture_output=True, text=True)
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    command = "$ cargo run --release -- score " + " \\\n    ".join(f"'{url}'" for url in URLS)
    return "\n".join(["```", command, *lines, "```"])


def answer() -> str:
    """What `POST /v1/score` gives: the fields of an NDJSON row."""
    done = subprocess.run([BINARY, "score", "--format", "ndjson", URLS[0]], check=True, capture_output=True, text=True)
    request = json.dumps({"url": URLS[0]})
    return f"```\n$ curl -s http://127.0.0.1:8000/v1/score -d '{request}'\n{done.stdout.strip()}\n```"


BLOCKS = {"results": results, "released": released, "scores": scores, "answer": answer}


def filled(text: str) -> str:
    for name, make in BLOCKS.items():
        pattern = rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)"
        text, count = re.subn(pattern, lambda m: m[1] + make() + m[2], text, flags=re.S)  # noqa: B023
        if count != 1:
            sys.exit(f"README.md: {count} blocks '{name}', 1 is needed")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a block is out of date")
    path = ROOT / "README.md"
    text = path.read_text()
    new = filled(text)
    if not parser.parse_args().check:
        path.write_text(new)
    elif new != text:
        sys.exit("README.md is out of date: run python tools/readme.py")


if __name__ == "__main__":
    main()
