"""Augmentation: what collectors' habits and an attacker's padding may change without changing the label."""

from __future__ import annotations

from urllib.parse import quote

import numpy as np

from . import network
from .params import Params
from .tokens import PATH, QUERY, REGISTRABLE, Tokens
from .typed import Array

Longer = dict[int, tuple[Array, Array]]  # row → its (ids, parts), [tokens] each

HOST_DOT, AT, SLASH, AMPERSAND, QUESTION = map(ord, ".@/&?")
BORROWED = 8  # bytes of a path or query, at least, for it to be lent
PIECES = 3  # lent ones, at most
FRONT = 64  # tokens of the page that stands in front of a wrapped row, at most
PARAMETERS = [  # in which link rewriters and redirects have the address that they lead to
    name.encode()
    for name in "url u uri q to target dest destination link href redirect redirect_url goto next r continue".split()
]
ACCENTED = (
    b"at be br ca ch cz de dk ee es fi fr hu is it lt lv no pl pt ro se si sk tr".split()
)  # in whose names accents are usual
ACCENTS = {
    "a": "áàâäãåą", "c": "çćč", "e": "éèêëęě", "i": "íîï", "n": "ñńň", "o": "óôöõøő", "s": "śš", "u": "úùûüů", "y": "ý", "z": "żźž",
}  # fmt: skip
# Letters that look like those of ASCII (Unicode TR 39, confusables), of other scripts but for two. No accents: honest names have those.
LOOK_ALIKES = {
    "a": "аα", "b": "ь", "c": "с", "d": "ԁ", "e": "еҽ", "g": "ɡց", "h": "һհ", "i": "іι", "j": "ј", "k": "κк", "l": "ӏ",
    "m": "м", "n": "ոп", "o": "оοօ", "p": "рρ", "q": "ԛ", "r": "г", "s": "ѕ", "t": "тτ", "u": "υս", "v": "νѵ", "w": "ԝω",
    "x": "хχ", "y": "уγ", "z": "ᴢ",
}  # fmt: skip


def cut(tokens: Tokens, params: Params, rng: np.random.Generator) -> Array:
    """int [rows]: lengths, in tokens, after cutting some at the query, some at the path. Both classes alike, so
    that depth alone never decides."""
    chance = rng.random(len(tokens))
    lengths = tokens.lengths
    cut_path, cut_query = params.augment["cut_path"], params.augment["cut_query"]
    short = np.where(
        chance < cut_path, tokens.path_start, np.where(chance < cut_path + cut_query, tokens.query_start, lengths)
    )
    return np.where(short > 0, short, lengths)


def lower_case(ids: Array, parts: Array, rows: Array) -> Array:
    """`ids` with the path and query of some rows in lower case (one large phishing source is).

    Args:
        ids, parts: [n, positions].
        rows: bool [n], which.
    """
    upper = rows[:, None] & (parts >= PATH) & (ids >= ord("A")) & (ids <= ord("Z"))
    return np.where(upper, ids + 32, ids)


def mask_segment(ids: Array, parts: Array, lengths: Array, rows: Array, rng: np.random.Generator) -> Array:
    """`ids` with one random segment (host label, path segment, parameter, …) of some rows masked, which
    trains the mask embedding that explanations use.

    Args:
        ids, parts: [n, positions].
        lengths: int [n], tokens.
        rows: bool [n], which.
    """
    ends = np.zeros(ids.shape, bool)
    ends[:, 1:] = parts[:, 1:] != parts[:, :-1]
    delimiter = np.where(parts < PATH, HOST_DOT, np.where(parts == PATH, SLASH, AMPERSAND))
    segment = np.cumsum(ends | (ids == delimiter), 1)
    chosen = (rng.random(len(ids)) * lengths).astype(int)
    hit = (segment == segment[np.arange(len(ids)), chosen][:, None]) & rows[:, None]
    return np.where(hit & (np.arange(ids.shape[1]) < lengths[:, None]), network.MASK_ID, ids)


