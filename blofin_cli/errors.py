"""The one error tree: every failure a user can meet, with its code, exit status and next step.

An error says what was wrong, what was expected and what to do. Faces print it; nobody else does.
"""

from enum import IntEnum
from typing import Any, ClassVar


class Exit(IntEnum):
    """Process exit codes; part of the public contract."""

    OK = 0
    BUG = 1
    USAGE = 2
    REFUSED = 3
    CONFIG = 4
    AUTH = 5
    VENUE = 6
    NETWORK = 7
    DATA = 8
    HALTED = 9
    COMPARISON = 10
    INTERRUPTED = 130


class BlofinError(Exception):
    """Root of every anticipated failure.

    `hint` is the next step for a person; `details` is for a machine and must be JSON-ready.
    `result` is a document that says why, which the command line shows all the same.
    `is_retryable` marks one error of a kind that is otherwise final: the same call may pass soon.
    """

    code: ClassVar[str] = "bug"
    exit: ClassVar[Exit] = Exit.BUG
    retryable: bool = False
    result: Any = None

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        details: dict[str, Any] | None = None,
        is_retryable: bool = False,
    ):
        super().__init__(message)
        self.retryable = is_retryable or self.retryable
        self.message = message
        self.hint = hint
        self.details = details or {}

    def envelope(self) -> dict[str, Any]:
        """The JSON error object that every face shows."""
        return {
            "error": {
                "code": self.code,
                "message": self.message,
                "hint": self.hint,
                "retryable": self.retryable,
                "details": self.details,
            }
        }


class UsageError(BlofinError):
    """A word on the command line or an argument of a tool call is not acceptable."""

    code = "usage"
    exit = Exit.USAGE


class RefusedError(BlofinError):
    """Risk, mandate, approval or mode says no."""

    code = "refused"
    exit = Exit.REFUSED


class HaltedError(RefusedError):
    """Trading is halted, or nobody can tell that it is not."""

    code = "halted"
    exit = Exit.HALTED


class ConfigError(BlofinError):
    """A settings or secrets file is missing, malformed or unsafe."""

    code = "config"
    exit = Exit.CONFIG


class DataError(BlofinError):
    """Candles, funding or state on disk are not what they claim to be."""

    code = "bad_data"
    exit = Exit.DATA


class BadAnswerError(DataError):
    """What the exchange sent is not what it documents; it was not used."""

    code = "bad_answer"


class AuthError(BlofinError):
    """The exchange does not accept the key, its permission, its address or the clock."""

    code = "auth"
    exit = Exit.AUTH


class VenueError(BlofinError):
    """The exchange refused, and said so; nothing was done. `venue_code` is its own code."""

    code = "venue"
    exit = Exit.VENUE

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        details: dict[str, Any] | None = None,
        venue_code: str = "",
    ):
        super().__init__(message, hint=hint, details=details)
        self.venue_code = venue_code
        if venue_code:
            self.details.setdefault("venue_code", venue_code)


class RateLimitError(VenueError):
    """Too many requests, by our own count or the exchange's; `until_ms` is when to come back."""

    code = "rate_limit"
    retryable = True

    def __init__(self, message: str, *, until_ms: int, hint: str = "", venue_code: str = ""):
        super().__init__(message, hint=hint, details={"until_ms": until_ms}, venue_code=venue_code)
        self.until_ms = until_ms


class NetworkError(BlofinError):
    """The exchange was not reached or did not answer; nothing was changed by this request."""

    code = "network"
    exit = Exit.NETWORK
    retryable = True


class UnknownOutcomeError(BlofinError):
    """A write was sent and nobody knows whether it was taken; never send it again blindly."""

    code = "unknown_outcome"
    exit = Exit.NETWORK


class ComparisonError(BlofinError):
    """A comparison that the user asked for fell short. `result` is still printed on stdout."""

    code = "comparison"
    exit = Exit.COMPARISON

    def __init__(self, message: str, *, hint: str = "", result: Any = None):
        super().__init__(message, hint=hint)
        self.result = result
