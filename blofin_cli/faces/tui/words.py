"""Values as words in a cell. Text from elsewhere is shown, never obeyed.

Nothing here becomes markup: what the screens draw are `rich.text.Text` objects, whose characters
are escaped by `plain` before they get there.
"""

from datetime import UTC, datetime
from math import isfinite
from typing import TYPE_CHECKING

from rich.text import Text

from blofin_cli.faces.render import printable
from blofin_cli.faces.tui.paint import Paint

if TYPE_CHECKING:
    from blofin_cli.app.commands.status import StatusResult
    from blofin_cli.core.status import PositionView

DASH = "-"


def plain(value: object, length_max: int = 200) -> str:
    """Any value as one line of characters that a terminal shows and does not obey."""
    text = DASH if value is None else str(value)
    text = printable(text[: length_max + 1])
    return text if len(text) <= length_max else text[: length_max - 1] + "…"


def cell(value: object, style: str = "") -> Text:
    """A table cell."""
    return Text(plain(value, 120), style=style)


def right(value: object, style: str = "") -> Text:
    """A table cell whose end lines up with those above and below it."""
    return Text(plain(value, 120), style=style, justify="right")


def number(value: float | None, form: str = ",.2f") -> str:
    """A number in a format; a dash when it is unknown."""
    return DASH if value is None or not isfinite(value) else format(value, form)


def price(value: float | None) -> str:
    """A price with the decimals its size asks for."""
    from blofin_cli.faces.tui.drawing import price_text

    return DASH if value is None or not isfinite(value) else price_text(value)


def signed(value: float | None, paint: Paint, form: str = "+,.2f", *, is_old: bool = False) -> Text:
    """A gain or loss: its sign says it, its colour repeats it; an old one is doubted."""
    if value is None or not isfinite(value):
        return Text(DASH, style=paint.muted, justify="right")
    if is_old:
        return Text(format(value, form) + "?", style=paint.muted, justify="right")
    colour = paint.good if value > 0 else paint.bad if value < 0 else paint.muted
    return Text(format(value, form), style=colour, justify="right")


def age(ms: float | None) -> str:
    """How long ago, in the unit that reads best."""
    if ms is None:
        return DASH
    if ms < 1000:
        return f"{ms:.0f} ms"
    for size, unit in ((60_000, "s"), (3_600_000, "min"), (86_400_000, "h")):
        if ms < size:
            return f"{ms / {'s': 1000, 'min': 60_000, 'h': 3_600_000}[unit]:.0f} {unit}"
    return f"{ms / 86_400_000:.0f} d"


def late_ms(result: "StatusResult | None") -> int | None:
    """Age of the figures of a session that beats no more, in ms; None while it beats."""
    if result is None or result.state not in {"stale", "stopped"}:
        return None
    return result.heartbeat_age_ms


def clock(ms: int | None) -> str:
    """UTC time of day."""
    return _time(ms, "%H:%M:%S")


def minute(ms: int | None) -> str:
    """UTC date and time to the minute, without the year."""
    return _time(ms, "%b %d %H:%M")


def moment(ms: int | None) -> str:
    """UTC date and time to the minute."""
    return _time(ms, "%Y-%m-%d %H:%M")


def _time(ms: int | None, form: str) -> str:
    if ms is None:
        return DASH
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime(form)
    except (ValueError, OverflowError, OSError):
        return DASH


def venue(mode: str, exchange: str) -> str:
    """Where something trades, and whether that is real money."""
    at = f"{plain(mode, 12)} at {plain(exchange, 20)}"
    return f"REAL MONEY: {at}" if mode == "live" else at


def holding(position: "PositionView") -> str:
    """An open position in one line."""
    return (
        f"{position.side} {abs(position.quantity):g} {plain(position.symbol, 20)} from "
        f"{price(position.entry_price)}, {number(position.unrealized_usdt, '+,.2f')} USDT"
    )


def lines(rows: list[tuple[str, object]], paint: Paint, width: int = 12) -> Text:
    """Label and value, one a line; a value may be a `Text` with colours of its own."""
    out = Text(no_wrap=True, overflow="ellipsis")
    for index, (label, value) in enumerate(rows):
        if index:
            out.append("\n")
        out.append(label.ljust(width), style=paint.muted)
        if isinstance(value, Text):
            out.append_text(value)
        else:
            out.append(plain(value))
    return out


def joined(*parts: object) -> Text:
    """Several pieces in one line, texts with their colours."""
    out = Text()
    for part in parts:
        if isinstance(part, Text):
            out.append_text(part)
        else:
            out.append(plain(part))
    return out
