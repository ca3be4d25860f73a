"""What a trading session writes down, one frozen record a fact, in the trade's words.

The journal keeps these for ever and gives them back whole. Numbers that are money are `Decimal`;
what analysis made (zones, gates, R) stays float. Nothing loads numpy.
"""

import hashlib
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from blofin_cli.core.market import Gate
from blofin_cli.core.orders import OrderRequest, OrderType, Outcome, Side
from blofin_cli.core.quotes import Mode

ZERO = Decimal(0)
ALL_SYMBOLS = "*"
"""What a pause names that holds for every symbol."""


class IntentState(StrEnum):
    """Life of a write of ours, from before its first byte leaves to evidence of its end.

    `reserved`: durable, perhaps sent. `unknown`: sent, and nobody knows. `accepted`: the exchange
    has it. `refused` (by the exchange), `void` (proven never sent or never there) and `done`
    (filled, cancelled, gone) are ends.
    """

    RESERVED = "reserved"
    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    VOID = "void"
    DONE = "done"

    @property
    def is_open(self) -> bool:
        """Its end is not proven; an opening one still holds its risk."""
        return self in _OPEN_INTENTS

    @classmethod
    def of(cls, outcome: Outcome) -> "IntentState":
        """What an answer to a write makes of its intent."""
        return {
            Outcome.ACCEPTED: cls.ACCEPTED,
            Outcome.REFUSED: cls.REFUSED,
            Outcome.UNKNOWN: cls.UNKNOWN,
        }[outcome]


_OPEN_INTENTS = frozenset({IntentState.RESERVED, IntentState.UNKNOWN, IntentState.ACCEPTED})


class Purpose(StrEnum):
    """What a write of ours is for; only an entry can raise exposure."""

    ENTRY = "entry"
    PROTECT = "protect"
    CLOSE = "close"


