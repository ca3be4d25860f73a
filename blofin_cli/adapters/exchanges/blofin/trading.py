"""BloFin's writes over REST: the `ReduceOnly` and `Exchange` ports.

Every write leads to an `Ack`. When its answer is lost the order is looked up by its client id a few
times; found is ACCEPTED, and not found is UNKNOWN, since an order may stay invisible for minutes:
whoever holds the intent goes on asking. Nothing opening is ever sent a second time; a cancel may
be, because a second cancel does nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from blofin_cli.adapters.exchanges.blofin.reader import AccountData
from blofin_cli.adapters.exchanges.blofin.transport import Fence
from blofin_cli.adapters.exchanges.blofin.wire import answers, calls
from blofin_cli.adapters.exchanges.blofin.wire.calls import Call
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
from blofin_cli.errors import (
    AuthError,
    BadAnswerError,
    BlofinError,
    NetworkError,
    RateLimitError,
    UnknownOutcomeError,
    UsageError,
    VenueError,
)

LOOK_UPS_S = (0.15, 0.5, 1.2)
CANCEL_ATTEMPTS = 3

_FAILED_QUESTION = (NetworkError, BadAnswerError, VenueError, AuthError)
Found = TypeVar("Found", Order, Protection)


class ReducingAccount(AccountData):
    """An account whose exposure may be lowered, and nothing else."""

    async def cancel(self, ref: OrderRef) -> Ack:
        """Cancel an order or stop entry; sent again when an answer is lost."""
        shape: answers.Shape = "object" if ref.is_trigger else "either"
        id_name = "algoId" if ref.is_trigger else "orderId"

        async def is_gone() -> bool:
            found = await self.order(ref)
            return found is not None and not found.state.is_open

        return await self._cancel(calls.cancel(ref), ref.client_id, shape, id_name, is_gone)

    async def cancel_many(self, refs: Sequence[OrderRef]) -> tuple[Ack, ...]:
        """Cancel orders, 20 a request; stop entries one by one. Acks in the order of `refs`."""
        told: dict[int, Ack] = {}
        by_kind: dict[bool, list[int]] = {}
        for place, ref in enumerate(refs):
            if ref.is_trigger:
                told[place] = await self.cancel(ref)
            else:
                by_kind.setdefault(ref.order_id is None, []).append(place)
        for places in by_kind.values():
            for first in range(0, len(places), calls.BATCH_MAX):
                batch = places[first : first + calls.BATCH_MAX]
                told |= await self._cancel_batch({place: refs[place] for place in batch})
        return tuple(told[place] for place in range(len(refs)))

    async def reduce(self, request: OrderRequest) -> Ack:
        """Place a reduce-only order. Errors: UsageError when the request is not reduce-only."""
        if not request.reduce_only:
            raise UsageError("only reduce-only orders may pass here")
        return await self._place(request, None)

    async def close_position(self, request: CloseRequest) -> Ack:
        """Close a whole position at market; the answer names no order, so neither does the Ack.

        An id that is known already is only a success when the position is gone: whoever reuses an
        id must not be told that something was closed.
        """
        call = calls.close(request)
        ref = OrderRef(symbol=request.symbol, client_id=request.client_id)
        ack = await self._written(call, None, "object", "instId")
        ack = replace(ack, order_id=None, client_id=request.client_id)
        if not _needs_look_up(ack):
            return ack
        found = await self._look_up(lambda: self.order(ref))
        if found is None:
            return ack
        if ack.outcome is Outcome.REFUSED:
            try:
                if await self.positions(request.symbol):
                    return ack
            except _FAILED_QUESTION:
                return replace(ack, outcome=Outcome.UNKNOWN)
        return _found(ack, found.order_id, is_failed=False)

    async def protect(self, request: ProtectionRequest) -> Ack:
        """Place a stop, a target or both for an open position."""
        instrument = (await self._listed(request.symbol)).instrument
        call = calls.protection(request, instrument)
        ref = ProtectionRef(symbol=request.symbol, client_id=request.client_id)
        ack = await self._written(call, request.client_id, "object", "tpslId")
        if not _needs_look_up(ack):
            return ack
        found = await self._look_up(lambda: self.protection(ref))
        if found is None:
            return replace(ack, outcome=Outcome.UNKNOWN)
        if not _is_same_protection(found, request):
            return replace(ack, outcome=Outcome.REFUSED, message="the id is another protection's")
        return _found(ack, found.protection_id, is_failed=found.state is OrderState.FAILED)

    async def cancel_protection(self, ref: ProtectionRef) -> Ack:
        """Remove a stop or target; sent again when an answer is lost."""

        async def is_gone() -> bool:
            found = await self.protection(ref)
            return found is not None and not found.state.is_open

        call = calls.cancel_protection(ref)
        return await self._cancel(call, ref.client_id, "array", "tpslId", is_gone)

    # One write.

    async def _place(self, request: OrderRequest, fence: Fence | None) -> Ack:
        instrument = (await self._listed(request.symbol)).instrument
        is_trigger = request.type is OrderType.TRIGGER
        call = calls.order(request, instrument)
        shape: answers.Shape = "object" if is_trigger else "array"
        id_name = "algoId" if is_trigger else "orderId"
        ack = await self._written(call, request.client_id, shape, id_name, fence=fence)
        return await self._resolved(ack, request)

    async def _written(
        self,
        call: Call,
        client_id: str | None,
        shape: answers.Shape,
        id_name: str,
        *,
        fence: Fence | None = None,
    ) -> Ack:
        """Send one write and judge its answer; a lost or unreadable answer is UNKNOWN."""
        try:
            answer = await self._sender.write(call, fence)
            return _only(answers.acks(answer, [client_id], shape=shape, id_name=id_name))
        except (UnknownOutcomeError, BadAnswerError) as problem:
            return _unknown(client_id, problem)

    async def _resolved(self, ack: Ack, request: OrderRequest) -> Ack:
        """What became of an order whose answer was lost, or whose id was there already."""
        if not _needs_look_up(ack):
            return ack
        ref = OrderRef(
            symbol=request.symbol,
            client_id=request.client_id,
            is_trigger=request.type is OrderType.TRIGGER,
        )
        found = await self._look_up(lambda: self.order(ref))
        if found is None:
            return replace(ack, outcome=Outcome.UNKNOWN)
        if not _is_same_order(found, request):
            return replace(ack, outcome=Outcome.REFUSED, message="the id is another order's")
        return _found(ack, found.order_id, is_failed=found.state is OrderState.FAILED)

    async def _look_up(self, ask: Callable[[], Awaitable[Found | None]]) -> Found | None:
        """Ask a few times; a failed question is no answer."""
        for pause_s in LOOK_UPS_S:
            await asyncio.sleep(pause_s)
            try:
                if (found := await ask()) is not None:
                    return found
            except (RateLimitError, AuthError):
                return None
            except _FAILED_QUESTION:
                continue
        return None

    async def _cancel(
        self,
        call: Call,
        client_id: str | None,
        shape: answers.Shape,
        id_name: str,
        is_gone: Callable[[], Awaitable[bool]],
    ) -> Ack:
        ack = await self._written(call, client_id, shape, id_name)
        if ack.outcome is not Outcome.UNKNOWN:
            return ack
        for attempt in range(CANCEL_ATTEMPTS):
            try:
                if await is_gone():
                    return replace(ack, outcome=Outcome.ACCEPTED, resolved=True)
                if attempt == CANCEL_ATTEMPTS - 1:
                    break
                again = await self._written(call, client_id, shape, id_name)
            except _FAILED_QUESTION:
                continue
            if again.outcome is Outcome.ACCEPTED:
                return replace(again, resolved=True)
            # Refused now may mean that the first one worked: the next look tells.
        return ack

    async def _cancel_batch(self, refs: dict[int, OrderRef]) -> dict[int, Ack]:
        """One request for up to 20; what it leaves unknown is canceled one by one."""
        client_ids = [ref.client_id for ref in refs.values()]
        try:
            answer = await self._sender.write(calls.cancels(list(refs.values())))
            told = answers.acks(answer, client_ids, shape="array", id_name="orderId")
        except (UnknownOutcomeError, BadAnswerError) as problem:
            told = tuple(_unknown(client_id, problem) for client_id in client_ids)
        acks = {}
        for place, ack in zip(refs, told, strict=True):
            is_unknown = ack.outcome is Outcome.UNKNOWN
            acks[place] = await self.cancel(refs[place]) if is_unknown else ack
        return acks


class TradingAccount(ReducingAccount):
    """An account that can open; only the holder of the account lock gets one."""

    async def place(self, request: OrderRequest, *, fence: Fence | None = None) -> Ack:
        """Place one order with its attached stop and target."""
        return await self._place(request, fence)

    async def place_many(
        self, requests: Sequence[OrderRequest], *, fence: Fence | None = None
    ) -> tuple[Ack, ...]:
        """Place up to 20 orders of one symbol in one request; Acks in the same order."""
        if not requests:
            return ()
        instrument = (await self._listed(requests[0].symbol)).instrument
        call = calls.orders(requests, instrument)
        client_ids = [request.client_id for request in requests]
        try:
            answer = await self._sender.write(call, fence)
            told = answers.acks(answer, client_ids, shape="array", id_name="orderId")
        except (UnknownOutcomeError, BadAnswerError) as problem:
            told = tuple(_unknown(client_id, problem) for client_id in client_ids)
        return tuple(
            [
                await self._resolved(ack, request)
                for ack, request in zip(told, requests, strict=True)
            ]
        )

    async def set_leverage(self, symbol: str, leverage: int) -> tuple[LeverageSetting, ...]:
        """Set isolated leverage and read it back.

        Errors: UsageError when the instrument does not allow it; VenueError when refused, or when
        what is read back differs.
        """
        instrument = (await self._listed(symbol)).instrument
        if not 1 <= leverage <= instrument.leverage_max:
            raise UsageError(f"{symbol} allows leverage of 1 to {instrument.leverage_max}")
        await self._set(calls.set_leverage(symbol, leverage))
        told = await self.leverage(symbol)
        if any(row.leverage != leverage for row in told):
            raise VenueError(
                f"{symbol}: leverage is {told[0].leverage} after setting it to {leverage}",
                hint="close what is open on this symbol, or set it on the website",
            )
        return told

    async def set_margin_mode(self, mode: MarginMode) -> MarginMode:
        """Set the account's default margin mode and read it back; nothing is sent if it is so."""
        if await self.margin_mode() is not mode:
            await self._set(calls.set_margin_mode(mode))
            _check_mode(await self.margin_mode(), mode)
        return mode

    async def set_position_mode(self, mode: PositionMode) -> PositionMode:
        """Set the position mode and read it back; nothing is sent if it is so."""
        if await self.position_mode() is not mode:
            await self._set(calls.set_position_mode(mode))
            _check_mode(await self.position_mode(), mode)
        return mode

    async def _set(self, call: Call) -> None:
        """Send a setting; when its answer is lost the reading that follows decides."""
        try:
            answer = await self._sender.write(call)
        except UnknownOutcomeError:
            return
        if not answer.is_success:
            raise answers.error_of(answer.code, answer.message)

    async def warm(self) -> None:
        """Open the connection that orders will use and read the instruments."""
        await self._sender.warm()
        await self.instruments()


