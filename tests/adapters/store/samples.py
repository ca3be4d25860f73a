"""Records of the journal: made by hand for a table, or drawn at random from their type hints."""

import types
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from decimal import Decimal
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from blofin_cli.core.journal import (
    Decision,
    EquityPoint,
    Errand,
    FundingPayment,
    Halt,
    Happening,
    Intent,
    IntentState,
    Level,
    Pause,
    Proposal,
    Purpose,
    Room,
    Session,
    client_id_of,
)
from blofin_cli.core.market import (
    ExitReason,
    Gate,
    Kind,
    PartExit,
    Pattern,
    Timeframe,
    Trade,
    Zone,
    ZoneState,
)
from blofin_cli.core.orders import Fill, OrderType, Side
from blofin_cli.core.quotes import Mode
from blofin_cli.core.status import SessionStatus

NOW_MS = 1_700_000_000_000
ACCOUNT = "sim-demo"
SESSION = "se-1"


def intent(key: str = "k1", **changes: Any) -> Intent:
    """A long of 5 USDT risk and 100 USDT value."""
    known: dict[str, Any] = {
        "session_id": SESSION, "key": key, "account": ACCOUNT, "symbol": "BTC-USDT",
        "purpose": Purpose.ENTRY, "side": Side.BUY, "type": OrderType.MARKET,
        "size": Decimal("0.010"), "risk_usdt": Decimal(5), "notional_usdt": Decimal(100),
        "state": IntentState.RESERVED, "face": "cli", "data_ms": NOW_MS, "created_ms": NOW_MS,
        "updated_ms": NOW_MS, "stop": Decimal("90.5"),
    }  # fmt: skip
    known |= changes
    if "client_id" not in known:
        known["client_id"] = client_id_of(known["session_id"], known["key"])
    return Intent(**known)


def room(**changes: Any) -> Room:
    """Room for three entries of one symbol or another: 20 USDT of risk, 1,000 USDT of value."""
    known: dict[str, Any] = {
        "risk_usdt": Decimal(20), "notional_usdt": Decimal(1000), "count": 3,
        "allows_same_symbol": True,
    }  # fmt: skip
    return Room(**(known | changes))


WIDE = room(risk_usdt=Decimal(10**12), notional_usdt=Decimal(10**12), count=10**9)


def halt(**changes: Any) -> Halt:
    return Halt(**({"ts_ms": NOW_MS, "face": "cli", "cause": "a test"} | changes))


def pause(symbol: str = "BTC-USDT", **changes: Any) -> Pause:
    known = {"symbol": symbol, "ts_ms": NOW_MS, "face": "cli", "cause": "a test"}
    return Pause(**(known | changes))


def session(session_id: str = SESSION, **changes: Any) -> Session:
    known: dict[str, Any] = {
        "session_id": session_id, "account": ACCOUNT, "exchange": "sim", "mode": Mode.DEMO,
        "simulated": True, "symbols": ("BTC-USDT", "ETH-USDT"), "timeframe": "15m",
        "config": {"target.rr": 2.0, "zones.preset": "classic"}, "digests": {"code": "c0"},
        "version": "0.1.0", "pid": 7, "host": "here", "started_ms": NOW_MS,
        "history_start_ms": {"15m": 1}, "equity_start_usdt": Decimal("10000.00"),
    }  # fmt: skip
    return Session(**(known | changes))


def status(session_id: str = SESSION, **changes: Any) -> SessionStatus:
    known: dict[str, Any] = {
        "ts_ms": NOW_MS, "session_id": session_id, "phase": "trading", "mode": "demo",
        "exchange": "sim", "simulated": True, "symbols": ("BTC-USDT",), "timeframe": "15m",
    }  # fmt: skip
    return SessionStatus(**(known | changes))


def fill(trade_id: str = "t1", **changes: Any) -> Fill:
    known: dict[str, Any] = {
        "symbol": "BTC-USDT", "trade_id": trade_id, "order_id": "o1", "side": Side.BUY,
        "price": Decimal("100.10"), "size": Decimal("0.010"), "fee_usdt": Decimal("0.0006"),
        "pnl_usdt": Decimal(0), "ts_ms": NOW_MS,
    }  # fmt: skip
    return Fill(**(known | changes))


def funding(ts_ms: int = NOW_MS, **changes: Any) -> FundingPayment:
    known: dict[str, Any] = {
        "symbol": "BTC-USDT", "ts_ms": ts_ms, "rate": Decimal("0.0001"),
        "amount_usdt": Decimal("-0.02"),
    }  # fmt: skip
    return FundingPayment(**(known | changes))


