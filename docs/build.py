"""Builds the site with mdBook: python docs/build.py [FOLDER], else into target/docs.

The pages lie where they are about (`server/README.md`, …). They are laid out as one book, with the
files that they link to; a link to a folder leads to its README, or is plain text if it has none.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^\s)<>]+)\)")


def pages() -> list[str]:
    """The pages of docs/SUMMARY.md, from the root."""
    summary = (ROOT / "docs/SUMMARY.md").read_text()
    return [os.path.normpath(f"docs/{link}") for _, _, link in LINK.findall(summary)]


def stage(source: Path) -> None:
    listed = pages()
    summary = (ROOT / "docs/SUMMARY.md").read_text()
    (source / "SUMMARY.md").write_text(LINK.sub(lambda m: f"[{m[2]}]({os.path.normpath(f'docs/{m[3]}')})", summary))
    for page in listed:
        folder = os.path.dirname(page)

        def fix(match: re.Match[str], folder: str = folder) -> str:
            picture, text, link = match.groups()
            path, _, anchor = link.partition("#")
            if re.match(r"\w+:", link) or not path:
                return match[0]
            name = os.path.normpath(os.path.join(folder, path))
            if (ROOT / name).is_dir():
                if f"{name}/README.md" not in listed:
                    return text
                return f"{picture}[{text}]({os.path.relpath(f'{name}/README.md', folder or '.')})"
            if name not in listed:
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, source / name)
            return match[0]

        (source / page).parent.mkdir(parents=True, exist_ok=True)
        (source / page).write_text(outside_code(fix, (ROOT / page).read_text()))


def outside_code(fix: object, text: str) -> str:
    """Applies it to links outside fenced blocks."""
    pieces = re.split(r"(^ *```.*?^ *```$)", text, flags=re.M | re.S)
    return "".join(p if i % 2 else LINK.sub(fix, p) for i, p in enumerate(pieces))  # type: ignore[call-overload]


def dead_links(site: Path) -> list[str]:
    """Links of the built pages that lead nowhere."""
    dead = []
    for page in sorted(site.rglob("*.html")):
        if page.name in ("print.html", "404.html", "toc.html"):
            continue
        text = page.read_text()
        for link in set(re.findall(r'(?:href|src)="([^"]+)"', text)):
            path, _, anchor = link.partition("#")
            if re.match(r"(\w+:|//)", link):
                continue
            target = (page.parent / path) if path else page
            if not target.exists():
                dead.append(f"{page.relative_to(site)}: {link}")
            elif anchor and target.suffix == ".html" and f'id="{anchor}"' not in target.read_text():
                dead.append(f"{page.relative_to(site)}: {link}: no such heading")
    return dead


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/docs").resolve()
    book = ROOT / "target/book"
    shutil.rmtree(book, ignore_errors=True)
    (book / "src").mkdir(parents=True)
    shutil.copy(ROOT / "docs/book.toml", book)
    stage(book / "src")
    subprocess.run(["mdbook", "build", "--dest-dir", out, book], check=True)
    if dead := dead_links(out):
        sys.exit("dead links:\n" + "\n".join(dead))


if __name__ == "__main__":
    main()
