"""How the pages are drawn: the templates, their filters, and the files they bring along.

Everything a template prints is escaped, and what cannot be printed is shown as its escape, so no
text from an exchange, a note or a log can become markup or reorder a line.
"""

import gzip
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from blofin_cli.core.status import OrderView
from blofin_cli.faces.render import cell_text, json_ready, printable

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
FOLDER = "blofin_cli.faces.web"
KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# Columns whose sign is good or bad news.
RESULTS = frozenset({"R", "net", "pnl_usdt", "r_multiple"})
PROTECTION = frozenset({"stop", "target"})
SCRIPTS = ("app.js", "map.js", "equity.js")


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file of ours, whole and packed, with the name under which browsers may keep it for ever."""

    name: str
    kind: str
    content: bytes
    packed: bytes
    tag: str


@cache
def static_files() -> dict[str, StaticFile]:
    """Every file a page may ask for, by name."""
    from blofin_cli.pictures.looks import theme_css
    from blofin_cli.pictures.page import asset, library_script

    own = files(FOLDER) / "static"
    texts = {name: (own / name).read_text(encoding="utf-8") for name in (*SCRIPTS, "icon.svg")}
    texts["app.css"] = theme_css() + (own / "app.css").read_text(encoding="utf-8")
    texts["chart.js"] = asset("chart.js")
    texts["lightweight-charts.js"] = library_script()
    return {name: _static(name, text.encode()) for name, text in texts.items()}


def style_digests() -> tuple[str, ...]:
    """Digests of the style elements that the chart library makes."""
    from blofin_cli.pictures.page import LIBRARY, vendored

    return (str(vendored()[LIBRARY]["style_sha256"]),)


@cache
def templates() -> Environment:
    """The templates, every value escaped."""
    from blofin_cli import __version__
    from blofin_cli.pictures.page import notice

    made = Environment(
        loader=PackageLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text, link = notice().rsplit(" ", 1)
    made.globals |= {
        "static": static_path,
        "version": __version__,
        "cell": cell_text,
        "is_figure": is_figure,
        "result_sign": result_sign,
        "notice_text": text,
        "notice_link": link,
    }
    made.filters |= {
        "money": money,
        "price": price,
        "percent": percent,
        "moment": moment,
        "ago": ago,
        "span": span,
        "sign": sign,
        "label": label,
        "r": r_multiple,
        "quantity": quantity,
        "levels": levels,
        "lead": lead,
    }
    return made


def draw(name: str, **values: Any) -> str:
    """A template filled in."""
    return templates().get_template(name).render(**values)


def static_path(name: str) -> str:
    """Where a browser finds a file; another content has another path."""
    found = static_files()[name]
    return f"/static/{found.tag}/{found.name}"


def _static(name: str, content: bytes) -> StaticFile:
    kind = KINDS[name[name.rindex(".") :]]
    tag = hashlib.sha256(content).hexdigest()[:16]
    return StaticFile(name, kind, content, gzip.compress(content, 9, mtime=0), tag)


def _shown(value: Any) -> Any:
    if value is None:
        return DASH
    return printable(value) if type(value) is str else value


def money(value: float | None, decimals: int = 2, signed: bool = False) -> str:
    """`10,482.11`, `+84.20`, or a dash."""
    return _number(value, f",.{decimals}f", signed=signed)


def price(value: float | None) -> str:
    """A price with as many digits as its size deserves."""
    if value is None:
        return DASH
    size = abs(value)
    decimals = 1 if size >= 10_000 else 2 if size >= 100 else 4 if size >= 1 else 6
    return _number(value, f",.{decimals}f")


def quantity(value: float | None) -> str:
    """A size in base units, without idle zeros."""
    return DASH if value is None else _number(value, ",.8f").rstrip("0").rstrip(".")


def levels(order: OrderView) -> str:
    """What an order waits for: both prices of a bracket, whose target stands in its price."""
    if order.kind not in PROTECTION:
        if order.trigger is None:
            return price(order.price)
        limit = "" if order.price is None else f", then {price(order.price)}"
        return f"trigger {price(order.trigger)}{limit}"
    if order.type == "bracket":
        return f"stop {price(order.trigger)}, target {price(order.price)}"
    return price(order.trigger)


def going(order: OrderView) -> str:
    """What goes with an order: the stop, the target, both of a bracket, or the entry."""
    size = "" if order.size is None else f" {quantity(order.size)}"
    if order.kind in PROTECTION and order.type == "bracket":
        what = f"{levels(order).replace(', ', ' and ')} both go"
    else:
        what = f"the {order.kind} at {levels(order)} goes"
    return f"{what} ({order.side}{size})"


def percent(value: float | None, decimals: int = 1, signed: bool = False) -> str:
    """A fraction as per cent."""
    return DASH if value is None else _number(value * 100, f".{decimals}f", signed=signed) + "%"


def r_multiple(value: float | None) -> str:
    """`+1.25 R`."""
    return DASH if value is None else _number(value, ".2f", signed=True) + " R"


def sign(value: float | None) -> str:
    """The class of a figure: `pos`, `neg` or none."""
    return "" if not value else "pos" if value > 0 else "neg"


def is_figure(value: Any) -> bool:
    """Whether a cell is read as a number, so that its digits stand below one another."""
    if isinstance(value, str):
        return value[:1] in {"+", "-"} and value[1:2].isdigit()
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def result_sign(column: str, value: Any) -> str:
    """The class of a cell that says what trading brought."""
    if column not in RESULTS or not is_figure(value):
        return ""
    return sign(float(value.replace(",", "")) if isinstance(value, str) else float(value))


def moment(ms: int | None, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """UTC milliseconds as a person reads them."""
    try:
        return DASH if ms is None else datetime.fromtimestamp(ms / 1000, UTC).strftime(form)
    except (OverflowError, ValueError, OSError):
        return DASH


def ago(ms: int | None, now_ms: int) -> str:
    """`4 s ago`."""
    return DASH if ms is None else f"{span(now_ms - ms)} ago"


def span(ms: float | None) -> str:
    """A length of time in its largest fitting unit."""
    if ms is None:
        return DASH
    seconds = max(0.0, ms / 1000)
    for size, word in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {word}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def lead(text: str) -> str:
    """The first line of a command's help, less the clauses about options of a command line."""
    clauses = re.split(r"(?<=[.;]) ", text.partition("\n")[0])
    return " ".join(item for item in clauses if "--" not in item).rstrip(".;") + "."


def label(name: str) -> str:
    """A field's name as words."""
    words = name.removesuffix("_ms").removesuffix("_usdt").replace("_", " ")
    return words[:1].upper() + words[1:]


def _number(value: float | None, form: str, *, signed: bool = False) -> str:
    plain = json_ready(value)
    if plain is None:
        return DASH
    text = format(abs(plain), form)
    is_zero = not any(digit in text for digit in "123456789")
    lead = "" if is_zero else MINUS if plain < 0 else "+" if signed else ""
    return lead + text
