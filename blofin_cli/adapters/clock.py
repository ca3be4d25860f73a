"""The system's clock."""

import time


class SystemClock:
    """Wall clock in UTC milliseconds."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch, UTC."""
        return time.time_ns() // 1_000_000