def client_id_of(session_id: str, key: str) -> str:
    """Client order id of an intent: the same run and key give the same 32 hex digits, always."""
    return hashlib.sha256(f"{session_id}\0{key}".encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One write of ours, durable before it is sent.

    Units: `size` base units; `risk_usdt` what is lost at the stop, costs included; `data_ms`
    exchange time of the market data it was decided on; `entry` the price it was planned on. `key`
    is its name within the session and what makes a repetition the same intent; `account` is
    exchange and mode. A resting entry is given up at `until_ms`; `hold_ms` is the time stop.
    """

    client_id: str
    session_id: str
    key: str
    account: str
    symbol: str
    purpose: Purpose
    side: Side
    type: OrderType
    size: Decimal
    risk_usdt: Decimal
    notional_usdt: Decimal
    state: IntentState
    face: str
    data_ms: int
    created_ms: int
    updated_ms: int
    price: Decimal | None = None
    trigger: Decimal | None = None
    stop: Decimal | None = None
    target: Decimal | None = None
    target_limit: Decimal | None = None
    leverage: int | None = None
    entry: Decimal | None = None
    until_ms: int | None = None
    hold_ms: int | None = None
    order_id: str | None = None
    filled: Decimal = ZERO
    sent_ms: int | None = None
    misses: int = 0
    first_miss_ms: int | None = None
    plan_hash: str | None = None
    zone_id: str | None = None
    signal_ms: int | None = None
    confidence: float | None = None
    note: str = ""

    def order(self) -> OrderRequest:
        """The order this intent places."""
        return OrderRequest(
            symbol=self.symbol,
            side=self.side,
            type=self.type,
            size=self.size,
            client_id=self.client_id,
            price=self.price,
            trigger=self.trigger,
            stop=self.stop,
            target=self.target,
            target_limit=self.target_limit,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What an opening intent must still fit into, asked in the same breath as it is reserved.

    The journal counts the account's other open entries. Units: `risk_usdt` and `notional_usdt` left
    for reserved entries and this one, what open positions use already taken off by the caller;
    `count` how many positions and entries there may be, this one included: `held` names the symbols
    of the positions, and an entry that fills into one of them counts once with it. The `face_`
    limits count entries of the same face within the last hour and day, whatever became of them;
    None is no limit.
    """

    risk_usdt: Decimal
    notional_usdt: Decimal
    count: int
    held: tuple[str, ...] = ()
    face_entries_hour: int | None = None
    face_entries_day: int | None = None
    face_risk_day_usdt: Decimal | None = None
    face_notional_day_usdt: Decimal | None = None
    allows_same_symbol: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """Trading is halted: since when, by whom and why."""

    ts_ms: int
    face: str
    cause: str
    flatten: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """No entries for one symbol or, as `*`, for all; protection goes on. None: until unpaused."""

    symbol: str
    ts_ms: int
    face: str
    cause: str
    until_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingPayment:
    """One settlement of one position; positive when received."""

    symbol: str
    ts_ms: int
    rate: Decimal
    amount_usdt: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class EquityPoint:
    """The account at one moment; `transfers_usdt` is money moved in (or, negative, out) so far."""

    ts_ms: int
    equity_usdt: Decimal
    available_usdt: Decimal
    open_profit_usdt: Decimal
    transfers_usdt: Decimal = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the strategy said at one closed bar of one symbol, every gate's verdict, the outcome.

    `outcome` is `hold`, `refused`, `proposed`, `placed` or an error code; `digest` names the inputs
    it was made from (candles up to the bar, strategy, account).
    """

    symbol: str
    bar_ms: int
    ts_ms: int
    action: str
    outcome: str
    gates: tuple[Gate, ...]
    digest: str
    zone_id: str | None = None
    side: str | None = None
    entry: float | None = None
    stop: float | None = None
    target: float | None = None
    confidence: float | None = None
    risk_fraction: float | None = None
    quantity: float | None = None
    equity_usdt: float | None = None
    client_id: str | None = None
    note: str = ""


class Level(StrEnum):
    """How much an event matters; `alert` and above are sent to the person."""

    INFO = "info"
    WARNING = "warning"
    ALERT = "alert"
    EMERGENCY = "emergency"


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something worth telling: what, why, what protects the position now, and what to do next.

    `kind` is one short word: `fill stop target halt resume breaker naked repair external gap
    reconnect skew storage order_unknown rejected guard session approval proposal funding`.
    """

    ts_ms: int
    level: Level
    kind: str
    text: str
    symbol: str | None = None
    protects: str = ""
    next_step: str = ""
    details: dict[str, Any] = field(default_factory=dict)


class ErrandState(StrEnum):
    """What became of something a face asked the session to do."""

    WAITING = "waiting"
    TAKEN = "taken"
    DONE = "done"
    FAILED = "failed"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What a face asks the running session to do: `place close cancel protect flatten settings`.

    `arguments` and `answer` are JSON values; a failed one answers with an error envelope.
    """

    id: str
    account: str
    kind: str
    arguments: dict[str, Any]
    face: str
    created_ms: int
    expires_ms: int
    state: ErrandState = ErrandState.WAITING
    answer: dict[str, Any] | None = None
    answered_ms: int | None = None


class ProposalState(StrEnum):
    """An entry that waits for a person, and what became of it."""

    OPEN = "open"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    PLACED = "placed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A plan a person must agree to before it is placed; single use, short-lived, exactly it.

    `id` is what a person types (4 to 8 hex digits), `plan` the record of `core.tickets.Plan`.
    """

    id: str
    account: str
    plan_hash: str
    plan: dict[str, Any]
    reason: str
    face: str
    created_ms: int
    expires_ms: int
    state: ProposalState = ProposalState.OPEN
    decided_by: str = ""
    decided_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One run of the trading loop, or the last one; `ended_ms` None while it has not said so.

    `config` holds strategy and risk parameters by dotted path, as `build_strategy` takes them;
    `history_start_ms` is where each symbol's candles begin, which parity replays from, and `terms`
    the contract terms they were read with.
    """

    session_id: str
    account: str
    exchange: str
    mode: Mode
    simulated: bool
    symbols: tuple[str, ...]
    timeframe: str
    config: dict[str, Any]
    digests: dict[str, str]
    version: str
    pid: int
    host: str
    started_ms: int
    history_start_ms: dict[str, int]
    equity_start_usdt: Decimal
    terms: dict[str, Any] = field(default_factory=dict)
    ended_ms: int | None = None
    end_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One passage through the one gate; `hash` chains it to the row before."""

    id: int
    ts_ms: int
    face: str
    command: str
    effect: str
    arguments: dict[str, Any]
    outcome: str
    hash: str
