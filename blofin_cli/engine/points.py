"""Named moments of the order path at which a simulation may strike; nothing happens elsewhere.

Names: `intent send ack fill stop-check stop-place stop-replace close cancel reconcile bar decide
halt-check start`.
"""

from collections.abc import Callable

hook: Callable[[str], None] | None = None


def point(name: str) -> None:
    """Pass a named moment."""
    if hook is not None:
        hook(name)
