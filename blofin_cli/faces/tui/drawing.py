"""A candle chart with zones drawn into a grid of cells; pure, and the same for every screen.

Paint goes on in this order: zones as tinted backgrounds, the grid, volume, candles, levels behind
the candles, fills, labels, the crosshair. A body ends on an eighth of a cell: its upper end is a
lower block in the candle's colour, its lower end the same block with colours swapped. A wick in
the cell of a body's end is lost.
"""

import math
from dataclasses import dataclass

import numpy as np

from blofin_cli.app.desk import Mark, PriceLevel
from blofin_cli.core.candles import Candles, Prices, Times
from blofin_cli.core.market import Kind, Zone, ZoneState
from blofin_cli.faces.tui.paint import Grid, Paint, mix
from blofin_cli.pictures.looks import zone_edges, zone_look
from blofin_cli.pictures.scales import nice_ticks, time_ticks

BLOCKS = " ▁▂▃▄▅▆▇█"
AXIS_WIDTH = 11
LABEL_SPACE = 10
TAGS = {"entry": "ENTRY", "stop": "SL", "target": "TP", "liquidation": "LIQ"}
# Columns a bar takes, and bars a column takes when there is no room for one each.
ZOOMS = ((1, 8), (1, 4), (1, 2), (1, 1), (2, 1), (3, 1), (4, 1), (6, 1), (8, 1))
ZOOM_DEFAULT = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What to draw: the newest `candles` end at row `end`; `zoom` is an index of ZOOMS.

    `cursor` is the row of the candle under the crosshair and, if known, a price.
    """

    candles: Candles
    zones: tuple[Zone, ...] = ()
    levels: tuple[PriceLevel, ...] = ()
    marks: tuple[Mark, ...] = ()
    last_price: float | None = None
    end: int | None = None
    zoom: int = ZOOM_DEFAULT
    cursor: tuple[int, float | None] | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """Where things are: the plot's size in cells, the price range, the bars in sight.

    `first` and `end` are rows of the candles; `slot` columns a bar, `merge` bars a column.
    """

    width: int
    rows: int
    volume_rows: int
    low: float
    high: float
    first: int
    end: int
    slot: int
    merge: int
    left: int

    def eighth(self, price: float) -> float:
        """Height of a price above the plot's floor, in eighths of a row."""
        return (price - self.low) / (self.high - self.low) * self.rows * 8

    def row(self, price: float) -> int:
        """The row a price lies in; may lie outside the plot."""
        return self.rows - 1 - math.floor(self.eighth(price) / 8)

    def price(self, row: int) -> float:
        """The price in the middle of a row."""
        return self.low + (self.rows - row - 0.5) / self.rows * (self.high - self.low)

    def x(self, bar: int) -> int:
        """The first column of a bar."""
        return self.left + (bar - self.first) // self.merge * self.slot

    def bar(self, x: int) -> int:
        """The bar whose slot holds a column, kept within what is in sight."""
        found = self.first + (x - self.left) // self.slot * self.merge
        return max(self.first, min(self.end - 1, found))

    @property
    def body(self) -> int:
        """Columns of a candle's body."""
        return max(1, self.slot - 1)


def price_text(price: float, step: float | None = None) -> str:
    """A price with the decimals its size, or the step beside it, asks for."""
    size = abs(price) if step is None else step * 1000
    decimals = 1 if size >= 1000 else 2 if size >= 20 else 4 if size >= 0.5 else 6
    return f"{price:,.{decimals}f}"


