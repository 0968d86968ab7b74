"""From labelled files to the rows that all models train on: cleaned, grouped, with unseen domains held out."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from pathlib import Path

import numpy as np
import phishcnn

from . import sign_in
from .data import Rows, pool, read_rows
from .groups import group_of
from .typed import Array, Figures, Log

# The legitimate collections were stripped of URLs with these parameters and words, the phishing ones
# were not. Unless both sides lose them, the model learns the filter instead of phishing.
ONE_SIDED = re.compile(
    rb"[?&;#](?:token|sig|key|access_token)="
    rb"|porn|xxx|casino|viagra|torrent|warez|keygen|milf|hentai",
    re.IGNORECASE,
)

HELD_OUT = 33  # one registered domain in so many is kept out of training, to choose epochs on unseen domains


def clean(rows: Rows, log: Log = print) -> Rows:
    """Training rows without canonical duplicates, contradictory labels and one-sided vocabulary."""
    seen: dict[bytes, int] = {}
    contradictory: set[bytes] = set()
    canonical: list[bytes] = []
    for i, url in enumerate(rows.urls):
        try:
            key = phishcnn.canonicalize(url)
        except ValueError:  # a URL the product refuses (empty, too long) cannot be learnt from
            canonical.append(b"")
            continue
        canonical.append(key)
        first = seen.setdefault(key, i)
        if rows.labels[first] != rows.labels[i]:
            contradictory.add(key)
    keep = [i for key, i in seen.items() if key not in contradictory]
    kept = [i for i in keep if not ONE_SIDED.search(canonical[i])]
    log(
        f"{len(rows)} rows: {len(rows) - len(seen)} canonical duplicates or refused, {len(contradictory)} with both"
        f" labels, {len(keep) - len(kept)} with one-sided vocabulary; {len(kept)} kept"
    )
    return rows.take(np.array(kept, np.int64))


def with_groups(rows: Rows) -> Rows:
    """The rows with the registered domain filled in where the file does not give it."""
    rows.groups = [group or group_of(url) for group, url in zip(rows.groups, rows.urls, strict=True)]
    return rows


def held_out(rows: Rows) -> Array:
    """bool [n]: rows of the registered domains that are kept out of training. A function of the name
    alone, so that a later month's rows fall on the same side."""
    return np.fromiter((zlib.crc32(g.encode()) % HELD_OUT == 0 for g in rows.groups), bool, len(rows))


def write_rows(path: Path, rows: Rows) -> None:
    """A labelled .tsv.gz that `data.read_rows` reads; same rows, same bytes."""
    columns = (rows.labels.tolist(), rows.urls, rows.sources, rows.months, rows.groups, rows.tags)
    with open(path, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1, mtime=0) as out:
        for label, url, source, month, group, tags in zip(*columns, strict=True):
            tail = "\t".join((source, month, group, ",".join(sorted(tags))))
            out.write(b"%d\t%b\t%b\n" % (label, url, tail.encode()))


def prepare(train: list[Path], valid: list[Path], output: Path, seed: int = 1, log: Log = print) -> Figures:
    """Writes train.tsv.gz, valid.tsv.gz, valid_domains.tsv.gz and prepare.json (counts and digests).

    valid_domains are the phishing rows of held-out domains. Validation rows stay as they are, because
    thresholds must hold for what is really seen; phishing on a held-out domain is left out of training.
    Honest rows stay: they help nobody to know the phishing, and to hide a bank from training flags it.
    """
    rows = pool([with_groups(clean(read_rows(*train), log)), sign_in.known_sites()])
    out = held_out(rows) & (rows.labels == 1)
    mistaken = sign_in.misreported(rows)
    log(f"{int(mistaken.sum())} rows are mistaken reports of what phishing imitates; left out")
    kept = rows.take(~out & ~mistaken)
    sets = {
        "train": pool([kept, sign_in.made(kept, seed)]),
        "valid": with_groups(read_rows(*valid)),
        "valid_domains": rows.take(out & ~mistaken),
    }
    output.mkdir(parents=True, exist_ok=True)
    report: Figures = {"inputs": {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (*train, *valid)}}
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
