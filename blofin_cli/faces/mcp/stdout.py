"""The real stdout, kept for the protocol: from the first byte, whatever a library prints."""

import contextlib
import os
import sys
from io import TextIOWrapper


def claim_stdout() -> TextIOWrapper:
    """Take the real stdout for the protocol; from now on fd 1 and `sys.stdout` are stderr.

    Called before anything heavy is imported: a line that a library prints while it loads would
    be the first line a client tries to parse.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
    wire = os.dup(1)
    try:
        os.dup2(2, 1)
    except OSError:  # stderr is closed
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
    sys.stdout = sys.stderr
    return TextIOWrapper(os.fdopen(wire, "wb"), encoding="utf-8", newline="\n")
