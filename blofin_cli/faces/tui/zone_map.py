"""The zone map: candles, zones and levels now, or as the session knew them at any moment."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.message import Message

from blofin_cli.app.desk import ChartData, chart_data, position_levels
from blofin_cli.app.timespec import parse_time
from blofin_cli.core.candles import Times
from blofin_cli.core.journal import Decision
from blofin_cli.core.market import Kind, Timeframe, Zone
from blofin_cli.errors import BlofinError
from blofin_cli.faces.tui.chart import Chart
from blofin_cli.faces.tui.gestures import TypeIn
from blofin_cli.faces.tui.page import Page
from blofin_cli.faces.tui.paint import Paint
from blofin_cli.faces.tui.parts import Panel, Still
from blofin_cli.faces.tui.words import (
    age,
    joined,
    late_ms,
    minute,
    moment,
    number,
    plain,
    price,
    signed,
)

if TYPE_CHECKING:
    from textual import events

    from blofin_cli.faces.tui.reading import Seen

TIMEFRAMES = (
    Timeframe.M1, Timeframe.M5, Timeframe.M15, Timeframe.H1, Timeframe.H4, Timeframe.D1,
)  # fmt: skip
BARS = 1500
FALLBACK_SYMBOL = "BTC-USDT"
KNOWN = {"session": "as the session knew it", "candles": "worked out from candles", "nothing": ""}


class ZoneMap(Page):
    """Candles with zones drawn in, and a slider through what was known when."""

    NAME = "map"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right_square_bracket", "timeframe(1)", "timeframe", key_display="]"),
        Binding("left_square_bracket", "timeframe(-1)", "shorter", show=False),
        Binding("s", "symbol(1)", "symbol"),
        Binding("S", "symbol(-1)", "symbol before", show=False),
        Binding("r", "replay", "replay"),
        Binding("comma", "step(-1)", "replay a bar back", show=False),
        Binding("full_stop", "step(1)", "replay a bar on", show=False),
        Binding("less_than_sign", "step(-10)", "replay ten bars back", show=False),
        Binding("greater_than_sign", "step(10)", "replay ten bars on", show=False),
        Binding("g", "moment", "go to time", show=False),
        Binding("escape", "live", "back to now", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._symbol: str | None = None
        self._timeframe: Timeframe | None = None
        self._at_ms: int | None = None
        self._live: ChartData | None = None
        self._data: ChartData | None = None
        self._shown_late = False
        self._loaded_for: tuple[object, ...] = ()

    def content(self) -> ComposeResult:
        """Readout, chart, slider; beside them what the picture means."""
        yield Still(id="readout")
        with Horizontal(id="map-body"):
            yield Chart(id="chart")
            with VerticalScroll(id="map-side"):
                yield Panel("Position", Still(id="map-position"), id="map-position-panel")
                yield Panel("Zones", Still(id="map-zones"), id="map-zones-panel")
                yield Panel(
                    "Decision", Still(id="map-decision", classes="wraps"), id="map-decision-panel"
                )
        yield Slider(id="slider")

    def on_mount(self) -> None:
        """Keys go to the chart."""
        self.query_one("#chart", Chart).focus()
        self.query_one("#slider", Slider).display = False

    def on_screen_resume(self) -> None:
        """Another screen may have chosen the symbol."""
        if self.desk.map_symbol is not None:
            self._symbol, self.desk.map_symbol = self.desk.map_symbol, None
        super().on_screen_resume()

    @property
    def symbol(self) -> str:
        """The instrument on show."""
        status = self.desk.status
        first = status.symbols[0] if status is not None and status.symbols else FALLBACK_SYMBOL
        return self._symbol or self.desk.request.symbol or first

    @property
    def timeframe(self) -> Timeframe:
        """The bar size on show."""
        status = self.desk.status
        word = "15m" if status is None else status.timeframe
        session = Timeframe(word) if word in set(Timeframe) else Timeframe.M15
        return self._timeframe or self.desk.request.timeframe or session

    def show(self, seen: "Seen") -> None:
        """New prices at once; new candles when a bar has closed."""
        if self._loaded_for != self._wanted():
            self.load()
        status = self.desk.status
        data = self._data
        if data is not None and self._at_ms is None and status is not None:
            quote = status.quotes.get(data.symbol)
            fresh = replace(
                data,
                levels=position_levels(data.symbol, status),
                last_price=data.last_price if quote is None else quote.last,
            )
            is_late = self._late_ms is not None
            before = data.levels, data.last_price, self._shown_late
            if (fresh.levels, fresh.last_price, is_late) != before:
                self._show_data(fresh)
        self._show_side()

    def pass_time(self, seen: "Seen") -> None:
        """The age of a price that is old."""
        if self._late_ms is not None:
            self._show_readout()

    @property
    def _late_ms(self) -> int | None:
        """Age of the price on show when nobody keeps it up to date, in ms."""
        return late_ms(self.desk.seen.result) if self._at_ms is None else None

    def _wanted(self) -> tuple[object, ...]:
        status = self.desk.status
        bar = None if status is None else status.last_bar_ms
        return self.symbol, self.timeframe, self._at_ms, bar if self._at_ms is None else None

    def load(self) -> None:
        """Read candles, zones and levels for what is wanted now."""
        self._loaded_for = self._wanted()
        self.later(self._load, "chart")

    async def _load(self) -> None:
        symbol, timeframe, at_ms = self.symbol, self.timeframe, self._at_ms
        try:
            data = await self.desk.slow.read(
                lambda c: chart_data(c, symbol, timeframe, at_ms=at_ms, bars=BARS)
            )
        except BlofinError as error:
            self.query_one("#readout", Still).show(Text(" " + plain(error.message, 300)))
            return
        if at_ms is None:
            self._live = data
        self._show_data(data)
        self._show_side()
        self._show_slider()

    def _show_data(self, data: ChartData) -> None:
        self._data = data
        self._shown_late = self._late_ms is not None
        shown = replace(data, last_price=None) if self._shown_late else data
        self.query_one("#chart", Chart).set_data(shown)
        self._show_readout()

    def on_chart_moved(self) -> None:
        """The crosshair points elsewhere."""
        self._show_readout()

    def _show_readout(self) -> None:
        data = self._data
        if data is not None:
            bar, at_price = self.query_one("#chart", Chart).pointed
            line = readout(data, (bar, at_price), self.size.width, self.paint, self._late_ms)
            self.query_one("#readout", Still).show(line)

    def _show_side(self) -> None:
        data, paint = self._data, self.paint
        if data is None:
            return
        self.query_one("#map-zones", Still).show(zone_lines(data.zones, data.last_price, paint))
        self.query_one("#map-decision", Still).show(decision_lines(data.decision, paint))
        known = KNOWN.get(data.zones_from, "")
        self.query_one("#map-zones-panel", Panel).rename(f"Zones  {known}")
        status = self.desk.status
        found = [p for p in (status.positions if status else ()) if p.symbol == data.symbol]
        out = Text()
        for item in found:
            out.append(f"{item.side} {abs(item.quantity):g} at {price(item.entry_price)}  ")
            is_old = self._late_ms is not None
            out.append_text(signed(item.unrealized_usdt, paint, is_old=is_old))
            out.append(f"\nstop {price(item.stop)}  target {price(item.target)}", style=paint.muted)
        if not found:
            out.append("none", style=paint.muted)
        self.query_one("#map-position", Still).show(out)

    # Replay.

    @property
    def _bars(self) -> Times:
        """Close times the slider runs over."""
        live = self._live
        return np.empty(0, np.int64) if live is None else live.candles.close_ts

    def _show_slider(self) -> None:
        slider = self.query_one("#slider", Slider)
        slider.display = self._at_ms is not None
        if self._at_ms is not None and self._data is not None:
            slider.draw(self._at_ms, self._bars, self._data, self.paint)

    def action_replay(self) -> None:
        """Begin at the newest bar, or go back to now."""
        if self._at_ms is not None:
            self.action_live()
        elif len(self._bars):
            self._go(int(self._bars[-1]))

    def action_live(self) -> None:
        """Back to now."""
        self._at_ms = None
        self.load()

    def action_step(self, bars: int) -> None:
        """Some bars on or back in what was known."""
        times = self._bars
        if len(times):
            now = int(times[-1]) if self._at_ms is None else self._at_ms
            place = int(np.searchsorted(times, now, side="right")) - 1 + bars
            self._go(int(times[max(0, min(len(times) - 1, place))]))

    def _go(self, at_ms: int) -> None:
        self._at_ms = at_ms
        self.load()

    @work(group="acts")
    async def action_moment(self) -> None:
        """Ask for a time and go there."""
        typed = await self.app.push_screen_wait(
            TypeIn("Show what was known at (UTC), e.g. 14:05 or 2024-03-15T14:05")
        )
        times = self._bars
        if not typed.strip() or not len(times):
            return
        word = typed.strip()
        if len(word) == 5 and word[2] == ":":
            word = f"{moment(int(times[-1]))[:10]}T{word}"
        try:
            at_ms = parse_time(word).resolve(int(times[-1]))
        except ValueError as defect:
            self.desk.tell(f"the time {defect}", is_bad=True)
            return
        self._go(max(int(times[0]), min(int(times[-1]), at_ms)))

    def on_slider_moved(self, message: "Slider.Moved") -> None:
        """The slider was clicked."""
        times = self._bars
        if len(times):
            self._go(int(times[round(message.share * (len(times) - 1))]))

    # What is shown.

    def action_timeframe(self, steps: int) -> None:
        """A longer or shorter bar."""
        place = TIMEFRAMES.index(self.timeframe) if self.timeframe in TIMEFRAMES else 2
        self._timeframe = TIMEFRAMES[max(0, min(len(TIMEFRAMES) - 1, place + steps))]
        self.load()

    def action_symbol(self, steps: int) -> None:
        """The session's next instrument."""
        status = self.desk.status
        symbols = status.symbols if status is not None else ()
        if symbols:
            place = symbols.index(self.symbol) if self.symbol in symbols else 0
            self._symbol = symbols[(place + steps) % len(symbols)]
            self._at_ms = None
            self.load()


