"""The first screen: money, health, positions with their protection, breakers, events."""

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical

from blofin_cli.core.journal import Happening, Level
from blofin_cli.core.status import BreakerView, OrderView, PositionView, SessionStatus
from blofin_cli.faces.tui.gestures import Field, Form, Matter
from blofin_cli.faces.tui.page import Page
from blofin_cli.faces.tui.paint import Paint
from blofin_cli.faces.tui.parts import Curve, Panel, Row, Still, Table
from blofin_cli.faces.tui.words import (
    age,
    cell,
    clock,
    holding,
    joined,
    late_ms,
    lines,
    number,
    plain,
    price,
    right,
    signed,
)

if TYPE_CHECKING:
    from blofin_cli.app.commands.status import StatusResult
    from blofin_cli.core.status import Result as Span
    from blofin_cli.faces.tui.reading import Seen

POSITIONS = (
    ("Symbol", 10), ("Side", 6), (">Size", 10), (">uPnL", 10), (">R", 7), (">Stop", 10),
    (">Target", 10), (">Naked", 7), (">Liq.", 10), (">Entry", 11), (">Mark", 11), ("  Origin", 11),
)  # fmt: skip
ORDERS = (
    ("Symbol", 11), ("Kind", 8), ("Side", 6), (">Size", 10), (">Price", 34), (">Filled", 9),
    ("  State", 11), ("Id", 20),
)  # fmt: skip
PROTECTION = frozenset({"stop", "target"})
BAR = 8
FEEDS_MIN = 11