def padded(tokens: Tokens, rows: Array, longest: int, rng: np.random.Generator) -> Longer:
    """Row → its (ids, parts), [tokens] each, with up to `PIECES` paths of honest rows in front of its own, or as many
    of their queries behind it: the ordinary text that hides phishing. Both classes alike, so that borrowed text says
    nothing. Rows that nothing fits are left out.

    Args:
        rows: int [n], positions in `tokens`.
        longest: tokens at which the longer row is cut.
    """
    honest = ~tokens.phishing & ~tokens.certain
    start, path, query, end = tokens.offsets[:-1], tokens.path_start, tokens.query_start, tokens.lengths
    last = tokens.parts[tokens.offsets[1:] - 1]
    with_path = np.flatnonzero(honest & (query - path >= BORROWED))
    with_query = np.flatnonzero(honest & (end - query >= BORROWED) & (last == QUERY))
    longer: Longer = {}
    for row in rows.tolist():
        own = slice(start[row], start[row] + end[row])
        ids, parts = tokens.ids[own], tokens.parts[own]
        in_front = rng.random() < 0.5
        lenders = with_path if in_front else with_query
        if not len(lenders) or last[row] > QUERY:  # nothing to lend, or a fragment, behind which no query stands
            continue
        pieces = []
        for lender in rng.choice(lenders, rng.integers(1, PIECES + 1)).tolist():
            if in_front:
                pieces.append(tokens.ids[start[lender] + path[lender] : start[lender] + query[lender]])
            else:
                text = tokens.ids[start[lender] + query[lender] : start[lender] + end[lender]]
                joint = AMPERSAND if pieces or last[row] == QUERY else QUESTION
                pieces.append(np.concatenate([np.array([joint], ids.dtype), text[1:]]))
        text = np.concatenate(pieces)
        kinds = np.full(len(text), PATH if in_front else QUERY, parts.dtype)
        if not in_front and end[row] == path[row]:  # a bare host: browsers write its path
            text, kinds = np.insert(text, 0, SLASH), np.insert(kinds, 0, PATH)
        at = path[row] if in_front else end[row]
        longer[row] = (
            np.concatenate([ids[:at], text, ids[at:]])[:longest],
            np.concatenate([parts[:at], kinds, parts[at:]])[:longest],
        )
    return longer


def wrapped(tokens: Tokens, rows: Array, longest: int, rng: np.random.Generator) -> Longer:
    """Row → its (ids, parts), [tokens] each, as a parameter behind the page of an honest row, percent-encoded or not: what
    link rewriters of mail and chat make of every address, and what hides phishing behind an open redirect. Both classes
    alike, so that the address behind decides. Rows with a fragment, which would be the longer URL's, are left out, and so are
    those of which less than the whole address would be seen.

    Args:
        rows: int [n], positions in `tokens`.
        longest: tokens at which the longer row is cut, behind the address.
    """
    start, path, end = tokens.offsets[:-1], tokens.path_start, tokens.lengths
    last = tokens.parts[tokens.offsets[1:] - 1]
    fronts = np.flatnonzero(~tokens.phishing & (last <= PATH) & (end <= FRONT))
    lenders = np.flatnonzero(~tokens.phishing & ~tokens.certain & (last == QUERY))
    longer: Longer = {}
    for row in rows.tolist() if len(fronts) else ():
        if last[row] > QUERY:
            continue
        front = rng.choice(fronts)
        kept = path[front] if rng.random() < 0.3 else end[front]  # now and then the host alone
        slash = b"/" if kept == path[front] else b""  # browsers write a bare host's path
        scheme = (b"https://", b"http://", b"")[rng.choice(3, p=(0.7, 0.2, 0.1))]
        address = scheme + bytes(tokens.ids[start[row] : start[row] + end[row]].tolist())
        if rng.random() < 0.7:
            address = quote(address, safe="").encode()
        text = slash + b"?" + PARAMETERS[rng.integers(len(PARAMETERS))] + b"=" + address
        if kept + len(text) > longest:
            continue
        if len(lenders) and rng.random() < 0.3:  # rewriters sign and count
            lender = rng.choice(lenders)
            query = tokens.ids[start[lender] + tokens.query_start[lender] + 1 : start[lender] + end[lender]]
            text += b"&" + bytes(query.tolist())
        kinds = np.full(len(text), QUERY, tokens.parts.dtype)
        kinds[: len(slash)] = PATH
        own = slice(start[front], start[front] + kept)
        longer[row] = (
            np.concatenate([tokens.ids[own], np.frombuffer(text, np.uint8)])[:longest],
            np.concatenate([tokens.parts[own], kinds])[:longest],
        )
    return longer


