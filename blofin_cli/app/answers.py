"""What a close did, in one shape, whoever did it: the session or the command itself."""

from decimal import Decimal
from typing import Any


def with_signs(told: dict[str, Any], seen: Decimal | None, *, is_count: bool) -> dict[str, Any]:
    """A session's answer in the words of `Reduced`.

    It tells sizes without their sign, which its heartbeat has. A dry run closes whole, and tells
    how many positions that were and not how much (`is_count`).
    """
    closed, left = Decimal(told["closed"]), Decimal(told["remaining"])
    status = ("reduced" if left else "closed") if closed else "open" if left else "flat"

    def signed(size: Decimal) -> Decimal | None:
        return size if not size else None if seen is None else size.copy_sign(seen)

    before = seen if is_count and closed else signed(closed + left)
    size = closed if not (is_count and closed) else None if seen is None else abs(seen)
    return told | {
        "status": status, "before": before, "after": signed(left), "closed": size,
        "remaining": left, "deeds": (),
    }  # fmt: skip


def with_sizes(done: dict[str, Any]) -> dict[str, Any]:
    """What `Reduced` says, and the same without signs: how much was closed, how much remains."""
    before, after = done["before"], done["after"]
    is_known = after is not None
    return done | {
        "closed": abs(before - after) if is_known else None,
        "remaining": abs(after) if is_known else None,
    }
