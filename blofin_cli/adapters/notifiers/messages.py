"""What a person reads: the cause, what protects the position, and the next command. No secrets."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from blofin_cli.core.journal import Happening

HIDDEN = "***"
SECRET_LENGTH_MIN = 6
BODY_LENGTH_MAX = 1500  # Discord takes 2000 characters, and a phone shows far fewer
_NEXT_STEP = "blofin status"
_USERINFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_NAMED = re.compile(
    r"(?i)\b(token|secret|password|passphrase|api[-_ ]?key|authorization|bearer|sign)"
    r"(\s*[=:]\s*|\s+)(\"[^\"]*\"|'[^']*'|[^\s,;&]{6,})"
)


def title_of(happening: Happening) -> str:
    """Level, symbol and kind in a few words."""
    symbol = f" {happening.symbol}" if happening.symbol else ""
    return f"blofin {happening.level.value}:{symbol} {happening.kind.replace('_', ' ')}"


def body_of(happening: Happening, secrets: Sequence[str] = ()) -> str:
    """Cause, protection, next step and time, one a line."""
    when = datetime.fromtimestamp(happening.ts_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    lines = [happening.text]
    if happening.protects or happening.symbol:
        lines.append(f"Protects: {happening.protects or 'not told, look at the exchange'}")
    lines += [f"Next: {happening.next_step or _NEXT_STEP}", when]
    text = redacted("\n".join(lines), secrets)
    return text if len(text) <= BODY_LENGTH_MAX else f"{text[: BODY_LENGTH_MAX - 1]}…"


def redacted(text: str, secrets: Sequence[str] = ()) -> str:
    """The text without these secrets, without the user part of an address, and without what
    follows words such as `token`.

    Secrets shorter than 6 characters are not looked for: they would mask ordinary words.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SECRET_LENGTH_MIN:
            text = text.replace(secret, HIDDEN)
    text = _USERINFO.sub(HIDDEN, text)
    return _NAMED.sub(lambda found: f"{found[1]}{found[2]}{HIDDEN}", text)
