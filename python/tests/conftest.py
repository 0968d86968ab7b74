"""What the tests share: the repository's files, and the core's own answers."""

import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE_SCORES = ROOT / "target/release/examples/core_scores"
BINARY = ROOT / "target/release/phishcnn"


class Vectors:
    """core/tests/vectors: what every surface must answer."""

    def __init__(self, name: str) -> None:
        folder = ROOT / "core/tests/vectors"
        self.model = folder / f"{name}.safetensors"
        self.rows = json.loads((folder / f"{name}.json").read_text())["vectors"]
        self.urls = [self.url(row) for row in self.rows]

    @staticmethod
    def url(row: dict) -> bytes:
        url = row["url"].encode() if "url" in row else bytes.fromhex(row["url_hex"])
        repeat = row.get("repeat", {"text": "", "times": 0})
        return url + repeat["text"].encode() * repeat["times"]


@pytest.fixture(params=["url-bytes", "keras-char"])
def vectors(request: pytest.FixtureRequest) -> Vectors:
    return Vectors(request.param)


@pytest.fixture
def core_lines(tmp_path: Path):
    """The core's answers: for each URL the bits of its logit in hexadecimal, or its error number."""

    def lines(urls: list[bytes], model: Path | None = None) -> list[str]:
        file = tmp_path / "urls.hex"
        file.write_text("\n".join(url.hex() for url in urls) + "\n")
        command = [CORE_SCORES, file, *([model] if model else [])]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()

    return lines


def random_urls(count: int, seed: int = 1) -> list[str]:
    """URLs of the usual lengths, made up."""
    import random

    rng = random.Random(seed)
    words = ["login", "shop", "mail", "a", "secure", "paypal", "news", "img", "index.php", "wp-content", "2024", "é"]
    ends = ["com", "org", "co.uk", "ru", "web.app", "de"]

    def word() -> str:
        return rng.choice(words) + str(rng.randrange(1000)) * rng.randrange(2)

    def url() -> str:
        host = ".".join([word() for _ in range(rng.randint(1, 3))] + [rng.choice(ends)])
        path = "".join("/" + word() for _ in range(rng.randint(0, 4)))
        query = f"?{word()}={word()}&x={rng.random()}" * (rng.random() < 0.3)
        return f"http{'s' * rng.randrange(2)}://{host}{path}{query}"

    return [url() for _ in range(count)]
