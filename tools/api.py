#!/usr/bin/env python3
"""The public interface of phishcnn-core, as rustdoc shows it: what a user of the crate can name.

tools/api.py          write core/api.txt
tools/api.py --check  fail if the interface is another than the recorded one

Another rustdoc may show the same interface in other words: then nothing is compared, and a message says so.
"""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "core/api.txt"


def interface() -> str:
    subprocess.run(["cargo", "doc", "--quiet", "--no-deps", "-p", "phishcnn-core"], cwd=ROOT, check=True)
    folder = ROOT / "target/doc/phishcnn_core"
    lines = []
    for page in sorted(folder.rglob("*.html")):
        if not re.match(r"(struct|enum|trait|fn|constant|macro|type|union|static)\.", page.name):
            continue
        text = page.read_text()
        declared = re.search(r'<pre class="rust item-decl"><code>(.*?)</code></pre>', text, re.S)
        name = str(page.relative_to(folder).with_suffix("")).replace("/", "::")
        if not declared:
            continue  # leads to where it is shown
        lines.append(f"{name}: " + re.sub(r' = "\d+\.\d+\.\d+.*?"', "", plain(declared[1])))
        # Methods and trait implementations that somebody wrote; not what every type gets.
        written = re.split(r'<h2 id="(?:synthetic|blanket)-implementations"', text)[0]
        headers = re.findall(r'<h[34] class="code-header">(.*?)</h[34]>', written, re.S)
        # Methods of a derived trait are the trait's, not ours.
        lines += [f"  {header}" for header in map(plain, headers) if re.match(r"pub |impl(?! Structural)", header)]
    return "\n".join(lines) + "\n"


def plain(code: str) -> str:
    code = re.sub(r"<details.*?<summary.*?</summary>|</details>", "", code, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", code)).split())


def rustdoc() -> str:
    said = subprocess.run(["rustdoc", "--version"], check=True, capture_output=True, text=True).stdout
    return "# " + ".".join(said.split()[1].split(".")[:2])


def main() -> None:
    recorded = RECORD.read_text().splitlines()[0] if RECORD.exists() else ""
    if "--check" in sys.argv and recorded != rustdoc():
        print(f"not compared: core/api.txt is of rustdoc {recorded[2:]}, here is {rustdoc()[2:]}")
        return
    now = f"{rustdoc()}\n{interface()}"
    if "--check" not in sys.argv:
        RECORD.write_text(now)
    elif now != RECORD.read_text():
        import difflib

        changed = difflib.unified_diff(
            RECORD.read_text().splitlines(), now.splitlines(), "recorded", "now", lineterm="", n=0
        )
        sys.exit("the public interface has changed (tools/api.py records it):\n" + "\n".join(changed))


if __name__ == "__main__":
    main()