def _check_mode(told: MarginMode | PositionMode, wanted: MarginMode | PositionMode) -> None:
    if told is not wanted:
        raise VenueError(
            f"the exchange keeps {told} where {wanted} was set",
            hint="cancel all orders and close all positions first",
        )


def _only(acks: Sequence[Ack]) -> Ack:
    return acks[0]


def _unknown(client_id: str | None, problem: BlofinError) -> Ack:
    return Ack(outcome=Outcome.UNKNOWN, client_id=client_id, message=problem.message)


def _needs_look_up(ack: Ack) -> bool:
    """Lost, or refused because the id is known: an earlier sending may have arrived."""
    is_known_id = ack.outcome is Outcome.REFUSED and ack.code in answers.DUPLICATE_CLIENT_ID
    return ack.outcome is Outcome.UNKNOWN or is_known_id


def _found(ack: Ack, order_id: str, *, is_failed: bool) -> Ack:
    outcome = Outcome.REFUSED if is_failed else Outcome.ACCEPTED
    return replace(ack, outcome=outcome, order_id=order_id, code="", resolved=True)


def _is_same_order(found: Order, request: OrderRequest) -> bool:
    return (
        found.side is request.side
        and found.size == request.size
        and found.reduce_only == request.reduce_only
    )


def _is_same_protection(found: Protection, request: ProtectionRequest) -> bool:
    return (
        found.side is request.side
        and (found.stop, found.target) == (request.stop, request.target)
        and found.size == request.size
    )
