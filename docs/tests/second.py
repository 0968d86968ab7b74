"""A second implementation of the model file and of preprocessing, written from `docs/model-file.md` and
`docs/preprocessing.md` alone. Slow, and shares no code with the core: it shows that the pages suffice.

    model = second.Model(path)
    model.tokens(url_bytes)  ->  ids, parts, truncated
    model.logit(url_bytes)   ->  float
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

SUFFIXES = set((Path(__file__).parents[2] / "core/src/suffixes.txt").read_text().split())
SPACE = b" \t\n\f\r"
MASK, PADDING, UNKNOWN = 256, 0, 0xFFFFFFFE
DTYPES = {"F32": "<f4", "U32": "<u4", "I32": "<i4", "I8": "i1"}
SCHEME, USER, SUB, REGISTRABLE, SUFFIX, PORT, PATH, QUERY, FRAGMENT = range(9)


class Refused(Exception):
    """The number of an error."""


def canonical(url: bytes) -> tuple[bytes, list[int]]:
    """The canonical form, and the part of each of its bytes."""
    if len(url) > 65536:
        raise Refused(202)
    url = url.strip(SPACE)
    if not url:
        raise Refused(201)
    spans: list[tuple[bytes, int]] = []
    scheme = re.match(rb"[A-Za-z][A-Za-z0-9+.-]*://", url)
    if scheme:
        if scheme[0].lower() not in (b"http://", b"https://"):
            spans.append((scheme[0].lower(), SCHEME))
        url = url[scheme.end() :]
    end = min([url.find(b) for b in (b"/", b"\\", b"?", b"#") if b in url], default=len(url))
    authority, rest = url[:end], url[end:]
    user, at, host = authority.rpartition(b"@")
    port = re.search(rb":[0-9]*\Z", host)
    port_text = port[0] if port else b""
    host = host[: len(host) - len(port_text)]
    if port_text in (b":80", b":443"):
        port_text = b""
    host = host.removesuffix(b".")
    if host[:4].lower() == b"www." and b"." in host[4:]:
        host = host[4:]
    hosts = split_host(host.lower())
    if at:
        spans.append((user[-32:], USER))
        spans.append((b"@", next((part for text, part in hosts if text), USER)))
    spans += [*hosts, (port_text, PORT)]
    if rest != b"/":
        rest, hash_sign, fragment = rest.partition(b"#")
        path, mark, query = rest.partition(b"?")
        spans += [(path, PATH), (mark + query, QUERY), (hash_sign + fragment, FRAGMENT)]
    return b"".join(text for text, _ in spans), [part for text, part in spans for _ in text]


def split_host(host: bytes) -> list[tuple[bytes, int]]:
    labels = host.split(b".")
    if host.startswith(b"[") or re.fullmatch(rb"[0-9]+|0x[0-9a-f]*", labels[-1]) or len(labels) == 1:
        return [(host, REGISTRABLE)]
    count = 1
    for n in (2, 3, 4):
        name = b".".join(labels[-n:]).decode("latin-1")
        country = re.fullmatch(r"(.*\.)[a-z][a-z]", name)
        if n < len(labels) and (name in SUFFIXES or (country and country[1] + "??" in SUFFIXES)):
            count = n
    dots = [i for i, b in enumerate(host) if b == ord(".")]
    suffix = dots[-count]
    registrable = dots[-count - 1] if len(dots) > count else 0
    return [(host[:registrable], SUB), (host[registrable:suffix], REGISTRABLE), (host[suffix:], SUFFIX)]


def characters(text: bytes) -> list[int | None]:
    """Code points; None for a byte that begins no valid character."""
    found, at = [], 0
    while at < len(text):
        for length in (1, 2, 3, 4):
            try:
                found.append(ord(text[at : at + length].decode()))
            except (UnicodeDecodeError, TypeError):
                continue
            break
        else:
            found.append(None)
            length = 1
        at += length
    return found


def activation(name: str | None, x: np.ndarray) -> np.ndarray:
    if name == "softmax":
        e = np.exp(x - x.max())
        return e / e.sum()
    functions = {"relu": lambda v: np.maximum(v, 0), "tanh": np.tanh, "sigmoid": lambda v: 1 / (1 + np.exp(-v))}
    return functions[name](x) if name else x


def requantised(s: np.ndarray, multiplier: np.ndarray) -> np.ndarray:
    return (s.astype(np.int64) * multiplier + (1 << 31)) >> 32


def trigram_row(ids: tuple[int, ...], rows: int) -> int:
    h = 0
    for i in ids:
        h = (h ^ i) * 16777619 % 2**32
    return (h ^ h >> 15) * 2654435761 % 2**32 * rows >> 32


def ngram_rows(ids: list[int], parts: list[int], shortest: int, longest: int, rows: int) -> list[list[int]]:
    """Of every n-gram that holds no mask, position by position."""
    seen, found = [0] * (longest - 1) + ids + [0], []
    begins = [2**16 * (part + 1) for part in parts] + [0]
    for end, begin in enumerate(begins, longest):
        found.append([])
        for order in range(shortest, longest + 1):
            ngram = seen[end - order : end]
            if MASK in ngram:
                continue
            h = begin
            for i in reversed(ngram):
                h = (h ^ i) * 16777619 % 2**32
            h = (h ^ h >> 16) * 0x85EBCA6B % 2**32
            h = (h ^ h >> 13) * 0xC2B2AE35 % 2**32
            found[-1].append((h ^ h >> 16) % rows)
    return found


class Model:
    def __init__(self, path: Path) -> None:
        file = path.read_bytes()
        size = int.from_bytes(file[:8], "little")
        header = json.loads(file[8 : 8 + size])
        data = file[8 + size :]
        self.metadata = header.pop("__metadata__")
        self.tensors = {
            name: np.frombuffer(data[slice(*entry["data_offsets"])], DTYPES[entry["dtype"]]).reshape(entry["shape"])
            for name, entry in header.items()
        }
        self.kind, *words = self.metadata["phishcnn.input"].split()
        self.input = dict(word.split("=") for word in words)
        self.layers = [layer.split(" ") for layer in self.metadata["phishcnn.layers"].split("; ")]
        self.ngrams = self.layers.pop() if self.layers[-1][0] == "ngrams" else None
        self.int8 = any(n.startswith("embed.") and t.dtype == np.int8 for n, t in self.tensors.items())

    def tokens(self, url: bytes) -> tuple[list[int], list[int], bool]:
        text, parts = canonical(url)
        if self.kind == "url-bytes/1":
            most = int(self.input["max"])
            return list(text[:most]) or [MASK], parts[:most] or [0], len(text) > most
        length = int(self.input["length"])
        table = self.tensors["chars"].tolist()
        found = characters(text if self.input["canonical"] == "yes" else url)
        ids = [table.index(c) if c in table else table.index(UNKNOWN) for c in found]
        return ([PADDING] * length + ids)[-length:], [0] * length, len(ids) > length

    def logit(self, url: bytes) -> float:
        ids, parts, _ = self.tokens(url)
        out = self._integers(ids, parts) if self.int8 else self._floats(ids, parts)
        form, *positive = self.metadata["phishcnn.output"].split(" positive=")
        if form == "logit":
            return float(out[0] + self._ngrams(ids, parts) if self.ngrams else out[0])
        p = int(positive[0])
        return float(out[p] if form == "sigmoid2" else out[p] - out[1 - p])

    def _ngrams(self, ids: list[int], parts: list[int]) -> np.float32:
        _, name, orders = self.ngrams
        shortest, longest = map(int, orders.split(".."))
        table = self.tensors[f"{name}.weight"]
        rows = ngram_rows(ids, parts, shortest, longest, len(table))
        total = np.float32(0)
        regions = (0, 3, 4, 5), (1, 2), (6,), (7, 8)
        for region, scale in zip(regions, self.tensors[f"{name}.scale"], strict=True):
            inside = [row for row, part in zip(rows, [*parts, parts[-1]], strict=True) if part in region]
            if inside:
                s = sum(int(table[r]) for row in inside for r in row)
                root = np.sqrt(np.float32(len(inside) * (longest - shortest + 1)))
                mine = np.float32(s) / root * scale
                total += mine if region[0] == 0 else max(mine, np.float32(-1))
        return total

    def _embedded(self, ids: list[int], parts: list[int], kind: type) -> np.ndarray:
        words = self.layers[0][1]
        x = self.tensors["embed.chars" if words == "chars" else "embed.bytes"].astype(kind)[ids]
        if words.startswith("bytes+parts"):
            x = x + self.tensors["embed.parts"].astype(kind)[parts]
        if words == "bytes+parts+trigrams":
            table = self.tensors["embed.trigrams"].astype(kind)
            x = x + table[[trigram_row(three, len(table)) for three in zip([0, 0, *ids], [0, *ids], ids, strict=False)]]
        return x

    @staticmethod
    def _conv(words: list[str]) -> tuple[bool, int, str | None, bool]:
        options = words[3:]
        dilation = next((int(w[9:]) for w in options if w.startswith("dilation=")), 1)
        return (
            words[2] == "same",
            dilation,
            next((w for w in options if w in ("relu", "tanh", "sigmoid")), None),
            ("add" in options),
        )

    @staticmethod
    def _windows(x: np.ndarray, outside: np.ndarray, kernel: int, dilation: int, same: bool) -> list[np.ndarray]:
        """For each tap, the inputs that it sees."""
        history = (kernel - 1) * dilation
        if same:
            rows = [outside[None].repeat(n, 0) for n in (history // 2, history - history // 2)]
            x = np.concatenate([rows[0], x, rows[1]])
        return [x[k * dilation : len(x) - history + k * dilation] for k in range(kernel)]

    @staticmethod
    def _max_pool(x: np.ndarray, words: list[str]) -> np.ndarray:
        size = int(words[1])
        starts = range(0, len(x) if "ceil" in words else len(x) - size + 1, size)
        return np.stack([x[s : s + size].max(0) for s in starts])

    def _floats(self, ids: list[int], parts: list[int]) -> np.ndarray:
        x = self._embedded(ids, parts, np.float64)
        for words in self.layers[1:]:
            weight, bias = (self.tensors.get("".join(words[1:2]) + t) for t in (".weight", ".bias"))
            match words[0]:
                case "conv":
                    same, dilation, function, add = self._conv(words)
                    seen = self._windows(x, np.zeros(x.shape[1]), len(weight), dilation, same)
                    y = activation(function, sum(s @ w for s, w in zip(seen, weight.astype(float), strict=True)) + bias)
                    x = y + x if add else y
                case "maxpool":
                    x = self._max_pool(x, words)
                case "pool":
                    x = np.concatenate([x.max(0)] * ("max" in words[1]) + [x.mean(0)] * ("avg" in words[1]))
                case "flatten":
                    x = x.reshape(-1)
                case "dense":
                    x = activation(words[2] if len(words) > 2 else None, x @ weight.astype(float) + bias)
        return x

    def _integers(self, ids: list[int], parts: list[int]) -> np.ndarray:
        x = self._embedded(ids, parts, np.int64).clip(0, 127)
        outside = self.tensors["embed.zero"].astype(np.int64).clip(0, 127)
        for at, words in enumerate(self.layers[1:], 1):
            t = {k.split(".")[1]: v for k, v in self.tensors.items() if len(words) > 1 and k.startswith(f"{words[1]}.")}
            match words[0]:
                case "conv":
                    same, dilation, function, add = self._conv(words)
                    # [b, g, 4c + j]: output 16b + c; with d = 4g + j, tap d // in and input d % in.
                    blocks, groups, _ = t["weight"].shape
                    w = t["weight"].astype(np.int64).reshape(blocks, groups, 16, 4).transpose(1, 3, 0, 2)
                    w = w.reshape(-1, x.shape[1], blocks * 16)
                    seen = self._windows(x, outside, len(w), dilation, same)
                    s = sum(a @ b for a, b in zip(seen, w, strict=True)) + t["bias"]
                    if function == "relu":
                        s = np.maximum(s, 0)
                    if add:
                        s = s + x * t["residual"][0].astype(np.int64) + t["residual"][1]
                    zero = int(t["zero"][0]) if "zero" in t else 0
                    q = requantised(s.astype(np.int32), t["multiplier"])
                    if function in ("tanh", "sigmoid"):
                        x = np.maximum(t["table"].astype(np.int64)[q.clip(-128, 127) + 128], 0)
                    else:
                        x = (q + zero).clip(0, 127)
                    outside = np.full(x.shape[1], zero)
                case "maxpool":
                    x = self._max_pool(x, words)
                case "pool":
                    n = len(x)
                    average = (256 * x.sum(0) + n // 2) // n
                    x = np.concatenate([x.max(0) * 256] * ("max" in words[1]) + [average] * ("avg" in words[1]))
                case "flatten":
                    x = x.reshape(-1)
                case "dense":
                    s = (t["weight"].astype(np.int64) @ x + t["bias"]).astype(np.int32)
                    if at == len(self.layers) - 1:
                        return s.astype(np.float32) * t["scale"]
                    function = words[2] if len(words) > 2 else None
                    q = requantised(s, t["multiplier"])
                    if function in ("tanh", "sigmoid"):
                        x = t["table"].astype(np.int64)[q.clip(-128, 127) + 128].clip(-32767, 32767)
                    else:
                        x = q.clip(0 if function == "relu" else -32767, 32767)
        raise AssertionError("no last layer")
