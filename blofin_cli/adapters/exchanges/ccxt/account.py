"""An account through ccxt, read only: the `AccountReader` port.

A list that fills its page is refused, since half a list would read as absence.
"""

from collections.abc import Mapping
from typing import Any

from blofin_cli.adapters.exchanges.ccxt import holdings
from blofin_cli.adapters.exchanges.ccxt.library import NOT_FOUND, is_kind
from blofin_cli.adapters.exchanges.ccxt.public import PublicData
from blofin_cli.core.orders import (
    AccountInfo,
    Fill,
    KeyInfo,
    LeverageSetting,
    MarginMode,
    Order,
    OrderRef,
    Position,
    PositionMode,
    Protection,
    ProtectionRef,
    Side,
)
from blofin_cli.core.quotes import PriceRange
from blofin_cli.errors import BadAnswerError, RefusedError, VenueError

HISTORY_MAX = 100
WINDOWS_MAX = 60
_DAY_MS = 86_400_000


class AccountData(PublicData):
    """What one account holds. Needs a key that can read."""

    async def account(self) -> AccountInfo:
        """Balances of the futures account."""
        row = await self._library.read("fetch_balance")
        return holdings.account(row, self.now_ms())

    async def positions(self, symbol: str | None = None) -> tuple[Position, ...]:
        """Open positions."""
        names = None if symbol is None else [await self._name(symbol)]
        found = []
        for row in await self._library.read("fetch_positions", names):
            ours = await self._ours(row)
            if ours is not None and symbol in {None, ours}:
                found.append(holdings.position(row, self._listings[ours].instrument))
        return tuple(position for position in found if position is not None)

    async def open_orders(self, symbol: str | None = None) -> tuple[Order, ...]:
        """Working orders and waiting stop entries."""
        found = []
        for row, is_waiting in await self._waiting(symbol):
            ours = await self._ours(row)
            if ours is not None and not (is_waiting and _is_protection(row)):
                terms = self._listings[ours].instrument
                found.append(holdings.order(row, terms, is_trigger=is_waiting))
        return tuple(sorted(found, key=lambda order: order.created_ms))

    async def protections(self, symbol: str | None = None) -> tuple[Protection, ...]:
        """Waiting stops and targets that are orders of their own."""
        found = []
        for row, is_waiting in await self._waiting(symbol, with_working=False):
            ours = await self._ours(row)
            if ours is not None and is_waiting and _is_protection(row):
                found.append(holdings.protection(row, self._listings[ours].instrument))
        return tuple(found)

    async def order(self, ref: OrderRef) -> Order | None:
        """One order, open or finished; None when the exchange says there is none."""
        name = await self._name(ref.symbol)
        terms = self._listings[ref.symbol].instrument
        if self._library.can("fetchOrder"):
            extra: dict[str, Any] = {"trigger": True} if ref.is_trigger else {}
            if not ref.order_id:
                extra["clientOrderId"] = ref.client_id
            try:
                row = await self._library.read("fetch_order", ref.order_id, name, extra)
            except VenueError as refusal:
                if is_kind(refusal, NOT_FOUND):
                    return None
                raise
            return holdings.order(row, terms, is_trigger=ref.is_trigger)
        listed = await self.open_orders(ref.symbol)
        if not ref.is_trigger:
            listed += await self.order_history(ref.symbol)
        return next((order for order in listed if _is_order(order, ref)), None)

    async def protection(self, ref: ProtectionRef) -> Protection | None:
        """One waiting stop or target; None when none of the lists has it."""
        listed = await self.protections(ref.symbol)
        if ref.protection_id:
            return next((each for each in listed if each.protection_id == ref.protection_id), None)
        return next((each for each in listed if each.client_id == ref.client_id), None)

    async def order_history(
        self, symbol: str | None = None, *, since_ms: int | None = None, limit: int = 100
    ) -> tuple[Order, ...]:
        """Finished orders, ascending by update; the newest `limit`, at most a page.

        Errors: RefusedError where the exchange tells them by symbol only.
        """
        method = "fetch_orders" if self._library.can("fetchOrders") else "fetch_closed_orders"
        name = await self._told_by_symbol(method, symbol)
        rows = await self._library.read(method, name, since_ms, min(limit, HISTORY_MAX))
        found = []
        for row in rows:
            ours = await self._ours(row)
            if ours is not None:
                found.append(holdings.order(row, self._listings[ours].instrument))
        ended = [each for each in found if not each.state.is_open]
        kept = [each for each in ended if since_ms is None or each.updated_ms >= since_ms]
        return tuple(sorted(kept, key=lambda order: order.updated_ms)[-limit:])

    async def fills(
        self,
        symbol: str | None = None,
        *,
        since_ms: int | None = None,
        order_id: str | None = None,
    ) -> tuple[Fill, ...]:
        """Executions, ascending and each once; all of them since `since_ms`, else a page.

        Errors: RefusedError where the exchange tells them by symbol only; BadAnswerError when the
        pages do not end.
        """
        name = await self._told_by_symbol("fetch_my_trades", symbol)
        extra = {"orderId": order_id} if order_id else {}
        rows: dict[str, Mapping[str, Any]] = {}
        start_ms = since_ms
        for _ in range(WINDOWS_MAX):
            page = await self._library.read("fetch_my_trades", name, start_ms, None, extra)
            fresh = {str(row.get("id")): row for row in page}
            is_news = bool(fresh.keys() - rows.keys())
            rows |= fresh
            if start_ms is None:
                break
            following_ms = self._following_ms(start_ms, page, is_news=is_news)
            if following_ms is None:
                break
            start_ms = following_ms
        else:
            raise BadAnswerError(f"more than {WINDOWS_MAX} pages of fills")
        found = []
        for row in rows.values():
            ours = await self._ours(row)
            if ours is not None:
                found.append(holdings.fill(row, self._listings[ours].instrument))
        kept = [
            each
            for each in found
            if (since_ms is None or each.ts_ms >= since_ms)
            and (order_id is None or each.order_id == order_id)
        ]
        return tuple(sorted(kept, key=lambda each: (each.ts_ms, each.trade_id)))

    async def leverage(self, symbol: str) -> tuple[LeverageSetting, ...]:
        """Leverage in force, with the margin mode it belongs to."""
        name = await self._name(symbol)
        row = await self._library.read("fetch_leverage", name, dict(self._margin_words))
        return holdings.leverage(row, symbol)

    async def margin_mode(self) -> MarginMode:
        """The account's mode; isolated where the symbol has one, since orders see to that."""
        if not self._library.dialect.has_order_margin:
            return MarginMode.ISOLATED
        name = next(iter((await self._known()).values()))
        return holdings.margin_mode(await self._library.read("fetch_margin_mode", name))

    async def position_mode(self) -> PositionMode:
        """One-way or hedge, for the whole account."""
        name = next(iter((await self._known()).values()))
        row = await self._library.read("fetch_position_mode", name)
        hedged = row.get("hedged")
        if hedged is None:
            return PositionMode.UNKNOWN
        return PositionMode.HEDGE if hedged else PositionMode.ONE_WAY

    async def key_info(self) -> KeyInfo:
        """Refused: ccxt has no question for what a key may do."""
        raise RefusedError(
            f"{self.venue.name} does not tell what its key may do",
            hint="look at the exchange's website: it must not be able to withdraw",
        )

    async def price_range(self, symbol: str, side: Side) -> PriceRange:
        """Refused: ccxt has no question for it."""
        raise RefusedError(f"{self.venue.name} tells no price range for {symbol}")

    # Rows.

    @property
    def _margin_words(self) -> Mapping[str, Any]:
        """What names the margin mode where calls carry it."""
        return {"marginMode": "isolated"} if self._library.dialect.has_order_margin else {}

    async def _ours(self, row: Mapping[str, Any]) -> str | None:
        """Our symbol of a row; None for markets this product does not trade."""
        known = await self._known()
        return next((ours for ours, name in known.items() if name == row.get("symbol")), None)

    async def _waiting(
        self, symbol: str | None, *, with_working: bool = True
    ) -> list[tuple[Mapping[str, Any], bool]]:
        """Rows of the list of working orders (False) and of the further lists (True).

        Errors: BadAnswerError when a list fills its page.
        """
        name = None if symbol is None else await self._name(symbol)
        lists: list[Mapping[str, Any]] = [{}] if with_working else []
        lists += self._library.dialect.waiting
        told = (self._library.features.get("fetchOpenOrders") or {}).get("limit")
        found: list[tuple[Mapping[str, Any], bool]] = []
        for words in lists:
            rows = await self._library.read("fetch_open_orders", name, params=dict(words))
            if told and len(rows) >= int(told):
                raise BadAnswerError(f"{self.venue.name} tells {len(rows)} orders, perhaps not all")
            is_pair = bool(words.get("tpsl"))
            found += [({**row, _PAIR: is_pair}, bool(words)) for row in rows]
        return found

    async def _told_by_symbol(self, method: str, symbol: str | None) -> str | None:
        """ccxt's symbol. Errors: RefusedError when there must be one and is none."""
        if symbol is not None:
            return await self._name(symbol)
        if self._library.dialect.is_told_by_symbol:
            raise RefusedError(
                f"{self.venue.name} tells this by symbol only ({method})", hint="name a symbol"
            )
        return None

    def _following_ms(
        self, start_ms: int, page: list[Mapping[str, Any]], *, is_news: bool
    ) -> int | None:
        """Where the next page of fills starts; None at the end.

        A full page goes on at its last row; a short one at the end of the longest span the
        exchange answers at once.
        """
        limits = self._library.features.get("fetchMyTrades") or {}
        if page and is_news and len(page) >= int(limits.get("limit") or HISTORY_MAX):
            return max(int(row.get("timestamp") or 0) for row in page)
        span_ms = int(limits.get("untilDays") or 0) * _DAY_MS
        following_ms = start_ms + span_ms
        return following_ms if span_ms and following_ms < self.now_ms() else None


_PAIR = "is_pair"


def _is_protection(row: Mapping[str, Any]) -> bool:
    """From a list of stops and targets, or an order that can only close."""
    return bool(row.get(_PAIR)) or holdings.is_protection(row)


def _is_order(order: Order, ref: OrderRef) -> bool:
    if ref.order_id:
        return order.order_id == ref.order_id
    return order.client_id == ref.client_id
