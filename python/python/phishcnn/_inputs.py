"""Batches of every kind, as what the compiled part reads: a list, or an exporter of Arrow memory."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any


def batch(urls: Any) -> Any:
    """A list of objects, or an object with ``__arrow_c_array__`` or ``__arrow_c_stream__``."""
    if isinstance(urls, list):
        return urls
    if isinstance(urls, (str, bytes, bytearray, memoryview)):
        raise TypeError("a batch is needed; score one URL with score(url), or put it in a list")
    if len(getattr(urls, "shape", (0,))) != 1:
        raise ValueError(f"one column is needed, not an array of shape {urls.shape}")
    pandas, numpy = sys.modules.get("pandas"), sys.modules.get("numpy")
    if pandas is not None and isinstance(urls, (pandas.Series, pandas.Index)):
        # Text backed by Arrow is read in place; object columns may hold anything.
        return urls.array.__arrow_array__() if _backed_by_arrow(urls) else urls.tolist()
    if numpy is not None and isinstance(urls, numpy.ndarray):
        return urls.tolist()
    if hasattr(urls, "__arrow_c_array__") or hasattr(urls, "__arrow_c_stream__"):
        return urls
    if not isinstance(urls, Iterable):
        raise TypeError(f"a batch of URLs is needed, not {type(urls).__name__}")
    return list(urls)


def _backed_by_arrow(column: Any) -> bool:
    dtype = column.dtype
    return getattr(dtype, "storage", None) == "pyarrow" or hasattr(dtype, "pyarrow_dtype")
