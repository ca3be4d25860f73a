"""The zone chart as SVG: the same picture for `--chart FILE.svg`, PNG and alerts."""

from dataclasses import dataclass

import numpy as np

from blofin_cli.core.candles import Candles
from blofin_cli.core.market import Trade, Zone
from blofin_cli.pictures.looks import DARK, zone_edges, zone_label, zone_look
from blofin_cli.pictures.markup import Markup, join, tag
from blofin_cli.pictures.payload import drawable, zones_within
from blofin_cli.pictures.scales import nice_ticks, spread, time_ticks
from blofin_cli.pictures.views import ChartView, Level, Role
from blofin_cli.pictures.wording import compact, moment, number, price_decimals

AXIS = 92.0
HEADER = 64.0
TIME_AXIS = 30.0
FOOTER_LINE = 17.0
RIGHT_ROOM_BARS = 6
VOLUME_SHARE = 0.16
# An alive zone further than this share of the price range beyond it is left off the scale.
ZONE_REACH = 0.35
FONT = "DejaVu Sans, Inter, Segoe UI, Helvetica, Arial, sans-serif"
_TAG_NAMES = {Role.ENTRY: "ENTRY", Role.STOP: "SL", Role.TARGET: "TP", Role.MARK: "MARK"}
_TAG_COLOURS = {Role.ENTRY: "entry", Role.STOP: "down", Role.TARGET: "up", Role.MARK: "muted"}
# Left, top, width and height.
Span = tuple[float, float, float, float]
_DASHES = {"solid": None, "dashed": "6 4", "dotted": "2 4"}


@dataclass(frozen=True)
class Frame:
    """Where things are on the page: pixels for bars and prices."""

    candles: Candles
    width: float
    price_top: float
    price_bottom: float
    volume_bottom: float
    low: float
    high: float
    decimals: int

    @property
    def right(self) -> float:
        """Where the plot ends and the price axis begins."""
        return self.width - AXIS

    @property
    def slot(self) -> float:
        """Pixels of one bar."""
        return self.right / (len(self.candles) + RIGHT_ROOM_BARS)

    def x(self, index: float) -> float:
        """Centre of a bar."""
        return (index + 0.5) * self.slot

    def y(self, price: float) -> float:
        """A price's height, held within the pane."""
        share = (self.high - price) / (self.high - self.low)
        y = self.price_top + share * (self.price_bottom - self.price_top)
        return min(max(y, self.price_top), self.price_bottom)

    def index_at(self, ms: int) -> int:
        """The bar that holds a time; the first or last one for times outside."""
        found = int(np.searchsorted(self.candles.ts, ms, side="right")) - 1
        return min(max(found, 0), len(self.candles) - 1)

    def price(self, value: float) -> str:
        """A price as the axis writes it."""
        return number(value, self.decimals)


