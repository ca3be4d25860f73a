"""Tests of the commands run kernels interpreted: none waits for a compiler."""

from collections.abc import Iterator

import pytest

from blofin_cli.core import compiled


@pytest.fixture(autouse=True)
def interpreted() -> Iterator[None]:
    """No test here waits for a compiler."""
    with compiled.forced(False):
        yield