class Slider(Still):
    """Where in what was known the map stands."""

    @dataclass
    class Moved(Message):
        """A place on the slider was clicked, as a share of its length."""

        share: float

    def __init__(self, *, id: str) -> None:  # noqa: A002  # Textual's own name
        super().__init__(id=id)
        self._track = range(0)

    def draw(self, at_ms: int, times: Times, data: ChartData, paint: Paint) -> None:
        """Draw the track with the moment on it, and what decided the bot then."""
        words = f" REPLAY {moment(at_ms)} "
        decision = data.decision
        said = "no decision" if decision is None else f"{decision.action}, {decision.outcome}"
        tail = f" {KNOWN.get(data.zones_from, '')}; {plain(said, 30)} "
        length = max(4, self.size.width - len(words) - len(tail) - 2)
        place = int(np.searchsorted(times, at_ms)) if len(times) else 0
        spot = round(place / max(1, len(times) - 1) * (length - 1))
        out = Text(no_wrap=True, overflow="ellipsis")
        out.append(words, style=f"bold {paint.on_tag} on {paint.entry}")
        out.append(" ")
        self._track = range(len(out), len(out) + length)
        out.append("━" * spot + "●" + "─" * (length - spot - 1), style=paint.entry)
        out.append(tail, style=paint.muted)
        self.show(out)

    def on_click(self, event: "events.Click") -> None:
        """Go where the mouse is."""
        if event.x in self._track:
            share = (event.x - self._track.start) / max(1, len(self._track) - 1)
            self.post_message(self.Moved(share))


