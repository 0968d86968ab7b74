"""Names for types that are said again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]  # shape and kind of number are said by the docstring of what takes it
Tensors: TypeAlias = dict[str, Any]  # a network's arrays by name, NumPy's or JAX's
Figures: TypeAlias = dict[str, Any]  # what becomes an object of JSON
Log: TypeAlias = Callable[..., object]  # called as `print` is
