"""The settings by section: every field with its type, its bounds and the sentence about it.

Money rules are not here: what a trade may risk is the strategy's and the mandate's. Hosts are fixed
in the exchange's own code. Keys are in no settings file at all; see `keys`.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from blofin_cli.core.journal import Level

Address = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f:.]{2,45}$")]
Network = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f:.]{2,45}(/[0-9]{1,3})?$")]
HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?$")]


class Section(BaseModel):
    """A table of the settings file: frozen, and a name it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Session(Section):
    """How the real-time loop behaves."""

    approval_only: bool = Field(
        False, description="Every entry waits for a person (blofin approve) instead of being sent"
    )
    external_protect: bool = Field(
        False, description="Give a stop to positions that were opened elsewhere, too"
    )


class Guard(Section):
    """What the watchdog does when the loop no longer answers."""

    on_stale: Literal["repair", "flatten"] = Field(
        "repair", description="Put missing stops back, or close every position"
    )
    heartbeat_stale_s: float = Field(
        30.0, description="Silence after which the loop counts as gone, seconds", ge=5, le=3600
    )


class Notify(Section):
    """Who hears about what happens."""

    urls: tuple[SecretStr, ...] = Field(
        (),
        description="Where alerts go (apprise addresses); they carry tokens, so they come from "
        "BLOFIN_NOTIFY__URLS, separated by blanks, or from keys.toml",
    )
    levels: tuple[Level, ...] = Field(
        (Level.ALERT, Level.EMERGENCY), description="Events that are sent"
    )


class Web(Section):
    """The web dashboard."""

    host: Address = Field(
        "127.0.0.1", description="Address to listen on; any but loopback needs TLS or a proxy"
    )
    port: int = Field(8788, description="Port to listen on, 0 for a free one", ge=0, le=65535)
    password_hash: SecretStr | None = Field(
        None,
        description="Hash of the password, written by blofin web --set-password",
        examples=["scrypt:…"],
    )
    tls_cert: str | None = Field(
        None, description="Certificate (PEM) to serve https with", examples=["cert.pem"]
    )
    tls_key: str | None = Field(
        None, description="Private key (PEM) of the certificate", examples=["key.pem"]
    )
    behind_proxy: HostName | None = Field(
        None,
        description="Name under which a reverse proxy serves this over https",
        examples=["trade.example.org"],
    )
    proxy_from: tuple[Address, ...] = Field(
        ("127.0.0.1", "::1"), description="Addresses the proxy connects from"
    )
    allow: tuple[Network, ...] = Field(
        (),
        description="Only these addresses or networks may come; none named: any",
        examples=[["192.168.1.0/24"]],
    )


class Mcp(Section):
    """What agents may do; a mandate can only narrow it."""

    toolset: str = Field(
        "default",
        description="Groups of tools beside the default ones: research, all; -NAME removes one",
        max_length=200,
    )
    allow_trading: bool = Field(False, description="List the tools that trade")
    entries_hour: int = Field(4, description="Entries an agent may place in an hour", ge=0, le=100)
    entries_day: int = Field(12, description="Entries an agent may place in a day", ge=0, le=1000)
    risk_day_pct: float = Field(
        2.0, description="Risk an agent may open in a day, % of equity", ge=0, le=10
    )
    notional_day_usdt: float = Field(
        20_000.0, description="Notional an agent may open in a day, USDT", ge=0, le=10_000_000
    )