def frame_of(scene: Scene, width: int, height: int) -> Frame | None:
    """The frame a scene takes in this many cells; None when it has no candle or no room."""
    slot, merge = ZOOMS[scene.zoom]
    plot = width - AXIS_WIDTH
    volume_rows = 0 if height < 10 else max(2, height // 9)
    rows = height - volume_rows - 1
    if plot < 8 or rows < 3 or len(scene.candles) == 0:
        return None
    end = len(scene.candles) if scene.end is None else max(1, min(scene.end, len(scene.candles)))
    space = LABEL_SPACE if plot >= 40 else 2
    count = max(1, (plot - space) // slot) * merge
    first = max(0, end - count)
    first -= first % merge if merge > 1 else 0
    low, high = _range(scene, first, end)
    return Frame(plot, rows, volume_rows, low, high, first, end, slot, merge, 0)


def _range(scene: Scene, first: int, end: int) -> tuple[float, float]:
    """The price range: the candles in sight, and levels that lie near enough to be of use."""
    seen = scene.candles[first:end]
    good = seen.valid
    if not good.any():
        return 0.0, 1.0
    low, high = float(seen.low[good].min()), float(seen.high[good].max())
    span = max(high - low, high * 1e-4)
    near = [lv.price for lv in scene.levels if lv.kind != "liquidation"]
    near += [] if scene.last_price is None else [scene.last_price]
    near = [price for price in near if low - span < price < high + span]
    low, high = min([low, *near]), max([high, *near])
    pad = max(high - low, high * 1e-4) * 0.05
    return low - pad, high + pad


def draw(scene: Scene, width: int, height: int, paint: Paint) -> Grid:
    """The chart; words instead when it cannot be drawn."""
    grid = Grid(width, height, paint.text, paint.page)
    frame = frame_of(scene, width, height)
    if frame is None:
        words = "no candles" if len(scene.candles) == 0 else "too small"
        grid.text(max(0, (width - len(words)) // 2), height // 2, words, paint.muted)
        return grid
    bars = _merged(scene.candles[frame.first : frame.end], frame.merge)
    _draw_zones(grid, scene, frame, paint)
    _draw_axis(grid, frame, bars, paint)
    _draw_volume(grid, frame, bars, paint)
    _draw_candles(grid, frame, bars, paint)
    _draw_levels(grid, scene, frame, paint)
    _draw_marks(grid, scene, frame, paint)
    _draw_zone_labels(grid, scene, frame, paint)
    _draw_last(grid, scene, frame, paint)
    _draw_cursor(grid, scene, frame, paint)
    return grid


def _merged(candles: Candles, merge: int) -> Candles:
    """Every `merge` candles folded into one, for a view with less than a column a bar."""
    if merge == 1 or len(candles) == 0:
        return candles
    starts = np.arange(0, len(candles), merge)
    last = np.r_[starts[1:], len(candles)] - 1
    return Candles(
        candles.symbol,
        candles.timeframe,
        candles.ts[starts],
        candles.open[starts],
        np.fmax.reduceat(candles.high, starts),
        np.fmin.reduceat(candles.low, starts),
        candles.close[last],
        np.add.reduceat(candles.volume, starts),
    )


def zone_column(frame: Frame, ts: Times, ms: int) -> int:
    """The column of the first bar in sight at or after a time."""
    place = int(np.searchsorted(ts, ms))
    return 0 if place <= frame.first else frame.x(min(place, frame.end))


def _zone_rows(frame: Frame, zone: Zone) -> range:
    low, high = zone_edges(zone)
    if not (math.isfinite(low) and math.isfinite(high)) or high < frame.low or low > frame.high:
        return range(0)
    top, bottom = frame.row(min(high, frame.high)), frame.row(max(low, frame.low))
    return range(max(0, top), min(frame.rows - 1, bottom) + 1)


def _zone_columns(frame: Frame, zone: Zone, ts: Times) -> range:
    start = zone_column(frame, ts, zone.base_start_ms)
    if zone.ended_ms is None:
        return range(start, frame.width)
    return range(start, zone_column(frame, ts, zone.ended_ms))


def _draw_zones(grid: Grid, scene: Scene, frame: Frame, paint: Paint) -> None:
    ts = scene.candles.ts
    for zone in sorted(scene.zones, key=lambda item: item.timeframe.ms, reverse=True):
        colour = paint.demand if zone.kind is Kind.DEMAND else paint.supply
        look = zone_look(zone)
        confidence = zone.confidence if math.isfinite(zone.confidence) else 0.0
        share = 0.7 * look.opacity + (0.16 * confidence / 100 if look.is_alive else 0.0)
        rows, columns = _zone_rows(frame, zone), _zone_columns(frame, zone, ts)
        for y in rows:
            grid.tint(columns, y, colour, share)
            if paint.is_mono:
                mark = "·" if zone.kind is Kind.DEMAND else ":"
                for x in range(columns.start + (y % 2), columns.stop, 2):
                    grid.put_behind(x, y, mark, paint.muted)


def _draw_axis(grid: Grid, frame: Frame, bars: Candles, paint: Paint) -> None:
    ticks = nice_ticks(frame.low, frame.high, max(2, frame.rows // 4))
    step = ticks[1] - ticks[0] if len(ticks) > 1 else None
    for price in ticks:
        y = frame.row(price)
        if 0 <= y < frame.rows:
            for x in range(0, frame.width, 2):
                grid.put_behind(x, y, "┈", mix(paint.line, paint.page, 0.9))
            grid.text(
                frame.width + 1, y, price_text(price, step).rjust(AXIS_WIDTH - 2), paint.muted
            )
    y, taken = grid.height - 1, 0
    for tick in time_ticks(bars.ts, frame.slot, 13):
        x = frame.left + tick.index * frame.slot
        if x >= taken and x + len(tick.label) <= frame.width:
            grid.text(x, y, tick.label, paint.text if tick.is_major else paint.muted)
            taken = x + len(tick.label) + 2


def _draw_volume(grid: Grid, frame: Frame, bars: Candles, paint: Paint) -> None:
    if frame.volume_rows == 0:
        return
    volume = np.where(np.isfinite(bars.volume), bars.volume, 0.0)
    top = float(volume.max()) if len(volume) else 0.0
    if top <= 0:
        return
    floor = frame.rows + frame.volume_rows - 1
    for index in range(len(bars)):
        colour = mix(_colour(bars, index, paint), paint.page, 0.5)
        eighths = max(1, round(float(volume[index]) / top * (frame.volume_rows * 8 - 3)))
        for step in range(frame.volume_rows):
            filled = min(8, eighths - step * 8)
            if filled <= 0:
                break
            for x in _columns(frame, index):
                grid.put(x, floor - step, BLOCKS[filled], colour, colour if filled == 8 else None)
    grid.text(frame.width + 1, floor, f"vol {_short(float(volume[-1]))}", paint.muted)


def _short(value: float) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if letter == 'k' else size):.3g}{letter}"
    return f"{value:,.4g}"


def _columns(frame: Frame, index: int) -> range:
    x = frame.left + index * frame.slot
    return range(x, x + frame.body)


def _colour(bars: Candles, index: int, paint: Paint) -> str:
    return paint.up if bars.close[index] >= bars.open[index] else paint.down


def _draw_candles(grid: Grid, frame: Frame, bars: Candles, paint: Paint) -> None:
    good = bars.valid
    scale = frame.rows * 8 / (frame.high - frame.low)

    def eighths(column: Prices) -> list[float]:
        return [float(value) for value in (column - frame.low) * scale]

    opens, highs = eighths(bars.open), eighths(bars.high)
    lows, closes = eighths(bars.low), eighths(bars.close)
    for index in range(len(bars)):
        if not good[index]:
            continue
        colour = _colour(bars, index, paint)
        columns = _columns(frame, index)
        middle = columns[(frame.body - 1) // 2]
        _draw_wick(grid, frame, middle, (lows[index], highs[index]), colour)
        low, high = sorted((opens[index], closes[index]))
        if paint.is_mono and closes[index] >= opens[index]:
            _draw_hollow(grid, frame, columns, (low, high), colour)
        else:
            _draw_body(grid, frame, columns, (low, high), colour)


def _draw_wick(grid: Grid, frame: Frame, x: int, span: tuple[float, float], colour: str) -> None:
    low, high = span
    for step in range(max(0, math.floor(low / 8)), min(frame.rows - 1, math.floor(high / 8)) + 1):
        floor = step * 8
        has_lower = min(high, floor + 4) - max(low, floor) >= 2
        has_upper = min(high, floor + 8) - max(low, floor + 4) >= 2
        if has_lower or has_upper:
            char = "│" if has_lower and has_upper else "╷" if has_lower else "╵"
            grid.put(x, frame.rows - 1 - step, char, colour)


def _draw_hollow(
    grid: Grid, frame: Frame, columns: range, span: tuple[float, float], colour: str
) -> None:
    """A rising body without colour: grey cells, whole ones, so that it cannot pass for a falling
    one."""
    first, last = round(span[0] / 8), max(round(span[0] / 8), round(span[1] / 8) - 1)
    for step in range(max(0, first), min(frame.rows - 1, last) + 1):
        for x in columns:
            grid.put(x, frame.rows - 1 - step, "▒", colour)


def _draw_body(
    grid: Grid, frame: Frame, columns: range, span: tuple[float, float], colour: str
) -> None:
    low, high = round(span[0]), round(span[1])
    if high <= low:  # opened and closed at one price: a line, wherever it lies in its cell
        low, high = math.floor(span[0]), math.floor(span[0]) + 1
    for step in range(max(0, low // 8), min(frame.rows - 1, (high - 1) // 8) + 1):
        bottom, top = max(0, low - step * 8), min(8, high - step * 8)
        y = frame.rows - 1 - step
        for x in columns:
            if (bottom, top) == (0, 8):  # backed by its colour: fonts leave seams between rows
                grid.put(x, y, "█", colour, colour)
            elif bottom == 0:
                grid.put(x, y, BLOCKS[top], colour)
            elif top == 8:
                grid.put_swapped(x, y, BLOCKS[bottom], colour)
            else:
                grid.put(x, y, _floating(bottom, top), colour)


def _floating(bottom: int, top: int) -> str:
    """A body that begins and ends within one cell, as the nearest character there is."""
    if top - bottom <= 2:
        return "▔" if bottom >= 6 else "▁" if top <= 2 else "━"
    return BLOCKS[top] if bottom <= 2 else "▀" if bottom >= 4 else "▬"


def _draw_levels(grid: Grid, scene: Scene, frame: Frame, paint: Paint) -> None:
    colours = {"entry": paint.entry, "stop": paint.down, "target": paint.up}
    ends: dict[int, int] = {}  # where the tags of a row end, so that none covers another
    for level in scene.levels:
        colour = colours.get(level.kind, paint.muted)
        y = frame.row(level.price)
        is_inside = 0 <= y < frame.rows
        if not is_inside and level.kind == "liquidation":
            continue
        arrow = "" if is_inside else "▲ " if y < 0 else "▼ "
        y = max(0, min(frame.rows - 1, y))
        for x in range(frame.width if is_inside else 0):
            grid.put_behind(x, y, "─" if level.kind == "entry" else "╌", colour)
        words = f" {arrow}{TAGS.get(level.kind, level.kind[:5])} {price_text(level.price)} "
        x = ends.get(y, 0)
        ends[y] = x + len(words)
        grid.text(x, y, words, paint.on_tag, colour)


def _draw_marks(grid: Grid, scene: Scene, frame: Frame, paint: Paint) -> None:
    ts = scene.candles.ts
    for mark in scene.marks:
        bar = int(np.searchsorted(ts, mark.ms, side="right")) - 1
        if not frame.first <= bar < frame.end:
            continue
        x = frame.x(bar) + (frame.body - 1) // 2
        y = frame.row(mark.price)
        if mark.kind == "entry":
            char, colour = ("▲", paint.accent) if mark.side == "long" else ("▼", paint.accent)
        else:
            char, colour = "✕", paint.entry
        if 0 <= y < frame.rows:
            grid.put(x, y, char, colour)


def zone_tag(zone: Zone) -> str:
    """`D 62 1h ●`: kind, score, timeframe, and a full point while it is fresh."""
    letter = "D" if zone.kind is Kind.DEMAND else "S"
    score = f"{zone.confidence:.0f}" if math.isfinite(zone.confidence) else "-"
    point = {ZoneState.FRESH: "●", ZoneState.TESTED: "○"}.get(zone.state, "✕")
    return f"{letter} {score} {zone.timeframe} {point}"


def _draw_zone_labels(grid: Grid, scene: Scene, frame: Frame, paint: Paint) -> None:
    taken: set[int] = set()
    best_first = sorted(scene.zones, key=lambda zone: -zone.confidence)
    for zone in best_first:
        rows = _zone_rows(frame, zone)
        free = [y for y in rows if y not in taken]
        if not free or zone.ended_ms is not None:
            continue
        y = free[0]
        taken.add(y)
        words = zone_tag(zone)
        colour = paint.demand_text if zone.kind is Kind.DEMAND else paint.supply_text
        x = frame.width - len(words) - 1
        grid.clear(x - 1, y, len(words) + 2)
        grid.text(x, y, words, colour)


def _draw_last(grid: Grid, scene: Scene, frame: Frame, paint: Paint) -> None:
    price = scene.last_price
    if price is None or not math.isfinite(price):
        return
    is_up = len(scene.candles) == 0 or price >= float(scene.candles.open[-1])
    colour = paint.up if is_up else paint.down
    y = max(0, min(frame.rows - 1, frame.row(price)))
    for x in range(frame.width):
        grid.put_behind(x, y, "╌", colour)
    words = f" {price_text(price)} ".rjust(AXIS_WIDTH)[-AXIS_WIDTH:]
    grid.text(frame.width, y, words, paint.on_tag, colour)


def _draw_cursor(grid: Grid, scene: Scene, frame: Frame, paint: Paint) -> None:
    if scene.cursor is None:
        return
    bar, price = scene.cursor
    if not frame.first <= bar < frame.end:
        return
    x = frame.x(bar) + (frame.body - 1) // 2
    for y in range(frame.rows + frame.volume_rows):
        grid.put_behind(x, y, "┊", paint.muted)
    if price is not None and 0 <= (y := frame.row(price)) < frame.rows:
        for column in range(frame.width):
            grid.put_behind(column, y, "┄", paint.muted)
        words = f" {price_text(price)} ".rjust(AXIS_WIDTH)[-AXIS_WIDTH:]
        grid.text(frame.width, y, words, paint.page, paint.muted)
