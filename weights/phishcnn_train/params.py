"""One TOML file holds everything that decides a model."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from .data import MONTH
from .typed import Figures


class ParamsError(Exception):
    """A parameter file that cannot be used; the message names the file and the key."""


TABLES = {
    "train": {
        "epochs",
        "patience",
        "batch",
        "peak_lr",
        "weight_decay",
        "warmup",
        "ema",
        "seed",
        "row_limit",
        "buckets",
        "dropout",
        "blend",
    },
    "augment": {"cut_query", "cut_path", "lower_case", "mask", "padded", "wrapped", "accented", "homograph"}
    | {"sign_in", "well_known"},
    "weights": {"hard_negative", "punycode", "well_known", "weak", "weak_smoothing", "sources", "long"}
    | {"cap_phishing", "cap_legitimate", "half_life", "oldest", "undated"},
}
# Only where a model is taught: the teachers' files, the weight of the n-grams' logit beside their mean one (0: none), the
# factor that calibrates the sum, and the share of the label.
# And only with the layer `ngrams`: penalty of the table's weights, passes at most (0: the start's table stays); tried on the validation rows: quantiles of
# the absolute weights beyond which they are cut, and shares at which the table's logit is added; of it the query's share.
OPTIONAL = {"teach": {"models", "ngrams", "scale", "share"}, "ngrams": {"penalty", "passes", "cuts", "shares", "query"}}
STRINGS = ("name", "version", "purpose", "data", "input", "layers", "output", "start", "trained_until")


@dataclass(frozen=True)
class Params:
    name: str
    version: str
    purpose: str  # one sentence for the card
    data: str  # file that describes the training data for the card, beside the parameter file
    input: str  # the model file's `phishcnn.input`
    layers: str  # the model file's `phishcnn.layers`
    output: str  # the model file's `phishcnn.output`
    start: str  # f32 model file, beside the parameter file, whose weights training begins with; "" draws them
    trained_until: str  # last month of the training data, YYYY-MM
    sizes: Figures  # layer name -> [kernel, channels] or units; `embed` -> size
    train: Figures
    augment: Figures
    weights: Figures
    path: Path
    teach: Figures = field(default_factory=dict)
    ngrams: Figures = field(default_factory=dict)

    @staticmethod
    def load(path: str | Path) -> Params:
        path = Path(path)
        try:
            table = tomllib.loads(path.read_text())
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise ParamsError(f"{path}: {error}") from error
        missing = [k for k in (*STRINGS, "sizes", *TABLES) if k not in table]
        missing += [f"{t}.{k}" for t, keys in TABLES.items() for k in sorted(keys) if k not in table.get(t, {})]
        missing += [
            f"{t}.{k}" for t, keys in OPTIONAL.items() if table.get(t) for k in sorted(keys) if k not in table[t]
        ]
        unknown = [k for k in table if k not in (*STRINGS, "sizes", *TABLES, *OPTIONAL)]
        both = (TABLES | OPTIONAL).items()
        unknown += [f"{t}.{k}" for t, keys in both for k in table.get(t, {}) if k not in keys]
        if missing or unknown:
            raise ParamsError(f"{path}: missing {missing}, unknown {unknown}")
        params = Params(**table, path=path)
        if not MONTH.fullmatch(params.trained_until):
            raise ParamsError(f"{path}: trained_until is {params.trained_until!r}; it must be YYYY-MM")
        buckets = params.train["buckets"]
        if buckets != sorted(buckets) or buckets[-1] < params.max_length:
            raise ParamsError(f"{path}: train.buckets must rise to at least {params.max_length}, the input's length")
        if type(params.train["patience"]) is not int or params.train["patience"] < 1:
            raise ParamsError(f"{path}: train.patience must be a number of epochs, 1 or more")
        sources = params.weights["sources"]
        if not isinstance(sources, dict) or not all(type(f) in (int, float) and f >= 0 for f in sources.values()):
            raise ParamsError(f"{path}: weights.sources must give each source a factor of 0 or more")
        blend = params.train["blend"]
        if not isinstance(blend, list) or not blend or not all(type(s) in (int, float) and 0 < s <= 1 for s in blend):
            raise ParamsError(f"{path}: train.blend must be a list of shares above 0, up to 1")
        return params

    @property
    def fixed_length(self) -> int | None:
        """Tokens per row where the input fixes them (keras-char), else None."""
        words = dict(w.split("=", 1) for w in self.input.split()[1:])
        return int(words["length"]) if "length" in words else None

    @property
    def max_length(self) -> int:
        words = dict(w.split("=", 1) for w in self.input.split()[1:])
        return int(words.get("length", words.get("max", 0)))
