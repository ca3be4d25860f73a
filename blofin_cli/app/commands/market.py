"""Looking at a market: zones, the signal, its reasons, and the proof that nothing repaints."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from blofin_cli.app.context import Context
from blofin_cli.app.history import LiveRequest, prepare
from blofin_cli.app.selection import (
    OneSymbol,
    StrategyRequest,
    market_of,
    span_of,
    strategy_of,
    strategy_settings,
    tell,
)
from blofin_cli.app.spec import Effect, Result, Symbol, Time, command, to_record
from blofin_cli.app.timespec import day_of, minute_of
from blofin_cli.core.market import Action, Gate, Signal, Timeframe, Zone, price_text
from blofin_cli.errors import ComparisonError, DataError, UsageError

if TYPE_CHECKING:
    from blofin_cli.app.history import Prepared
    from blofin_cli.core.context import Market
    from blofin_cli.core.strategy import Strategy

EQUITY = 10_000.0
CHART_BARS = 500


class ZonesRequest(StrategyRequest, LiveRequest):
    """Which zones, and how to show them."""

    symbol: Annotated[tuple[Symbol, ...], Field(description="Instruments", min_length=1)]
    all: Annotated[bool, Field(description="Broken, spent, expired and superseded ones too")] = (
        False
    )
    as_of: Annotated[Time | None, Field(description="What was known at this time")] = None
    limit: Annotated[int | None, Field(description="Nearest ones only", ge=1, le=100_000)] = None
    chart: Annotated[str | None, Field(description="Draw them: FILE.html, .svg or .png")] = None


def _calibration_words(run_id: str | None) -> str:
    if run_id is None:
        return "unknown: save a backtest (--save) to see what each score was worth"
    return f"share and number of trades of that score that won in {run_id}"


class ZonesResult(Result):
    """Zones nearest to price first; `distance_atr` is in ATR of the zone's timeframe."""

    as_of_ms: int
    source: str
    simulated: bool
    timeframes: list[Timeframe]
    prices: dict[str, float]
    zones: list[Zone]
    calibration_run: str | None
    calibration: list[dict[str, Any]]
    chart: str | None = None

    def rows(self) -> list[dict[str, Any]]:
        """One record a zone."""
        return [to_record(zone) for zone in self.zones]

    def table(self) -> list[dict[str, Any]]:
        """One line a zone, short enough for a terminal of 80 columns."""
        from blofin_cli.app.reporting import score_bucket

        won = {row["bucket"]: f"{row['win_rate']:.0%}/{row['trades']}" for row in self.calibration}
        return [
            {
                "id": zone.id,
                "kind": zone.kind,
                "proximal": price_text(zone.proximal),
                "distal": price_text(zone.distal),
                "away": f"{zone.distance_atr:.1f}",
                "state": zone.state,
                "score": f"{zone.confidence:.0f}",
                "won": won.get(score_bucket(zone.confidence), "-"),
                "base": zone.pattern,
                "born": minute_of(zone.born_ms),
            }
            for zone in self.zones
        ]

    def summary(self) -> list[tuple[str, object]]:
        """When, at what price, and what the columns are."""
        prices = ", ".join(f"{symbol} {price_text(price)}" for symbol, price in self.prices.items())
        head: list[tuple[str, object]] = [("simulated", True)] if self.source == "sim" else []
        return [
            *head,
            ("as of", f"{minute_of(self.as_of_ms)} UTC, {prices}"),
            ("zones", f"{len(self.zones)} on {', '.join(self.timeframes)}"),
            ("away", "distance from price, in ATR of the zone's timeframe"),
            ("score", "textbook score x freshness, 0-100; no probability"),
            ("won", _calibration_words(self.calibration_run)),
        ]


@command(effect=Effect.READ, positional=("symbol",), tool="detect_zones")
async def zones(request: ZonesRequest, context: Context) -> ZonesResult:
    """List supply and demand zones with their life cycle and textbook score, nearest first.

    Example: blofin zones BTC-USDT --synthetic 7 --context 1h,4h
    """
    from blofin_cli.app.reporting import calibration
    from blofin_cli.core.reading import zones_now

    if request.chart is not None:
        _check_chart(request.chart, request.symbol)
    strategy = strategy_of(request, context)
    prepared = await prepare(request, request, request.symbol, strategy.timeframe, context)
    markets = _markets(request, prepared, strategy, context, request.as_of)
    found: list[Zone] = []
    for done, market in enumerate(markets):
        context.progress(done, len(markets), f"zones of {market.entry.symbol}")
        found += zones_now(market, strategy, request.all)
    since_ms = span_of(request, markets[0].entry)[0]
    found = [zone for zone in found if since_ms is None or zone.born_ms >= since_ms]
    found = sorted(found, key=lambda zone: zone.distance_atr)[: request.limit]
    context.progress(len(markets), len(markets), "zones")
    if request.chart is not None:
        _draw_zones(Path(request.chart), markets, strategy, found, context)
    calibration_run, deciles = calibration(context)
    return ZonesResult(
        as_of_ms=max(int(market.entry.close_ts[-1]) for market in markets),
        source=prepared.name,
        simulated=prepared.simulated,
        timeframes=list(strategy.context),
        prices={market.entry.symbol: float(market.entry.close[-1]) for market in markets},
        zones=found,
        calibration_run=calibration_run,
        calibration=deciles,
        chart=request.chart,
    )


