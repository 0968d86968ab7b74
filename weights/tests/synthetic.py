"""Made-up labelled URLs: patterns of honest sites and of phishing, enough to see learning happen."""

from __future__ import annotations

import random
from pathlib import Path

WORDS = "river stone garden music travel craft school north paper light cloud green kitchen studio photo market book".split()
BRANDS = "paypal amazon netflix chase microsoft apple facebook rakuten dhl".split()
BAIT = "login secure verify account update signin confirm wallet support billing".split()
HONEST_PATHS = (
    "about news blog/{n} products/{w} wiki/{W} articles/2023/{w} contact docs/{w}/index.html search?q={w}".split()
)
BAD_TLDS = "xyz top ru tk cn duckdns.org web.app".split()


def legitimate(rng: random.Random) -> str:
    host = "".join(rng.sample(WORDS, rng.choice([1, 2]))) + rng.choice([".com", ".org", ".net", ".co.uk", ".de"])
    path = rng.choice(HONEST_PATHS).format(n=rng.randint(1, 999), w=rng.choice(WORDS), W=rng.choice(WORDS).title())
    sub = rng.choice(["", "", "www.", "shop.", "login."])
    return f"{rng.choice(['http', 'https'])}://{sub}{host}/{rng.choice(['', path])}"


def phishing(rng: random.Random) -> str:
    brand, bait, tld = rng.choice(BRANDS), rng.choice(BAIT), rng.choice(BAD_TLDS)
    noise = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=rng.randint(5, 9)))
    host = rng.choice([f"{brand}-{bait}.{noise}.{tld}", f"{noise}.{tld}", f"{brand}.com.{bait}.{noise}.{tld}"])
    path = rng.choice(["", f"{bait}.php", f"{brand}/{bait}/", f"wp-content/{brand}/index.php?id={noise}"])
    return f"{rng.choice(['http', 'https'])}://{host}/{path}"


def write(path: Path, rows: int, seed: int) -> Path:
    """`rows` labelled rows, half of each class, a few with the tags that weights look at."""
    rng = random.Random(seed)
    with open(path, "w") as out:
        for i in range(rows):
            url = phishing(rng) if i % 2 else legitimate(rng)
            tags = "login" if not i % 2 and "login." in url else rng.choice(["", "", "", "weak"])
            out.write(f"{i % 2}\t{url}\tsynthetic\t2024-{1 + i % 12:02}\t\t{tags}\n")
    return path
