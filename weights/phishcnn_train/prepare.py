"""From labelled files to the rows that all models train on: cleaned, grouped, with unseen domains held out."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import phishcnn

from . import sign_in, top_sites
from .data import DataError, Rows, need_both_classes, pool, read_rows, write_rows
from .groups import group_of
from .typed import Array, Figures, Log

# The legitimate collections were stripped of URLs with these parameters and words, the phishing ones
# were not: of 614,784 honest rows 25 have `casino`, next to none another one. Unless both sides lose them, the model learns the
# filter instead of phishing.
ONE_SIDED = re.compile(
    rb"[?&;#](?:(?:access_|auth_|id_|refresh_)?token|sig|signature|key|api_?key|secret|passwd|password|pwd|nonce|csrf|jwt)="
    rb"|porn|xxx|casino|viagra|tramadol|levitra|torrent|warez|keygen|milf|hentai|erotic|fetish|bdsm|blowjob|nsfw"
    rb"|xvideos|xhamster|onlyfans|camgirl|bet365|1xbet",
    re.IGNORECASE,
)

HABIT = 20  # registered domains with the same parameter in one honest source; beyond that the collector chose it
HABIT_SHARE = 0.9  # of all registered domains of honest rows with that parameter, at least
HELD_OUT = 33  # one registered domain in so many is kept out of training, to choose epochs on unseen domains


def clean(rows: Rows, log: Log = print) -> Rows:
    """Training rows without canonical duplicates, contradictory labels and one-sided vocabulary."""
    seen: dict[bytes, int] = {}
    contradictory: set[bytes] = set()
    forms = canonical(rows)
    for i, key in enumerate(forms):
        if not key:  # a URL the product refuses (empty, too long) cannot be learnt from
            continue
        first = seen.setdefault(key, i)
        if rows.labels[first] != rows.labels[i]:
            contradictory.add(key)
    keep = [i for key, i in seen.items() if key not in contradictory]
    kept = [i for i in keep if not ONE_SIDED.search(forms[i])]
    log(
        f"{len(rows)} rows: {len(rows) - len(seen)} canonical duplicates or refused, {len(contradictory)} with both"
        f" labels, {len(keep) - len(kept)} with one-sided vocabulary; {len(kept)} kept"
    )
    return rows.take(np.array(kept, np.int64))


def habits(rows: Rows) -> Array:
    """bool [n]: legitimate rows whose label is their collector's habit: a parameter (`q=python+csv`, `ref=Simplify`)
    that one source has under more than `HABIT` registered domains and hardly any other source has. The first `HABIT`
    rows of it stay. Phishing that shares a parameter is a campaign, which is evidence. A source with more than half of
    these rows is not judged, nor are rows without a source: there is nothing to compare them with."""
    parameters = {
        i: found
        for i in np.flatnonzero(rows.labels == 0).tolist()
        if rows.sources[i] and (found := set(re.split(rb"[?&;#]", rows.urls[i])[1:]) - {b""})
    }
    sizes = Counter(rows.sources[i] for i in parameters)
    domains: dict[bytes, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for i, found in parameters.items():
        for parameter in found:
            domains[parameter][rows.sources[i]].add(rows.groups[i])
    chosen = set()
    for parameter, by_source in domains.items():
        source, groups = max(by_source.items(), key=lambda kv: len(kv[1]))
        everywhere = set().union(*by_source.values())
        if (
            len(groups) > HABIT
            and len(groups) >= HABIT_SHARE * len(everywhere)
            and 2 * sizes[source] <= len(parameters)
        ):
            chosen.add(parameter)
    out, seen = np.zeros(len(rows), bool), Counter[bytes]()
    for i, found in parameters.items():
        habitual = found & chosen
        seen.update(habitual)
        out[i] = any(seen[parameter] > HABIT for parameter in habitual)
    return out


def canonical(rows: Rows) -> list[bytes]:
    """The canonical form of each row; empty where the product refuses the URL."""
    forms = []
    for url in rows.urls:
        try:
            forms.append(phishcnn.canonicalize(url))
        except ValueError:
            forms.append(b"")
    return forms


def distinct(rows: Rows, judged: set[bytes], log: Log = print) -> Rows:
    """The first row of each canonical form, without those that a model is judged by."""
    seen, keep, dropped = set(judged), [], Counter[str]()
    for i, form in enumerate(canonical(rows)):
        if not form or form in seen:
            dropped["judged by" if form in judged else "there already"] += 1
        else:
            seen.add(form)
            keep.append(i)
    log(
        f"{len(rows)} rows with those listed and made up: {dropped['judged by']} that models are judged by and"
        f" {dropped['there already']} repeated or refused ones left out"
    )
    return rows.take(np.array(keep, np.int64))


def accepted(rows: Rows, files: Sequence[object], log: Log = print) -> Rows:
    """The rows of these files whose URLs the product takes; it refuses empty and very long ones when it serves, too."""
    refused = np.asarray(phishcnn.tokenize_batch(rows.urls, input="url-bytes/1 max=1").errors) > 0
    if refused.any():
        first = rows.urls[int(refused.argmax())][:80]
        log(f"{', '.join(map(str, files))}: {refused.sum()} rows left out whose URLs the product refuses: {first!r}…")
    return rows.take(~refused)


def with_groups(rows: Rows) -> Rows:
    """The rows with the registered domain filled in where the file does not give it."""
    rows.groups = [group or group_of(url) for group, url in zip(rows.groups, rows.urls, strict=True)]
    return rows


def held_out(rows: Rows) -> Array:
    """bool [n]: rows of the registered domains that are kept out of training. A function of the name
    alone, so that a later month's rows fall on the same side."""
    return np.fromiter((zlib.crc32(g.encode()) % HELD_OUT == 0 for g in rows.groups), bool, len(rows))