async def _market(
    request: "SignalRequest | VerifyRequest", strategy: "Strategy", context: Context, at: Any = None
) -> "tuple[Prepared, Market]":
    prepared = await prepare(request, request, (request.symbol,), strategy.timeframe, context)
    return prepared, _markets(request, prepared, strategy, context, at)[0]


def _markets(
    request: StrategyRequest,
    prepared: "Prepared",
    strategy: "Strategy",
    context: Context,
    as_of: Any = None,
) -> "list[Market]":
    markets = [
        market_of(
            request,
            symbol,
            prepared.source,
            strategy,
            terms=prepared.terms.get(symbol),
            start_ms=prepared.start_ms,
        )
        for symbol in prepared.symbols
    ]
    missing_files = "none found"  # of funding and marks, which a reading of the present lacks
    is_live = bool(prepared.terms)
    tell(context, [n for n in prepared.source.notes() if not (is_live and missing_files in n)])
    if as_of is None:
        return markets
    return [cut_market(market, as_of.resolve(int(market.entry.close_ts[-1]))) for market in markets]


def cut_market(market: "Market", now_ms: int) -> "Market":
    """The market as it was known at a time.

    Errors: DataError when nothing had closed by then.
    """
    last_ms = int(market.entry.close_ts[-1])
    if now_ms >= last_ms + market.entry.timeframe.ms:
        raise DataError(
            f"the candles of {market.entry.symbol} end before that",
            hint=f"the last one closed at {minute_of(last_ms)} UTC",
        )
    cut = market.until(now_ms)
    if len(cut.entry) == 0:
        raise DataError(
            f"no candle of {market.entry.symbol} had closed by then",
            hint=f"its candles begin {day_of(market.entry.ts[0])}",
        )
    return cut


def _check_chart(path: str, symbols: tuple[str, ...]) -> None:
    from blofin_cli.pictures.files import check_file

    if len(set(symbols)) > 1:
        raise UsageError("--chart draws one instrument", hint="name one symbol")
    check_file("--chart", path)


def _draw_zones(
    path: Path, markets: "list[Market]", strategy: "Strategy", found: list[Zone], context: Context
) -> None:
    from blofin_cli.pictures.files import save_chart
    from blofin_cli.pictures.views import ChartView

    market, timeframe = markets[0], min(strategy.context, key=lambda item: item.ms)
    shown = market.frame(timeframe)[-CHART_BARS:]
    view = ChartView(
        title=f"{market.entry.symbol} {timeframe}",
        candles=shown,
        zones=found,
        subtitle=f"{len(found)} zones on {', '.join(strategy.context)}",
        footer=("The score is a textbook score: on history it did not rank trades.",),
    )
    save_chart(path, view)
    context.say(f"chart written to {path.name}")


class SignalRequest(OneSymbol, LiveRequest):
    """For what, and with how much."""

    equity: Annotated[
        float, Field(description="Equity to size the plan for, USDT", gt=0, le=1e12)
    ] = EQUITY


class SignalResult(Result):
    """The signal and every gate's verdict."""

    signal: Signal
    cost_note: str
    source: str
    simulated: bool

    columns: ClassVar[tuple[str, ...]] = ("name", "passed", "value", "threshold", "note")

    def rows(self) -> list[dict[str, Any]]:
        """One record a gate."""
        return [
            {
                "name": g.name,
                "passed": g.passed,
                "value": g.value,
                "threshold": g.threshold,
                "note": g.note,
            }
            for g in self.signal.gates
        ]

    def summary(self) -> list[tuple[str, object]]:
        """The plan."""
        head: list[tuple[str, object]] = [("simulated", True)] if self.source == "sim" else []
        return [*head, *plan_summary(self.signal)]


def plan_summary(signal: Signal) -> list[tuple[str, object]]:
    """Label and value of a signal's plan, for people."""
    names = (
        "symbol",
        "ts_ms",
        "action",
        "zone_id",
        "entry",
        "stop",
        "target",
        "reward_risk",
        "cost_r",
        "confidence",
        "risk_fraction",
        "quantity",
    )
    return [(name, getattr(signal, name)) for name in names if getattr(signal, name) is not None]


@command(effect=Effect.READ, positional=("symbol",), tool="check_signal")
async def signal(request: SignalRequest, context: Context) -> SignalResult:
    """Say buy, sell or hold at the last closed bar, with the plan and every gate's verdict.

    Example: blofin signal BTC-USDT --synthetic 7
    """
    strategy = strategy_of(request, context)
    prepared, market = await _market(request, strategy, context)
    found = read_signal(market, strategy, request.equity)
    return SignalResult(
        signal=found,
        cost_note=_cost_note(found),
        source=prepared.name,
        simulated=prepared.simulated,
    )