def readout(
    data: ChartData,
    pointed: tuple[int | None, float | None],
    width: int,
    paint: Paint,
    late: int | None = None,
) -> Text:
    """Symbol, bar size and the candle under the crosshair, or the newest one; what does not fit
    into `width` is left out whole, the close last. `late`: the price is so many ms old."""
    bar, at_price = pointed
    out = Text(no_wrap=True, overflow="ellipsis")
    out.append(f" {plain(data.symbol, 16)} {data.timeframe} ", style="bold")
    candles = data.candles
    if len(candles) == 0:
        out.append(plain(data.note, 200), style=paint.entry)
        return out
    row = len(candles) - 1 if bar is None else min(bar, len(candles) - 1)
    opened, closed = float(candles.open[row]), float(candles.close[row])
    if data.last_price is not None and bar is None:
        if late is None:
            out.append(price(data.last_price), style="bold")
        else:
            out.append(f"{price(data.last_price)}? {age(late)} old", style=paint.muted)
        out.append("  ")
    out.append(minute(int(candles.ts[row])), style=paint.muted)
    change = closed / opened - 1 if opened else 0.0
    parts = {"change": Text(f"  {change:+.2%}", style=paint.good if change >= 0 else paint.bad)}
    for letter, column in (("O", "open"), ("H", "high"), ("L", "low"), ("C", "close")):
        figure = price(float(getattr(candles, column)[row]))
        parts[letter] = joined(Text(f" {letter}", style=paint.muted), figure)
    volume = number(float(candles.volume[row]), ",.0f")
    parts["V"] = Text(f"  V {volume}", style=paint.muted)
    if at_price is not None:
        parts["at"] = Text(f"  + {price(at_price)}", style=paint.accent)
    for name in ("V", "O", "H", "L", "change"):
        if out.cell_len + sum(part.cell_len for part in parts.values()) > width:
            del parts[name]
    for part in parts.values():
        out.append_text(part)
    return out


