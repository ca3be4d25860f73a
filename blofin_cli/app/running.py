"""Builds a trading session from settings, an exchange and a mandate, and runs it to its end."""

import asyncio
import hashlib
import json
import os
import platform
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from blofin_cli import __version__
from blofin_cli.app.context import Context
from blofin_cli.app.history import complete_history, history_start_ms, open_store
from blofin_cli.app.timespec import TimeSpec
from blofin_cli.app.venues import (
    AccountRequest,
    account_name,
    exchange_of,
    mode_of,
    open_market,
    open_stream,
    open_trading,
)
from blofin_cli.core.journal import Happening, Session
from blofin_cli.core.mandate import Mandate
from blofin_cli.core.quotes import Mode
from blofin_cli.core.strategy import Strategy, flatten, to_text
from blofin_cli.errors import DataError, RateLimitError, RefusedError, UsageError

if TYPE_CHECKING:
    from blofin_cli.adapters.candles.store import CandleStore
    from blofin_cli.core.candles import Candles
    from blofin_cli.core.market import Instrument
    from blofin_cli.core.quotes import Bar
    from blofin_cli.engine.dryrun import DryRunSession
    from blofin_cli.engine.live import LiveSession
    from blofin_cli.engine.strategist import ZoneStrategist
    from blofin_cli.ports import Clock, MarketData, ReduceOnly

    History = tuple[CandleStore, dict[str, Candles], dict[str, Instrument]]

MANDATE_MS = 5_000
BARS_MIN = 100
PACE_FIRST_S, PACE_S, PACE_LOOKS, MOVED_MS = 0.5, 2.0, 6, 3_600_000
PACE_TOLERANCE, PACE_EXACT, PACE_SAME = 0.3, 0.2, 0.1
WINDOW_S_MAX = 90.0
KEEP_EVERY_S = 5.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Wanted:
    """What a session shall trade, with candles since when. Units: `equity_usdt` of a dry run.

    `approval_only`: every entry waits for a person, whatever the settings say.
    """

    symbols: tuple[str, ...]
    strategy: Strategy
    equity_usdt: Decimal
    max_seconds: float | None
    since: TimeSpec | None = None
    approval_only: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """How a session ended."""

    session: Session
    reason: str


async def trade(request: AccountRequest, wanted: Wanted, context: Context) -> Ended:
    """Run a session of the request's mode until it is stopped.

    One that finds the budget of requests used up, as after many restarts, waits for its window.
    Errors: RefusedError when the account is held by another process or the mandate says no;
    those of the exchange while the history is read.
    """
    while True:
        try:
            return await _trade(request, wanted, context)
        except RateLimitError as full:
            wait_s = (full.until_ms - context.clock.now_ms()) / 1000
            if wait_s > WINDOW_S_MAX:
                raise
            context.say(f"{full.message}; starting again then")
            await asyncio.sleep(max(1.0, wait_s))


async def _trade(request: AccountRequest, wanted: Wanted, context: Context) -> Ended:
    wall, context = context.clock, await _paced(request, context)
    if mode_of(request, context) is Mode.DRY_RUN:
        return await _dry_run(request, wanted, context, wall)
    return await _at_exchange(request, wanted, context, wall)


async def _paced(request: AccountRequest, context: Context) -> Context:
    """The context by the clock of the market, where a box has a time of its own.

    Looks at its clock, a moment apart, tell its speed. Half a second tells that it runs as the
    wall's does; else more are taken until it is a round number, since a percent of sixty times the
    wall's is soon a minute. A box less than an hour off counts as a wrong clock, which is for the
    session to complain about.
    """
    if exchange_of(request, context) != "sim":
        return context
    from blofin_cli.adapters.clock import PacedClock

    async with open_market(request, context) as data:
        first = await data.clock_offset()
        for pause_s in (PACE_FIRST_S, *(PACE_S,) * PACE_LOOKS):
            await asyncio.sleep(pause_s)
            second = await data.clock_offset()
            passed_ms = second.measured_ms - first.measured_ms
            speed = 1 + (second.offset_ms - first.offset_ms) / max(1, passed_ms)
            if abs(speed - 1) < PACE_SAME or (
                pause_s > PACE_FIRST_S and abs(speed - round(speed)) < PACE_EXACT
            ):
                break
    if abs(speed - 1) < PACE_TOLERANCE and abs(second.offset_ms) < MOVED_MS:
        return context
    market_ms = context.clock.now_ms() + second.offset_ms
    context.say(
        f"the box has a time of its own, {speed:.3g} times as fast as the wall's: so has this "
        "session's clock"
    )
    pace = round(speed) if abs(speed - round(speed)) < PACE_EXACT else round(speed, 1)
    return replace(context, clock=PacedClock(context.clock, market_ms, pace))


