"""Parquet for the command line, by PyArrow. The compiled part calls it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow

ROWS, BYTES = 1024, 1 << 18  # of one batch, at most


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ImportError("Parquet needs PyArrow: pip install 'phishcnn[parquet]'") from None
    return pyarrow


def read(path: str, column: str) -> Iterator[tuple[pyarrow.Array, int]]:
    """The column in batches, each with its share of the file's bytes."""
    import os

    # With pre_buffer, the default, PyArrow holds all that it has read of the file.
    file = _pyarrow().parquet.ParquetFile(path, pre_buffer=False)
    names = file.schema_arrow.names
    if column not in names:
        raise ValueError(f"no column {column}; the file has: {', '.join(names)}")
    about, rows = file.metadata, max(file.metadata.num_rows, 1)
    unpacked = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups)) // rows
    return _batches(file, column, min(ROWS, 1 + BYTES // (1 + unpacked)), os.path.getsize(path) // rows)


def _batches(file: Any, column: str, rows: int, packed: int) -> Iterator[tuple[pyarrow.Array, int]]:
    for batch in file.iter_batches(rows, columns=[column]):
        yield batch.column(0), len(batch) * packed


class Writer:
    """Writes results; the file has its end, and is complete, after ``close``."""

    def __init__(self, path: str) -> None:
        pa = _pyarrow()
        self._schema = pa.schema(
            [
                # As in JSON: bytes that are not UTF-8 appear as U+FFFD.
                ("url", pa.string()),
                ("logit", pa.float32()),
                ("probability", pa.float32()),
                ("verdict", pa.string()),
                ("truncated", pa.bool_()),
                ("error", pa.string()),
            ]
        )
        self._pyarrow, self._file = pa, pa.parquet.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, urls: list[bytes], scores: list[tuple[Any, ...]]) -> None:
        """Appends a row group."""
        columns = [[url.decode(errors="replace") for url in urls], *zip(*scores, strict=True)]
        arrays = [self._pyarrow.array(c, f.type) for c, f in zip(columns, self._schema, strict=True)]
        self._file.write_batch(self._pyarrow.RecordBatch.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        self._file.close()
