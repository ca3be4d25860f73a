"""Tests of the core run its kernels interpreted; compiled ones get a process of their own."""

from collections.abc import Iterator

import pytest

from blofin_cli.core import compiled


@pytest.fixture(autouse=True)
def interpreted() -> Iterator[None]:
    """No test here waits for a compiler."""
    with compiled.forced(False):
        yield
