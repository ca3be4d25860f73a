"""Writes through ccxt: the `ReduceOnly` and `Exchange` ports.

Sizes and prices are checked against the instrument's steps here, since ccxt rounds them without a
word. When an answer is lost the order is looked up by its client id a few times; found is ACCEPTED,
and not found is UNKNOWN. Nothing opening is sent a second time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeVar

from blofin_cli.adapters.exchanges.ccxt.account import AccountData
from blofin_cli.adapters.exchanges.ccxt.library import DUPLICATE, Fence, Library, is_kind
from blofin_cli.core.market import Instrument
from blofin_cli.core.orders import (
    Ack,
    CloseRequest,
    LeverageSetting,
    MarginMode,
    Order,
    OrderRef,
    OrderRequest,
    OrderState,
    OrderType,
    Outcome,
    PositionMode,
    Protection,
    ProtectionRef,
    ProtectionRequest,
)
from blofin_cli.core.quotes import Capability
from blofin_cli.errors import (
    AuthError,
    BadAnswerError,
    BlofinError,
    NetworkError,
    RefusedError,
    UnknownOutcomeError,
    UsageError,
    VenueError,
)
from blofin_cli.ports import Clock

LOOK_UPS_S = (0.3, 1.0, 2.0)
CANCEL_ATTEMPTS = 3

_FAILED_QUESTION = (NetworkError, BadAnswerError, VenueError, AuthError)
Found = TypeVar("Found", Order, Protection)
Words = dict[str, Any]


class ReducingAccount(AccountData):
    """An account whose exposure may be lowered, and nothing else.

    Errors: RefusedError where orders were never tried.
    """

    def __init__(self, library: Library, clock: Clock):
        super().__init__(library, clock)
        if not library.dialect.is_tried:
            raise RefusedError(
                f"orders at {library.name} were never tried through ccxt; it is good for prices",
                hint="blofin guide exchange-ccxt names those where they were",
            )
        self._isolated: set[str] = set()

    async def cancel(self, ref: OrderRef) -> Ack:
        """Cancel an order or stop entry; sent again when an answer is lost."""
        words: Words = {"trigger": True} if ref.is_trigger else {}

        async def is_gone() -> bool:
            found = await self.order(ref)
            return found is not None and not found.state.is_open

        return await self._cancel(ref.symbol, ref.order_id, ref.client_id, words, is_gone)

    async def cancel_many(self, refs: Sequence[OrderRef]) -> tuple[Ack, ...]:
        """Cancel orders one by one; Acks in the order of `refs`.

        What is raised once something was sent becomes the Ack of the order it concerns.
        """
        told: list[Ack] = []
        for ref in refs:
            told.append(await self._or_not_sent(self.cancel(ref), ref.client_id, is_first=not told))
        return tuple(told)

    async def reduce(self, request: OrderRequest) -> Ack:
        """Place a reduce-only order. Errors: UsageError when the request is not reduce-only."""
        if not request.reduce_only:
            raise UsageError("only reduce-only orders may pass here")
        return await self._place(request, None)

    async def close_position(self, request: CloseRequest) -> Ack:
        """Close a whole position at market; REFUSED with nothing to close.

        Where the exchange has no such call, a reduce-only market order of the position's size.
        """
        held = [
            each
            for each in await self.positions(request.symbol)
            if each.position_side is request.position_side
        ]
        if not held:
            return Ack(
                outcome=Outcome.REFUSED, client_id=request.client_id, message="nothing to close"
            )
        if not self._library.dialect.can_close:
            reduction = OrderRequest(
                symbol=request.symbol, side=held[0].closing_side, type=OrderType.MARKET,
                size=abs(held[0].size), client_id=request.client_id, reduce_only=True,
                position_side=request.position_side,
            )  # fmt: skip
            return await self._place(reduction, None)
        name = await self._name(request.symbol)
        words = {**self._margin_words, "clientOrderId": request.client_id}
        ack = await self._written(request.client_id, "close_position", name, None, words)
        if ack.outcome is not Outcome.UNKNOWN:
            return replace(ack, order_id=None)
        ref = OrderRef(symbol=request.symbol, client_id=request.client_id)
        found = await self._look_up(lambda: self.order(ref))
        return ack if found is None else _found(ack, found.order_id, is_failed=False)

    async def protect(self, request: ProtectionRequest) -> Ack:
        """Place a stop, a target or both for an open position.

        Errors: RefusedError, before anything is sent, for what the exchange has no order for.
        """
        dialect, terms = self._library.dialect, await self._terms(request.symbol)
        if request.stop and request.target and not dialect.has_pairs:
            raise RefusedError(
                f"{self.venue.name} keeps a stop and a target as two orders",
                hint="place the stop, then the target, each with an id of its own",
            )
        if request.target_limit is not None:
            raise RefusedError(f"{self.venue.name}: a target executes at market here")
        words: Words = {**self._margin_words, "clientOrderId": request.client_id}
        if dialect.has_pairs:
            words |= {"tpsl": True, "reduceOnly": True}
        for key, level in (("stopLossPrice", request.stop), ("takeProfitPrice", request.target)):
            if level is not None:
                words[key] = str(_on_grid("price", level, terms.tick_size))
        if request.size is None:
            words |= dialect.protects_whole
        elif not dialect.has_pairs:
            words["reduceOnly"] = True
        contracts = None if request.size is None else str(_contracts(request.size, terms))
        name = await self._name(request.symbol)
        ack = await self._written(
            request.client_id, "create_order",
            name, "market", request.side.value, contracts, None, words,
        )  # fmt: skip
        if not self._needs_look_up(ack):
            return ack
        ref = ProtectionRef(symbol=request.symbol, client_id=request.client_id)
        found = await self._look_up(lambda: self.protection(ref))
        if found is None:
            return replace(ack, outcome=Outcome.UNKNOWN)
        is_same = (found.side, found.stop, found.target, found.size) == (
            request.side, request.stop, request.target, request.size,
        )  # fmt: skip
        if not is_same:
            return replace(ack, outcome=Outcome.REFUSED, message="the id is another protection's")
        return _found(ack, found.protection_id, is_failed=found.state is OrderState.FAILED)

    async def cancel_protection(self, ref: ProtectionRef) -> Ack:
        """Remove a stop or target; sent again when an answer is lost."""
        protection_id = ref.protection_id
        if not protection_id:  # some clients cancel these by the exchange's id only
            found = await self.protection(ref)
            if found is None:
                return Ack(outcome=Outcome.REFUSED, client_id=ref.client_id, message="not found")
            protection_id = found.protection_id

        async def is_gone() -> bool:
            return await self.protection(ref) is None

        words = dict(self._library.dialect.protection)
        return await self._cancel(ref.symbol, protection_id, ref.client_id, words, is_gone)

    # One write.

    async def _place(self, request: OrderRequest, fence: Fence | None) -> Ack:
        self._check(request)
        terms, name = await self._terms(request.symbol), await self._name(request.symbol)
        is_trigger = request.type is OrderType.TRIGGER
        kind, words = self._kind(request)
        words |= {**self._margin_words, "clientOrderId": request.client_id}
        if request.reduce_only:
            words["reduceOnly"] = True
        for key, level in (
            ("stopLoss", request.stop), ("takeProfit", request.target),
        ):  # fmt: skip
            if level is not None:
                words[key] = {"triggerPrice": str(_on_grid("price", level, terms.tick_size))}
        if request.target_limit is not None:
            words["takeProfit"]["price"] = str(
                _on_grid("price", request.target_limit, terms.tick_size)
            )
        if request.trigger is not None:
            words["triggerPrice"] = str(_on_grid("trigger", request.trigger, terms.tick_size))
        price = request.price and str(_on_grid("price", request.price, terms.tick_size))
        contracts = str(_contracts(request.size, terms))
        if not request.reduce_only:
            await self._isolate(request.symbol, name)
        ack = await self._written(
            request.client_id, "create_order",
            name, kind, request.side.value, contracts, price, words, fence=fence,
        )  # fmt: skip
        if not self._needs_look_up(ack):
            return ack
        ref = OrderRef(symbol=request.symbol, client_id=request.client_id, is_trigger=is_trigger)
        found = await self._look_up(lambda: self.order(ref))
        if found is None:
            return replace(ack, outcome=Outcome.UNKNOWN)
        is_same = (found.side, found.size) == (request.side, request.size)
        if not is_same or found.reduce_only != request.reduce_only:
            return replace(ack, outcome=Outcome.REFUSED, message="the id is another order's")
        return _found(ack, found.order_id, is_failed=found.state is OrderState.FAILED)

    async def _written(
        self, client_id: str | None, method: str, *given: Any, fence: Fence | None = None
    ) -> Ack:
        """Send one write and judge its answer; a lost or unreadable answer is UNKNOWN."""
        try:
            row = await self._library.write(method, *given, fence=fence)
        except UnknownOutcomeError as problem:
            return Ack(outcome=Outcome.UNKNOWN, client_id=client_id, message=problem.message)
        except (UsageError, RefusedError, NetworkError, AuthError):
            raise
        except VenueError as refusal:
            if refusal.retryable:
                raise
            is_used = is_kind(refusal, DUPLICATE)
            code = next(iter(self._library.dialect.duplicates)) if is_used else refusal.venue_code
            return Ack(
                outcome=Outcome.REFUSED, client_id=client_id, code=code, message=refusal.message
            )
        return _ack_of(row, client_id)

    def _needs_look_up(self, ack: Ack) -> bool:
        """Lost, or refused because the id is known: an earlier sending may have arrived."""
        is_used = ack.outcome is Outcome.REFUSED and ack.code in self._library.dialect.duplicates
        return ack.outcome is Outcome.UNKNOWN or is_used

    async def _look_up(self, ask: Callable[[], Awaitable[Found | None]]) -> Found | None:
        """Ask a few times; a failed question is no answer."""
        for pause_s in LOOK_UPS_S:
            await asyncio.sleep(pause_s)
            try:
                if (found := await ask()) is not None:
                    return found
            except AuthError:
                return None
            except _FAILED_QUESTION:
                continue
        return None

    async def _cancel(
        self,
        symbol: str,
        order_id: str | None,
        client_id: str | None,
        words: Words,
        is_gone: Callable[[], Awaitable[bool]],
    ) -> Ack:
        name = await self._name(symbol)
        if not order_id:
            words = words | {"clientOrderId": client_id}
        ack = await self._written(client_id, "cancel_order", order_id, name, words)
        if ack.outcome is not Outcome.UNKNOWN:
            return replace(ack, order_id=ack.order_id or order_id)
        for attempt in range(CANCEL_ATTEMPTS):
            await asyncio.sleep(LOOK_UPS_S[min(attempt, len(LOOK_UPS_S) - 1)])
            try:
                if await is_gone():
                    return replace(ack, outcome=Outcome.ACCEPTED, order_id=order_id, resolved=True)
                if attempt == CANCEL_ATTEMPTS - 1:
                    break
                again = await self._written(client_id, "cancel_order", order_id, name, words)
            except _FAILED_QUESTION:
                continue
            if again.outcome is Outcome.ACCEPTED:
                return replace(again, resolved=True)
            # Refused now may mean that the first one worked: the next look tells.
        return ack

    async def _or_not_sent(
        self, sending: Awaitable[Ack], client_id: str | None, *, is_first: bool
    ) -> Ack:
        try:
            return await sending
        except BlofinError as problem:
            if is_first:
                raise
            return Ack(
                outcome=Outcome.REFUSED, client_id=client_id, message=f"not sent: {problem.message}"
            )

    # Before a write.

    async def _terms(self, symbol: str) -> Instrument:
        return (await self.instrument(symbol)).instrument

    def _check(self, request: OrderRequest) -> None:
        """Errors: RefusedError for what the exchange cannot do."""
        can = self.venue.capabilities
        kinds = {
            OrderType.POST_ONLY: Capability.POST_ONLY,
            OrderType.IOC: Capability.IOC,
            OrderType.FOK: Capability.FOK,
            OrderType.TRIGGER: Capability.STOP_ENTRY,
        }
        wanted = {kinds.get(request.type): f"a {request.type} order"}
        wanted[Capability.ATTACHED_STOP if request.stop else None] = "a stop attached to an order"
        wanted[Capability.ATTACHED_TARGET if request.target else None] = "an attached target"
        for capability, words in wanted.items():
            if capability is not None and capability not in can:
                raise RefusedError(
                    f"{self.venue.name} has no {words.removeprefix('a ').removeprefix('an ')}",
                    hint="nothing was sent",
                )

    def _kind(self, request: OrderRequest) -> tuple[str, Words]:
        """ccxt's order type and what goes with it."""
        kind = request.type
        if kind is OrderType.TRIGGER:
            kind = OrderType.LIMIT if request.price is not None else OrderType.MARKET
        word, extra = self._library.dialect.kinds[kind]
        return word, dict(extra)

    async def _isolate(self, symbol: str, name: str) -> None:
        """Where the symbol keeps the margin mode: make it isolated before the first opening.

        Errors: VenueError when it stays what it is.
        """
        if self._library.dialect.has_order_margin or symbol in self._isolated:
            return
        told = await self.leverage(symbol)
        if any(row.margin_mode is not MarginMode.ISOLATED for row in told):
            await self._set("set_margin_mode", "isolated", name)
            told = await self.leverage(symbol)
        if any(row.margin_mode is not MarginMode.ISOLATED for row in told):
            raise VenueError(
                f"{symbol} is not on isolated margin at {self.venue.name}",
                hint="close what is open on this symbol, or set it on the website",
            )
        self._isolated.add(symbol)

    async def _set(self, method: str, *given: Any) -> None:
        """Send a setting; when its answer is lost the reading that follows decides."""
        try:
            await self._library.write(method, *given)
        except UnknownOutcomeError:
            return


