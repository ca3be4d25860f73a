"""BloFin's account over REST, read only: the `AccountReader` port.

A list is read to its last page or not at all: half a list would read as absence.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar

from blofin_cli.adapters.exchanges.blofin.public import PublicData
from blofin_cli.adapters.exchanges.blofin.wire import account, answers, calls, market
from blofin_cli.adapters.exchanges.blofin.wire.answers import NO_ROUTE
from blofin_cli.adapters.exchanges.blofin.wire.calls import Call
from blofin_cli.adapters.exchanges.blofin.wire.fields import Row, rows_of
from blofin_cli.adapters.exchanges.blofin.wire.market import UnknownTermsError
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
from blofin_cli.core.quotes import Environment, PriceRange
from blofin_cli.errors import AuthError, BadAnswerError, RateLimitError, VenueError

PAGES_MAX = 50
Record = TypeVar("Record")
Read = Callable[[Row, dict[str, Decimal]], Record]


class AccountData(PublicData):
    """What one account holds. Needs a key that can read."""

    async def account(self) -> AccountInfo:
        """Balances of the futures account."""
        answer = await self._sender.read(calls.private("account/balance"))
        return account.account(answers.object_of(answer, "account"))

    async def positions(self, symbol: str | None = None) -> tuple[Position, ...]:
        """Open positions."""
        call = calls.private("account/positions", instId=symbol)
        found = await self._rows(call, account.position)
        return tuple(position for position in found if position.size)

    async def open_orders(self, symbol: str | None = None) -> tuple[Order, ...]:
        """Working orders and waiting stop entries."""
        working = await self._all("trade/orders-pending", account.order, "orderId", instId=symbol)
        waiting = await self._all(
            "trade/orders-algo-pending", account.trigger_order, "algoId",
            instId=symbol, orderType="trigger",
        )  # fmt: skip
        return tuple(sorted((*working, *waiting), key=lambda order: order.created_ms))

    async def protections(self, symbol: str | None = None) -> tuple[Protection, ...]:
        """Waiting stops and targets that are orders of their own."""
        return await self._all(
            "trade/orders-tpsl-pending", account.protection, "tpslId", instId=symbol
        )

    async def order(self, ref: OrderRef) -> Order | None:
        """One order, open or finished; None when neither its detail nor a list knows it.

        What `order-detail` answers for an unknown order is not documented, so a refusal there only
        sends us to the lists; a fault of the network or the key is raised.
        """
        if ref.is_trigger:
            return await self._trigger_order(ref)
        found = await self._detail(calls.order_detail(ref).for_protection(), account.order)
        if found is not None and _is_order(found, ref):
            return found
        for path in ("trade/orders-pending", "trade/orders-history"):
            call = calls.private(path, instId=ref.symbol, limit=calls.PAGE_MAX)
            listed = await self._rows(call.for_protection(), account.order)
            if matching := next((order for order in listed if _is_order(order, ref)), None):
                return matching
        return None

    async def protection(self, ref: ProtectionRef) -> Protection | None:
        """One stop or target order, waiting or done; None when nothing knows it."""
        call = calls.protection_detail(ref).for_protection()
        found = await self._detail(call, account.protection)
        if found is not None and _is_protection(found, ref):
            return found
        for path in ("trade/orders-tpsl-pending", "trade/orders-tpsl-history"):
            call = calls.private(path, instId=ref.symbol, limit=calls.PAGE_MAX)
            listed = await self._rows(call.for_protection(), account.protection)
            if matching := next((order for order in listed if _is_protection(order, ref)), None):
                return matching
        return None

    async def order_history(
        self, symbol: str | None = None, *, since_ms: int | None = None, limit: int = 100
    ) -> tuple[Order, ...]:
        """Finished orders, ascending by update; the newest `limit`, at most a page."""
        call = calls.private(
            "trade/orders-history", instId=symbol, begin=since_ms, limit=min(limit, calls.PAGE_MAX)
        )
        found = await self._rows(call, account.order)
        kept = [order for order in found if since_ms is None or order.updated_ms >= since_ms]
        return tuple(sorted(kept, key=lambda order: order.updated_ms))

    async def fills(
        self,
        symbol: str | None = None,
        *,
        since_ms: int | None = None,
        order_id: str | None = None,
    ) -> tuple[Fill, ...]:
        """Executions, ascending and each once; all of them since `since_ms`, else a page."""
        query = {"instId": symbol, "orderId": order_id, "begin": since_ms}
        if since_ms is None and order_id is None:
            call = calls.private("trade/fills-history", **query, limit=calls.PAGE_MAX)
            found = await self._rows(call, account.fill)
        else:
            found = await self._all("trade/fills-history", account.fill, "tradeId", **query)
        kept = {
            fill.trade_id: fill
            for fill in found
            if (since_ms is None or fill.ts_ms >= since_ms)
            and (order_id is None or fill.order_id == order_id)
        }
        return tuple(sorted(kept.values(), key=lambda fill: (fill.ts_ms, fill.trade_id)))

    async def leverage(self, symbol: str) -> tuple[LeverageSetting, ...]:
        """Isolated leverage in force: one row, or one a side in hedge mode."""
        call = calls.private(
            "account/batch-leverage-info", instId=symbol, marginMode=MarginMode.ISOLATED.value
        )
        rows = rows_of(answers.data_of(await self._sender.read(call)), "leverage")
        settings = tuple(account.leverage_setting(row) for row in rows)
        kept = tuple(row for row in settings if row.symbol == symbol)
        if not kept or any(row.margin_mode is not MarginMode.ISOLATED for row in kept):
            raise BadAnswerError(f"BloFin told no isolated leverage of {symbol}")
        return kept

    async def margin_mode(self) -> MarginMode:
        """The account's default margin mode."""
        answer = await self._sender.read(calls.private("account/margin-mode"))
        return account.margin_mode(answers.object_of(answer, "margin-mode"))

    async def position_mode(self) -> PositionMode:
        """One-way or hedge, for the whole account."""
        answer = await self._sender.read(calls.private("account/position-mode"))
        return account.position_mode(answers.object_of(answer, "position-mode"))

    async def key_info(self) -> KeyInfo:
        """Permissions, addresses and age of the key in use."""
        answer = await self._sender.read(calls.private("user/query-apikey"))
        return account.key_info(answers.object_of(answer, "key"))

    async def key_belongs_to(self) -> Environment | None:
        """For a key this host does not know: the other host, when that one knows it."""
        return await self._sender.knows_key_elsewhere()

    async def price_range(self, symbol: str, side: Side) -> PriceRange:
        """Prices an order of this side may have now."""
        answer = await self._sender.read(calls.price_range(symbol, side))
        return market.price_range(answers.object_of(answer, "price-range"))

    # Rows and pages.

    async def _trigger_order(self, ref: OrderRef) -> Order | None:
        for path in ("trade/orders-algo-pending", "trade/orders-algo-history"):
            call = calls.private(path, instId=ref.symbol, orderType="trigger", limit=calls.PAGE_MAX)
            listed = await self._rows(call.for_protection(), account.trigger_order)
            if matching := next((order for order in listed if _is_order(order, ref)), None):
                return matching
        return None

    async def _detail(self, call: Call, read: Read[Record]) -> Record | None:
        """One object; None when success comes without any, or a refusal that is not about us."""
        try:
            answer = await self._sender.read(call)
        except RateLimitError:
            raise
        except (VenueError, AuthError) as refusal:
            if isinstance(refusal, VenueError) or refusal.details["venue_code"] == NO_ROUTE:
                return None
            raise
        if not answer.data:
            return None
        values = await self.contract_values()
        row = Row(answer.data, "detail")
        try:
            return read(row, values)
        except UnknownTermsError:
            return read(row, await self._newer_contract_values())

    async def _rows(self, call: Call, read: Read[Record]) -> tuple[Record, ...]:
        """The rows of one answer; a symbol without terms has the instruments read again."""
        data = answers.data_of(await self._sender.read(call))
        values = await self.contract_values()
        try:
            return account.records(rows_of(data, call.path), lambda row: read(row, values))
        except UnknownTermsError:
            newer = await self._newer_contract_values()
            return account.records(rows_of(data, call.path), lambda row: read(row, newer))

    async def _newer_contract_values(self) -> dict[str, Decimal]:
        await self._load_instruments(0)
        return self._contract_values

    async def _all(
        self, path: str, read: Read[Record], id_name: str, **query: object
    ) -> tuple[Record, ...]:
        """Every page of a list, newest first, each row once.

        Errors: BadAnswerError when the pages do not end or do not move on.
        """
        values = await self.contract_values()
        found: dict[str, Row] = {}
        after: str | None = None
        for _ in range(PAGES_MAX):
            call = calls.private(path, **query, after=after, limit=calls.PAGE_MAX)
            page = list(rows_of(answers.data_of(await self._sender.read(call)), path))
            fresh = {row.text(id_name): row for row in page if row.text(id_name) not in found}
            if page and not fresh:
                raise BadAnswerError(f"{path}: the same page twice")
            found |= fresh
            if len(page) < calls.PAGE_MAX:
                break
            after = page[-1].text(id_name)
        else:
            raise BadAnswerError(f"{path}: more than {PAGES_MAX} pages")
        try:
            return account.records(found.values(), lambda row: read(row, values))
        except UnknownTermsError:
            newer = await self._newer_contract_values()
            return account.records(found.values(), lambda row: read(row, newer))


def _is_order(order: Order, ref: OrderRef) -> bool:
    """It is the one asked for, by whichever id was given."""
    if order.symbol != ref.symbol:
        return False
    if ref.order_id:
        return order.order_id == ref.order_id
    return order.client_id == ref.client_id


def _is_protection(order: Protection, ref: ProtectionRef) -> bool:
    if order.symbol != ref.symbol:
        return False
    if ref.protection_id:
        return order.protection_id == ref.protection_id
    return order.client_id == ref.client_id
