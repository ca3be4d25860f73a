"""The hash that ties each row of the audit trail to the row before it."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

FIRST_HASH = "0" * 64
AUDIT_COLUMNS = ("id", "ts_ms", "face", "command", "effect", "arguments", "outcome")


def chained(hash_before: str, row: Sequence[Any]) -> str:
    """Hash of a row that follows another: SHA-256 over that one's hash and the row's columns."""
    text = json.dumps(list(row), separators=(",", ":"))
    return hashlib.sha256(f"{hash_before}\n{text}".encode("ascii")).hexdigest()
