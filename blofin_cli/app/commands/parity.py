"""A recorded session against the backtester."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from blofin_cli.app.context import Context
from blofin_cli.app.spec import Effect, Request, Result, command
from blofin_cli.app.timespec import minute_of
from blofin_cli.errors import ComparisonError, DataError, UsageError

if TYPE_CHECKING:
    from blofin_cli.core.context import Market
    from blofin_cli.core.journal import Session
    from blofin_cli.core.signals import Plane
    from blofin_cli.core.strategy import Strategy


class ParityRequest(Request):
    """Which session."""

    session: Annotated[str, Field(description="Session id, or the beginning of one", max_length=80)]


class ParityResult(Result):
    """Decisions compared, the differences in order, and how execution fared against plan."""

    session_id: str
    mode: str
    symbols: list[str]
    bars: int
    decisions: int
    signals: int
    same: bool
    first: dict[str, Any] | None
    differences: list[dict[str, Any]]
    missed_bars: int
    trades_compared: int
    trade_differences: list[str]
    code_changed: bool
    entries: int
    latency_ms_p50: float | None
    latency_ms_max: float | None
    slippage_bps_mean: float | None
    slippage_bps_max: float | None
    slippage_usdt: float

    columns: ClassVar[tuple[str, ...]] = ("bar", "symbol", "field", "session", "replay")

    def rows(self) -> list[dict[str, Any]]:
        """One record a difference."""
        return [{"bar": minute_of(row["bar_ms"])} | row for row in self.differences]

    def summary(self) -> list[tuple[str, object]]:
        """What was compared and what came of it."""
        word = "the same decisions" if self.same else "DIFFERENT decisions"
        lines: list[tuple[str, object]] = [
            ("session", f"{self.session_id} {self.mode} on {' '.join(self.symbols)}"),
            ("compared", f"{self.decisions} decisions on {self.bars} bars, {self.signals} signals"),
            ("result", word),
            ("missed bars", self.missed_bars),
        ]
        if self.trades_compared:
            lines.append(("trades", f"{self.trades_compared} compared"))
        lines += [("trade differs", text) for text in self.trade_differences[:5]]
        if self.entries:
            lines.append(
                (
                    "execution",
                    f"{self.entries} entries, latency p50 {self.latency_ms_p50:.0f} ms, "
                    f"slippage {self.slippage_bps_mean:+.2f} bps, {self.slippage_usdt:+.2f} USDT",
                )
            )
        return lines


@command(effect=Effect.READ, positional=("session",), tool="check_parity")
async def parity(request: ParityRequest, context: Context) -> ParityResult:
    """Replay a recorded session through the backtester and name the first differing decision.

    Exit code 10 when one differs. Latency and slippage are shown apart: they are the exchange's.

    Example: blofin parity SESSION
    """
    from blofin_cli.core.signals import evaluate
    from blofin_cli.core.strategy import build_strategy
    from blofin_cli.engine import parity as replay

    session = context.journal.session(request.session)
    decisions = context.journal.decisions(session.session_id)
    if not decisions:
        raise UsageError(
            f"session {session.session_id} made no decision", hint="it saw no closed bar"
        )
    strategy = build_strategy(session.config)
    differences: list[replay.Difference] = []
    missed, bars, planes = 0, 0, []
    for done, symbol in enumerate(session.symbols):
        context.progress(done, len(session.symbols), f"replaying {symbol}")
        mine = [item for item in decisions if item.symbol == symbol]
        market = _market(session, symbol, strategy, context, max(d.bar_ms for d in decisions))
        planes.append(evaluate(market, strategy))
        differences += replay.compare(planes[-1], mine)
        missed += len(replay.missing_bars(market.entry, mine))
        bars += len({item.bar_ms for item in mine})
    differences.sort(key=lambda item: (item.bar_ms, item.symbol))
    compared, apart = _trades(session, strategy, planes, context)
    execution = replay.execution_of(
        [
            intent
            for intent in context.journal.intents(session.account, since_ms=session.started_ms)
            if intent.session_id == session.session_id
        ],
        context.journal.fills(session.account, since_ms=session.started_ms),
    )
    shown = [
        {
            "bar_ms": d.bar_ms, "symbol": d.symbol, "field": d.field, "session": d.session,
            "replay": d.replay,
        }
        for d in differences
    ]  # fmt: skip
    result = ParityResult(
        session_id=session.session_id,
        mode=session.mode.value,
        symbols=list(session.symbols),
        bars=bars,
        decisions=len(decisions),
        signals=sum(item.side is not None for item in decisions),
        same=not differences and not apart,
        first=shown[0] if shown else None,
        differences=shown[:1000],
        missed_bars=missed,
        trades_compared=compared if session.mode.value == "dry-run" else 0,
        trade_differences=apart,
        code_changed=session.version != _version(),
        entries=execution.entries,
        latency_ms_p50=execution.latency_ms_p50,
        latency_ms_max=execution.latency_ms_max,
        slippage_bps_mean=execution.slippage_bps_mean,
        slippage_bps_max=execution.slippage_bps_max,
        slippage_usdt=execution.slippage_usdt,
    )
    context.journal.remember(
        session.account, "parity", {"clean": result.same, "session_id": session.session_id}
    )
    if result.same:
        return result
    text = apart[0] if not shown else _words(shown[0])
    raise ComparisonError(f"the replay differs: {text}", result=result)


def _words(row: dict[str, Any]) -> str:
    return (
        f"{row['symbol']} at {minute_of(row['bar_ms'])}: {row['field']} was {row['session']}, "
        f"the replay says {row['replay']}"
    )


def _trades(
    session: "Session", strategy: "Strategy", planes: "list[Plane]", context: Context
) -> tuple[int, list[str]]:
    """A dry run's trades against the backtest of the same span: they must be equal to the bit.

    A session that was halted, paused or closed by hand in between cannot be compared trade by trade
    beyond that point, and says so by its exit reasons.
    """
    if session.mode.value != "dry-run":
        return 0, []
    from blofin_cli.engine.backtest import lay_course
    from blofin_cli.engine.parity import differing_trades
    from blofin_cli.engine.study import StudyPlan, trades_of

    recorded = context.journal.trades(session_id=session.session_id)
    if not recorded:
        return 0, []
    first_ms = min(d.bar_ms for d in context.journal.decisions(session.session_id))
    plan = StudyPlan(equity=float(session.equity_start_usdt), draws=0, seed=0, since_ms=first_ms)
    course = lay_course([plane.market for plane in planes], strategy.costs, first_ms)
    replayed = trades_of(course, planes, strategy, plan, session.session_id)
    return len(recorded), differing_trades(recorded, replayed)


def _market(
    session: "Session", symbol: str, strategy: "Strategy", context: Context, last_ms: int
) -> "Market":
    """The candles the session had, from the store and from the same start."""
    from blofin_cli.app.history import open_store
    from blofin_cli.app.running import terms_of
    from blofin_cli.core.context import Market

    store = open_store(context, session.exchange)
    candles = store.held(symbol, strategy.timeframe).between(
        session.history_start_ms[symbol], last_ms + strategy.timeframe.ms
    )
    if len(candles) == 0:
        raise DataError(
            f"the store holds no {strategy.timeframe} candles of {symbol} for that session",
            hint=f"blofin candles {symbol} --timeframe {strategy.timeframe} --since 2y",
        )
    return Market(candles, terms_of(session.terms[symbol]))


def _version() -> str:
    from blofin_cli import __version__

    return __version__
