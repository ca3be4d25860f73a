"""What faces ask of the session: place, close, cancel, protect, flatten; each answered once.

A face posts an errand to the journal and waits; the session takes it at its next tick and does it
with the same parts that serve the strategy.
"""

import asyncio
from collections.abc import Callable
from dataclasses import asdict, replace
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any

from blofin_cli.core.journal import Errand, ErrandState, Intent, Level
from blofin_cli.core.orders import Outcome, Position, Protection
from blofin_cli.core.tickets import plan_of
from blofin_cli.engine.live.book import Holding
from blofin_cli.engine.live.crew import Crew
from blofin_cli.engine.live.keeper import Keeper
from blofin_cli.engine.live.state import LiveState
from blofin_cli.engine.live.trader import Trader
from blofin_cli.engine.reducing import check_sides, on_grid
from blofin_cli.errors import (
    BlofinError,
    DataError,
    NetworkError,
    RefusedError,
    UnknownOutcomeError,
    UsageError,
    VenueError,
)

LOOK_EVERY_MS = 250
CLOSE_S_MAX = 30.0
PROTECT_S_MAX = 12.0
STEP_S = 0.1


class Errands:
    """Takes errands and does them, each in a task of its own."""

    def __init__(
        self,
        state: LiveState,
        trader: Trader,
        keeper: Keeper,
        crew: Crew,
        *,
        beat: Callable[[], None],
    ) -> None:
        self._state, self._trader, self._keeper, self._crew = state, trader, keeper, crew
        self._beat = beat
        self._looked_ms = -LOOK_EVERY_MS

    def tick(self) -> None:
        """Take what waits. Before the account has been read, no answer would be true."""
        state, now = self._state, self._state.mono_ms()
        if state.reconciled_ms is None or now - self._looked_ms < LOOK_EVERY_MS:
            return
        self._looked_ms = now
        try:
            taken = state.journal.take_errands(state.account, state.wall.now_ms())
        except DataError:
            return
        for errand in taken:
            self._crew.send(f"errand:{errand.id}", partial(self._do, errand))

    async def _do(self, errand: Errand) -> None:
        try:
            answer = await self._carry_out(errand)
            ended = ErrandState.DONE
        except BlofinError as problem:
            answer, ended = problem.envelope() | {"exit": int(problem.exit)}, ErrandState.FAILED
        except (KeyError, TypeError, ValueError) as defect:
            wrong = UsageError(f"the errand {errand.kind} is malformed: {defect}")
            answer, ended = wrong.envelope() | {"exit": int(wrong.exit)}, ErrandState.FAILED
        state, now = self._state, self._state.wall.now_ms()
        state.scribe.write(lambda: state.journal.answer_errand(errand.id, ended, answer, now))

    async def _carry_out(self, errand: Errand) -> dict[str, Any]:
        doing: dict[str, Callable[[Errand], Any]] = {
            "place": self._place,
            "close": self._close,
            "cancel": self._cancel,
            "protect": self._protect,
            "flatten": self._flatten,
            "settings": self._settings,
        }
        if errand.kind not in doing:
            raise UsageError(f"the session does not know how to {errand.kind}")
        answer: dict[str, Any] = await doing[errand.kind](errand)
        return answer

    async def _place(self, errand: Errand) -> dict[str, Any]:
        plan = plan_of(errand.arguments["plan"])
        placed = await self._trader.place(plan, face=errand.face, key=errand.arguments["key"])
        return {"intent": _record(placed.intent), "resolved": placed.ack is None}

    async def _close(self, errand: Errand) -> dict[str, Any]:
        """Close all of a position, or a share of it."""
        symbol = errand.arguments["symbol"]
        held = await self._held(symbol)
        if held is None:
            return {"symbol": symbol, "closed": "0", "remaining": "0"}
        share = _number(errand.arguments.get("fraction") or "1")
        before = abs(held.size)
        if share < 1:
            return await self._reduce(errand, symbol, before * share)
        if symbol not in self._state.holdings:
            raise _just_opened(symbol)
        self._state.leave(symbol, "manual")
        self._crew.send(f"tend:{symbol}", partial(self._keeper.tend, symbol))
        if not await self._until(lambda: self._state.mirror.position(symbol) is None, CLOSE_S_MAX):
            raise UnknownOutcomeError(
                f"{symbol} is not flat yet: closing goes on", hint="blofin positions"
            )
        return {"symbol": symbol, "closed": str(before), "remaining": "0"}

    async def _held(self, symbol: str) -> Position | None:
        """What is held; None only when the exchange, asked again, holds nothing either."""
        held = self._state.mirror.position(symbol)
        if held is None and any(row.size for row in await self._state.exchange.positions(symbol)):
            raise _just_opened(symbol)
        return held

    async def _reduce(self, errand: Errand, symbol: str, wanted: Decimal) -> dict[str, Any]:
        state = self._state
        held = state.mirror.position(symbol)
        assert held is not None
        instrument = (await state.exchange.instrument(symbol)).instrument
        size = min(instrument.quantise_size(wanted), abs(held.size))
        if size <= 0:
            raise UsageError(f"that share of {symbol} is less than one lot")
        ack = await self._keeper.reduce(symbol, size, f"errand:{errand.id}")
        if ack.outcome is Outcome.REFUSED:
            raise VenueError(f"the exchange refused: {ack.message}", venue_code=ack.code)
        before = abs(held.size)
        await self._until(lambda: abs(state.mirror.size(symbol)) < before, PROTECT_S_MAX)
        left = abs(state.mirror.size(symbol))
        return {"symbol": symbol, "closed": str(before - left), "remaining": str(left)}

    async def _cancel(self, errand: Errand) -> dict[str, Any]:
        """Cancel orders, stops or targets by any of their ids."""
        state, done = self._state, []
        for name in errand.arguments["ids"]:
            order = next(
                (o for o in state.mirror.orders.values() if name in (o.order_id, o.client_id)), None
            )
            row = next(
                (
                    p
                    for p in state.mirror.protections.values()
                    if name in (p.protection_id, p.client_id)
                ),
                None,
            )
            if order is not None:
                ack = await state.exchange.cancel(order.ref)
                found = await state.exchange.order(order.ref)
                if found is not None:
                    state.mirror.hear_order(found, state.mono_ms())
                done.append({"id": name, "outcome": ack.outcome.value, "message": ack.message})
            elif row is not None:
                self._let_go(row.symbol, is_stop=row.stop is not None)
                ack = await state.exchange.cancel_protection(row.ref)
                if ack.outcome is Outcome.ACCEPTED:
                    state.mirror.forget_protection(row.protection_id, state.mono_ms())
                done.append({"id": name, "outcome": ack.outcome.value, "message": ack.message})
            else:
                done.append({"id": name, "outcome": "gone", "message": "no such open order"})
        return {"cancelled": done}

    def _let_go(self, symbol: str, *, is_stop: bool) -> None:
        """A person removes a stop or target on purpose: the keeper must not put it back."""
        holding = self._state.holdings.get(symbol)
        if holding is None:
            return
        changed = replace(holding, stop=None) if is_stop else replace(holding, target=None)
        self._state.set_holding(changed)
        self._state.tell(
            Level.ALERT, "naked" if is_stop else "session",
            f"{symbol}: its {'stop' if is_stop else 'target'} was removed by a person",
            symbol=symbol, protects="nothing" if is_stop else "the stop",
            next_step=f"blofin protect {symbol} --stop PRICE",
        )  # fmt: skip

    async def _protect(self, errand: Errand) -> dict[str, Any]:
        """Change what protects a position; the new stop is live before the old one goes."""
        state, symbol = self._state, errand.arguments["symbol"]
        held = await self._held(symbol)
        if held is None:
            raise RefusedError(f"{symbol} is flat: there is nothing to protect")
        holding = state.holdings.get(symbol)
        if holding is None:
            raise _just_opened(symbol)
        instrument = (await state.exchange.instrument(symbol)).instrument
        words = errand.arguments
        stop, target = on_grid(
            held,
            instrument,
            None if words.get("stop") is None else _number(words["stop"]),
            None if words.get("target") is None else _number(words["target"]),
        )
        check_sides(held, state.last(symbol) or held.mark_price, stop, target)
        if stop is not None and symbol in state.bare:
            await self._keeper.place_protection(symbol, stop)
        changed = holding
        if stop is not None:
            changed = replace(changed, stop=stop, first_stop=changed.first_stop or stop)
        if target is not None:
            changed = replace(changed, target=target)
        state.set_holding(changed)
        await self._make_way(held, changed)
        state.moved_ms.pop(symbol, None)
        if self._keeper.keeps(changed):
            self._crew.send(f"tend:{symbol}", partial(self._keeper.tend, symbol))
        else:
            await self._place_missing(held, stop, target)
        is_done = await self._until(lambda: self._is_protected(symbol), PROTECT_S_MAX)
        if state.mirror.position(symbol) is None:
            raise RefusedError(f"{symbol} was closed meanwhile: there is nothing to protect")
        if not is_done:
            raise UnknownOutcomeError(
                f"{symbol}: the exchange does not show the new protection yet",
                hint="blofin positions",
            )
        return {"symbol": symbol, "stop": str(changed.stop), "target": str(changed.target)}

    async def _place_missing(
        self, held: Position, stop: Decimal | None, target: Decimal | None
    ) -> None:
        """Place what a person wishes for a position that is otherwise left to its owner."""
        symbol, mirror = held.symbol, self._state.mirror
        if stop is not None and not _has(mirror.stops(symbol, held.closing_side), stop):
            await self._keeper.place_protection(symbol, stop)
        if target is not None and not _has(mirror.targets(symbol, held.closing_side), target):
            await self._keeper.place_protection(symbol, target, is_stop=False)

    async def _make_way(self, held: Position, wanted: Holding) -> None:
        """Remove what contradicts a person's wish: other targets, and stops nearer to the market.

        Where such an order carries a stop, one of the wanted price is live before it goes.
        Errors: as the port.
        """
        state, symbol = self._state, held.symbol
        rows = state.mirror.protections.values()
        ours = [row for row in rows if row.symbol == symbol and row.side is held.closing_side]
        wrong = [row for row in ours if _contradicts(row, wanted)]
        if wanted.stop is not None and any(row.stop is not None for row in wrong):
            right = [row for row in ours if row not in wrong and row.stop == wanted.stop]
            if not right:
                await self._keeper.place_protection(symbol, wanted.stop)
        for row in wrong:
            stops = state.mirror.stops(symbol, held.closing_side)
            is_doubled = any(each.stop == wanted.stop and each not in wrong for each in stops)
            if row.stop is not None and not is_doubled:
                continue
            ack = await state.exchange.cancel_protection(row.ref)
            if ack.outcome is Outcome.ACCEPTED:
                state.mirror.forget_protection(row.protection_id, state.mono_ms())

    def _is_protected(self, symbol: str) -> bool:
        """Whether the exchange shows the stop and target that the book wants."""
        state = self._state
        held, holding = state.mirror.position(symbol), state.holdings.get(symbol)
        if held is None or holding is None:
            return True
        stops = {row.stop for row in state.mirror.stops(symbol, held.closing_side)}
        targets = {row.target for row in state.mirror.targets(symbol, held.closing_side)}
        return (holding.stop is None or holding.stop in stops) and (
            holding.target is None or holding.target in targets
        )

    async def _settings(self, errand: Errand) -> dict[str, Any]:
        """Let a changed setting hold from now on, where that can be done on the way."""
        name, value = str(errand.arguments["name"]), errand.arguments["value"]
        self._trader.change(name, value)
        self._beat()  # who asked reads from it what the session runs with now
        self._state.tell(
            Level.INFO, "session", f"{name} is {value} from now on", next_step="blofin config show"
        )
        return {"name": name, "value": value}

    async def _flatten(self, errand: Errand) -> dict[str, Any]:
        """Close everything that is held."""
        del errand
        state = self._state
        symbols = sorted(state.mirror.positions)
        for symbol in symbols:
            state.leave(symbol, "halt")
            self._crew.send(f"tend:{symbol}", partial(self._keeper.tend, symbol))
        await self._until(
            lambda: not any(state.mirror.position(symbol) for symbol in symbols), CLOSE_S_MAX
        )
        left = [symbol for symbol in symbols if state.mirror.position(symbol) is not None]
        return {"closed": [s for s in symbols if s not in left], "remaining": left}

    async def _until(self, is_so: Callable[[], bool], seconds_max: float) -> bool:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds_max
        while not is_so():
            if loop.time() >= end:
                return False
            await asyncio.sleep(STEP_S)
        return True


def _just_opened(symbol: str) -> NetworkError:
    return NetworkError(f"{symbol} has just been opened", hint="try again in a second")


def _has(rows: tuple[Protection, ...], price: Decimal) -> bool:
    return any(price in (row.stop, row.target) for row in rows)


def _contradicts(row: Protection, wanted: Holding) -> bool:
    """Whether a stop or target keeps a person's wish from being what holds."""
    if row.target is not None and wanted.target is not None and row.target != wanted.target:
        return True
    if row.stop is None or wanted.stop is None:
        return False
    return (row.stop - wanted.stop) * wanted.side.sign > 0


def _record(intent: Intent) -> dict[str, Any]:
    """An intent as JSON values."""
    return {
        name: str(value) if isinstance(value, Decimal) else value
        for name, value in asdict(intent).items()
    }


def _number(text: Any) -> Decimal:
    try:
        number = Decimal(str(text))
    except InvalidOperation:
        raise UsageError(f"{str(text)[:40]!a} is no number") from None
    if not number.is_finite() or number <= 0:
        raise UsageError(f"{number} must be above zero")
    return number
