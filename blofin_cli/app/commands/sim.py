"""The exchange in a box as a process."""

import asyncio
import contextlib
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from blofin_cli.app.context import Context
from blofin_cli.app.selection import SourceRequest, source_of
from blofin_cli.app.spec import Effect, Result, Symbol, command
from blofin_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from blofin_cli.adapters.exchanges.sim.box import Box
    from blofin_cli.adapters.exchanges.sim.market import Span
    from blofin_cli.adapters.exchanges.sim.server import Address, BoxServer
    from blofin_cli.core.candles import Candles

PORT = 8787
SYMBOLS = ("BTC-USDT", "ETH-USDT", "SOL-USDT")
SEED = 7


class SimRequest(SourceRequest):
    """Which market to replay, how fast, and what goes wrong."""

    port: Annotated[
        int, Field(description="Port on loopback, 0 for a free one", ge=0, le=65535)
    ] = PORT
    speed: Annotated[
        float, Field(description="Market seconds a second; 0 stands still", ge=0, le=1_000_000)
    ] = 1.0
    symbol: Annotated[
        tuple[Symbol, ...], Field(description="Instrument to list; may be repeated")
    ] = SYMBOLS
    chaos: Annotated[
        int | None, Field(description="Seed of a storm of faults: lost answers, stalls, 5xx", ge=0)
    ] = None
    balance: Annotated[
        float, Field(description="Wallet at the start in USDT", gt=0, le=1_000_000_000)
    ] = 10_000.0
    no_limits: Annotated[bool, Field(description="Do not enforce BloFin's rate limits")] = False
    max_seconds: Annotated[
        float | None, Field(description="Stop after this time instead of at Ctrl-C", gt=0)
    ] = None


class SimResult(Result):
    """What the box did while it ran."""

    simulated: bool
    rest_url: str
    instruments: list[str]
    requests: int
    fills: int
    market_ms: int


@command(effect=Effect.READ)
async def sim(request: SimRequest, context: Context) -> SimResult:
    """Run an exchange in a box that speaks BloFin's protocol on this machine.

    REST and both WebSockets listen on loopback; any key but the printed demo key is refused. The
    market replays candles (`--data`, or an invented one from `--synthetic`), moved in time so that
    the replay happens now; `--since` is where it begins, and what came before is history.

    Example: blofin sim --synthetic 7 --speed 100 --max-seconds 1 --port 0
    """
    from blofin_cli.adapters.exchanges.sim.market import MarketClock
    from blofin_cli.adapters.exchanges.sim.server import BoxServer, listening, system_ms

    box = box_of(request, context)
    server = BoxServer(box, MarketClock(box.now_ms, request.speed, system_ms))
    try:
        async with listening(server, request.port) as address:
            _introduce(address, server, request, context)
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(request.max_seconds or 1e9)
            return SimResult(
                simulated=True,
                rest_url=address.rest,
                instruments=list(box.venue.terms),
                requests=box.counts["requests"],
                fills=len(box.venue.account.fills),
                market_ms=box.now_ms,
            )
    except OSError as error:
        raise UsageError(
            f"port {request.port} cannot be used: {error.strerror}",
            hint="choose another with --port, or --port 0 for a free one",
        ) from None


def box_of(request: SimRequest, context: Context) -> "Box":
    """The box over the candles the request selects."""
    from decimal import Decimal

    from blofin_cli.adapters.exchanges.sim.box import box_of_feeds
    from blofin_cli.adapters.exchanges.sim.faults import FaultPlan, chaos
    from blofin_cli.adapters.exchanges.sim.keys import RateLimits
    from blofin_cli.adapters.exchanges.sim.margin import terms_of
    from blofin_cli.adapters.exchanges.sim.market import CandleFeed
    from blofin_cli.adapters.exchanges.sim.records import VenueRules
    from blofin_cli.core.instruments import infer_instrument, instrument

    if request.data is None and request.synthetic is None:
        request = request.model_copy(update={"synthetic": SEED})
    source = source_of(request, request.symbol, context)
    candles = {}
    for symbol in dict.fromkeys(request.symbol):
        history = source.candles(symbol, source.timeframes(symbol)[0])
        until = request.until
        until_ms = None if until is None else until.resolve(int(history.close_ts[-1]))
        candles[symbol] = history.between(None, until_ms)
    span = _span_of(request, list(candles.values()), context)
    feeds = []
    funding = {}
    for symbol, rows in candles.items():
        terms = terms_of(instrument(symbol) or infer_instrument(symbol, rows))
        feeds.append(CandleFeed(terms, rows, span))
        rates = source.funding(symbol)
        if rates is not None:
            pairs = zip(rates.ts.tolist(), rates.rate.tolist(), strict=True)
            funding[symbol] = {at + span.shift_ms: Decimal(repr(rate)) for at, rate in pairs}
    if request.mark is not None:
        context.say("--mark is not used: the box makes its mark out of the last prices")
    for note in source.notes():
        context.say(note)
    return box_of_feeds(
        feeds,
        # Ids of this moment: a journal that knows an earlier box takes none of them for its own.
        VenueRules(balance=Decimal(repr(request.balance)), first_id=context.clock.now_ms()),
        funding=funding,
        faults=FaultPlan() if request.chaos is None else chaos(request.chaos),
        limits=RateLimits(enabled=not request.no_limits),
    )


def _span_of(request: SimRequest, candles: list["Candles"], context: Context) -> "Span":
    """Where the replay begins: at `--since`, else late in the data at this time of the week."""
    from blofin_cli.adapters.exchanges.sim.market import span_from, span_now

    if any(len(each) == 0 for each in candles):
        raise DataError("an instrument has no candles to replay before --until")
    wall_ms = context.clock.now_ms()
    if request.since is None:
        return span_now(candles, wall_ms)
    end_ms = int(candles[0].close_ts[-1])
    begin_ms = request.since.resolve(end_ms)
    if request.until is not None and begin_ms >= end_ms:
        raise UsageError("--since is not before --until")
    return span_from(begin_ms, wall_ms)


def _introduce(
    address: "Address", server: "BoxServer", request: SimRequest, context: Context
) -> None:
    """Say where it listens and who may call."""
    key = next(iter(server.box.gate.keys.values()))
    context.say(f"REST        {address.rest}")
    context.say(f"WebSocket   {address.public}  {address.private}")
    context.say(f"control     {address.rest}/control/state")
    context.say(f"key {key.key}  secret {key.secret}  passphrase {key.passphrase}")
    names = ", ".join(server.box.venue.terms)
    context.say(f"{names} at {request.speed:g}x; simulated, not a market. Ctrl-C stops it.")
    for fault in server.box.faults.active:
        context.say(f"chaos       {fault.name} {fault.probability:.2%}")
