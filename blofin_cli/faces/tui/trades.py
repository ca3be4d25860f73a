"""The trade log: filtered, opened with its chart and the gates that let it through, exported."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll

from blofin_cli.app.desk import ChartData, trade_chart
from blofin_cli.core.market import ExitReason, Trade
from blofin_cli.errors import BlofinError
from blofin_cli.faces.render import Format, to_text
from blofin_cli.faces.tui.chart import Chart
from blofin_cli.faces.tui.gestures import Field, Form, TypeIn
from blofin_cli.faces.tui.page import Page
from blofin_cli.faces.tui.paint import Paint
from blofin_cli.faces.tui.parts import Panel, Still, Table
from blofin_cli.faces.tui.reading import call
from blofin_cli.faces.tui.words import cell, lines, minute, moment, plain, price, right, signed
from blofin_cli.faces.tui.zone_map import decision_lines

if TYPE_CHECKING:
    from textual.widgets import DataTable

COLUMNS = (
    ("Closed", 13), ("Symbol", 11), ("Side", 6), (">R", 7), (">PnL", 9), ("  Exit", 11),
    (">Entry", 10), (">Exit at", 10), ("  Zone", 28), ("Id", 10),
)  # fmt: skip
TRADES_MAX = 1000


class TradeLog(Page):
    """Every finished trade."""

    NAME = "trades"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "filter", "filter"),
        Binding("w", "result", "all/wins/losses"),
        Binding("e", "export", "export"),
        Binding("n", "note", "note"),
        Binding("d", "detail", "chart"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._filter: dict[str, str] = {}
        self._held: dict[str, str] = {}  # the filter of what is listed
        self._trades: dict[str, Trade] = {}
        self._shown = ""
        self._result: Any = None

    def content(self) -> ComposeResult:
        """The list; beside it the trade under the cursor."""
        with Container(id="trades-body"):
            yield Panel("Trades", Table(COLUMNS, id="trades"), id="trades-panel")
            with Vertical(id="trade-detail"):
                yield Still(id="trade-head")
                yield Chart(id="trade-chart")
                with VerticalScroll(id="trade-scroll"):
                    yield Still(id="trade-facts", classes="wraps")

    def on_mount(self) -> None:
        """Keys go to the list."""
        self.query_one("#trades", Table).focus()

    def load(self) -> None:
        """Read the trades the filter lets through."""
        self.later(self._load, "trades")

    async def _load(self) -> None:
        wanted = dict(self._filter)
        arguments = filter_arguments(wanted)
        try:
            result: Any = await self.desk.slow.read(lambda c: call(c, "trades", arguments))
        except BlofinError as error:
            self._filter = dict(self._held)
            self.desk.tell(f"the list stays as it was: {error.message}", is_bad=True)
            return
        self._result, self._held = result, wanted
        newest: list[Trade] = result.trades
        self._trades = {trade.id: trade for trade in newest}
        rows = [(trade.id, trade_cells(trade, self.paint)) for trade in newest]
        self.query_one("#trades", Table).show(rows)
        wins = sum(trade.pnl_usdt > 0 for trade in newest)
        chosen = ", ".join(f"{plain(k, 20)} {plain(v, 30)}" for k, v in wanted.items())
        title = f"Trades  {len(newest)}, {wins} won, {result.net_r:+.1f} R   {chosen or 'all'}"
        self.query_one("#trades-panel", Panel).rename(title)
        self._show_detail()

    def on_data_table_row_highlighted(self) -> None:
        """Another trade is under the cursor."""
        self._show_detail()

    def on_data_table_row_selected(self, event: "DataTable.RowSelected") -> None:
        """Enter opens the chart where there is no room beside the list."""
        event.stop()
        self.action_detail()

    def _show_detail(self) -> None:
        trade = self._trades.get(self.query_one("#trades", Table).current or "")
        shown = "" if trade is None else trade.id
        if shown == self._shown:
            return
        self._shown = shown
        self.query_one("#trade-chart", Chart).display = trade is not None
        if trade is None:
            self.workers.cancel_group(self, "trade")
            self.query_one("#trade-head", Still).show(Text(" no trade", style=self.paint.muted))
            self.query_one("#trade-facts", Still).show(Text())
        else:
            self.query_one("#trade-facts", Still).show(trade_lines(trade, self.paint))
            self.later(partial(self._chart, trade), "trade")

    async def _chart(self, trade: Trade) -> None:
        head = self.query_one("#trade-head", Still)
        try:
            data = await self.desk.slow.read(lambda c: trade_chart(c, trade))
        except BlofinError as error:
            head.show(Text(" " + plain(error.message, 300)))
            return
        head.show(trade_head(trade, data, self.paint))
        chart = self.query_one("#trade-chart", Chart)
        chart.set_data(data)
        chart.fit()
        facts = trade_lines(trade, self.paint)
        facts.append("\n\n")
        facts.append_text(decision_lines(data.decision, self.paint))
        self.query_one("#trade-facts", Still).show(facts)

    def action_detail(self) -> None:
        """The trade over the whole screen, or the list again."""
        self.set_class(not self.has_class("-detail"), "-detail")
        target = "#trade-chart" if self.has_class("-detail") else "#trades"
        self.query_one(target).focus()

    @work(group="acts")
    async def action_filter(self) -> None:
        """Ask what to leave out."""
        answers = await self.app.push_screen_wait(Form("Show trades", filter_fields(self._filter)))
        if answers is not None:
            self._filter = answers
            self.load()

    def action_result(self) -> None:
        """All, then wins only, then losses only."""
        order = [None, "win", "loss"]
        now = self._filter.pop("outcome", None)
        fresh = order[(order.index(now) + 1) % 3]
        if fresh is not None:
            self._filter["outcome"] = fresh
        self.load()

    @work(group="acts")
    async def action_note(self) -> None:
        """Write something beside the trade under the cursor."""
        trade = self._trades.get(self.query_one("#trades", Table).current or "")
        if trade is not None:
            note = await self.app.push_screen_wait(TypeIn(f"Note on {trade.id}", value=trade.note))
            if note and note != trade.note:
                await self.desk.say_done(
                    "log", {"what": "note", "trade": trade.id, "text": note}, "noted"
                )

    @work(group="acts")
    async def action_export(self) -> None:
        """Write what is listed into a file: CSV, JSON or NDJSON by its name."""
        if self._result is None:
            return
        name = await self.app.push_screen_wait(
            TypeIn("Write the listed trades to (.csv, .json, .ndjson)", value="trades.csv")
        )
        if name.strip():
            try:
                export(self._result, name.strip())
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or error
                self.desk.tell(f"{name.strip()} was not written: {why}", is_bad=True)
            else:
                self.desk.tell(f"{len(self._trades)} trades written to {name.strip()}")


def export(result: Any, name: str) -> None:
    """Write a result beside the name and move it there whole; never over a file.

    Errors: ValueError for another ending, OSError when it cannot be written or is there already.
    """
    path = Path(name).expanduser()
    kinds = {".csv": Format.CSV, ".json": Format.JSON, ".ndjson": Format.NDJSON}
    if path.suffix.lower() not in kinds:
        raise ValueError("the name must end in " + ", ".join(kinds))
    text = to_text(result, kinds[path.suffix.lower()], indent=2)
    part = path.with_name(f".{path.name}.part")
    with part.open("x", encoding="utf-8") as out:
        out.write(text)
    try:
        path.hardlink_to(part)
    except FileExistsError:
        raise FileExistsError("it exists, and is kept") from None
    finally:
        part.unlink()


def filter_fields(now: dict[str, str]) -> tuple[Field, ...]:
    """The form of the filter, filled with what it is now."""
    return (
        Field("since", "Closed since", now.get("since", ""), hint="2024-03-01 or 7d"),
        Field("until", "Closed before", now.get("until", "")),
        Field("symbol", "Symbol", now.get("symbol", ""), hint="BTC-USDT"),
        Field("outcome", "Result", now.get("outcome", ""), ("win", "loss")),
        Field("min_r", "R at least", now.get("min_r", ""), hint="-1"),
        Field("max_r", "R at most", now.get("max_r", ""), hint="2"),
        Field("zone", "Zone id", now.get("zone", "")),
        Field(
            "reason",
            "Exit",
            now.get("reason", ""),
            tuple(str(reason) for reason in ExitReason),
        ),
    )


def filter_arguments(chosen: dict[str, str]) -> dict[str, object]:
    """The filter as the command takes it."""
    return {"limit": TRADES_MAX, **chosen}


def trade_cells(trade: Trade, paint: Paint) -> tuple[Text, ...]:
    """One trade in the list."""
    return (
        cell(minute(trade.exit_ms), paint.muted),
        cell(trade.symbol),
        cell(trade.side),
        signed(trade.r_multiple, paint, "+.2f"),
        signed(trade.pnl_usdt, paint),
        cell(f"  {trade.exit_reason}"),
        right(price(trade.entry_price)),
        right(price(trade.exit_price)),
        cell(f"  {plain(trade.zone_id, 40)}", paint.muted),
        cell(trade.id, paint.muted),
    )


def trade_head(trade: Trade, data: ChartData, paint: Paint) -> Text:
    """One line over the chart."""
    out = Text(f" {plain(trade.symbol, 16)} {trade.side} {data.timeframe} ", style="bold")
    out.append_text(signed(trade.r_multiple, paint, "+.2f"))
    out.append(f" R, {plain(trade.exit_reason)}  {minute(trade.entry_ms)}", style=paint.muted)
    if data.note:
        out.append(f"  {plain(data.note, 120)}", style=paint.entry)
    return out


def trade_lines(trade: Trade, paint: Paint) -> Text:
    """What a trade was: prices, costs, where it stood."""
    rows: list[tuple[str, object]] = [
        ("trade", f"{plain(trade.id, 40)}, {plain(trade.mode, 12)}"),
        ("opened", f"{moment(trade.entry_ms)} at {price(trade.entry_price)}"),
        ("closed", f"{moment(trade.exit_ms)} at {price(trade.exit_price)}, {trade.exit_reason}"),
        ("quantity", f"{trade.quantity:g}"),
        ("stop, target", f"{price(trade.stop)}, {price(trade.target)}"),
        ("result", signed(trade.pnl_usdt, paint)),
        (
            "costs",
            f"fees {trade.fees_usdt:.2f}, slippage {trade.slippage_usdt:.2f}, "
            f"funding {trade.funding_usdt:+.2f}",
        ),
        ("best, worst", f"{trade.mfe_r:+.2f} R, {trade.mae_r:+.2f} R"),
        ("zone", plain(trade.zone_id or "-", 60)),
        (
            "setting",
            plain(", ".join(filter(None, (trade.pattern, trade.regime, trade.session))) or "-", 48),
        ),
        ("note", plain(trade.note or "-", 200)),
        ("tags", plain(", ".join(trade.tags) or "-", 120)),
    ]
    return lines(rows, paint, 14)