class TradingAccount(ReducingAccount):
    """An account that can open; only the holder of the account lock gets one."""

    async def place(self, request: OrderRequest, *, fence: Fence | None = None) -> Ack:
        """Place one order, with its stop and target where the exchange can attach them.

        Errors: RefusedError, before anything is sent, for what it cannot do.
        """
        return await self._place(request, fence)

    async def place_many(
        self, requests: Sequence[OrderRequest], *, fence: Fence | None = None
    ) -> tuple[Ack, ...]:
        """Place orders one by one; Acks in the same order.

        What is raised once something was sent becomes the Ack of the order it concerns.
        """
        told: list[Ack] = []
        for request in requests:
            placing = self._place(request, fence)
            told.append(await self._or_not_sent(placing, request.client_id, is_first=not told))
        return tuple(told)

    async def set_leverage(self, symbol: str, leverage: int) -> tuple[LeverageSetting, ...]:
        """Set isolated leverage and read it back.

        Errors: UsageError when the instrument does not allow it; VenueError when refused, or when
        what is read back differs.
        """
        terms, name = await self._terms(symbol), await self._name(symbol)
        if not 1 <= leverage <= terms.leverage_max:
            raise UsageError(f"{symbol} allows leverage of 1 to {terms.leverage_max} here")
        await self._isolate(symbol, name)
        await self._set("set_leverage", leverage, name, dict(self._margin_words))
        told = await self.leverage(symbol)
        if any(row.leverage != leverage for row in told):
            raise VenueError(
                f"{symbol}: leverage is {told[0].leverage} after setting it to {leverage}",
                hint="close what is open on this symbol, or set it on the website",
            )
        return told

    async def set_margin_mode(self, mode: MarginMode) -> MarginMode:
        """Set the account's default margin mode; where symbols keep it, orders see to isolated.

        Errors: RefusedError for any other mode than isolated.
        """
        if mode is not MarginMode.ISOLATED:
            raise RefusedError("this product opens positions on isolated margin only")
        if await self.margin_mode() is not mode:
            await self._set("set_margin_mode", mode.value)
            if (kept := await self.margin_mode()) is not mode:
                raise VenueError(f"the exchange keeps {kept} where {mode} was set")
        return mode

    async def set_position_mode(self, mode: PositionMode) -> PositionMode:
        """Set the position mode and read it back; sends nothing when it is so."""
        if await self.position_mode() is not mode:
            await self._set("set_position_mode", mode is PositionMode.HEDGE)
            if (kept := await self.position_mode()) is not mode:
                raise VenueError(
                    f"the exchange keeps {kept} where {mode} was set",
                    hint="cancel all orders and close all positions first",
                )
        return mode


