"""The registered domain of a URL, and splits by it and by month, for files that come without."""

from __future__ import annotations

import re
import zlib
from functools import cache

import numpy as np
import phishcnn
from publicsuffixlist import PublicSuffixList

from .data import Rows
from .typed import Array


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()  # the package's own copy of publicsuffix.org's list, private suffixes included


def host_of(url: bytes) -> bytes:
    """The canonical host, without user-info and port."""
    behind_scheme = re.sub(rb"^[a-z][a-z0-9+.-]*://", b"", phishcnn.canonicalize(url))
    authority = re.split(rb"[/\\?#]", behind_scheme, maxsplit=1)[0]
    return re.sub(rb":\d*$", b"", authority.rpartition(b"@")[2])


def group_of(url: bytes) -> str:
    """Registrable domain, private suffixes counted as suffixes (`x.weebly.com` is a group of its own); the
    whole host of an IP address and of a host that is itself a suffix."""
    host = host_of(url).decode("utf-8", "replace")
    if re.fullmatch(r"\[.*\]|.*\.(\d+|0x[0-9a-f]*)", host):
        return host
    return _suffixes().privatesuffix(host) or host


def split(rows: Rows, valid_from: str = "", test_from: str = "") -> dict[str, Array]:
    """bool [n] for each of train, valid and test.

    A registered domain lies on one side alone: by a hash of its name 87 of 100 train, 5 validate, 8 test.
    Dated phishing is split by month instead when `valid_from` and `test_from` (YYYY-MM) are given: what was
    first seen from then on is validation and test, and earlier phishing on its domains is left out altogether, as is
    phishing whose date is a year that the split cuts. Honest rows stay where the hash has them: to know a bank helps
    nobody to know the phishing on its domain.
    """
    bucket = np.fromiter((zlib.crc32(b"split " + g.encode()) % 100 for g in rows.groups), int, len(rows))
    sides = {"train": bucket < 87, "valid": (bucket >= 87) & (bucket < 92), "test": bucket >= 92}
    if test_from:
        months = np.array(rows.months)
        dated = (rows.labels == 1) & (months != "")
        first = np.array([m if len(m) > 4 else f"{m}-01" for m in rows.months])
        last = np.array([m if len(m) > 4 else f"{m}-12" for m in rows.months])
        sides["train"] = np.where(dated, last < valid_from, sides["train"])
        sides["valid"] = np.where(dated, (first >= valid_from) & (last < test_from), sides["valid"])
        sides["test"] = np.where(dated, first >= test_from, sides["test"])
        groups, phishing = np.array(rows.groups, object), rows.labels == 1
        later: set[str] = set()
        for name in ("test", "valid", "train"):
            sides[name] &= ~phishing | np.fromiter((group not in later for group in groups), bool, len(rows))
            later |= set(groups[sides[name] & phishing])
    return sides