async def _dry_run(
    request: AccountRequest, wanted: Wanted, context: Context, wall: "Clock"
) -> Ended:
    from blofin_cli.adapters.clock import SystemClock
    from blofin_cli.engine.dryrun import DryRunSession
    from blofin_cli.engine.strategist import ZoneStrategist

    exchange = exchange_of(request, context)
    account = account_name(exchange, Mode.DRY_RUN)
    with context.journal.lock(f"account-{account}"):
        async with open_market(request, context) as data:
            history = await _history(data, exchange, wanted, context)
            store, candles, terms = history
            strategist = _warmed(ZoneStrategist(wanted.strategy, candles, terms), context)
            session = _session_of(
                request, wanted, history, context, simulated=data.venue.is_simulated
            )
            context.journal.open_session(session)
            async with _alerts(context) as notify, _keeping(store, wanted) as on_bars:
                running = DryRunSession(
                    data,
                    open_stream(request, context, data),
                    context.journal,
                    context.clock,
                    wall=wall,
                    session=session,
                    strategy=wanted.strategy,
                    strategist=strategist,
                    notify=notify,
                    on_bars=on_bars,
                    is_paced=not isinstance(context.clock, SystemClock),
                )
                return await _until_stopped(running, session, wanted, context)


async def _at_exchange(
    request: AccountRequest, wanted: Wanted, context: Context, wall: "Clock"
) -> Ended:
    from blofin_cli.adapters.clock import SystemClock
    from blofin_cli.engine.live import LiveSession
    from blofin_cli.engine.strategist import ZoneStrategist

    exchange, mode = exchange_of(request, context), mode_of(request, context)
    if wanted.strategy.target.parts:
        raise UsageError(
            "target.parts are simulated only; at an exchange a position has one target",
            hint="--set target.parts= or use dry-run",
        )
    mandate = _Mandate(context)
    override = _admit(mode, wanted, mandate(), context)
    settings = context.settings.session
    async with open_trading(request, context) as account, _alerts(context) as notify:
        async with _guarded(account, request, context, notify):
            history = await _history(account, exchange, wanted, context)
            store, candles, terms = history
            strategist = await asyncio.to_thread(
                lambda: _warmed(ZoneStrategist(wanted.strategy, candles, terms), context)
            )
        told = await account.account()
        balance = told.balance()
        if balance is None:
            raise DataError("the exchange told no USDT balance", hint="blofin account shows it")
        session = _session_of(
            request,
            wanted,
            history,
            context,
            simulated=account.venue.is_simulated,
            equity=balance.equity,
        )
        context.journal.open_session(session)
        async with _keeping(store, wanted) as on_bars:
            running = LiveSession(
                account,
                open_stream(request, context, account, private=True),
                context.journal,
                context.clock,
                wall=wall,
                session=session,
                strategy=wanted.strategy,
                strategist=strategist,
                mandate=mandate,
                notify=notify,
                on_bars=on_bars,
                approval_only=settings.approval_only,
                approval_always=wanted.approval_only,
                is_paced=not isinstance(context.clock, SystemClock),
                protects_external=settings.external_protect,
                override=override,
            )
            return await _until_stopped(running, session, wanted, context)


