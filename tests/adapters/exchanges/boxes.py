"""An exchange in a box as a process, for tests that need a real server."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def running_box(*options: str) -> Iterator[str]:
    """The address of a fresh box; it ends with the block."""
    command = [sys.executable, "-m", "blofin_cli", "sim", "--port", "0", "--synthetic", "7"]
    process = subprocess.Popen(
        [*command, "--no-limits", "--max-seconds", "900", *options],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    told = []
    try:
        for line in process.stderr:
            told.append(line)
            if match := re.match(r"REST +(http\S+)", line):
                yield match[1]
                return
        raise AssertionError("the box did not start: " + "".join(told))
    finally:
        process.terminate()
        process.communicate()
