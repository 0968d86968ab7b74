"""Groups of URLs by what can be read from the URL itself; each dimension puts every URL into one slice."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote_to_bytes

import numpy as np

from .typed import Array
from .urlparts import Parts, split

OLD_GENERIC = {"org", "net", "edu", "gov", "mil", "int", "info", "biz"}
FREE_HOSTING = tuple(
    f".{suffix}".encode()
    for suffix in (
        "000webhostapp.com altervista.org amplifyapp.com appspot.com azurewebsites.net bitbucket.io blogspot.com"
        " bubbleapps.io canva.site carrd.co cloudfront.net codesandbox.io deno.dev duckdns.org editorx.io"
        " epizy.com firebaseapp.com fly.dev framer.app framer.website gitbook.io github.io gitlab.io glitch.me"
        " godaddysites.com herokuapp.com infinityfreeapp.com jimdofree.com jimdosite.com js.org lovable.app"
        " myshopify.com mystrikingly.com netlify.app ngrok-free.app ngrok.io notion.site now.sh onrender.com"
        " pages.dev pantheonsite.io r2.dev railway.app render.com repl.co replit.app rf.gd run.app site123.me"
        " square.site strikingly.com surge.sh translate.goog trycloudflare.com tumblr.com vercel.app web.app"
        " web.core.windows.net webflow.io weebly.com weeblysite.com wixsite.com wixstudio.com wordpress.com"
        " workers.dev yolasite.com zapto.org"
    ).split()
) + (b".s3.amazonaws.com", b"docs.google.com", b"forms.gle", b"sites.google.com", b"is-a.dev")
SHORTENERS = frozenset(
    b"bit.ly t.co goo.gl tinyurl.com is.gd ow.ly buff.ly cutt.ly rebrand.ly t.ly rb.gy shorturl.at s.id tiny.cc"
    b" lnkd.in dlvr.it v.gd bl.ink qrco.de u.to wp.me fb.me youtu.be amzn.to trib.al ift.tt shorturl.asia qr.ae".split()
)
IP_LABEL = re.compile(rb"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$")


def tld(url: Parts) -> str:
    last = url.suffix.rpartition(b".")[2].decode("ascii", "replace")
    if not last:
        return "none"
    if last.startswith("xn--"):
        return "IDN"
    if last == "com":
        return "com"
    if last in OLD_GENERIC:
        return "older generic"
    return "country" if len(last) == 2 else "newer generic"


def country(url: Parts) -> str:
    last = url.suffix.rpartition(b".")[2].decode("ascii", "replace")
    return last if len(last) == 2 else "none"


def script(url: Parts) -> str:
    """The first script beyond ASCII that occurs, percent-encoding and punycode undone."""
    text = unquote_to_bytes(bytes(url)).decode("utf-8", "replace")
    for label in url.host.split(b"."):
        if label.startswith(b"xn--"):
            try:
                text += label[4:].decode("punycode")
            except UnicodeError:
                pass
    for char in text:
        if char == "\ufffd":
            return "not UTF-8"
        if char > "\x7f" and unicodedata.category(char)[0] == "L":
            name = unicodedata.name(char, "OTHER").split(" ")[0].split("-")[0]
            return {
                "CJK": "Chinese or Japanese",
                "HIRAGANA": "Chinese or Japanese",
                "KATAKANA": "Chinese or Japanese",
                "HANGUL": "Korean",
                "LATIN": "Latin beyond ASCII",
                "CYRILLIC": "Cyrillic",
                "ARABIC": "Arabic",
            }.get(name, "other")
    return "ASCII"


def length(url: Parts) -> str:
    n = len(bytes(url))
    for limit in (16, 32, 64, 128):
        if n <= limit:
            return f"to {limit}"
    return "over 128"


def depth(url: Parts) -> str:
    return "query" if url.query else "path" if url.path or url.fragment else "host only"


def host(url: Parts) -> str:
    text = url.host
    if not url.suffix and (text.startswith(b"[") or IP_LABEL.search(text)):
        return "IP address"
    if text in SHORTENERS:
        return "shortener"
    if text.endswith(FREE_HOSTING):
        return "free hosting"
    if b"xn--" in text:
        return "punycode"
    return "own domain"


def in_punycode(urls: list[bytes]) -> Array:
    """bool [n]: which hosts have a label in punycode (RFC 3492)."""
    found = np.fromiter((b"xn--" in url.lower() for url in urls), bool, len(urls))
    found[found] = [b"xn--" in url.host for url in split([urls[i] for i in np.flatnonzero(found)])]
    return found


def labels(url: Parts) -> str:
    n = url.host.count(b".") + 1
    return str(n) if n < 5 else "5 or more"


DIMENSIONS = {
    "tld": tld,
    "country": country,
    "script": script,
    "length": length,
    "depth": depth,
    "host": host,
    "labels": labels,
}


def of(urls: list[bytes]) -> dict[str, Array]:
    """Dimension -> str [n], the slice of each URL."""
    parts = split(urls)
    return {name: np.array([function(p) for p in parts], object) for name, function in DIMENSIONS.items()}
