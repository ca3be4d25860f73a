"""A fire drill: the whole halt on an exchange in a box, with a state of its own, and timed."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from blofin_cli.app.context import Context
from blofin_cli.app.halting import Account, Halted, halt_everything
from blofin_cli.core.journal import Halt
from blofin_cli.core.orders import OrderRequest, OrderType, Outcome, PositionMode, Side
from blofin_cli.core.quotes import Environment, Mode
from blofin_cli.errors import BlofinError, HaltedError

if TYPE_CHECKING:
    from blofin_cli.ports import Exchange, ReduceOnly

SYMBOLS = {"BTC-USDT": Decimal(60_000), "ETH-USDT": Decimal(3_000)}
SIZES = {"BTC-USDT": Decimal("0.01"), "ETH-USDT": Decimal("0.1")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drilled:
    """What the drill saw. Units: ms from the command to the fact."""

    halted: Halted
    refused_after: bool
    flat: bool
    flat_ms: int


async def drill(context: Context, *, flatten: bool) -> Drilled:
    """Open two positions and two resting entries in a box, halt, and look what is left.

    Errors: BlofinError when the box itself does not do as it should.
    """
    with tempfile.TemporaryDirectory(prefix="blofin-drill-") as folder:
        own = replace(context, state_override=str(Path(folder) / "state.db"))
        async with _box(Path(folder), own) as exchange:
            await _open_something(exchange)
            own.journal.remember("drill", "state", {})  # a real state is there before a halt

            @asynccontextmanager
            async def opener(account: Account) -> "AsyncIterator[ReduceOnly]":
                del account
                yield exchange

            halt = Halt(ts_ms=own.clock.now_ms(), face=context.face, cause="drill", flatten=flatten)
            done = await halt_everything(own, halt, [Account("sim", Mode.DEMO)], opener)
            flat_ms = own.clock.now_ms() - halt.ts_ms
            left = await exchange.open_orders()
            positions = await exchange.positions()
            return Drilled(
                halted=done,
                refused_after=_is_refused(own),
                flat=not left and (not positions or not flatten),
                flat_ms=flat_ms,
            )


@asynccontextmanager
async def _box(folder: Path, context: Context) -> "AsyncIterator[Exchange]":
    """A box with two calm markets, on loopback, and a client that may open."""
    from blofin_cli.adapters.exchanges import blofin
    from blofin_cli.adapters.exchanges.sim.box import Box
    from blofin_cli.adapters.exchanges.sim.keys import DEMO_KEY
    from blofin_cli.adapters.exchanges.sim.margin import terms_of
    from blofin_cli.adapters.exchanges.sim.market import MarketClock
    from blofin_cli.adapters.exchanges.sim.records import Tick
    from blofin_cli.adapters.exchanges.sim.server import BoxServer, listening, system_ms
    from blofin_cli.core.instruments import snapshot

    now_ms = system_ms()
    box = Box([terms_of(snapshot()[symbol]) for symbol in SYMBOLS], now_ms=now_ms)
    for symbol, price in SYMBOLS.items():
        box.print(Tick(inst_id=symbol, ts_ms=now_ms, price=price, depth=Decimal(10_000)))
    server = BoxServer(box, MarketClock(now_ms, 1.0, system_ms))
    async with listening(server) as address:
        settings = blofin.Settings(
            state_folder=folder, environment=Environment.SIMULATED, simulator_url=address.rest
        )
        credentials = blofin.Credentials(DEMO_KEY.key, DEMO_KEY.secret, DEMO_KEY.passphrase)
        exchange = blofin.connect(settings, context.clock, credentials)
        try:
            yield exchange
        finally:
            await exchange.aclose()


async def _open_something(exchange: "Exchange") -> None:
    await exchange.set_position_mode(PositionMode.ONE_WAY)
    for symbol, price in SYMBOLS.items():
        entry = OrderRequest(
            symbol=symbol,
            side=Side.BUY,
            type=OrderType.MARKET,
            size=SIZES[symbol],
            client_id=f"drill{symbol[:3]}",
            stop=price * Decimal("0.95"),
        )
        resting = replace(
            entry,
            type=OrderType.LIMIT,
            price=price * Decimal("0.99"),
            client_id=f"drillrest{symbol[:3]}",
        )
        for request in (entry, resting):
            ack = await exchange.place(request)
            if ack.outcome is not Outcome.ACCEPTED:
                raise BlofinError(f"the box did not take the drill's order: {ack.message}")


def _is_refused(context: Context) -> bool:
    """Whether the one gate lets nothing open any more."""
    from blofin_cli.engine.gate import refuse_halted

    try:
        refuse_halted(context.journal)
    except HaltedError:
        return True
    return False