def prepare(
    train: list[Path], valid: list[Path], output: Path, judge: Sequence[Path] = (), seed: int = 1, log: Log = print
) -> Figures:
    """Writes train.tsv.gz, valid.tsv.gz, valid_domains.tsv.gz and prepare.json (counts and digests).

    valid_domains are the phishing rows of held-out domains. Validation rows stay as they are, without those that the
    product refuses, because thresholds must hold for what is really seen; phishing on a held-out domain is left out of
    training. Honest rows stay: they help nobody to know the phishing, and to hide a bank from training flags it.
    No row of `valid`, of the files `judge` and no page of `top_sites` is trained on, whether collected, listed
    or made up.

    Raises:
        DataError: a bad file, validation rows of one class, or no phishing on a domain to be held out.
    """
    valid_rows = with_groups(accepted(read_rows(*valid), valid, log))
    need_both_classes(valid_rows, ", ".join(map(str, valid)))
    collected = with_groups(clean(read_rows(*train), log))
    habitual = habits(collected)
    log(f"{int(habitual.sum())} honest rows with a parameter that their collector chose; left out")
    rows = pool([collected.take(~habitual), sign_in.known_sites()])
    out = held_out(rows) & (rows.labels == 1)
    if not out.any():
        raise DataError(
            f"no registered domain with phishing falls among those held out, one in {HELD_OUT} by its name;"
            " some hundred domains are needed"
        )
    mistaken = sign_in.misreported(rows)
    log(f"{int(mistaken.sum())} rows are mistaken reports of what phishing imitates; left out")
    kept = rows.take(~out & ~mistaken)
    sets = {"valid": valid_rows, "valid_domains": rows.take(out & ~mistaken)}
    judged = [*sets.values(), *([read_rows(*judge)] if judge else []), top_sites.rows()]
    forms = {form for part in judged for form in canonical(part)}
    sets["train"] = distinct(pool([kept, sign_in.made(kept, seed)]), forms, log)
    made = sign_in.made_up(sets["train"])
    listed = ~made & (np.array(sets["train"].sources, object) == sign_in.SOURCE)
    log(
        f"train: {int((~made & ~listed).sum()):,} collected rows, {listed.sum():,} sites of known_sites.txt,"
        f" {made.sum():,} made-up rows, of which an epoch sees the shares augment.sign_in and augment.well_known"
    )
    output.mkdir(parents=True, exist_ok=True)
    report: Figures = {"inputs": {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (*train, *valid, *judge)}}
    for name, part in sets.items():
        write_rows(output / f"{name}.tsv.gz", part)
        report[name] = {
            "phishing": int((part.labels == 1).sum()),
            "legitimate": int((part.labels == 0).sum()),
            **{tag: int(part.tagged(tag).sum()) for tag in sorted(sign_in.TAGS)},
            "domains": len(set(part.groups)),
        }
        log(f"{name}: {report[name]}")
    (output / "prepare.json").write_text(json.dumps(report, indent=1) + "\n")
    return report
