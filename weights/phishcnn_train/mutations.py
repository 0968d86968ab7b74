"""Changed URLs: those that must score alike, those that should, and what an attacker changes.

Each function takes a canonical URL's parts and a generator and returns the changed URL, or None where it
does not apply. The generator is seeded by the URL, so that a mutation is a function of the URL alone.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable
from urllib.parse import quote

from .urlparts import Parts, split

Mutation = Callable[[Parts, random.Random], bytes | None]


def bare(url: Parts) -> bool:
    """Neither another scheme nor a user-info in front of the host, and a host of at least two labels."""
    return not url.scheme and not url.user and bool(url.suffix)


# Equal by construction: the canonical form takes these differences away.


def scheme_http(url: Parts, rng: random.Random) -> bytes | None:
    return None if url.scheme else b"http://" + bytes(url)


def scheme_https(url: Parts, rng: random.Random) -> bytes | None:
    return None if url.scheme else b"HTTPS://" + bytes(url)


def www(url: Parts, rng: random.Random) -> bytes | None:
    return b"www." + bytes(url) if bare(url) and not url.host.startswith(b"www.") else None


def host_case(url: Parts, rng: random.Random) -> bytes | None:
    host = bytes(b - 32 if 97 <= b <= 122 and rng.random() < 0.5 else b for b in url.host)
    return host + url.port + url.rest if bare(url) else None


def trailing_slash(url: Parts, rng: random.Random) -> bytes | None:
    return None if url.rest or url.scheme else bytes(url) + b"/"


def default_port(url: Parts, rng: random.Random) -> bytes | None:
    return url.host + b":443" + url.rest if bare(url) and not url.port else None


def host_dot(url: Parts, rng: random.Random) -> bytes | None:
    return url.host + b"." + url.port + url.rest if bare(url) and not url.host.endswith(b".") else None


def white_space(url: Parts, rng: random.Random) -> bytes | None:
    return b" \t" + bytes(url) + b"\r\n" if bytes(url) else None


EQUAL: dict[str, Mutation] = {
    "http://": scheme_http,
    "https://": scheme_https,
    "www.": www,
    "host case": host_case,
    "trailing slash": trailing_slash,
    "default port": default_port,
    "dot behind the host": host_dot,
    "white space around": white_space,
}

# The same page or its neighbour: the verdict should stay.

TRACKING = (b"utm_source=newsletter&utm_medium=email", b"fbclid=IwAR0x1Yz8k", b"ref=homepage", b"utm_campaign=spring")
LETTER = re.compile(rb"[A-Za-z]")


def _percent(text: bytes, rng: random.Random, share: float) -> bytes:
    """Some letters percent-encoded; sequences that are already encoded stay."""
    keep = re.split(rb"(%[0-9A-Fa-f]{2})", text)
    for i in range(0, len(keep), 2):
        keep[i] = LETTER.sub(lambda m: b"%%%02X" % m[0][0] if rng.random() < share else m[0], keep[i])
    return b"".join(keep)


def percent_one(url: Parts, rng: random.Random) -> bytes | None:
    """One letter of the path percent-encoded: the same resource (RFC 3986, 6.2.2.2)."""
    found = [m.start() for m in LETTER.finditer(url.path) if url.path[max(0, m.start() - 2) : m.start()].find(b"%") < 0]
    if not found:
        return None
    at = rng.choice(found)
    path = url.path[:at] + b"%%%02X" % url.path[at] + url.path[at + 1 :]
    return bytes(url._replace(path=path))


def tracking(url: Parts, rng: random.Random) -> bytes | None:
    """A parameter that only counts visitors."""
    query = url.query + (b"&" if url.query else b"?") + rng.choice(TRACKING)
    return bytes(url._replace(query=query, path=url.path or b"/"))


def deeper(url: Parts, rng: random.Random) -> bytes | None:
    """A page below, with an ordinary name."""
    page = rng.choice((b"index.html", b"about", b"contact", b"news", b"help"))
    return None if url.query else bytes(url._replace(path=url.path.rstrip(b"/") + b"/" + page))


def fragment(url: Parts, rng: random.Random) -> bytes | None:
    """A place on the same page."""
    return None if url.fragment else bytes(url._replace(path=url.path or b"/", fragment=b"#top"))


SAME_VERDICT: dict[str, Mutation] = {
    "one letter percent-encoded": percent_one,
    "tracking parameter": tracking,
    "deeper page": deeper,
    "fragment": fragment,
}

# What an attacker can change at no cost.

LOOK_ALIKE = bytes.maketrans(b"oliesat", b"011354t")
CYRILLIC = {"a": "а", "e": "е", "o": "о", "p": "р", "c": "с", "x": "х", "y": "у", "i": "і", "s": "ѕ"}
HOSTING = (b".web.app", b".pages.dev", b".weebly.com", b".github.io", b".vercel.app", b".webflow.io", b".netlify.app")
SHORT = (b"bit.ly/", b"tinyurl.com/", b"is.gd/", b"t.ly/", b"cutt.ly/", b"rb.gy/")
REWRITERS = (  # what stands in front of the encoded address, and behind it
    (b"google.com/url?q=", b""),
    (b"google.com/url?sa=t&source=web&cd=1&url=", b"&usg=AOvVaw0XyZkq"),
    (b"l.facebook.com/l.php?u=", b"&h=AT0qLm"),
    (b"youtube.com/redirect?q=", b""),
    (b"bing.com/ck/a?u=", b"&ntb=1"),
    (b"nam02.safelinks.protection.outlook.com/?url=", b"&data=05%7C01%7Cjane%40example.org&reserved=0"),
    (b"linkedin.com/redir/redirect?url=", b""),
    (b"slack-redir.net/link?url=", b""),
    (b"steamcommunity.com/linkfilter/?url=", b""),
    (b"translate.google.com/translate?sl=auto&tl=en&u=", b""),
)
ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def _rename(url: Parts, name: bytes) -> bytes:
    dot = url.name[: len(url.name) - len(url.name.lstrip(b"@."))]
    return bytes(url._replace(name=dot + name))


def swapped(url: Parts, rng: random.Random) -> bytes | None:
    name = url.name.lstrip(b"@.")
    places = [i for i in range(len(name) - 1) if name[i] != name[i + 1] and name[i : i + 2].isalpha()]
    if not bare(url) or not places:
        return None
    i = rng.choice(places)
    return _rename(url, name[:i] + name[i + 1 : i + 2] + name[i : i + 1] + name[i + 2 :])


def look_alike(url: Parts, rng: random.Random) -> bytes | None:
    name = url.name.lstrip(b"@.")
    places = [i for i, b in enumerate(name) if b in b"oliesa"]
    if not bare(url) or not places:
        return None
    i = rng.choice(places)
    return _rename(url, name[:i] + name[i : i + 1].translate(LOOK_ALIKE) + name[i + 1 :])


def homograph(url: Parts, rng: random.Random) -> bytes | None:
    """One letter of the registrable label in Cyrillic, as browsers send it: punycode."""
    name = url.name.lstrip(b"@.").decode("latin-1")
    places = [i for i, c in enumerate(name) if c in CYRILLIC]
    if not bare(url) or not places or name.startswith("xn--") or not name.isascii():
        return None
    i = rng.choice(places)
    changed = name[:i] + CYRILLIC[name[i]] + name[i + 1 :]
    return _rename(url, b"xn--" + changed.encode("punycode"))


def sub_domains(url: Parts, rng: random.Random) -> bytes | None:
    """Ordinary sub-domains in front of the host."""
    front = rng.choice((b"docs.", b"en.", b"support.en.", b"blog.", b"cdn.static.", b"m.", b"help."))
    return front + bytes(url) if bare(url) else None


def padded_path(url: Parts, rng: random.Random) -> bytes | None:
    """Ordinary directories in front of the path."""
    front = rng.choice(
        (b"/en/about/news/2024", b"/wiki/articles/history", b"/docs/guide/install", b"/blog/2023/05/travel")
    )
    return bytes(url._replace(path=front + (url.path or b"/")))


def padded_query(url: Parts, rng: random.Random) -> bytes | None:
    """About 200 bytes of ordinary parameters behind the URL."""
    words = b"article category language edition chapter section history science nature culture sport weather".split()
    padding = b"&".join(rng.choice(words) + b"=" + rng.choice(words) for _ in range(13))
    return bytes(url._replace(path=url.path or b"/", query=url.query + (b"&" if url.query else b"?") + padding))


def percent_many(url: Parts, rng: random.Random) -> bytes | None:
    """A third of the letters of path and query percent-encoded."""
    path, query = (_percent(x, rng, 0.33) for x in (url.path, url.query))
    return bytes(url._replace(path=path, query=query)) if path + query != url.path + url.query else None


def in_query(url: Parts, rng: random.Random) -> bytes | None:
    """Behind a known site's page that leads there: mail and chat rewrite every link so, and open redirects hide one."""
    front, behind = rng.choice(REWRITERS)
    return front + quote(b"https://" + bytes(url), safe="").encode() + behind