class Dashboard(Page):
    """Everything a person needs at a glance."""

    NAME = "dashboard"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("x", "close", "close position"),
        Binding("k", "cancel", "cancel order"),
        Binding("v", "protect", "move stop", show=False),
        Binding("m", "to_map", "map"),
        Binding("p", "app.pause", "pause"),
        Binding("p", "app.unpause", "unpause"),
    ]

    def content(self) -> ComposeResult:
        """Panels in the order a narrow terminal shows them."""
        with Container(id="body"):
            yield Panel("Positions", Table(POSITIONS, id="positions"), id="positions-panel")
            with Vertical(id="side"):
                yield Panel("Session", Still(id="session"), id="session-panel")
                yield Panel("Account", Still(id="money"), id="money-panel")
            yield Panel("Events", Still(id="events"), id="events-panel")
            with Vertical(id="low"):
                yield Panel("Equity", Curve(id="curve"), id="curve-panel")
                yield Panel("Breakers", Still(id="breakers"), id="breakers-panel")
                yield Panel("Feeds", Still(id="feeds"), id="feeds-panel")
            yield Panel("Orders", Table(ORDERS, id="orders"), id="orders-panel")

    def on_mount(self) -> None:
        """Keys go to the positions first."""
        self.query_one("#positions", Table).focus(scroll_visible=False)

    def show(self, seen: "Seen") -> None:
        """Every panel from the last heartbeat."""
        result = seen.result
        if result is None:
            return
        self.pass_time(seen)
        paint, status = self.paint, result.status
        self.query_one("#events", Still).show(event_lines(result.happenings, paint))
        positions = () if status is None else status.positions
        orders = () if status is None else status.orders
        curve = () if status is None else status.curve
        is_old = late_ms(result) is not None
        rows = [position_row(p, paint, is_old=is_old) for p in positions]
        self.query_one("#positions", Table).show(rows)
        self.query_one("#orders", Table).show([order_row(o, paint) for o in orders])
        self.query_one("#curve", Curve).set_values([value for _, value in curve])
        self.query_one("#curve-panel", Panel).rename(_curve_title(curve))
        money, breakers = Text(), Text()
        if status is not None:
            money = lines(money_rows(status, paint), paint)
            breakers = breaker_lines(status.breakers, paint)
        self.query_one("#money", Still).show(money)
        self.query_one("#breakers", Still).show(breakers)

    def pass_time(self, seen: "Seen") -> None:
        """Ages: of the heartbeat, of the last reconciliation, and of whatever is old."""
        if seen.result is None:
            return
        status, late, paint = seen.result.status, late_ms(seen.result), self.paint
        rows = session_rows(seen.result, paint)
        self.query_one("#session", Still).show(lines(rows, paint))
        room = max(FEEDS_MIN, self.query_one("#feeds-panel", Panel).size.height - 1)
        feeds = Text() if status is None else feed_lines(status, room, paint, late or 0)
        self.query_one("#feeds", Still).show(feeds)
        count = f"  {len(status.positions)}" if status is not None and status.positions else ""
        old = "" if late is None else f", {age(late)} old"
        for name, title in (("positions", f"Positions{count}"), ("money", "Account")):
            self.query_one(f"#{name}-panel", Panel).rename(title + old)

    @property
    def _position(self) -> PositionView | None:
        key = self.query_one("#positions", Table).current
        status = self.desk.status
        found = () if status is None else status.positions
        return next((item for item in found if _position_key(item) == key), None)

    @work(group="acts")
    async def action_close(self) -> None:
        """Close the position under the cursor, reduce-only."""
        position = self._position
        if position is None:
            self.desk.tell("no position is under the cursor")
            return
        size = f"{abs(position.quantity):g} {position.symbol} {position.side}"
        about = (*self.desk.where, holding(position), *self.desk.as_of)
        if await self.desk.typed(Matter(f"Close {size} at the market?", about, "close")):
            arguments = self._account | {"symbol": position.symbol}
            await self.desk.say_done("close", arguments, f"closed {position.symbol}")

    @work(group="acts")
    async def action_cancel(self) -> None:
        """Cancel the order under the cursor; the gate asks when it protects a position."""
        key = self.query_one("#orders", Table).current
        status = self.desk.status
        order = next((o for o in (status.orders if status else ()) if o.id == key), None)
        if order is None:
            self.desk.tell("no order is under the cursor")
            return
        arguments: dict[str, object] = self._account | {"id": [order.id]}
        held = next(
            (p for p in (status.positions if status else ()) if p.symbol == order.symbol), None
        )
        about = (*self.desk.where, *order_words(order, held))
        is_bracket = order.type == "bracket" and order.kind in PROTECTION
        what = "stop and target" if is_bracket else order.kind
        matter = Matter(f"Cancel the {what} of {order.symbol}?", about, "cancel")
        if order.kind in PROTECTION:  # the gate asks by itself
            arguments["protection"] = True
            await self.desk.say_done("cancel", arguments, "cancelled", matter)
        elif await self.desk.typed(matter):
            await self.desk.say_done("cancel", arguments, "cancelled")

    @work(group="acts")
    async def action_protect(self) -> None:
        """Move stop or target of the position under the cursor; wider is asked for by the gate."""
        position = self._position
        if position is None:
            self.desk.tell("no position is under the cursor")
            return
        fields = (
            Field("stop", "Stop", "" if position.stop is None else f"{position.stop:.10g}"),
            Field("target", "Target", "" if position.target is None else f"{position.target:.10g}"),
            Field("wider", "Further away than now?", "no", ("no", "yes")),
        )
        answers = await self.app.push_screen_wait(Form(f"Protect {position.symbol}", fields))
        if answers is None:
            return
        wider = answers.pop("wider", "no") == "yes"
        about = (
            *self.desk.where,
            holding(position),
            f"stop {price(position.stop)}, to {answers.get('stop', 'stay')}",
            f"target {price(position.target)}, to {answers.get('target', 'stay')}",
        )
        matter = Matter(f"Move the protection of {position.symbol}?", about, "protect")
        if wider or await self.desk.typed(matter):  # wider: the gate asks by itself
            arguments = {"symbol": position.symbol, **answers, "wider": wider}
            await self.desk.say_done(
                "protect", self._account | arguments, "protection moved", matter
            )

    @property
    def _account(self) -> dict[str, object]:
        """Exchange and mode of the session on show: what is done is done there."""
        status = self.desk.status
        return {} if status is None else {"exchange": status.exchange, "mode": status.mode}

    def action_to_map(self) -> None:
        """The zone map of the position under the cursor."""
        position = self._position
        if position is not None:
            self.desk.map_symbol = position.symbol
        self.desk.action_go("map")


def _curve_title(curve: tuple[tuple[int, float], ...]) -> str:
    if len(curve) < 2:
        return "Equity"
    (first_ms, first), (last_ms, last) = curve[0], curve[-1]
    change = f"{last / first - 1:+.1%}" if first else ""
    return f"Equity  {change} in {age(last_ms - first_ms)}"


def order_words(order: OrderView, held: PositionView | None) -> tuple[str, ...]:
    """An order in full, and what is without it when it protects a position."""
    levels = [f"{name} {price(value)}" for name, value in order_levels(order)]
    size = "" if order.size is None else f"{order.size:g} "
    words = [f"{order.side} {size}{order.symbol}, {', '.join(levels)}, order {order.id}"]
    if len(levels) > 1 and order.kind in PROTECTION:
        words.append(f"{' and '.join(levels)} both go")
    if held is not None and order.kind in PROTECTION:
        words.append(f"It protects {holding(held)}.")
    return tuple(words)


def order_levels(order: OrderView) -> tuple[tuple[str, float], ...]:
    """Each price of an order with its name; a bracket's target stands in its price."""
    if order.kind in PROTECTION:
        target = order.price if order.type == "bracket" else None
        pairs = ((order.kind, order.trigger), ("target", target))
    else:
        pairs = (("trigger", order.trigger), ("at", order.price))
    return tuple((name, value) for name, value in pairs if value is not None)


