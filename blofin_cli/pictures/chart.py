"""Charts of one symbol with its zones, trades and levels: HTML to explore, SVG and PNG to send."""

from collections.abc import Iterable
from importlib.resources import as_file, files

from blofin_cli.core.market import Zone
from blofin_cli.errors import ConfigError
from blofin_cli.pictures.drawing import draw
from blofin_cli.pictures.looks import zone_edges, zone_look
from blofin_cli.pictures.markup import Markup, tag
from blofin_cli.pictures.page import attribution, display_buttons, page
from blofin_cli.pictures.payload import chart_payload
from blofin_cli.pictures.views import ChartView, Level
from blofin_cli.pictures.wording import MISSING, is_known, number, percent, price_decimals

HTML_CANDLES_MAX = 5_000
SVG_CANDLES = 220
WIDTH, HEIGHT = 1280, 720
ZONE_ROWS_MAX = 60
_KEY = (
    "Zones: solid border fresh, dashed tested, hatched ended. "
    "Trades: triangle entry, dot winning exit, cross losing exit. Times are UTC."
)
_FONTS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")
_FONT_BLOCKS = (
    range(0x0A, 0x180),
    range(0x391, 0x3CA),
    range(0x400, 0x460),
    range(0x2010, 0x2016),
    range(0x2018, 0x2020),
    {0x2022, 0x2026, 0x20AC, 0x2212, 0x2248, 0x2260, 0x2264, 0x2265},
)


def zone_chart_html(view: ChartView) -> str:
    """One HTML file with the newest candles, fit for a desktop and a phone, needing no network."""
    main = tag(
        "main",
        tag(
            "div",
            class_="plot",
            id="chart",
            role="group",
            aria_label=f"Candles, zones and trades of {view.candles.symbol}. "
            "Arrow keys move, plus and minus zoom, Home shows all, End the newest.",
        ),
        tag("aside", _level_table(view), _zone_table(view), aria_label="Levels and zones"),
    )
    header = tag(
        "header",
        tag(
            "div",
            tag(
                "div",
                tag("h1", view.title),
                tag("p", view.subtitle, class_="muted") if view.subtitle else None,
            ),
            tag("div", id="chart-tools"),
            display_buttons(),
            class_="row",
        ),
        tag("noscript", tag("p", "The chart needs JavaScript; the tables do not.")),
    )
    footer = tag("footer", *(tag("p", line) for line in (*view.footer, _KEY)), attribution())
    body = tag("div", header, main, footer, class_="map")
    data = chart_payload(view, HTML_CANDLES_MAX)
    return page(view.title, body, data, ("chart.js", "chart_page.js"))


def zone_chart_svg(
    view: ChartView, *, bars: int = SVG_CANDLES, width: int = WIDTH, height: int = HEIGHT
) -> str:
    """The newest `bars` candles as an SVG document in dark colours."""
    return draw(view, bars, width, height)


def zone_chart_png(
    view: ChartView,
    *,
    bars: int = SVG_CANDLES,
    width: int = WIDTH,
    height: int = HEIGHT,
    scale: float = 2.0,
) -> bytes:
    """The SVG as PNG, `scale` pixels to a unit.

    Invariants: same bytes on every machine, since the fonts are our own; text in a script that
    they lack falls back to the system's.
    Errors: ConfigError when the rasteriser is not installed.
    """
    try:
        import resvg_py
    except ImportError as error:
        raise ConfigError(
            "PNG pictures need the package resvg-py",
            hint="pip install 'blofin-cli[png]', or name the file .svg or .html",
        ) from error
    svg = draw(view, bars, width, height)
    vendor = files("blofin_cli.pictures") / "vendor"
    with as_file(vendor / _FONTS[0]) as regular, as_file(vendor / _FONTS[1]) as bold:
        return resvg_py.svg_to_bytes(
            svg_string=svg,
            zoom=scale,
            font_files=[str(regular), str(bold)],
            skip_system_fonts=_is_covered(svg),
            sans_serif_family="DejaVu Sans",
            font_family="DejaVu Sans",
        )


def _is_covered(text: str) -> bool:
    """Whether our own fonts hold every letter: Latin, Greek, Cyrillic and common punctuation."""
    return all(any(ord(letter) in block for block in _FONT_BLOCKS) for letter in set(text))


def _level_table(view: ChartView) -> Markup | None:
    if not view.levels:
        return None
    decimals = price_decimals(view.candles.close)
    last = _last_close(view)
    return tag(
        "div",
        tag("h2", "Levels"),
        _table(
            "Levels, and how far the last close is from each",
            ("Level", "Price", "Away"),
            (_level_row(level, decimals, last) for level in view.levels),
        ),
    )


def _level_row(level: Level, decimals: int, last: float | None) -> Markup:
    away = level.price / last - 1 if last else None
    return tag(
        "tr",
        tag("th", level.label or str(level.role), scope="row"),
        tag("td", number(level.price, decimals), class_="n"),
        tag("td", percent(away, 2, signed=True), class_="n"),
    )


def _zone_table(view: ChartView) -> Markup:
    """The living zones, the nearest first."""
    decimals, last = price_decimals(view.candles.close), _last_close(view)
    alive = [zone for zone in view.zones if zone_look(zone).is_alive]
    alive.sort(key=lambda zone: _away(zone, last) or 0.0)
    more = len(alive) - ZONE_ROWS_MAX
    return tag(
        "div",
        tag("h2", "Live zones"),
        _table(
            "Nearest first. The score is a textbook score, not a probability"
            + (f"; {more} more zones are further away" if more > 0 else ""),
            ("Zone", "Range", "Score", "State", "Away"),
            (_zone_row(zone, decimals, last) for zone in alive[:ZONE_ROWS_MAX]),
        )
        if alive
        else tag("p", "No zone is alive.", class_="muted"),
    )


def _zone_row(zone: Zone, decimals: int, last: float | None) -> Markup:
    low, high = zone_edges(zone)
    return tag(
        "tr",
        tag(
            "th",
            tag("span", class_=f"swatch {zone.kind} {zone_look(zone).border}"),
            f"{zone.kind} {zone.timeframe}",
            scope="row",
            title=f"{zone.pattern}, {zone.touches} touches",
        ),
        tag("td", f"{number(low, decimals)} {MISSING} {number(high, decimals)}", class_="n"),
        tag("td", number(zone.confidence, 0), class_="n"),
        tag("td", str(zone.state)),
        tag("td", percent(_away(zone, last), 1), class_="n"),
    )


def _away(zone: Zone, last: float | None) -> float | None:
    """Distance from the last close to the zone's near edge, as a fraction; 0 inside it."""
    if last is None:
        return None
    low, high = zone_edges(zone)
    return max(low - last, last - high, 0.0) / last


def _last_close(view: ChartView) -> float | None:
    closes = view.candles.close
    last = float(closes[-1]) if len(closes) else None
    return last if is_known(last) and last else None


def _table(caption: str, heads: tuple[str, ...], rows: Iterable[Markup]) -> Markup:
    cells = [
        tag(
            "th",
            head,
            scope="col",
            class_="n" if head in ("Price", "Away", "Range", "Score") else None,
        )
        for head in heads
    ]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", tag("span", caption)),
            tag("thead", tag("tr", *cells)),
            tag("tbody", *rows),
        ),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=caption,
    )
