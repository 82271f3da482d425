"""The command `kcnn` from its first line on: Ctrl-C is one line, also while it is being loaded."""

from __future__ import annotations

import contextlib
import sys


def main() -> int:
    """Load the command line and run it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # None, closed, somebody's own
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # of text files
    try:
        from kcnn.cli.main import main as run

        return run()
    except KeyboardInterrupt:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            print("kcnn: Interrupted.", file=sys.stderr)
        return 130