def market_ms(status: SessionStatus) -> int:
    """What the market's clock showed at the heartbeat: a box may have a time of its own, far from
    the wall's, by which quotes and reconciliations are dated."""
    ages = status.health.feed_age_ms
    shown = [quote.ts_ms + (ages.get(symbol) or 0) for symbol, quote in status.quotes.items()]
    return max(shown) if shown else status.ts_ms + (status.health.clock_offset_ms or 0)


def session_rows(result: "StatusResult", paint: Paint) -> list[tuple[str, object]]:
    """State, connections, clocks: label and value."""
    status = result.status
    head = Text(plain(result.state), style="bold")
    if status is not None:
        head.append(f", {plain(status.mode, 10)} at {plain(status.exchange, 20)}", style="not bold")
    rows: list[tuple[str, object]] = [("state", head)]
    if result.halt is not None:
        cause = f"by {plain(result.halt.face, 12)}: {plain(result.halt.cause, 60)}"
        rows.append(("halted", Text(cause, style=paint.bad)))
    rows += [
        ("paused", Text(f"{plain(p.symbol, 12)} {plain(p.cause, 40)}", style=paint.entry))
        for p in result.pauses[:2]
    ]
    if status is None:
        return [*rows, ("next", "blofin run starts a session")]
    health = status.health
    offset = health.clock_offset_ms
    skewed = offset is not None and abs(offset) > 2000
    reconciled = (
        None
        if health.reconciled_ms is None
        else max(0, market_ms(status) - health.reconciled_ms + (result.heartbeat_age_ms or 0))
    )
    clock_text = "clock unknown" if offset is None else f"clock {offset:+d} ms off"
    rows += [
        ("session", plain(status.session_id, 30)),
        (
            "heartbeat",
            joined(
                f"{age(result.heartbeat_age_ms)} ago, ",
                Text(clock_text, style=paint.bad if skewed else ""),
            ),
        ),
        ("streams", _streams(status, paint, late_ms(result))),
        ("margin", f"{plain(health.margin_mode, 12)}, {plain(health.position_mode, 12)}"),
        ("reconciled", "-" if reconciled is None else f"{age(reconciled)} ago"),
    ]
    if health.unresolved_intents or not health.storage_ok:
        trouble = f"{health.unresolved_intents} unresolved intents"
        if not health.storage_ok:
            trouble = f"STORAGE FAILING, {trouble}"
        rows.append(("trouble", Text(trouble, style=paint.bad)))
    if health.note:
        rows.append(("note", Text(plain(health.note, 60), style=paint.entry)))
    if status.override:
        rows.append(("override", Text(plain(status.override, 40), style=paint.entry)))
    return rows


def _streams(status: SessionStatus, paint: Paint, late: int | None) -> Text:
    """Which connections are up; a dry run has no account to listen to. `late`: what is known is so
    many ms old."""
    health = status.health
    if late is not None:
        return Text(f"? not known for {age(late)}", style=paint.muted)
    lamps = [_lamp("public", health.public_connected, paint)]
    if status.mode != "dry-run":
        lamps += [Text(" "), _lamp("private", health.private_connected, paint)]
    return joined(*lamps, f" {health.reconnects} again")


def _lamp(name: str, is_on: bool, paint: Paint) -> Text:
    mark = "●" if is_on else "○ NO"
    return Text(f"{mark} {name}", style=paint.good if is_on else paint.bad)


def money_rows(status: SessionStatus, paint: Paint) -> list[tuple[str, object]]:
    """Equity, margin, results and protection: label and value."""
    naked = status.naked
    drawdown = status.drawdown_fraction
    return [
        ("equity", Text(f"{number(status.equity_usdt)} USDT", style="bold")),
        ("free margin", number(status.available_usdt)),
        ("drawdown", "-" if drawdown is None else f"{drawdown:.2%}"),
        ("today", _span(status.today, paint)),
        ("week", _span(status.week, paint)),
        (
            "naked s",
            Text(
                f"now {naked.now_s:g}  p99 {naked.p99_s:g}  max {naked.max_s:g}",
                style=paint.bad if naked.now_s > 0 else "",
            ),
        ),
    ]


def _span(span: "Span", paint: Paint) -> Text:
    return joined(
        signed(span.pnl_usdt, paint),
        f" {span.r:+.1f} R, {span.trades} tr, fees {span.fees_usdt:,.2f}",
    )


def _position_key(position: PositionView) -> str:
    return f"{position.symbol} {position.side}"


