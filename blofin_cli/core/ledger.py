"""The book: what is held, what it cost, what it made. Every change of cash happens here.

Money in the book is kept so that equity = start + realised of closed trades + open profit holds
at every bar; `test_ledger` checks it.
"""

from enum import IntEnum
from typing import Any, NamedTuple

from blofin_cli.core.compiled import Record, kernel
from blofin_cli.core.market import ExitReason

# Status of a position slot.
FREE, ENTERING, RESTING, OPEN, LEAVING = range(5)

# Codes of exit reasons, by their place in the enum.
REASONS = tuple(ExitReason)
STOP, TARGET, TRAILING, TIME, SIGNAL, HALT, LIQUIDATION, MANUAL, END = range(9)


class Verdict(IntEnum):
    """What the account said to a signal; the first condition that refuses it is kept."""

    TRADED = 0
    UNSEEN = 1
    HALTED = 2
    DAY_LOSS = 3
    WEEK_LOSS = 4
    ACCOUNT_PAUSED = 5
    COOLDOWN = 6
    POSITION_OPEN = 7
    COUNT = 8
    ENTRIES_PER_DAY = 9
    EXPOSURE = 10
    SIZE = 11
    NO_SLOT = 12


class Bars(NamedTuple):
    """Execution candles of all symbols, one after the other, as the step sees them.

    `mark_low`, `mark_high` and `mark_close` are 0 where no mark price is known; `funding_long` and
    `funding_short` are what each side pays at the funding times inside the bar, as a fraction of
    value; `fine_first` and `fine_stop` delimit the finer candles inside the bar.
    """

    ts: Any
    open: Any
    high: Any
    low: Any
    close: Any
    volume: Any
    quote_sum: Any
    mark_low: Any
    mark_high: Any
    mark_close: Any
    funding_long: Any
    funding_short: Any
    fine_first: Any
    fine_stop: Any
    fine_high: Any
    fine_low: Any


class SymbolRow(Record):
    """Contract terms of a symbol, where its bars lie, and what its last trades forbid.

    Units: `lot` and `size_max` base units; `tick` price.
    """

    first: int
    tick: float
    lot: float
    size_min: float
    size_max: float
    leverage_max: float
    maintenance: float
    slip_floor: float
    paused_until_ms: int
    stops_in_row: int


class SignalRow(Record):
    """A decision of the strategy at a closed bar: where to get in and where it is wrong.

    `tick` is the bar at whose close it was made, `until` the last tick of a resting entry, `limit`
    its price (0 for a market entry), `entry` the price it was planned on, `target` a fixed price
    or 0 for multiples of R, `hold_ms` the time stop, `notional_scale` the volatility cap.
    """

    tick: int
    symbol: int
    side: int
    until: int
    zone: int
    hold_ms: int
    zone_ms: int
    entry: float
    limit: float
    stop: float
    target: float
    risk_fraction: float
    notional_scale: float
    verdict: int


class PositionRow(Record):
    """A position from the order that opens it to the fill that ends it.

    Units: `quantity` base units still held, `filled` ever held, `wanted` ordered; `risk_price` is
    R in price; `budget` the most that may be lost at the stop; the rest in quote currency.
    """

    status: int
    symbol: int
    signal: int
    side: int
    number: int
    entry_ms: int
    due_ms: int
    until: int
    zone_ms: int
    part: int
    is_moved: int
    is_ambiguous: int
    resolution_ms: int
    reason: int
    last_exit_ms: int
    wanted: float
    filled: float
    quantity: float
    entry: float
    limit: float
    stop: float
    first_stop: float
    target: float
    fixed_target: float
    risk_price: float
    budget: float
    margin: float
    liquidation: float
    best: float
    worst: float
    realised: float
    exit_value: float
    fees: float
    funding: float
    slippage: float


class TradeRow(Record):
    """A finished round trip."""

    number: int
    signal: int
    symbol: int
    side: int
    entry_ms: int
    exit_ms: int
    reason: int
    is_ambiguous: int
    resolution_ms: int
    quantity: float
    entry: float
    exit: float
    stop: float
    target: float
    risk_price: float
    pnl: float
    fees: float
    funding: float
    slippage: float
    net_r: float
    mfe_r: float
    mae_r: float