def trade(trade_id: str = "tr-1", **changes: Any) -> Trade:
    known: dict[str, Any] = {
        "id": trade_id, "run_id": SESSION, "mode": "demo", "symbol": "BTC-USDT", "side": "long",
        "quantity": 0.01, "entry_ms": NOW_MS - 900_000, "entry_price": 100.0, "stop": 95.0,
        "target": 110.0, "exit_ms": NOW_MS, "exit_price": 110.0,
        "exit_reason": ExitReason.TARGET,
        "exits": [PartExit(NOW_MS, 110.0, 0.01, ExitReason.TARGET)], "pnl_usdt": 0.1,
        "fees_usdt": 0.001, "funding_usdt": 0.0, "slippage_usdt": 0.0, "r_multiple": 2.0,
        "mfe_r": 2.1, "mae_r": -0.2, "zone_id": "z1", "timeframe": "1h", "pattern": "DBR",
        "regime": "trend", "session": "london", "confidence": 61.5, "freshness": 1.0,
        "strength": 70.0, "resolution": "15m", "ambiguous": False, "tags": [], "note": "",
    }  # fmt: skip
    return Trade(**(known | changes))


def decision(bar_ms: int = NOW_MS, **changes: Any) -> Decision:
    known: dict[str, Any] = {
        "symbol": "BTC-USDT", "bar_ms": bar_ms, "ts_ms": bar_ms + 900_500, "action": "hold",
        "outcome": "hold", "gates": (Gate("trend", False, 0.4, 0.5),), "digest": "d0",
    }  # fmt: skip
    return Decision(**(known | changes))


def zone(zone_id: str = "z1", **changes: Any) -> Zone:
    known: dict[str, Any] = {
        "id": zone_id, "symbol": "BTC-USDT", "timeframe": Timeframe.H1, "kind": Kind.DEMAND,
        "pattern": Pattern.DBR, "proximal": 100.0, "distal": 98.0, "base_start_ms": 1,
        "base_end_ms": 2, "born_ms": 3, "state": ZoneState.FRESH, "touches": 0, "freshness": 1.0,
        "strength": 70.0, "confidence": 60.0, "score": {"departure": 0.5}, "ended_ms": None,
        "atr": 1.5, "departure_atr": 2.5, "penetration": 0.0, "distance_atr": 1.0,
    }  # fmt: skip
    return Zone(**(known | changes))


def equity(ts_ms: int = NOW_MS, **changes: Any) -> EquityPoint:
    known: dict[str, Any] = {
        "ts_ms": ts_ms, "equity_usdt": Decimal("10000.10"), "available_usdt": Decimal(9000),
        "open_profit_usdt": Decimal("-1.5"),
    }  # fmt: skip
    return EquityPoint(**(known | changes))


def happening(text: str = "stop filled", **changes: Any) -> Happening:
    known: dict[str, Any] = {"ts_ms": NOW_MS, "level": Level.ALERT, "kind": "stop", "text": text}
    return Happening(**(known | changes))


def errand(errand_id: str = "e1", **changes: Any) -> Errand:
    known: dict[str, Any] = {
        "id": errand_id, "account": ACCOUNT, "kind": "close", "arguments": {"symbol": "BTC-USDT"},
        "face": "cli", "created_ms": NOW_MS, "expires_ms": NOW_MS + 10_000,
    }  # fmt: skip
    return Errand(**(known | changes))


def proposal(proposal_id: str = "ab12", **changes: Any) -> Proposal:
    known: dict[str, Any] = {
        "id": proposal_id, "account": ACCOUNT, "plan_hash": "p0", "plan": {"symbol": "BTC-USDT"},
        "reason": "approval only", "face": "mcp", "created_ms": NOW_MS,
        "expires_ms": NOW_MS + 300_000,
    }  # fmt: skip
    return Proposal(**(known | changes))


TEXT = st.text(st.characters(), max_size=20)  # controls, NUL and halves of pairs as well
MONEY = st.decimals(allow_nan=False, allow_infinity=False)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TIMES = st.integers(0, 2**53)
JSON = st.recursive(
    st.none() | st.booleans() | TIMES | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


def any_of(kind: Any, **fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Any record of this kind, its fields drawn from their type hints."""
    hints = get_type_hints(kind)
    drawn = {item.name: _values(hints[item.name]) for item in fields(kind)}
    return st.builds(kind, **(drawn | fixed))


def _values(hint: Any) -> st.SearchStrategy[Any]:
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: TEXT, int: TIMES, float: NUMBERS, bool: st.booleans(), Decimal: MONEY, Any: JSON,
    }  # fmt: skip
    origin, parts = get_origin(hint), get_args(hint)
    if hint in plain:
        return plain[hint]
    if origin in {Union, types.UnionType}:
        return st.one_of(*(st.none() if part is type(None) else _values(part) for part in parts))
    if origin is dict:
        return st.dictionaries(TEXT, _values(parts[1]), max_size=3)
    if origin in {list, tuple}:
        shape: Callable[[Any], Any] = origin
        if origin is tuple and parts[-1] is not Ellipsis:
            return st.tuples(*map(_values, parts))
        return st.lists(_values(parts[0]), max_size=3).map(shape)
    if is_dataclass(hint):
        return any_of(hint)
    assert issubclass(hint, Enum), hint
    return st.sampled_from(list(hint))


def optional_names(kind: Any) -> set[str]:
    """Fields that an earlier build may not have known."""
    return {
        item.name
        for item in fields(kind)
        if item.default is not MISSING or item.default_factory is not MISSING
    }
