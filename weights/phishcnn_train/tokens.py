"""From rows to token arrays, each row with its soft label, its weight and its chance of being seen."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import phishcnn

from . import sign_in, slices
from .data import DataError, Rows
from .params import Params
from .typed import Array

REGISTRABLE, PATH, QUERY = (
    3,
    6,
    7,
)  # part ids: of the label that somebody registered, the path, the query (fragment is 8)


@dataclass
class Tokens:
    """Tokenised rows; row i is `ids[offsets[i]:offsets[i + 1]]`."""

    ids: Array  # uint16 [tokens]
    parts: Array  # uint8 [tokens], all 0 for keras-char
    offsets: Array  # int64 [rows + 1]
    phishing: Array  # bool [rows], as collected
    labels: Array  # float32 [rows], soft: in [0, 1]
    weights: Array  # float32 [rows], in the loss
    chances: Array  # float32 [rows], of being seen in an epoch
    certain: Array  # bool [rows], the label stands whatever a teacher thinks
    punycode: Array  # bool [rows], of the host
    path_start: Array  # int32 [rows], tokens in front of the path
    query_start: Array  # int32 [rows], tokens in front of query and fragment

    @staticmethod
    def unlabelled(tokens: phishcnn.Tokens) -> Tokens:
        """The wheel's tokens, for scoring alone."""
        nothing = np.zeros(0, np.float32)
        return Tokens(np.asarray(tokens.ids), np.asarray(tokens.parts), np.asarray(tokens.offsets), *[nothing] * 8)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Array:
        return np.diff(self.offsets)

    def digest(self) -> str:
        """SHA-256 over the arrays: what the model was trained on."""
        total = hashlib.sha256()
        for name, array in sorted(vars(self).items()):
            total.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            total.update(np.ascontiguousarray(array).tobytes())
        return total.hexdigest()

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **vars(self))

    @staticmethod
    def load(path: Path) -> Tokens:
        """What `save` wrote: arrays as above. Raises DataError where the file is not there or of another version."""
        if not path.exists():
            raise DataError(f"{path}: not there; run `python -m phishcnn_train tokenize` first")
        with np.load(path) as arrays:
            if set(arrays.files) != set(Tokens.__dataclass_fields__):
                raise DataError(f"{path}: of another version of this program; run `python -m phishcnn_train tokenize`")
            return Tokens(**{name: arrays[name] for name in arrays.files})


def weigh(rows: Rows, params: Params) -> tuple[Array, Array, Array]:
    """(soft labels, loss weights), float32 [n] each: rare hard negatives count more, uncertain rows less; and
    bool [n]: labels that are certain, those of hard negatives, of made-up pages and of honest hosts in punycode. A teacher
    that takes a bank's sign-in page, or a name with an accent, for phishing must not hand its mistake on."""
    hard = (rows.tagged("login") | rows.tagged("bank_pay")) & (rows.labels == 0)
    weak = rows.tagged("weak")
    labels = rows.labels.astype(np.float32)
    labels[weak] = np.abs(labels[weak] - params.weights["weak_smoothing"])
    weights = np.ones(len(rows), np.float32)
    weights[hard] *= params.weights["hard_negative"]
    weights[rows.tagged(sign_in.WELL_KNOWN)] *= params.weights["well_known"]
    weights[weak] *= params.weights["weak"]
    for source, factor in params.weights["sources"].items():
        weights[[s == source for s in rows.sources]] *= factor
    names = slices.in_punycode(rows.urls) & (rows.labels == 0)
    return labels, weights, (hard | names | sign_in.made_up(rows)) & ~weak


def month_number(month: str) -> int | None:
    """Months since year 0 of YYYY-MM; of a year alone its middle; None where it is empty."""
    if not month:
        return None
    return 12 * int(month[:4]) + (int(month[5:]) - 1 if len(month) > 4 else 6)


def sampling(rows: Rows, params: Params) -> Array:
    """Chance of each row to be seen in an epoch, float32 [n].

    A registered domain has `cap_phishing` or `cap_legitimate` collected rows an epoch at most (in the mean;
    other ones each time), and phishing is seen half as often for each `half_life` months of age, down to
    `oldest`; undated phishing has `undated`.
    """
    chances = np.ones(len(rows))
    keys = [f"{label}{group}" for label, group in zip(rows.labels.tolist(), rows.groups, strict=True)]
    made = sign_in.made_up(rows)
    counts = Counter(key for key, is_made in zip(keys, made.tolist(), strict=True) if not is_made)
    for i, (key, group, is_made) in enumerate(zip(keys, rows.groups, made.tolist(), strict=True)):
        if group and not is_made:
            cap = params.weights["cap_phishing" if key[0] == "1" else "cap_legitimate"]
            chances[i] = min(1.0, cap / counts[key])
    newest = month_number(params.trained_until) or 0  # a month: `Params` sees to it
    months = {m: month_number(m) for m in set(rows.months)}
    fresh = {
        m: params.weights["undated"]
        if number is None
        else max(params.weights["oldest"], 0.5 ** (max(0, newest - number) / params.weights["half_life"]))
        for m, number in months.items()
    }
    for tag, key in ((sign_in.TAG, "sign_in"), (sign_in.WELL_KNOWN, "well_known"), (sign_in.IMITATION, "well_known")):
        chances[rows.tagged(tag)] *= params.augment[key]
    age = np.fromiter((fresh[m] for m in rows.months), float, len(rows))
    return np.where(rows.labels == 1, chances * age, chances).astype(np.float32)


def shares(rows: Rows, params: Params) -> Array:
    """float32 [n]: what is seen of each row in an epoch, in the mean: its weight in the loss times its chance."""
    return np.asarray(weigh(rows, params)[1] * sampling(rows, params))


def tokenize(urls: list[bytes], input_line: str, chars: Array | None = None) -> phishcnn.Tokens:
    """The wheel's tokens of these URLs. Raises DataError, which names the first URL that it refuses."""
    tokens = phishcnn.tokenize_batch(urls, input=input_line, chars=chars)
    errors = np.asarray(tokens.errors)
    if errors.any():
        bad = int(np.flatnonzero(errors)[0])
        raise DataError(f"URL {bad + 1}: refused with error {int(errors[bad])}: {urls[bad][:80]!r}")
    return tokens


def tokens_of(rows: Rows, params: Params, chars: Array | None = None) -> Tokens:
    """Tokens, soft labels, weights and chances of the rows."""
    tokens = tokenize(rows.urls, params.input, chars)
    offsets = np.asarray(tokens.offsets)
    parts = np.asarray(tokens.parts)
    lengths = np.diff(offsets)
    labels, weights, certain = weigh(rows, params)

    def before(part: int) -> Array:
        later = np.concatenate([[0], np.cumsum(parts >= part)])
        return np.asarray(lengths - (later[offsets[1:]] - later[offsets[:-1]]), np.int32)

    return Tokens(
        np.asarray(tokens.ids),
        parts,
        offsets,
        rows.labels == 1,
        labels,
        weights,
        sampling(rows, params),
        certain,
        slices.in_punycode(rows.urls),
        before(PATH),
        before(QUERY),
    )