def return_address(url: Parts, rng: random.Random) -> bytes | None:
    """The site's own address as a parameter, as after a sign-in."""
    own = quote(b"https://" + url.host + b"/", safe="").encode()
    query = url.query + (b"&" if url.query else b"?") + b"return_to=" + own
    return bytes(url._replace(path=url.path or b"/", query=query)) if bare(url) else None


def free_hosting(url: Parts, rng: random.Random) -> bytes | None:
    """The same words as a site on a free host."""
    label = re.sub(rb"[^a-z0-9-]+", b"-", url.host.rpartition(b".")[0])[:60].strip(b"-")
    return label + rng.choice(HOSTING) + url.rest if bare(url) and label else None


def shortened(url: Parts, rng: random.Random) -> bytes | None:
    return rng.choice(SHORT) + "".join(rng.choices(ALPHABET, k=7)).encode()


def path_dropped(url: Parts, rng: random.Random) -> bytes | None:
    return bytes(url._replace(path=b"", query=b"", fragment=b"")) if url.rest else None


EVASION: dict[str, Mutation] = {
    "characters swapped": swapped,
    "look-alike digit": look_alike,
    "homograph (punycode)": homograph,
    "sub-domains added": sub_domains,
    "path padded": padded_path,
    "query padded": padded_query,
    "percent-encoded": percent_many,
    "URL in query": in_query,
    "free hosting": free_hosting,
    "shortener": shortened,
    "path dropped": path_dropped,
}
# Changes under which a legitimate URL stays legitimate: its owner, or who sends the link, makes them every day.
LEGITIMATE: dict[str, Mutation] = {
    "sub-domains added": sub_domains,
    "path padded": padded_path,
    "query padded": padded_query,
    "percent-encoded": percent_many,
    "URL in query": in_query,
    "own URL in query": return_address,
    "shortener": shortened,
    "path dropped": path_dropped,
}


def apply(mutation: Mutation, urls: list[bytes]) -> list[bytes | None]:
    """The changed URL of each, or None where the mutation does not apply or changes nothing."""
    out = []
    name = mutation.__name__.encode()
    for parts in split(urls):
        text = bytes(parts)
        rng = random.Random(hashlib.sha256(name + b"\0" + text).digest())
        changed = mutation(parts, rng) if text else None
        out.append(None if changed == text else changed)
    return out