def position_row(position: PositionView, paint: Paint, *, is_old: bool = False) -> Row:
    """One open position; what lacks protection says so in words."""
    naked = right(f"{position.naked_s:.1f}", paint.bad if position.naked_s > 0 else paint.muted)
    stop = (
        Text("NO STOP", style=f"bold {paint.bad}", justify="right")
        if position.stop is None
        else right(price(position.stop))
    )
    side_colour = paint.good if position.side == "long" else paint.bad
    return _position_key(position), (
        cell(position.symbol),
        cell(position.side, side_colour),
        right(f"{abs(position.quantity):g}"),
        signed(position.unrealized_usdt, paint, is_old=is_old),
        signed(position.r_multiple, paint, "+.2f", is_old=is_old),
        stop,
        right(price(position.target)),
        naked,
        right(price(position.liquidation_price)),
        right(price(position.entry_price)),
        right(price(position.mark_price)),
        cell(f"  {plain(position.origin, 20)}", paint.muted),
    )


def order_row(order: OrderView, paint: Paint) -> Row:
    """One working order."""
    levels = order_levels(order)
    is_plain = len(levels) == 1 and levels[0][0] in {order.kind, "at"}
    shown = [price(value) if is_plain else f"{name} {price(value)}" for name, value in levels]
    return order.id, (
        cell(order.symbol),
        cell(order.kind, paint.bad if order.kind == "stop" else ""),
        cell(order.side),
        right(number(order.size, "g")),
        right(", ".join(shown) or "-"),
        right(number(order.filled, "g")),
        cell(f"  {plain(order.state, 20)}", paint.muted),
        cell(order.id, paint.muted),
    )


def breaker_lines(breakers: tuple[BreakerView, ...], paint: Paint) -> Text:
    """One line a breaker: how much of its limit is used, and what it does."""
    out = Text(no_wrap=True, overflow="ellipsis")
    for index, breaker in enumerate(breakers):
        used = min(1.0, max(0.0, 1 - breaker.distance))
        filled = round(used * BAR)
        colour = paint.bad if breaker.tripped else paint.entry if used > 0.66 else paint.good
        out.append("\n" if index else "")
        out.append(plain(breaker.name, 15).ljust(16))
        out.append("█" * filled, style=colour)
        out.append("░" * (BAR - filled), style=paint.muted)
        out.append(f" {breaker.value:g}/{breaker.limit:g} {plain(breaker.unit, 6)}")
        if breaker.tripped:
            out.append(f" {plain(breaker.action, 8).upper()}", style=f"bold {paint.bad}")
    return out


def feed_lines(status: SessionStatus, room: int, paint: Paint, late: int = 0) -> Text:
    """Symbols with last price and age of the feed, the stalest first, as many as there is room;
    `late` ms have passed since the session said it."""
    out = Text(no_wrap=True, overflow="ellipsis")
    ages = status.health.feed_age_ms
    order = sorted(status.symbols, key=lambda symbol: _staleness(ages.get(symbol)), reverse=True)
    for index, symbol in enumerate(order[:room]):
        said = ages.get(symbol)
        found = None if said is None else said + late
        stale = found is None or found > 10_000
        quote = status.quotes.get(symbol)
        out.append("\n" if index else "")
        out.append(plain(symbol, 12).ljust(13))
        out.append(price(None if quote is None else quote.last).rjust(11))
        out.append(f"  {age(found)}".rjust(11), style=paint.bad if stale else paint.muted)
    return out


def _staleness(age_ms: int | None) -> float:
    return float("inf") if age_ms is None else age_ms


_MARKS = {Level.INFO: " ", Level.WARNING: "!", Level.ALERT: "‼", Level.EMERGENCY: "✖"}


def event_lines(happenings: list[Happening], paint: Paint) -> Text:
    """Events, the newest first: time, weight, what, and what to do next."""
    colours = {
        Level.INFO: "",
        Level.WARNING: paint.entry,
        Level.ALERT: paint.bad,
        Level.EMERGENCY: f"bold {paint.bad}",
    }
    out = Text(no_wrap=True, overflow="ellipsis")
    for index, item in enumerate(happenings):
        out.append("\n" if index else "")
        out.append(clock(item.ts_ms), style=paint.muted)
        out.append(f" {_MARKS.get(item.level, ' ')} ", style=colours.get(item.level, ""))
        symbol = f"{plain(item.symbol, 14)} " if item.symbol else ""
        said = item.text.removeprefix(f"{item.symbol}: ")  # it stands before it
        out.append(symbol + plain(said, 160), style=colours.get(item.level, ""))
        if item.next_step:
            out.append(f"  next: {plain(item.next_step, 80)}", style=paint.muted)
    if not happenings:
        out.append("nothing has happened yet", style=paint.muted)
    return out
