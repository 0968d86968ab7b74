"""The command ``phishcnn``: score, explain, model."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from . import _core


def main() -> NoReturn:
    """Runs the command line and ends the process with its exit code."""
    # The work is done outside Python, where Python's own handler would be heard too late.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    code = _core.command(["phishcnn", *sys.argv[1:]])
    # At once: a thread that still reads Parquet must not meet an interpreter that is being taken down.
    os._exit(code)


if __name__ == "__main__":
    main()
