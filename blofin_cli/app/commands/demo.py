"""The product shown at work: no key, no network."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from blofin_cli.app.commands.market import ZonesRequest, read_signal, zones
from blofin_cli.app.commands.research import BacktestRequest, BacktestResult, backtest
from blofin_cli.app.commands.run import RunResult
from blofin_cli.app.context import Context
from blofin_cli.app.selection import market_of, source_of, strategy_of
from blofin_cli.app.spec import Effect, Request, Result, command
from blofin_cli.core.market import Signal, Zone
from blofin_cli.errors import Exit, UsageError

SYMBOL = "BTC-USDT"


class DemoRequest(Request):
    """Which market to invent and where to put the pictures."""

    seed: Annotated[int, Field(description="Seed of the synthetic market", ge=0, le=2**32)] = 7
    folder: Annotated[str, Field(description="Folder for the reports and the chart")] = (
        "blofin-demo"
    )
    no_loop: Annotated[bool, Field(description="Leave the trading loop out: it takes a minute")] = (
        False
    )


class DemoResult(Result):
    """What the demo found and wrote."""

    seed: int
    zones: list[Zone]
    signal: Signal
    backtest: BacktestResult
    session: RunResult | None
    session_events: dict[str, int]
    halt_acknowledged_ms: int | None
    same_decisions: bool | None
    files: list[str]

    def exit_code(self) -> Exit:
        """10 when the loop did not show what the demo promises: trades, decided as replayed."""
        done = self.session
        if done is not None and not (done.trades and self.same_decisions):
            return Exit.COMPARISON
        return Exit.OK

    def summary(self) -> list[tuple[str, object]]:
        """The story in the order it happened."""
        found = self.backtest
        return [
            ("market", f"synthetic, seed {self.seed}: {found.bars:,} candles of {found.timeframe}"),
            ("zones alive", len(self.zones)),
            ("signal now", f"{self.signal.action} ({_held_by(self.signal)})"),
            *found.summary(),
            *self._loop_lines(),
            *(("written", name) for name in self.files),
            ("next", "open the report in a browser; then try: blofin guide start"),
        ]

    def _loop_lines(self) -> list[tuple[str, object]]:
        """What the trading loop did on the box."""
        done, events = self.session, self.session_events
        if done is None:
            return []
        lines: list[tuple[str, object]] = [
            ("the loop", f"{done.bars} bars of 1m in a minute, {done.trades} trades, "
                         f"{done.pnl_usdt:+.2f} USDT (an invented market, eager settings)"),
            ("it met", ", ".join(f"{count} {kind}" for kind, count in sorted(events.items()))),
            ("bare at most", f"{done.naked_max_s:.1f} s"),
        ]  # fmt: skip
        if self.halt_acknowledged_ms is not None:
            lines.append(("halt", f"acknowledged after {self.halt_acknowledged_ms} ms"))
        if self.same_decisions is not None:
            word = "the backtester decides the same" if self.same_decisions else "DIFFERS"
            lines.append(("parity", word))
        return lines

    def table(self) -> list[dict[str, object]]:
        """The backtest's table."""
        return self.backtest.table()

    def rows(self) -> list[dict[str, object]]:
        """The backtest's trades."""
        return self.backtest.rows()


def _held_by(signal: Signal) -> str:
    refused = [gate.name for gate in signal.gates if not gate.passed]
    return "held by " + ", ".join(refused) if refused else "every gate passed"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder.name}: {error.strerror}") from None


@command(effect=Effect.WRITE)
async def demo(request: DemoRequest, context: Context) -> DemoResult:
    """Show the whole product on a seeded synthetic market: zones, a signal, a backtest, the loop.

    The last part runs the real trading loop against an exchange in a box for a minute: zones form,
    orders fill, stops trail, a breaker pauses, the kill switch flattens, and a replay compares.

    Exit code 10 when the loop did not trade or the replay decided otherwise.

    Example: blofin demo
    """
    folder = Path(request.folder)
    _make(folder)
    chart, report = folder / "zones.html", folder / "report.html"
    context.say("1/4 zones: finding supply and demand on 1h and 4h")
    shown = await zones(
        ZonesRequest(symbol=(SYMBOL,), synthetic=request.seed, chart=str(chart)), context
    )
    context.say("2/4 signal: asking every gate at the last closed candle")
    asked = BacktestRequest(symbol=(SYMBOL,), synthetic=request.seed, report=str(report))
    source = source_of(asked, [SYMBOL], context)
    strategy = strategy_of(asked, context)
    signal = read_signal(market_of(asked, SYMBOL, source, strategy), strategy, asked.equity)
    context.say("3/4 backtest: one year, with costs, chance baselines and a verdict")
    result = await backtest(asked, context)
    story = None
    if not request.no_loop:
        from blofin_cli.app.commands.showcase import show_loop

        context.say("4/4 the loop: one minute against an exchange in a box, 60 times as fast")
        story = await show_loop(folder, context)
    return DemoResult(
        seed=request.seed,
        zones=shown.zones,
        signal=signal,
        backtest=result,
        session=None if story is None else story.run,
        session_events={} if story is None else dict(story.events),
        halt_acknowledged_ms=None if story is None else story.halt_ms,
        same_decisions=None if story is None else story.same_decisions,
        files=[str(chart), str(report), *([] if story is None else [story.report])],
    )
