"""Backtests: start one and watch it, list, compare, look at its equity; zone hit rates."""

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.widgets import ProgressBar

from blofin_cli.app.context import Context
from blofin_cli.errors import BlofinError
from blofin_cli.faces.tui.gestures import Field, Form
from blofin_cli.faces.tui.page import Page
from blofin_cli.faces.tui.paint import Paint
from blofin_cli.faces.tui.parts import Curve, Panel, Still, Table
from blofin_cli.faces.tui.reading import alone, call
from blofin_cli.faces.tui.words import cell, moment, number, plain, right

if TYPE_CHECKING:
    from textual.widgets import DataTable

RUNS = (
    ("", 2), ("Run", 16), ("Symbols", 12), (">Trades", 7), (">Mean R", 8), (">Return", 9),
    ("  Verdict", 14), ("From", 11), ("Until", 11),
)  # fmt: skip
MEASURES = (
    ("trades", ",.0f"), ("win_rate", ".1%"), ("reward_risk", ".2f"), ("expectancy_r", "+.3f"),
    ("profit_factor", ".2f"), ("total_return", "+.1%"), ("max_drawdown", ".1%"),
    ("sharpe", ".2f"), ("sortino", ".2f"), ("calmar", ".2f"), ("exposure", ".1%"),
    ("deflated_sharpe", ".2f"), ("fees_usdt", ",.2f"), ("funding_usdt", "+,.2f"),
    ("slippage_usdt", ",.2f"), ("ambiguous_share", ".1%"),
)  # fmt: skip


class StoppedError(Exception):
    """The person wants the work to end."""


