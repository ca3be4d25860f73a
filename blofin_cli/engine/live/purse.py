"""What the account is worth and why: settlements, transfers, equity.

The balance is what the exchange says; the purse keeps beside it what fills, fees and funding
explain. A large lasting rest was moved by somebody and is no loss.
"""

from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from blofin_cli.core.journal import EquityPoint, FundingPayment, Level
from blofin_cli.engine.live import book
from blofin_cli.engine.live.book import Holding
from blofin_cli.engine.live.state import LiveState

HOUR_MS = 3_600_000
FUNDING_LATE_MS = 60_000
TRANSFER_USDT_MIN = Decimal("0.5")
TRANSFER_FRACTION_MIN = Decimal("0.0005")
SETTLING = "owed"  # what an earlier version kept as `settling` has another shape
FILLS_MAX = 10_000
ZERO = Decimal(0)


class Owed(NamedTuple):
    """What a settlement is paid on. Units: `size` signed base units."""

    trade_id: str
    size: Decimal
    price: Decimal


class Purse:
    """The money of one account. Its coroutine runs as part of a reconciliation."""

    def __init__(self, state: LiveState) -> None:
        self._state = state
        self._cash: Decimal | None = None
        self._unexplained: Decimal | None = None
        self._funded: set[tuple[str, int]] = set()
        self._funded_hour = -1
        self._noted_hour: int | None = None
        self._settling: dict[tuple[str, int], Owed] = {}
        self._kept: list[list[object]] = []

    def recall(self, since_ms: int) -> None:
        """Take over which settlements the journal knows and which are still owed.

        Errors: DataError.
        """
        state = self._state
        for payment in state.journal.funding_payments(state.account, since_ms=since_ms):
            self._funded.add((payment.symbol, payment.ts_ms))
        for row in (state.journal.recall(state.account, SETTLING) or {}).get("rows", []):
            symbol, at_ms, trade_id, size, price = row
            self._settling[symbol, int(at_ms)] = Owed(trade_id, Decimal(size), Decimal(price))

    def spend(self, amount: Decimal) -> None:
        """A fill has moved the balance by its profit less its fee."""
        if self._cash is not None:
            self._cash += amount

    def note_settlement(self) -> None:
        """Remember what is held when an hour begins: a settlement then is paid on just that."""
        state, now = self._state, self._state.now_ms()
        hour = now // HOUR_MS
        if self._noted_hour is None:
            self._noted_hour = hour
        if hour == self._noted_hour:
            return
        self._noted_hour = hour
        for holding in state.holdings.values():
            position = state.mirror.position(holding.symbol)
            if position is not None:
                size = holding.side.sign * holding.quantity or position.size
                owed = Owed(holding.trade_id, size, position.mark_price)
                self._settling[holding.symbol, hour * HOUR_MS] = owed
        self._keep_settling()

    def note_end(self, holding: Holding) -> None:
        """A position has ended: settlements before its last exit are owed, later ones are not."""
        state, symbol = self._state, holding.symbol
        ended_ms = max((int(row[0]) for row in holding.exits), default=state.now_ms())
        for key, owed in list(self._settling.items()):
            if owed.trade_id == holding.trade_id and key[1] > ended_ms:
                del self._settling[key]
        week_ms = state.now_ms() - 7 * 24 * HOUR_MS
        first = max(week_ms, holding.opened_ms) // HOUR_MS + 1
        price = state.last(symbol) or holding.entry_price or ZERO
        for at_ms in range(first * HOUR_MS, ended_ms + 1, HOUR_MS):
            if (symbol, at_ms) not in self._funded:
                gone = sum((Decimal(row[2]) for row in holding.exits if row[0] < at_ms), ZERO)
                size = holding.side.sign * (holding.opened - gone)
                self._settling.setdefault((symbol, at_ms), Owed(holding.trade_id, size, price))
        self._keep_settling()

    def _keep_settling(self) -> None:
        """Let what is owed survive a restart."""
        state = self._state
        rows = [
            [symbol, at_ms, owed.trade_id, str(owed.size), str(owed.price)]
            for (symbol, at_ms), owed in self._settling.items()
        ]
        if rows != self._kept:
            self._kept = rows
            write = partial(state.journal.remember, state.account, SETTLING, {"rows": rows})
            state.scribe.write(write)

    async def book_funding(self) -> None:
        """Book settlements of what was held, once an hour and late enough that they are listed.

        The amount is the rate on what was held, at the first mark price seen after the settlement.
        """
        state, now = self._state, self._state.now_ms()
        hour = (now - FUNDING_LATE_MS) // HOUR_MS
        if hour == self._funded_hour or state.scribe.is_behind:  # it asks the journal for fills
            return
        owed: list[tuple[str, FundingPayment]] = []  # asked for in full before any is booked
        for symbol in sorted({*state.holdings, *(symbol for symbol, _ in self._settling)}):
            since = self._since_of(symbol)
            for rate in await state.exchange.funding_history(symbol, since_ms=since):
                due = self._due(symbol, rate.ts_ms)
                if due is not None and since < rate.ts_ms <= now:
                    amount = -due.size * due.price * rate.rate
                    payment = FundingPayment(
                        symbol=symbol, ts_ms=rate.ts_ms, rate=rate.rate, amount_usdt=amount
                    )
                    owed.append((due.trade_id, payment))
        for trade_id, payment in owed:
            self._fund(trade_id, payment)
        self._funded_hour = hour
        self._settling = {k: v for k, v in self._settling.items() if k[1] > now - HOUR_MS}
        self._keep_settling()

    def _since_of(self, symbol: str) -> int:
        """Settlements up to here cannot concern what was held."""
        week_ms = self._state.now_ms() - 7 * 24 * HOUR_MS
        noted = [at - 1 for name, at in self._settling if name == symbol]
        holding = self._state.holdings.get(symbol)
        opened = [] if holding is None else [holding.opened_ms]
        return max(week_ms, min([*noted, *opened]))

    def _due(self, symbol: str, ts_ms: int) -> Owed | None:
        """What a settlement was paid on; None when it is booked or was none."""
        state = self._state
        if (symbol, ts_ms) in self._funded:
            return None
        due = self._settling.get((symbol, ts_ms))
        if due is None:  # held while nobody watched
            holding, position = state.holdings.get(symbol), state.mirror.position(symbol)
            if holding is None or position is None or ts_ms <= holding.opened_ms:
                return None
            due = Owed(holding.trade_id, position.size, position.mark_price)
        return due._replace(size=self._held_at(symbol, ts_ms) or due.size)

    def _held_at(self, symbol: str, at_ms: int) -> Decimal | None:
        """Signed size when a settlement came: what is held less all that filled since.

        None when that is more than can be read; zero when nothing was held by its fills.
        """
        state = self._state
        later = state.journal.fills(state.account, symbol=symbol, since_ms=at_ms, limit=FILLS_MAX)
        if len(later) == FILLS_MAX:
            return None
        holding = state.holdings.get(symbol)
        held = ZERO if holding is None else holding.side.sign * holding.quantity
        return held - sum((fill.side.sign * fill.size for fill in later), ZERO)

    def _fund(self, trade_id: str, payment: FundingPayment) -> None:
        """Enter one settlement, with its trade even when that has ended meanwhile."""
        state = self._state
        self._funded.add((payment.symbol, payment.ts_ms))
        holding = state.holdings.get(payment.symbol)
        if holding is not None and holding.trade_id == trade_id:
            state.set_holding(book.funded(holding, payment))
        else:
            state.scribe.write(partial(self._fund_ended, trade_id, payment))
        if self._cash is not None:
            self._cash += payment.amount_usdt
        session_id = state.session.session_id
        state.scribe.write(lambda: state.journal.book_funding(state.account, session_id, [payment]))

    def _fund_ended(self, trade_id: str, payment: FundingPayment) -> None:
        """Add a settlement to a finished trade's result."""
        state, amount = self._state, float(payment.amount_usdt)
        since_ms = payment.ts_ms - HOUR_MS
        for trade in state.journal.trades(account=state.account, since_ms=since_ms):
            if trade.id == trade_id:
                pnl = trade.pnl_usdt + amount
                planned = trade.pnl_usdt / trade.r_multiple if trade.r_multiple else 0.0
                state.journal.save_trade(
                    state.account,
                    replace(
                        trade,
                        funding_usdt=trade.funding_usdt + amount,
                        pnl_usdt=pnl,
                        r_multiple=pnl / planned if planned else trade.r_multiple,
                    ),
                )

    def mark(self, *, is_quiet: bool) -> None:
        """Mark the breakers by the equity; `is_quiet`: the books have just been compared."""
        state = self._state
        balance = None if state.mirror.account is None else state.mirror.account.balance()
        if balance is None:
            return
        if is_quiet:
            self._notice_transfer(balance.balance)
        tripped = state.breakers.mark(balance.equity, state.now_ms())
        for happening in tripped:
            state.happened(happening)
        if tripped:
            state.keep_memory()

    def _notice_transfer(self, balance: Decimal) -> None:
        """Money that no fill, fee or funding explains was moved by somebody: it is no loss.

        Two looks must agree, since a fill may be on its way.
        """
        state = self._state
        if self._cash is None:
            self._cash = balance
            return
        unexplained = balance - self._cash
        least = max(TRANSFER_USDT_MIN, TRANSFER_FRACTION_MIN * abs(balance))
        if abs(unexplained) <= least or state.unresolved():
            self._unexplained = None
            is_settled = self._funded_hour == state.now_ms() // HOUR_MS
            if abs(unexplained) <= least and is_settled:
                self._cash = balance
            return
        if self._unexplained != unexplained:
            self._unexplained = unexplained
            return
        self._cash, self._unexplained = balance, None
        state.breakers.transferred(unexplained)
        state.tell(
            Level.INFO, "funding",
            f"{unexplained:+.2f} USDT were moved by somebody; limits are measured from there",
        )  # fmt: skip

    def equity_point(self) -> EquityPoint | None:
        """The account as it stands, None before it was told."""
        state = self._state
        balance = None if state.mirror.account is None else state.mirror.account.balance()
        if balance is None:
            return None
        return EquityPoint(
            ts_ms=state.now_ms(),
            equity_usdt=balance.equity,
            available_usdt=balance.available,
            open_profit_usdt=sum(
                (row.unrealized_pnl_usdt for row in state.mirror.positions.values()), ZERO
            ),
            transfers_usdt=Decimal(repr(state.breakers.memory.transfers)),
        )
