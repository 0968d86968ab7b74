"""The command ``phishcnn``: score, explain, model."""

from __future__ import annotations

import signal
import sys

from . import _core


def main() -> int:
    """Runs the command line and gives its exit code."""
    # The work is done outside Python, where Python's own handler would be heard too late.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _core.command(["phishcnn", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
