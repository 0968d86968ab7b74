"""The package's exception."""

from __future__ import annotations


class PhishcnnError(ValueError):
    """A numbered error of the core; the text begins with the number.

    >>> import phishcnn
    >>> try:
    ...     phishcnn.Model().score("")
    ... except phishcnn.PhishcnnError as error:
    ...     print(error.code, error)
    201 201: empty URL
    """

    code: int
    """The number: 1xx the model file, 201 empty, 202 over 65,536 bytes, 203 not a string, 4xx a setting."""
    row: int | None
    """The row of a batch, from 0."""

    def __init__(self, message: str, code: int, row: int | None = None) -> None:
        super().__init__(message, code, row)
        self.code, self.row = code, row

    def __str__(self) -> str:
        return str(self.args[0])
