"""Made-up URLs with the lengths of real ones: about 41 bytes in the canonical form, some much longer."""

import random

WORDS = "login shop mail secure account news img index.php wp-content blog de en product 2024 cart user api".split()
ENDS = ["com", "com", "org", "net", "co.uk", "de", "ru", "web.app"]


def urls(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"

    def word() -> str:
        return rng.choice(WORDS) if rng.random() < 0.6 else "".join(rng.choices(letters, k=rng.randint(3, 11)))

    def one() -> str:
        host = ".".join([word() for _ in range(rng.choice([1, 1, 2, 3]))] + [rng.choice(ENDS)])
        path = "".join("/" + word() for _ in range(rng.choice([0, 1, 1, 2, 3, 5])))
        query = f"?{word()}={word()}{rng.randrange(10**6)}" if rng.random() < 0.25 else ""
        return f"https://{host}{path}{query}"

    return [one() for _ in range(count)]