class Research(Page):
    """Saved runs, and the means to make more of them."""

    NAME = "research"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "new backtest"),
        Binding("space", "mark", "mark"),
        Binding("c", "compare", "compare"),
        Binding("z", "zones", "zone hit rates"),
        Binding("escape", "stop", "stop", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._runs: dict[str, dict[str, Any]] = {}
        self._marked: list[str] = []
        self._shown_run = ""
        self._is_running = False
        self._is_stopping = False

    def content(self) -> ComposeResult:
        """The list, one run in full, and a bar while one is made."""
        with Container(id="research-body"):
            yield Panel("Runs", Table(RUNS, id="runs"), id="runs-panel")
            with VerticalScroll(id="run-scroll"):
                yield Panel("Run", Still(id="run"), id="run-panel")
            yield Panel("Equity", Curve(id="run-curve"), id="run-curve-panel")
        yield ProgressBar(id="progress", show_eta=True)

    def on_mount(self) -> None:
        """Keys go to the list."""
        self.query_one("#runs", Table).focus()
        self.query_one("#progress").display = False

    def load(self) -> None:
        """Read the list of runs."""
        self.later(self._load, "runs")

    async def _load(self) -> None:
        try:
            result: Any = await self.desk.slow.read(lambda c: call(c, "runs", {"limit": 200}))
        except BlofinError as error:
            self.query_one("#run", Still).show(Text(plain(error.message, 400)))
            return
        self._runs = {row["run_id"]: row for row in result.runs}
        self._draw()
        if not self._runs:
            words = "no run is saved yet: n starts a backtest"
            self.query_one("#run", Still).show(Text(words, style=self.paint.muted))

    def _draw(self) -> None:
        rows = [
            (run_id, run_cells(row, run_id in self._marked, self.paint))
            for run_id, row in self._runs.items()
        ]
        self.query_one("#runs", Table).show(rows)

    def on_data_table_row_highlighted(self) -> None:
        """Another run is under the cursor."""
        chosen = self.query_one("#runs", Table).current
        if chosen is not None and chosen != self._shown_run:
            self._shown_run = chosen
            self.later(partial(self._show, chosen), "run")

    async def _show(self, run_id: str) -> None:
        try:
            result: Any = await self.desk.slow.read(lambda c: call(c, "runs", {"run": [run_id]}))
        except BlofinError as error:
            self.query_one("#run", Still).show(Text(plain(error.message, 400)))
            return
        whole = result.run or {}
        self.query_one("#run-panel", Panel).rename(f"Run  {run_id}")
        self.query_one("#run", Still).show(run_lines(whole, self.paint))
        values = [float(point[1]) for point in whole.get("equity") or ()]
        self.query_one("#run-curve", Curve).set_values(values)

    def on_data_table_row_selected(self, event: "DataTable.RowSelected") -> None:
        """Enter marks."""
        event.stop()
        self.action_mark()

    def action_mark(self) -> None:
        """Mark a run to compare; the third mark pushes out the first."""
        chosen = self.query_one("#runs", Table).current
        if chosen is None:
            return
        if chosen in self._marked:
            self._marked.remove(chosen)
        else:
            self._marked = [*self._marked, chosen][-2:]
        self._draw()

    @work(group="compare", exclusive=True)
    async def action_compare(self) -> None:
        """The two marked runs side by side."""
        if len(self._marked) != 2:
            self.desk.tell("mark two runs with space, then compare")
            return
        try:
            pair = list(self._marked)
            result: Any = await self.desk.slow.read(lambda c: call(c, "runs", {"run": pair}))
        except BlofinError as error:
            self.desk.complain(error)
            return
        self._shown_run = ""
        self.query_one("#run-panel", Panel).rename(" against ".join(pair))
        self.query_one("#run", Still).show(comparison_lines(result.comparison or [], self.paint))

    @work(group="compare", exclusive=True)
    async def action_zones(self) -> None:
        """Hit rate, payoff and expectancy of zones in the run under the cursor."""
        chosen = self.query_one("#runs", Table).current
        if chosen is None:
            self.desk.tell("no run is under the cursor")
            return
        try:
            result: Any = await self.desk.slow.read(lambda c: call(c, "analyze", {"run": [chosen]}))
        except BlofinError as error:
            self.desk.complain(error)
            return
        self._shown_run = ""
        self.query_one("#run-panel", Panel).rename(f"Zone hit rates of {chosen}")
        self.query_one("#run", Still).show(hit_lines(result, self.paint))

    # Making one.

    @work(group="backtest")
    async def action_new(self) -> None:
        """Ask what to run, run it, keep it."""
        if self._is_running:
            self.desk.tell("a backtest is running; Esc stops it")
            return
        status = self.desk.status
        symbols = " ".join(status.symbols[:3]) if status is not None else "BTC-USDT"
        answers = await self.app.push_screen_wait(Form("New backtest", backtest_fields(symbols)))
        if answers is not None:
            await self._run(backtest_arguments(answers))

    async def _run(self, arguments: dict[str, object]) -> None:
        self._is_running, self._is_stopping = True, False
        bar = self.query_one("#progress", ProgressBar)
        bar.update(total=None, progress=0)
        bar.display = True
        try:
            result: Any = await alone(partial(self._backtest, arguments))
            self.desk.tell(f"{result.run_id}: {result.verdict['text']}")
            self._shown_run = ""
        except StoppedError:
            self.desk.tell("stopped; nothing was saved")
        except BlofinError as error:
            self.desk.complain(error)
        finally:
            self._is_running = False
            bar.display = False
        self.load()

    def _backtest(self, arguments: dict[str, object]) -> Any:
        context: Context = self.desk.context(progress=self._progress, consent=True)
        return call(context, "backtest", arguments)

    def _progress(self, done: int, total: int, text: str) -> None:
        del text
        if self._is_stopping or not self.app.is_running:
            raise StoppedError
        bar = self.query_one("#progress", ProgressBar)
        self.app.call_from_thread(bar.update, total=total or None, progress=done)

    def action_stop(self) -> None:
        """End the backtest at its next step."""
        self._is_stopping = True


def backtest_fields(symbols: str) -> tuple[Field, ...]:
    """The form of a new backtest."""
    return (
        Field("symbol", "Symbols", symbols, hint="BTC-USDT ETH-USDT"),
        Field("since", "Since", "180d", hint="2024-01-01 or 90d"),
        Field("until", "Until", hint="newest candle"),
        Field("data", "Candle files (empty: the store)", hint="file or folder"),
        Field("synthetic", "Seed of a synthetic market", hint="instead of real data"),
        Field("set", "Parameters", hint="target.rr=3 stop.buf=1.0"),
        Field("draws", "Runs of each chance baseline", hint="200 give a placebo p-value"),
    )


def backtest_arguments(answers: dict[str, str]) -> dict[str, object]:
    """What the form says, as the command takes it."""
    arguments: dict[str, object] = {"save": True, **answers}
    for name in ("symbol", "set"):
        if name in answers:
            arguments[name] = answers[name].split()
    return arguments


def run_cells(row: dict[str, Any], is_marked: bool, paint: Paint) -> tuple[Text, ...]:
    """One run in the list."""
    symbols = plain(row.get("symbols")).split(",")
    more = f" +{len(symbols) - 1}" if len(symbols) > 1 else ""
    return (
        cell("●" if is_marked else " ", paint.entry),
        cell(row.get("run_id")),
        cell(symbols[0].removesuffix("-USDT") + more),
        right(number(row.get("trades"), ",.0f")),
        right(number(row.get("expectancy_r"), "+.3f")),
        right(number(row.get("total_return"), "+.1%")),
        cell(f"  {plain(row.get('verdict'), 20)}"),
        cell(moment(row.get("since_ms"))[:10], paint.muted),
        cell(moment(row.get("until_ms"))[:10], paint.muted),
    )


def run_lines(whole: dict[str, Any], paint: Paint) -> Text:
    """The verdict, its reasons, and the measures beside every baseline."""
    verdict, metrics = whole.get("verdict") or {}, whole.get("metrics") or {}
    is_good = verdict.get("status") == "validated"
    out = Text(plain(verdict.get("text", "no verdict"), 200).upper() + "\n")
    out.stylize(f"bold {paint.good if is_good else paint.entry}")
    for reason in verdict.get("failed") or ():
        out.append(f"  because {plain(reason, 160)}\n", style=paint.muted)
    baselines = whole.get("baselines") or {}
    columns = [("strategy", metrics), *baselines.items()]
    out.append("\n" + " " * 16)
    for name, _ in columns:
        out.append(plain(name, 10)[:10].rjust(11), style="bold")
    for name, form in MEASURES:
        if not any(name in figures for _, figures in columns):
            continue
        out.append("\n" + name.replace("_", " ")[:15].ljust(16), style=paint.muted)
        for _, figures in columns:
            out.append(number(figures.get(name), form).rjust(11))
    settings = whole.get("settings") or {}
    if settings:
        out.append("\n\nchanged settings\n", style="bold")
        out.append("\n".join(f"{plain(k, 60)} = {plain(v, 60)}" for k, v in settings.items()))
    return out


def comparison_lines(rows: list[dict[str, Any]], paint: Paint) -> Text:
    """Two runs, one line a measure, in the width a panel has at 120 columns."""
    out = Text(no_wrap=True)
    for index, row in enumerate(rows):
        if index == 0:
            names = [name for name in row if name != "measure"]
            head = "".join(plain(name, 16).rjust(17) for name in names)
            out.append(" " * 20 + head, style="bold")
        out.append("\n" + plain(row.get("measure"), 20).ljust(20), style=paint.muted)
        for name, value in row.items():
            if name != "measure":
                shown = f"{value:,.4g}" if isinstance(value, float) else plain(value, 16)
                out.append(shown.rjust(17))
    return out


def hit_lines(result: Any, paint: Paint) -> Text:
    """Zone hit rate, payoff and expectancy, one line a bucket."""
    out = Text(no_wrap=True)
    out.append(f"{result.trades} trades. {plain(result.note, 160)}\n", style=paint.muted)
    head = f"{'':11}{'bucket':12}{'n':>5}{'hit':>6}{'win':>6}{'mean R':>8}   95 %          payoff"
    out.append(head, style="bold")
    before = ""
    for row in result.groups:
        out.append("\n")
        out.append((plain(row.by, 10) if row.by != before else "").ljust(11), style=paint.muted)
        before = row.by
        out.append(f"{plain(row.bucket, 11):12}{row.trades:>5}{row.hit_rate:>6.0%}")
        out.append(f"{row.win_rate:>6.0%}")
        colour = paint.good if row.expectancy_r > 0 else paint.bad
        out.append(f"{row.expectancy_r:>+8.2f}", style=colour)
        low, high = row.expectancy_r_low, row.expectancy_r_high
        bounds = "-" if low is None else f"{low:+.2f} {number(high, '+.2f')}"
        out.append(f"   {bounds:14}", style=paint.muted)
        out.append(f"{number(row.reward_risk):>6}")
    return out
