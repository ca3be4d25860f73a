"""Digests of the vendored files as they lie on disk."""

import hashlib
from importlib.resources import files

import pytest


@pytest.fixture
def vendor_digests() -> dict[str, str]:
    """SHA-256 of each vendored script and font, by name."""
    folder = files("blofin_cli.pictures") / "vendor"
    return {
        entry.name: hashlib.sha256(entry.read_bytes()).hexdigest()
        for entry in folder.iterdir()
        if entry.name.endswith((".js", ".ttf"))
    }