def respelled(tokens: Tokens, rows: Array, letters: dict[str, str], longest: int, rng: np.random.Generator) -> Longer:
    """Row → its (ids, parts), [tokens] each, with one letter of the registrable label, now and then two, replaced, as browsers
    send such a name (punycode, RFC 3492). Rows without such a letter are left out.

    Args:
        rows: int [n], positions in `tokens`.
        letters: of each letter, those that may stand for it.
        longest: tokens at which the longer row is cut.
    """
    longer: Longer = {}
    for row in rows.tolist():
        own = slice(tokens.offsets[row], tokens.offsets[row + 1])
        ids, parts = tokens.ids[own], tokens.parts[own]
        at = np.flatnonzero((parts == REGISTRABLE) & (ids != HOST_DOT) & (ids != AT))
        name = bytes(ids[at].tolist()).decode("latin-1")
        places = [i for i, letter in enumerate(name) if letter in letters]
        if not places or name.startswith("xn--") or not name.isascii():
            continue
        new = list(name)
        for i in rng.permutation(places)[: 1 + (rng.random() < 0.3)].tolist():
            new[i] = letters[name[i]][rng.integers(len(letters[name[i]]))]
        text = np.frombuffer(b"xn--" + "".join(new).encode("punycode"), np.uint8).astype(ids.dtype)
        kinds = np.full(len(text), REGISTRABLE, parts.dtype)
        first, behind = at[0], at[-1] + 1
        longer[row] = (
            np.concatenate([ids[:first], text, ids[behind:]])[:longest],
            np.concatenate([parts[:first], kinds, parts[behind:]])[:longest],
        )
    return longer


def homograph(tokens: Tokens, rows: Array, longest: int, rng: np.random.Generator) -> Longer:
    """Phishing rows `respelled` with letters of another script that look the same: an honest name does not mix scripts."""
    return respelled(tokens, rows[tokens.phishing[rows]], LOOK_ALIKES, longest, rng)


def accented(tokens: Tokens, rows: Array, longest: int, rng: np.random.Generator) -> Longer:
    """Rows `respelled` with an accent, where the language of their top-level domain has such names. Both classes alike, so
    that punycode itself says nothing. Made-up pages of well-known sites, whose names phishing puts accents on, are left out."""

    def domain(row: int) -> bytes:
        host = tokens.ids[tokens.offsets[row] : tokens.offsets[row] + tokens.path_start[row]]
        return bytes(host.tolist()).partition(b":")[0].rpartition(b".")[2]

    local = [row for row in rows[~tokens.certain[rows]].tolist() if domain(row) in ACCENTED]
    return respelled(tokens, np.array(local, int), ACCENTS, longest, rng)


def changed(tokens: Tokens, params: Params, order: Array, rng: np.random.Generator) -> tuple[Longer, set[int]]:
    """The rows of one pass over `order` (int [n], positions in `tokens`) that are seen padded, wrapped, with an accent or as
    a homograph (a row that two of them draw has the last one); and the homographs among them, which are phishing whatever a teacher thinks
    of the row."""
    longer: Longer = {}
    certain: set[int] = set()
    for name, change in (("padded", padded), ("wrapped", wrapped), ("accented", accented), ("homograph", homograph)):
        if share := params.augment[name]:
            found = change(tokens, order[rng.random(len(order)) < share], params.max_length, rng)
            longer |= found
            certain |= found.keys() if change is homograph else set()
    return longer, certain