class ExitRow(Record):
    """One closing fill; `number` is the position's."""

    number: int
    ms: int
    reason: int
    price: float
    quantity: float


class AccountRow(Record):
    """Cash, equity and what the breakers remember.

    `cash` is start plus everything realised; equity adds open profit at the last close.
    """

    start: float
    cash: float
    equity: float
    peak: float
    drawdown_max: float
    day: int
    day_start: float
    week_start: float
    is_day_blocked: int
    is_week_blocked: int
    is_halted: int
    halted_ms: int
    paused_until_ms: int
    stops_in_row: int
    entries_today: int
    active: int
    slots_used: int
    opened: int
    trades: int
    exits: int
    next_signal: int
    bars_exposed: int
    turnover: float


class Desk(NamedTuple):
    """Everything one step reads and changes."""

    bars: Bars
    bar_at: Any
    tick_ts: Any
    correlation: Any
    correlation_row: Any
    symbols: Any
    signals: Any
    positions: Any
    trades: Any
    exits: Any
    account: Any
    impact_memo: Any
    scratch: Any
    step_ms: int
    optimistic: int


@kernel
def open_profit(position: PositionRow, price: float) -> float:
    """Profit of what is still held, at a price."""
    return position.side * (price - position.entry) * position.quantity


@kernel
def book_entry(account: AccountRow, position: PositionRow, quantity: float, price: float) -> None:
    """Add a filled quantity to a position at its average price."""
    value = position.entry * position.filled + price * quantity
    position.filled += quantity
    position.quantity += quantity
    position.entry = value / position.filled
    position.risk_price = abs(position.entry - position.first_stop)
    account.turnover += price * quantity


@kernel
def book_cost(account: AccountRow, position: PositionRow, fee: float, slippage: float) -> None:
    """Pay a fee; slippage is already in the price and only remembered."""
    position.fees += fee
    position.slippage += slippage
    account.cash -= fee


@kernel
def book_funding(account: AccountRow, position: PositionRow, received: float) -> None:
    """Receive or, negative, pay funding."""
    position.funding += received
    account.cash += received


@kernel
def book_exit(desk: Desk, position: PositionRow, ms: int, price: float, quantity: float) -> None:
    """Realise part or all of a position for the reason it carries."""
    account = desk.account[0]
    profit = position.side * (price - position.entry) * quantity
    position.realised += profit
    position.exit_value += price * quantity
    position.quantity -= quantity
    position.last_exit_ms = ms
    account.cash += profit
    account.turnover += price * quantity
    if account.exits < len(desk.exits):
        row = desk.exits[account.exits]
        row.number = position.number
        row.ms = ms
        row.reason = position.reason
        row.price = price
        row.quantity = quantity
    account.exits += 1  # past the room there is, the driver makes more and runs again


@kernel
def book_trade(desk: Desk, position: PositionRow) -> None:
    """Write the finished trade and free the slot."""
    account = desk.account[0]
    trade = desk.trades[account.trades]
    account.trades += 1
    trade.number = position.number
    trade.signal = position.signal
    trade.symbol = position.symbol
    trade.side = position.side
    trade.entry_ms = position.entry_ms
    trade.exit_ms = position.last_exit_ms
    trade.reason = position.reason
    trade.is_ambiguous = position.is_ambiguous
    trade.resolution_ms = position.resolution_ms
    trade.quantity = position.filled
    trade.entry = position.entry
    trade.exit = position.exit_value / position.filled
    trade.stop = position.first_stop
    trade.target = position.target
    trade.risk_price = position.risk_price
    trade.pnl = position.realised + position.funding - position.fees
    trade.fees = position.fees
    trade.funding = position.funding
    trade.slippage = position.slippage
    trade.net_r = trade.pnl / (position.risk_price * position.filled)
    trade.mfe_r = position.side * (position.best - position.entry) / position.risk_price
    trade.mae_r = position.side * (position.worst - position.entry) / position.risk_price
    release(desk, position)


@kernel
def release(desk: Desk, position: PositionRow) -> None:
    """Free a slot."""
    position.status = FREE
    desk.account[0].active -= 1