def draw(view: ChartView, bars: int, width: int, height: int) -> str:
    """The whole SVG document."""
    candles = drawable(view.candles)[-max(bars, 1) :]
    parts = [tag("rect", width=width, height=height, fill=DARK["page"]), _header(view, width)]
    if len(candles) == 0:
        parts.append(_text(width / 2, height / 2, "no candles", "muted", anchor="middle", size=16))
    else:
        frame = _frame(view, candles, width, height)
        parts += [_plot(view, frame), _footer(view, width, height)]
    svg = tag(
        "svg",
        tag("title", view.title),
        tag("desc", view.subtitle),
        _patterns(),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        font_family=FONT,
        role="img",
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{svg}\n'


def _frame(view: ChartView, candles: Candles, width: int, height: int) -> Frame:
    low, high = float(candles.low.min()), float(candles.high.max())
    levels = [level.price for level in view.levels if np.isfinite(level.price)]
    low, high = min([low, *levels]), max([high, *levels])
    reach = (high - low) * ZONE_REACH
    zones = [
        zone_edges(zone)
        for zone in zones_within(view.zones, int(candles.ts[0]))
        if zone_look(zone).is_alive
    ]
    near = [edge for edge in zones if edge[0] <= high + reach and edge[1] >= low - reach]
    low = max(min([low, *(edge[0] for edge in near)]), low - reach * 1.5)
    high = min(max([high, *(edge[1] for edge in near)]), high + reach * 1.5)
    pad = (high - low) * 0.05 or high * 0.01
    bottom = height - TIME_AXIS - FOOTER_LINE * len(view.footer) - (6 if view.footer else 0)
    volume_height = (bottom - HEADER) * VOLUME_SHARE
    return Frame(
        candles,
        float(width),
        HEADER,
        bottom - volume_height,
        bottom,
        low - pad,
        high + pad,
        price_decimals(candles.close),
    )


def _plot(view: ChartView, frame: Frame) -> Markup:
    first_ms = int(frame.candles.ts[0])
    zones = zones_within(view.zones, first_ms)
    last_ms = int(frame.candles.ts[-1]) + frame.candles.timeframe.ms
    zones = [zone for zone in zones if zone.base_start_ms <= last_ms]
    trades = [trade for trade in view.trades if first_ms <= trade.exit_ms <= last_ms]
    return join(
        _time_axis(frame),
        _volume(frame),
        tag("g", *(_zone_box(zone, frame) for zone in _dead_first(zones)), id="zones"),
        _price_grid(frame),
        _candles(frame),
        tag("g", *(_trade(trade, frame) for trade in trades), id="trades"),
        _zone_labels(zones, frame),
        _price_labels(view, frame),
    )


def _header(view: ChartView, width: int) -> Markup:
    x = max(width - AXIS - 356.0, 0.0)
    parts = [_text(16, 28, _fitted(view.title, x - 32, 11.5), "text", size=18, weight="bold")]
    if view.subtitle:
        parts.append(_text(16, 50, _fitted(view.subtitle, width - 32, 7.2), "muted", size=12.5))
    for name, look in (("fresh", "solid"), ("tested", "dashed"), ("ended", "dotted")):
        for kind in ("demand", "supply"):
            swatch = _box((x, 16.0, 20.0, 12.0), kind, 0.32 if look == "solid" else 0.14, look)
            parts.append(swatch)
            x += 24
        parts.append(_text(x + 2, 26.5, name, "muted", size=11.5))
        x += 70
    return tag("g", *parts, id="header")


def _box(span: Span, kind: str, fill: float, border: str) -> Markup:
    colour = DARK[kind]
    shape = dict(zip(("x", "y", "width", "height"), span, strict=True))
    ended = border == "dotted"
    return join(
        tag("rect", **shape, fill=colour, fill_opacity=0.05 if ended else fill),
        tag("rect", **shape, fill=f"url(#hatch-{kind})") if ended else None,
        tag(
            "rect",
            **shape,
            fill="none",
            stroke=colour,
            stroke_opacity=0.45 if ended else 0.9,
            stroke_dasharray=_DASHES[border],
        ),
    )


def _dead_first(zones: list[Zone]) -> list[Zone]:
    return sorted(zones, key=lambda zone: zone_look(zone).is_alive)


def _zone_span(zone: Zone, frame: Frame) -> Span:
    """Left, top, width and height of a zone's box."""
    low, high = zone_edges(zone)
    left = frame.x(frame.index_at(zone.base_start_ms)) - frame.slot / 2
    if zone.base_start_ms < int(frame.candles.ts[0]):
        left = 0.0
    last_ms = int(frame.candles.ts[-1]) + frame.candles.timeframe.ms
    alive = zone.ended_ms is None or zone.ended_ms >= last_ms
    end = frame.right if alive else frame.x(frame.index_at(zone.ended_ms or 0)) + frame.slot / 2
    top, bottom = frame.y(high), frame.y(low)
    return left, top, max(end - left, 1.0), bottom - top


def _zone_box(zone: Zone, frame: Frame) -> Markup | None:
    left, top, wide, high = _zone_span(zone, frame)
    if high <= 0:
        return None
    look = zone_look(zone)
    box = _box((left, top, wide, high), str(zone.kind), look.opacity, look.border)
    low, upper = zone_edges(zone)
    tip = f"{zone_label(zone)}, {zone.state}, {frame.price(low)} to {frame.price(upper)}"
    return tag("g", tag("title", tip), box, class_="zone")


def _zone_labels(zones: list[Zone], frame: Frame) -> Markup:
    """Labels of the zones, the living first; one that would cover another is left out."""
    placed: list[tuple[float, float, float]] = []
    parts = []
    ranked = sorted(zones, key=lambda zone: (not zone_look(zone).is_alive, -zone.confidence))
    for zone in ranked:
        left, top, wide, high = _zone_span(zone, frame)
        look, label = zone_look(zone), zone_label(zone)
        length = len(label) * 6.6 + 8
        y = top + 13 if high >= 17 else top - 4
        if high <= 0 or wide < length or y < frame.price_top + 10:
            continue
        for x in (max(left, 0) + 6, frame.right - length):
            clash = any(
                abs(y - py) < 13 and x < px + pl and px < x + length for px, py, pl in placed
            )
            if not clash:
                placed.append((x, y, length))
                opacity = 1.0 if look.is_alive else 0.6
                parts.append(
                    _text(x, y, label, f"{zone.kind}-text", size=11, opacity=opacity, halo=True)
                )
                break
            if not look.is_alive:
                break
    return tag("g", *parts, id="zone-labels")


def _price_grid(frame: Frame) -> Markup:
    lines = [
        _line(0, frame.y(tick), frame.right, frame.y(tick), "muted", opacity=0.10)
        for tick in nice_ticks(frame.low, frame.high, 10)
    ]
    edge = _line(frame.right, HEADER - 8, frame.right, frame.volume_bottom, "line")
    split = _line(0, frame.price_bottom, frame.width, frame.price_bottom, "line")
    return join(*lines, edge, split)


def _time_axis(frame: Frame) -> Markup:
    parts = [_line(0, frame.volume_bottom, frame.width, frame.volume_bottom, "line")]
    for tick in time_ticks(frame.candles.ts, frame.slot, 92):
        x = frame.x(tick.index)
        parts.append(_line(x, HEADER - 8, x, frame.volume_bottom, "muted", opacity=0.10))
        weight, colour = ("bold", "text") if tick.is_major else ("normal", "muted")
        if 24 < x < frame.right - 24:
            y = frame.volume_bottom + 19
            parts.append(_text(x, y, tick.label, colour, anchor="middle", weight=weight))
    parts.append(_text(frame.right + 10, frame.volume_bottom + 19, "UTC", "muted"))
    return tag("g", *parts, id="time-axis")


def _candles(frame: Frame) -> Markup:
    """Candles as four paths; falling ones are filled, rising ones too, with their own colour."""
    rising = frame.candles.close >= frame.candles.open
    half = max(0.5, min(frame.slot * 0.36, 9.0))
    parts = []
    for name, rows in (("up", np.flatnonzero(rising)), ("down", np.flatnonzero(~rising))):
        wicks, bodies = [], []
        for row in rows.tolist():
            x = frame.x(row)
            open_y, close_y = frame.y(frame.candles.open[row]), frame.y(frame.candles.close[row])
            top, bottom = min(open_y, close_y), max(open_y, close_y)
            high_y, low_y = frame.y(frame.candles.high[row]), frame.y(frame.candles.low[row])
            wicks.append(f"M{x:.1f} {high_y:.1f}V{low_y:.1f}")
            bodies.append(
                f"M{x - half:.1f} {top:.1f}h{2 * half:.1f}"
                f"v{max(bottom - top, 1):.1f}h{-2 * half:.1f}z"
            )
        parts.append(tag("path", d="".join(wicks), stroke=DARK[name], fill="none"))
        parts.append(tag("path", d="".join(bodies), fill=DARK[name]))
    return tag("g", *parts, id="candles")


def _volume(frame: Frame) -> Markup:
    highest = float(frame.candles.volume.max()) or 1.0
    room = (frame.volume_bottom - frame.price_bottom) * 0.82
    rising = frame.candles.close >= frame.candles.open
    half = max(0.5, min(frame.slot * 0.36, 9.0))
    parts = []
    for name, rows in (("up", np.flatnonzero(rising)), ("down", np.flatnonzero(~rising))):
        bars = []
        for row in rows.tolist():
            x, tall = frame.x(row), float(frame.candles.volume[row]) / highest * room
            bars.append(
                f"M{x - half:.1f} {frame.volume_bottom:.1f}v{-tall:.1f}h{2 * half:.1f}v{tall:.1f}z"
            )
        parts.append(tag("path", d="".join(bars), fill=DARK[name], fill_opacity=0.55))
    label_y = frame.volume_bottom - room + 4
    parts.append(_text(frame.right + 10, label_y, f"vol {compact(highest)}", "muted"))
    return tag("g", *parts, id="volume")


def _trade(trade: Trade, frame: Frame) -> Markup:
    """Entry triangle, exit mark and the line between; a win ends in a dot, a loss in a cross."""
    x0, x1 = frame.x(frame.index_at(trade.entry_ms)), frame.x(frame.index_at(trade.exit_ms))
    y0, y1 = frame.y(trade.entry_price), frame.y(trade.exit_price)
    colour = DARK["good" if trade.r_multiple > 0 else "bad"]
    tip = 9 if trade.side in ("buy", "long") else -9
    triangle = f"M{x0:.1f} {y0 + tip * 0.2:.1f}l5.5 {tip}h-11z"
    exit_mark = (
        tag("circle", cx=x1, cy=y1, r=4, fill=colour)
        if trade.r_multiple > 0
        else tag(
            "path", d=f"M{x1 - 4:.1f} {y1 - 4:.1f}l8 8m0 -8l-8 8", stroke=colour, stroke_width=2
        )
    )
    result = number(trade.r_multiple, signed=True)
    title = f"{trade.side} {moment(trade.entry_ms)} {trade.exit_reason} {result} R"
    return tag(
        "g",
        tag("title", title),
        tag(
            "path", d=f"M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}", stroke=colour, stroke_dasharray="4 3"
        ),
        tag("path", d=triangle, fill=DARK["entry"], stroke=DARK["page"]),
        exit_mark,
        class_="trade",
    )


def _price_labels(view: ChartView, frame: Frame) -> Markup:
    """Axis prices, the level lines and the last price's tag; tags move apart."""
    close, opened = float(frame.candles.close[-1]), float(frame.candles.open[-1])
    colour = "up" if close >= opened else "down"
    tags = [(close, "", colour)]
    levels: list[Level] = [level for level in view.levels if np.isfinite(level.price)]
    tags += [
        (each.price, each.label or _TAG_NAMES[each.role], _TAG_COLOURS[each.role])
        for each in levels
    ]
    wanted = [frame.y(price) for price, _, _ in tags]
    heights = spread(wanted, 19, frame.price_top, frame.price_bottom - 10)
    parts = []
    for tick in nice_ticks(frame.low, frame.high, 10):
        y = frame.y(tick)
        if all(abs(y - height) > 15 for height in heights):
            parts.append(_text(frame.right + 10, y + 4, frame.price(tick), "muted"))
    for (price, name, shade), wish, y in zip(tags, wanted, heights, strict=True):
        dash = "2 3" if name != "ENTRY" else None
        parts.append(_line(0, wish, frame.right, wish, shade, dash=dash, opacity=0.85))
        parts.append(_tag_box(frame.right + 1, y, AXIS - 3, frame.price(price), shade))
        if name:
            wide = len(name) * 7.6 + 12
            parts.append(_tag_box(frame.right - wide, y, wide, name, shade))
    return tag("g", *parts, id="prices")


def _tag_box(x: float, y: float, wide: float, text: str, colour: str) -> Markup:
    return join(
        tag("rect", x=x, y=y - 9, width=wide, height=18, rx=2, fill=DARK[colour]),
        _text(x + (6 if x else 9), y + 4, text, "on-tag", weight="bold", size=11.5),
    )


def _footer(view: ChartView, width: int, height: int) -> Markup:
    first = height - FOOTER_LINE * len(view.footer) + 6
    lines = [
        _text(16, first + FOOTER_LINE * row, _fitted(line, width - 32, 6.4), "muted", size=11)
        for row, line in enumerate(view.footer)
    ]
    return tag("g", *lines, id="footer")


def _fitted(text: str, pixels: float, letter_pixels: float) -> str:
    """The text, cut where it would run out of its room."""
    letters = max(1, int(pixels / letter_pixels))
    return text if len(text) <= letters else text[: letters - 1] + "…"


def _patterns() -> Markup:
    hatches = [
        tag(
            "pattern",
            tag("path", d="M0 7L7 0", stroke=DARK[kind], stroke_opacity=0.28, fill="none"),
            id=f"hatch-{kind}",
            width=7,
            height=7,
            patternUnits="userSpaceOnUse",
        )
        for kind in ("demand", "supply")
    ]
    return tag("defs", *hatches)


def _text(x: float, y: float, text: str, colour: str, **style: object) -> Markup:
    """Text in the chart's font; style takes anchor, size, weight and opacity."""
    return tag(
        "text",
        text,
        x=float(x),
        y=float(y),
        fill=DARK[colour],
        font_size=style.get("size", 12),
        font_weight=style.get("weight"),
        text_anchor=style.get("anchor"),
        fill_opacity=style.get("opacity"),
        stroke=DARK["page"] if style.get("halo") else None,
        stroke_width=3 if style.get("halo") else None,
        stroke_opacity=0.7 if style.get("halo") else None,
        stroke_linejoin="round" if style.get("halo") else None,
        paint_order="stroke" if style.get("halo") else None,
    )


def _line(x0: float, y0: float, x1: float, y1: float, colour: str, **style: object) -> Markup:
    return tag(
        "line",
        x1=float(x0),
        y1=float(y0),
        x2=float(x1),
        y2=float(y1),
        stroke=DARK[colour],
        stroke_dasharray=style.get("dash"),
        stroke_opacity=style.get("opacity"),
    )
