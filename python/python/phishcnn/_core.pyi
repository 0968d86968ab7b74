from collections.abc import Sequence
from typing import Any, TypeAlias, final

from typing_extensions import Self, disjoint_base  # noqa: UP035 (typing.Self is 3.11)

_Buffers: TypeAlias = tuple[bytearray, bytearray, bytearray, bytearray, bytearray]

__all__ = [
    "Model",
    "Score",
    "__version__",
    "canonicalize",
    "command",
    "error_message",
    "tokenize_batch",
    "visible",
]

__version__: str

@final
class Score:
    """The score of one URL."""

    @property
    def logit(self) -> float:
        """The network's output; higher is more like phishing."""
    @property
    def probability(self) -> float:
        """Calibrated probability of phishing, 0 to 1."""
    @property
    def verdict(self) -> str:
        """One of "benign", "suspicious", "phishing"."""
    @property
    def truncated(self) -> bool:
        """The URL was longer than the model reads."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@disjoint_base
class Model:
    def __new__(cls, file: bytes | None = None) -> Self: ...
    def score(self, url: str | bytes, *, base_rate: float = 0.5) -> Score:
        """Scores one URL."""
    def _explain(self, url: str | bytes) -> tuple[bytes, Score, list[tuple[int, int, str, float]]]: ...
    def _score_batch(self, urls: Any, threads: int, base_rate: float, raise_errors: bool) -> _Buffers: ...
    def _tokenize_batch(self, urls: Any) -> _Buffers: ...
    def multiply_adds(self, positions: int) -> int:
        """Multiply-adds for an input of so many tokens."""
    @property
    def info(self) -> dict[str, str]:
        """The file's metadata."""
    @property
    def sha256(self) -> str:
        """The model's identity: SHA-256 of its file, in hexadecimal."""
    @property
    def file(self) -> bytes:
        """The model file."""
    @property
    def embedded(self) -> bool:
        """Whether this is the model in the wheel."""
    @property
    def backend(self) -> str:
        """The kernels that scoring runs on."""
    @property
    def scratch_len(self) -> int:
        """Bytes of scratch memory that one scoring thread uses."""
    @property
    def parameters(self) -> int:
        """Number of weights."""

def canonicalize(url: str | bytes) -> bytes: ...
def command(arguments: Sequence[str]) -> int: ...
def error_message(code: int) -> str: ...
def tokenize_batch(urls: Any, input: str, chars: bytes) -> _Buffers: ...
def visible(text: bytes) -> str: ...
