"""Every link of every page leads to a file and a heading that are there; every page is in the book."""

import re
import subprocess
from urllib.parse import unquote

import pytest
from conftest import ROOT
from test_commands import pages

# Pages that stand for themselves, outside the book.
OUTSIDE = {"docs/SUMMARY.md"}


def prose(text):
    """Without code, in which brackets mean something else."""
    text = re.sub(r"^( *)(`{3,}).*?^\1\2 *$", "", text, flags=re.M | re.S)
    return re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", lambda m: "`" + "x" * (len(m[0]) - 2) + "`", text, flags=re.S)


def slug(heading):
    """As forges and mdBook name a heading."""
    text = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading)
    text = re.sub(r"[^\w\- ]", "", text.lower().strip())
    return text.replace(" ", "-")


def anchors(page):
    text = re.sub(r"^( *)(`{3,}).*?^\1\2 *$", "", (ROOT / page).read_text(), flags=re.M | re.S)
    return {slug(heading) for heading in re.findall(r"^#{1,6} (.*)$", text, re.M)}


def links(page):
    return [
        unquote(a or b)
        for a, b in re.findall(r"\]\(<(.+?)>\)|\]\(([^\s)]+)(?: \"[^\"]*\")?\)", prose((ROOT / page).read_text()))
    ]


def tracked():
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(listed.stdout.splitlines())


@pytest.mark.parametrize("page", pages())
def test_links(page):
    files = tracked()
    for link in links(page):
        if re.match(r"(https?|mailto):", link):
            continue
        path, _, anchor = link.partition("#")
        target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert target.is_relative_to(ROOT), f"{page}: {link}"
        name = str(target.relative_to(ROOT))
        assert name in files or any(f.startswith(f"{name}/") for f in files) or name == ".", (
            f"{page}: {link} is not there"
        )
        if anchor and name.endswith(".md"):
            assert anchor in anchors(name), f"{page}: {link}: no such heading"


def test_every_page_is_in_the_book():
    listed = {str((ROOT / "docs" / link).resolve().relative_to(ROOT)) for link in links("docs/SUMMARY.md")}
    assert listed == {p for p in pages() if p not in OUTSIDE and not p.startswith(".github/")}


def test_links_are_seen():
    """The reader of links finds what is in brackets, and nothing in code."""
    assert slug("`keras-char/1`, and more") == "keras-charcode-and-more".replace("code", "1")
    assert len(links("README.md")) > 15