@asynccontextmanager
async def _guarded(
    account: "ReduceOnly",
    request: AccountRequest,
    context: Context,
    notify: Callable[[Happening], None],
) -> AsyncIterator[None]:
    """Look after what an earlier session left while this one is still reading its history."""
    from blofin_cli.app.orders import reducer_of
    from blofin_cli.engine.guardian import Guardian, Watch

    if not await account.positions():
        yield
        return
    reducer = reducer_of(request, context, account)
    guardian = Guardian(
        exchange=account,
        journal=context.journal,
        clock=context.clock,
        account=reducer.account,
        reducer=reducer,
        watch=Watch(heartbeat_stale_s=None),
        notify=notify,
    )
    task = asyncio.create_task(guardian.run())
    try:
        yield
    finally:
        guardian.stop()
        await task


class _Mandate:
    """The mandate in force, verified anew every few seconds: it can change and expire meanwhile."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._read_ms = -MANDATE_MS
        self._mandate: Mandate | None = None

    def __call__(self) -> Mandate:
        """The mandate. Errors: ConfigError when the signed one cannot be trusted."""
        from blofin_cli.app.mandate import load

        now_ms = self._context.clock.now_ms()
        if self._mandate is None or now_ms - self._read_ms >= MANDATE_MS:
            self._mandate, self._read_ms = load(self._context).mandate, now_ms
        return self._mandate


def _admit(mode: Mode, wanted: Wanted, mandate: Mandate, context: Context) -> str:
    """Let a mode pass that the mandate and the record so far allow; an override in its words.

    Errors: RefusedError naming what is missing.
    """
    now_ms = context.clock.now_ms()
    if mandate.is_expired(now_ms):
        raise RefusedError(f"the mandate {mandate.name} has expired", hint="blofin mandate sign")
    if mode not in mandate.modes:
        raise RefusedError(
            f"the {mandate.name} mandate does not allow {mode}",
            hint="blofin mandate init, then blofin mandate sign",
        )
    for symbol in wanted.symbols:
        if not mandate.allows_symbol(symbol):
            raise RefusedError(f"the {mandate.name} mandate does not allow {symbol}")
    if mode is not Mode.LIVE:
        return ""
    from blofin_cli.engine.promotion import promotion

    gates = promotion(context.journal, context.store, mandate, now_ms)
    failed = [gate for gate in gates if not gate.passed]
    if failed and not mandate.override:
        raise RefusedError(
            f"live needs more first: {failed[0].name}: {failed[0].note}",
            hint="blofin runs shows what there is; an override is signed in the mandate",
            details={"gates": [gate.name for gate in failed]},
        )
    return mandate.override


async def _history(
    data: "MarketData", exchange: str, wanted: Wanted, context: Context
) -> "History":
    """Closed candles of every symbol from one start, and the contract terms."""
    store, timeframe = open_store(context, exchange), wanted.strategy.timeframe
    now_ms = await data.server_time_ms()
    start_ms = history_start_ms(timeframe, now_ms)
    if wanted.since is not None:
        start_ms = max(start_ms, wanted.since.resolve(now_ms))
    candles, terms = {}, {}
    for symbol in wanted.symbols:
        listing = await data.instrument(symbol)
        terms[symbol] = listing.instrument
        candles[symbol] = await complete_history(
            data,
            store,
            symbol,
            timeframe,
            since_ms=max(start_ms, listing.listed_ms or 0),
            until_ms=now_ms,
            progress=context.progress,
        )
        if (bars := len(candles[symbol])) < BARS_MIN:
            raise DataError(
                f"{exchange} has only {bars} closed {timeframe} candles of {symbol}",
                hint=f"a session needs at least {BARS_MIN} to know anything",
            )
    return store, candles, terms


def _session_of(
    request: AccountRequest,
    wanted: Wanted,
    history: "History",
    context: Context,
    *,
    simulated: bool,
    equity: Decimal | None = None,
) -> Session:
    _, candles, terms = history
    exchange, mode = exchange_of(request, context), mode_of(request, context)
    now_ms = context.clock.now_ms()
    config = {name: to_text(value) for name, value in flatten(wanted.strategy).items()}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]
    name = f"{account_name(exchange, mode)}\0{now_ms}\0{os.getpid()}"
    return Session(
        session_id=f"s{hashlib.sha256(name.encode()).hexdigest()[:11]}",
        account=account_name(exchange, mode),
        exchange=exchange,
        mode=mode,
        simulated=simulated or mode is Mode.DRY_RUN,
        symbols=wanted.symbols,
        timeframe=str(wanted.strategy.timeframe),
        config=config,
        digests={"config": digest},
        version=__version__,
        pid=os.getpid(),
        host=platform.node(),
        started_ms=now_ms,
        history_start_ms={symbol: int(rows.ts[0]) for symbol, rows in candles.items()},
        equity_start_usdt=wanted.equity_usdt if equity is None else equity,
        terms={symbol: to_terms(item) for symbol, item in terms.items()},
    )


def to_terms(instrument: "Instrument") -> dict[str, Any]:
    """Contract terms as JSON values; `terms_of` reads them back."""
    return {
        name: str(value) if isinstance(value, Decimal) else value
        for name, value in asdict(instrument).items()
    }


def terms_of(record: dict[str, Any]) -> "Instrument":
    """Contract terms from what `to_terms` made of them."""
    from blofin_cli.core.market import Instrument

    plain = {"symbol", "leverage_max", "source"}
    values: dict[str, Any] = {
        name: value if name in plain else Decimal(value) for name, value in record.items()
    }
    return Instrument(**values)


def _warmed(strategist: "ZoneStrategist", context: Context) -> "ZoneStrategist":
    """The strategist after one judgement a symbol: kernels are compiled before it counts."""
    for done, symbol in enumerate(strategist.symbols):
        context.progress(done, len(strategist.symbols), f"reading {symbol}")
        strategist.judge(symbol, context.clock.now_ms())
    return strategist


async def _until_stopped(
    running: "LiveSession | DryRunSession", session: Session, wanted: Wanted, context: Context
) -> Ended:
    """Run; a signal or the time given ends it in good order, a second signal at once."""
    loop, ended = asyncio.get_running_loop(), "crashed"
    task = asyncio.create_task(running.run())

    def on_signal(name: str) -> None:
        if running.phase == "stopping":
            task.cancel()
        running.stop(name)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, on_signal, number.name)
    if wanted.max_seconds is not None:
        loop.call_later(wanted.max_seconds, running.stop, "time is up")
    context.say(f"session {session.session_id} on {' '.join(session.symbols)}; Ctrl-C ends it")
    try:
        ended = await task
    except asyncio.CancelledError:
        ended = "interrupted twice"
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with suppress(NotImplementedError, RuntimeError, ValueError):
                loop.remove_signal_handler(number)
        context.journal.end_session(session.session_id, context.clock.now_ms(), ended)
    return Ended(context.journal.session(session.session_id), ended)


@asynccontextmanager
async def _alerts(context: Context) -> AsyncIterator[Callable[[Happening], None]]:
    """Where events go: narration for whoever watches, alerts to whoever asked for them."""
    from blofin_cli.app.alerts import sending

    async with sending(context) as send:

        def notify(happening: Happening) -> None:
            context.say(_told(happening))
            send(happening)

        yield notify


def _told(happening: Happening) -> str:
    from blofin_cli.app.timespec import second_of

    return f"{second_of(happening.ts_ms)} {happening.level.value:<9} {happening.text}"


@asynccontextmanager
async def _keeping(
    store: "CandleStore", wanted: Wanted
) -> "AsyncIterator[Callable[[str, tuple[Bar, ...]], None]]":
    """Merge the session's bars into the candle store beside the loop, so parity can replay them."""
    from blofin_cli.app.history import to_candles

    waiting: dict[str, list[Bar]] = {symbol: [] for symbol in wanted.symbols}
    timeframe = wanted.strategy.timeframe

    def take(symbol: str, bars: "tuple[Bar, ...]") -> None:
        waiting[symbol] += bars

    async def write() -> None:
        for symbol, bars in waiting.items():
            if bars:
                rows = tuple(bars)
                bars.clear()
                await asyncio.to_thread(store.merge, to_candles(symbol, timeframe, rows))

    async def keep() -> None:
        while True:
            await asyncio.sleep(KEEP_EVERY_S)
            await write()

    task = asyncio.create_task(keep())
    try:
        yield take
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await write()