def _ack_of(row: object, client_id: str | None) -> Ack:
    """What an answer without an error says. One that names no order is a refusal or unknown."""
    told = row if isinstance(row, Mapping) else {}
    info = told.get("info") or {}
    code = str(info.get("code") or "") if isinstance(info, Mapping) else ""
    message = str(info.get("msg") or "")[:200] if isinstance(info, Mapping) else ""
    if code not in {"", "0", "200"}:
        return Ack(outcome=Outcome.REFUSED, client_id=client_id, code=code, message=message)
    order_id = str(told.get("id") or "") or None
    is_named = order_id is not None or told.get("clientOrderId") == client_id or code != ""
    if not is_named:
        return Ack(
            outcome=Outcome.UNKNOWN, client_id=client_id, message="the answer names no order"
        )
    return Ack(outcome=Outcome.ACCEPTED, order_id=order_id, client_id=client_id)


def _contracts(size: Decimal, terms: Instrument) -> Decimal:
    """Whole lots. Errors: UsageError when the size is not, or is below the minimum."""
    contracts = size / terms.contract_value
    if contracts % terms.lot_size or contracts < terms.min_size:
        raise UsageError(
            f"{terms.symbol}: {size} is not in whole lots of "
            f"{terms.lot_size * terms.contract_value}, at least "
            f"{terms.min_size * terms.contract_value}"
        )
    return contracts.normalize() + 0


def _on_grid(name: str, price: Decimal, tick: Decimal) -> Decimal:
    """A price on the tick grid. Errors: UsageError when it is not: ccxt would round it."""
    if price % tick:
        raise UsageError(f"the {name} {price} is not a multiple of the tick {tick}")
    return price


def _found(ack: Ack, order_id: str, *, is_failed: bool) -> Ack:
    outcome = Outcome.REFUSED if is_failed else Outcome.ACCEPTED
    return replace(ack, outcome=outcome, order_id=order_id, code="", resolved=True)
