"""Signatures: HMAC-SHA256 over the exact bytes sent, as hex text, in Base64.

Source: BloFin API documentation, "REST Authentication", 2026-03-21.
"""

import base64
import hmac
import re
import secrets
from dataclasses import dataclass, field

from blofin_cli.errors import ConfigError

LOGIN_PATH = "/users/self/verify"
_PRINTABLE = re.compile(r"[!-~]{1,256}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Key, secret and passphrase of one API key. Their values appear in no text of this object.

    Errors: ConfigError when a part is missing or holds blanks, quotes or control characters.
    """

    key: str = field(repr=False)
    secret: str = field(repr=False)
    passphrase: str = field(repr=False)

    def __post_init__(self) -> None:
        for name in ("key", "secret", "passphrase"):
            value = getattr(self, name)
            if not value:
                raise ConfigError(f"the API {name} is missing")
            if not _PRINTABLE.fullmatch(value) or value[0] in "\"'" or value[-1] in "\"'":
                raise ConfigError(
                    f"the API {name} holds blanks, quotes or characters no key has",
                    hint="copy it again without quotes and line ends",
                )


def fresh_nonce() -> str:
    """32 hex digits that no other request of this key has used."""
    return secrets.token_hex(16)


def sign(secret: str, prehash: str) -> str:
    """The signature of a prehash text: Base64 of the lower-case hex of its HMAC-SHA256."""
    mac = hmac.digest(secret.encode(), prehash.encode(), "sha256")
    return base64.b64encode(mac.hex().encode()).decode()


def signed_headers(
    credentials: Credentials, method: str, target: str, body: str, *, ts_ms: int, nonce: str
) -> dict[str, str]:
    """The five ACCESS headers for a request whose target and body go out exactly as given."""
    timestamp = str(ts_ms)
    return {
        "ACCESS-KEY": credentials.key,
        "ACCESS-SIGN": sign(credentials.secret, f"{target}{method}{timestamp}{nonce}{body}"),
        "ACCESS-TIMESTAMP": timestamp,
        "ACCESS-NONCE": nonce,
        "ACCESS-PASSPHRASE": credentials.passphrase,
    }


def login_arguments(credentials: Credentials, *, ts_ms: int, nonce: str) -> dict[str, str]:
    """The argument of a WebSocket login; it expires a minute after its time."""
    return {
        "apiKey": credentials.key,
        "passphrase": credentials.passphrase,
        "timestamp": str(ts_ms),
        "sign": sign(credentials.secret, f"{LOGIN_PATH}GET{ts_ms}{nonce}"),
        "nonce": nonce,
    }
