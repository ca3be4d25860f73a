"""The chart as a pure function: candles in, cells out."""

from dataclasses import replace

import numpy as np
import pytest

from blofin_cli.app.desk import Mark, PriceLevel
from blofin_cli.core.candles import Candles
from blofin_cli.core.market import Kind, Pattern, Timeframe, Zone, ZoneState
from blofin_cli.faces.tui.drawing import AXIS_WIDTH, ZOOMS, Scene, draw, frame_of
from blofin_cli.faces.tui.paint import Grid, mix
from blofin_cli.faces.tui.themes import paint_named
from tests.fakes import START_MS, candles_of

PAINT = paint_named("blofin-dark", is_mono=False)
MONO = paint_named("blofin-dark", is_mono=True)
WIDTH, HEIGHT = 60, 20


def rising(count: int = 12) -> Candles:
    """Candles that climb by one, each with a wick of half on both sides."""
    return candles_of([(100 + i, 101.5 + i, 99.5 + i, 101 + i, 10 + i) for i in range(count)])


def zone(**changes) -> Zone:
    made = Zone(
        id="z", symbol="BTC-USDT", timeframe=Timeframe.H1, kind=Kind.DEMAND, pattern=Pattern.DBR,
        proximal=104.0, distal=102.0, base_start_ms=START_MS, base_end_ms=START_MS,
        born_ms=START_MS, state=ZoneState.FRESH, touches=0, freshness=1.0, strength=80.0,
        confidence=78.0, score={}, ended_ms=None, atr=1.0, departure_atr=2.0, penetration=0.0,
        distance_atr=1.0,
    )  # fmt: skip
    return replace(made, **changes)


def test_prices_land_in_the_rows_they_belong_to():
    """Row and price of a frame are each other's inverse."""
    frame = frame_of(Scene(candles=rising()), WIDTH, HEIGHT)
    assert frame is not None
    for row in range(frame.rows):
        assert frame.row(frame.price(row)) == row


def test_body_ends_on_an_eighth_of_a_cell():
    """A body from the middle of one cell to the middle of another: half blocks at both ends."""
    grid = draw(
        Scene(candles=candles_of([(100, 110, 100, 110), (104, 106, 104, 106)])), 40, 9, PAINT
    )
    column = {line[3] for line in grid.lines()[:-1]}
    assert column & set("▁▂▃▄▅▆▇█")
    assert "\n".join(grid.lines()).count("█") > 0


def test_nothing_is_drawn_outside_the_grid():
    """Whatever the numbers, a grid keeps its size."""
    scene = Scene(
        candles=rising(),
        zones=(zone(proximal=1e9, distal=-1e9), zone(proximal=float("nan"))),
        levels=(PriceLevel(kind="stop", price=-1e12), PriceLevel(kind="target", price=1e12)),
        marks=(Mark(kind="entry", ms=0, price=5e8, side="long"),),
        last_price=float("inf"),
        cursor=(3, 1e15),
    )
    for width in (1, 12, 19, 40, 200):
        for height in (1, 4, 10, 60):
            lines = draw(scene, width, height, PAINT).lines()
            assert [len(line) for line in lines] == [width] * height


@pytest.mark.parametrize("zoom", range(len(ZOOMS)))
def test_every_zoom_draws_the_newest_candle_last(zoom):
    """The last bar in sight is the newest, at every zoom."""
    scene = Scene(candles=rising(300), zoom=zoom)
    frame = frame_of(scene, WIDTH, HEIGHT)
    assert frame is not None
    assert frame.end == 300
    assert frame.bar(frame.x(299)) >= 299 - frame.merge + 1
    draw(scene, WIDTH, HEIGHT, PAINT)


def test_broken_candles_are_left_out():
    """A bar that is no price is a hole, never a crash or an invented candle."""
    candles = rising()
    candles.high[4], candles.open[7] = np.nan, -5.0
    grid = draw(Scene(candles=candles), WIDTH, HEIGHT, PAINT)
    frame = frame_of(Scene(candles=candles), WIDTH, HEIGHT)
    assert frame is not None
    x = frame.x(4)
    assert all(line[x] in " ┈" for line in grid.lines()[: frame.rows])


def test_no_candle_says_so():
    """An empty chart is told from a broken one."""
    assert "no candles" in "\n".join(draw(Scene(candles=rising()[:0]), 40, 10, PAINT).lines())


def test_zone_tints_what_lies_behind_and_names_itself():
    """Background from the zone's first bar to the right edge, its tag at the end."""
    scene = Scene(candles=rising(), zones=(zone(),))
    grid = draw(scene, WIDTH, HEIGHT, PAINT)
    frame = frame_of(scene, WIDTH, HEIGHT)
    assert frame is not None
    y = frame.row(103.0)
    assert grid._back[y][frame.width - 1] != PAINT.page
    assert grid._back[0][frame.width - 1] == PAINT.page
    assert any("D 78 1h ●" in line for line in grid.lines())


def test_fresher_zones_are_stronger_in_colour():
    """Freshness and confidence show in how much of the colour is laid over."""
    scene = Scene(candles=rising())

    def tint(**changes) -> str:
        grid = draw(replace(scene, zones=(zone(**changes),)), WIDTH, HEIGHT, PAINT)
        frame = frame_of(scene, WIDTH, HEIGHT)
        assert frame is not None
        return grid._back[frame.row(103.0)][frame.width - 1]

    shades = [
        int(tint(freshness=fresh, confidence=sure)[5:7], 16)
        for fresh, sure in ((0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (1.0, 100.0))
    ]
    assert shades == sorted(set(shades))


def test_levels_out_of_sight_point_to_where_they_are():
    """A stop below the picture is named at its lower edge; tags of one row do not cover."""
    levels = (PriceLevel(kind="stop", price=1.0), PriceLevel(kind="entry", price=2.0))
    lines = draw(Scene(candles=rising(), levels=levels), WIDTH, HEIGHT, PAINT).lines()
    assert any("▼ SL 1.00" in line and "▼ ENTRY 2.00" in line for line in lines)


def test_without_colour_rising_and_falling_differ():
    """Grey cells rise, full ones fall."""
    rows = [(100, 110, 100, 110), (110, 110, 100, 100)]
    grid = draw(Scene(candles=candles_of(rows)), 40, 14, MONO)
    frame = frame_of(Scene(candles=candles_of(rows)), 40, 14)
    assert frame is not None
    up = {line[frame.x(0)] for line in grid.lines()[1 : frame.rows - 1]}
    down = {line[frame.x(1)] for line in grid.lines()[1 : frame.rows - 1]}
    assert "▒" in up
    assert "█" in down
    assert not up & {"█"}


def test_strips_are_as_wide_as_the_grid():
    """What the compositor gets fits its widget."""
    grid = Grid(17, 3, PAINT.text, PAINT.page)
    grid.put(3, 1, "█", PAINT.up, PAINT.up)
    assert [strip.cell_length for strip in grid.strips()] == [17, 17, 17]


def test_mixing_goes_from_one_colour_to_the_other():
    """None of it is the ground, all of it the colour."""
    assert mix("#ffffff", "#000000", 0.0) == "#000000"
    assert mix("#ffffff", "#000000", 1.0) == "#ffffff"
    assert mix("#ff0000", "#0000ff", 0.5) == "#800080"


def test_axis_leaves_room_for_its_prices():
    """The plot is as wide as the widget without the axis."""
    frame = frame_of(Scene(candles=rising()), WIDTH, HEIGHT)
    assert frame is not None
    assert frame.width == WIDTH - AXIS_WIDTH