def read_signal(market: "Market", strategy: "Strategy", equity: float) -> Signal:
    """The signal of the last closed candle, sized for a fresh account of this equity."""
    from blofin_cli.core.reading import read, signal_of
    from blofin_cli.engine.backtest import plan_once

    reading = read(market, strategy)
    account: list[Gate] = []
    quantity = None
    if reading.judged is not None:
        quantity, gate = plan_once(market, reading.judged, strategy, equity)
        account = [gate]
    return signal_of(reading, quantity, account)


def _cost_note(found: Signal) -> str:
    if found.cost_r is None:
        return "no plan, no cost"
    return f"getting in and being stopped out would cost {found.cost_r:.3f} R in fees and slippage"


class WhyRequest(SignalRequest):
    """When."""

    at: Annotated[Time | None, Field(description="Time to explain; default the last close")] = None


class Change(Result):
    """One change of settings that was tried: would the trade then have been taken?"""

    settings: list[str]
    would_trade: bool


class WhyResult(SignalResult):
    """The signal at a moment, what stood in the way, and the least that would have removed it."""

    refused_by: list[str]
    smallest_change: Change | None
    explanation: str

    def summary(self) -> list[tuple[str, object]]:
        """The plan, and the sentence first."""
        return [("why", self.explanation), *super().summary()]


@command(effect=Effect.READ, positional=("symbol",), tool="explain_signal")
async def why(request: WhyRequest, context: Context) -> WhyResult:
    """Explain the signal at a moment: gate by gate, and the smallest change that would have traded.

    Example: blofin why BTC-USDT --synthetic 7 --at 2024-08-05T06:15
    """
    settings = strategy_settings(request, context)
    strategy = strategy_of(request, context)
    prepared, market = await _market(request, strategy, context, request.at)
    found = read_signal(market, strategy, request.equity)
    refused = [gate for gate in found.gates if not gate.passed]
    change = _smallest_change(market, settings, found, request.equity)
    return WhyResult(
        signal=found,
        cost_note=_cost_note(found),
        source=prepared.name,
        simulated=prepared.simulated,
        refused_by=[gate.name for gate in refused],
        smallest_change=change,
        explanation=_explanation(found, refused, change),
    )


def _smallest_change(
    market: "Market", settings: dict[str, Any], found: Signal, equity: float
) -> Change | None:
    """Settings that would have opened every closed gate, tried out; None when some have none."""
    from blofin_cli.core.strategy import build_strategy

    refused = [gate for gate in found.gates if not gate.passed]
    if not refused or not all(gate.setting for gate in refused):
        return None
    wanted = [gate.setting for gate in refused]
    changed = settings | {
        name: value for name, _, value in (item.partition("=") for item in wanted)
    }
    try:
        again = build_strategy(changed)
    except UsageError:  # the value that would have passed lies outside the parameter's range
        return Change(settings=wanted, would_trade=False)
    action = read_signal(market, again, equity).action
    return Change(settings=wanted, would_trade=action is not Action.HOLD)


def _explanation(found: Signal, refused: list[Gate], change: Change | None) -> str:
    if found.action is not Action.HOLD:
        assert found.entry is not None
        return f"every gate passed: {found.action} {found.symbol} at {price_text(found.entry)}"
    names = ", ".join(gate.name for gate in refused)
    if change is not None and change.would_trade:
        return f"held by {names}; it would have traded with --set {' --set '.join(change.settings)}"
    fixed = [gate.name for gate in refused if not gate.setting]
    if fixed:
        what = ", ".join(fixed)
        return f"held by {names}; no setting changes {what}: the market itself did not do it"
    return f"held by {names}; no allowed setting would have traded"


class VerifyRequest(OneSymbol, LiveRequest):
    """How hard to look."""

    points: Annotated[
        int, Field(description="Moments at which history is cut and read again", ge=1, le=2000)
    ] = 40


class VerifyResult(Result):
    """What was compared, and how many readings changed afterwards."""

    symbol: str
    bars: int
    points: int
    zones: int
    decisions: int
    readings: int
    rewritten: int
    first_rewritten: str | None


@command(effect=Effect.READ, positional=("symbol",), tool="verify_zones")
async def verify(request: VerifyRequest, context: Context) -> VerifyResult:
    """Prove that nothing repaints: cut history at many moments and compare what was said then.

    Example: blofin verify BTC-USDT --synthetic 7 --points 5
    """
    from blofin_cli.core.verify import compare_readings

    strategy = strategy_of(request, context)
    _, market = await _market(request, strategy, context)
    report = compare_readings(market, strategy, request.points, context.progress)
    result = VerifyResult(
        symbol=request.symbol,
        bars=len(market.entry),
        points=report.points,
        zones=report.zones,
        decisions=report.decisions,
        readings=report.readings,
        rewritten=report.rewritten,
        first_rewritten=report.first_rewritten,
    )
    if report.rewritten:
        raise ComparisonError(f"{report.rewritten} readings were rewritten", result=result)
    return result