def zone_lines(zones: tuple[Zone, ...], last: float | None, paint: Paint) -> Text:
    """Zones, the nearest first: kind, prices, score, freshness, distance."""
    out = Text(no_wrap=True, overflow="ellipsis")
    near = sorted(zones, key=lambda zone: abs(zone.proximal - (last or zone.proximal)))
    if near:
        out.append("score tf   proximal    distal state   ATR", style=paint.muted)
    for zone in near[:24]:
        is_demand = zone.kind is Kind.DEMAND
        colour = paint.demand_text if is_demand else paint.supply_text
        out.append("\n")
        out.append(f"{'D' if is_demand else 'S'} {zone.confidence:3.0f} ", style=f"bold {colour}")
        out.append(f"{zone.timeframe:<3} {price(zone.proximal):>9} {price(zone.distal):>9} ")
        out.append(f"{plain(zone.state, 6):<6} {zone.distance_atr:4.1f}", style=paint.muted)
    if not near:
        out.append("none alive", style=paint.muted)
    return out


def decision_lines(decision: Decision | None, paint: Paint) -> Text:
    """The last decision by the moment, every gate with its verdict."""
    out = Text(overflow="fold")
    if decision is None:
        out.append("none yet", style=paint.muted)
        return out
    out.append(f"{moment(decision.bar_ms)}  ", style=paint.muted)
    out.append(f"{plain(decision.action, 8)}, {plain(decision.outcome, 16)}", style="bold")
    for gate in decision.gates:
        mark, colour = ("✓", paint.good) if gate.passed else ("✗", paint.bad)
        out.append(f"\n{mark} ", style=colour)
        out.append(plain(gate.name, 20).ljust(20))
        out.append(f" {_value(gate.value)} / {_value(gate.threshold)}", style=paint.muted)
        if gate.note:
            out.append(f"  {plain(gate.note, 60)}", style=paint.muted)
    return out


def _value(value: float | str | None) -> str:
    return f"{value:.3g}" if isinstance(value, float) else plain(value, 20)
