"""What every screen is made of: the two lines above, tables that change only what changed, curves.

Each part keeps what it showed last and draws again only when that differs: an idle dashboard must
cost next to nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from rich.text import Span, Text
from textual.containers import Vertical
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import DataTable, Static

from blofin_cli.faces.tui.drawing import BLOCKS
from blofin_cli.faces.tui.paint import Grid, Paint, mix
from blofin_cli.faces.tui.words import plain

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult

Row = tuple[str, Sequence[Text]]
"""Key of a row and its cells."""

ROW = "row"


class Still(Static):
    """Text that is drawn again only when it changed; never markup."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__("", markup=False, id=id, classes=classes)
        self._shown: Text | None = None

    def show(self, text: Text) -> None:
        """Show this text."""
        before = self._shown
        if before is None or text.plain != before.plain or text.spans != before.spans:
            is_taller = before is None or text.plain.count("\n") != before.plain.count("\n")
            self._shown = text
            self.update(text, layout=is_taller or self.has_class("wraps"))

    @property
    def shown(self) -> str:
        """The characters on show."""
        return "" if self._shown is None else self._shown.plain


class Panel(Vertical):
    """A heading and one widget under it."""

    def __init__(self, title: str, content: Widget, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id, classes="panel")
        self._title, self._content = title, content

    def compose(self) -> "ComposeResult":
        """Heading, then content."""
        yield Static(Text(self._title), classes="title", markup=False)
        yield self._content

    def rename(self, title: str) -> None:
        """Another heading."""
        if title != self._title:
            self._title = title
            self.query_one(".title", Static).update(Text(plain(title)))


class TabStrip(Static):
    """The names of the screens with their keys; a click goes there."""

    @dataclass
    class Chosen(Message):
        """A screen was clicked."""

        name: str

    def __init__(self, names: Sequence[tuple[str, str]], current: str) -> None:
        super().__init__("", markup=False, id="tabs")
        self._names, self._current = names, current
        self._places: list[tuple[range, str]] = []

    def on_mount(self) -> None:
        """Draw for the width there is."""
        self._draw()

    def on_resize(self) -> None:
        """Short names where there is little room."""
        self._draw()

    def _draw(self) -> None:
        from blofin_cli.faces.tui.themes import paint_of_app

        paint = paint_of_app(self.app)
        chosen = f"bold {paint.on_tag} on {paint.accent}"
        out = Text(no_wrap=True)
        whole = sum(len(title) + 4 for _, title in self._names)
        self._places = []
        for index, (name, title) in enumerate(self._names, 1):
            words = title if whole <= self.size.width else title[:7]
            piece = f" {index} {words} "
            self._places.append((range(len(out), len(out) + len(piece)), name))
            out.append(piece, style=chosen if name == self._current else "")
        self.update(out)

    def on_click(self, event: "events.Click") -> None:
        """Go to the screen under the mouse."""
        for place, name in self._places:
            if event.x in place:
                self.post_message(self.Chosen(name))


class Table(DataTable[Text]):
    """Rows by key; only rows that differ are touched, and the cursor stays on its row.

    A row is one cell laid out here: drawing twelve cells for each of fifty rows took a tenth of a
    second. Columns are title and width, the gap between two included; `>` before a title sets it
    right. A figure that the edge would cut stands beyond it, where the arrows reach it: half a
    number reads as another number.
    """

    DEFAULT_CSS: ClassVar[str] = "Table { height: 1fr; }"

    def __init__(self, columns: Sequence[tuple[str, int]], *, id: str) -> None:  # noqa: A002
        super().__init__(id=id, cursor_type="row", cell_padding=0)
        self._columns = list(columns)
        self._heads = [
            Text(title.removeprefix(">"), justify="right" if title[:1] == ">" else "left")
            for title, _ in columns
        ]
        self._widths = [width for _, width in columns]
        self._rows: list[Row] = []
        self._lines: dict[str, Text] = {}
        self._add_head()

    def _add_head(self) -> None:
        self.add_column(row_line(self._heads, self._widths), key=ROW, width=sum(self._widths))

    def on_resize(self) -> None:
        """Another width cuts elsewhere."""
        widths = widths_within(self._columns, self.size.width - 1)
        if widths != self._widths:
            self._widths = widths
            kept = self.current
            self.clear(columns=True)
            self._add_head()
            self._lines = {}
            self.show(self._rows)
            if kept in self._lines:
                self.move_cursor(row=list(self._lines).index(kept), scroll=False)

    @property
    def current(self) -> str | None:
        """Key of the row under the cursor."""
        keys = list(self._lines)
        return keys[self.cursor_row] if 0 <= self.cursor_row < len(keys) else None

    def show(self, rows: Sequence[Row]) -> None:
        """Show these rows, in this order."""
        self._rows = list(rows)
        fresh = {key: row_line(cells, self._widths) for key, cells in rows}
        if list(fresh) == list(self._lines):
            for key, line in fresh.items():
                before = self._lines[key]
                if line.plain != before.plain or line.spans != before.spans:
                    self.update_cell(key, ROW, line)
        else:
            self._refill(fresh)
        self._lines = fresh

    def _refill(self, fresh: dict[str, Text]) -> None:
        kept = self.current
        self.clear()
        for key, line in fresh.items():
            self.add_row(line, key=key)
        if kept in fresh:
            self.move_cursor(row=list(fresh).index(kept), scroll=False)


def widths_within(columns: Sequence[tuple[str, int]], room: int) -> list[int]:
    """Widths of the columns, the one of figures that `room` would cut made to begin beyond it."""
    widths = [width for _, width in columns]
    place = 0
    for index, (title, width) in enumerate(columns):
        if place < room < place + width:
            if title[:1] == ">":
                widths[index] = room - place + width
            break
        place += width
    return widths


def row_line(cells: Sequence[Text], widths: Sequence[int]) -> Text:
    """Cells side by side, each cut to its column less the gap, and filled to its width."""
    pieces: list[str] = []
    spans: list[Span] = []
    place = 0
    for text, width in zip(cells, widths, strict=True):
        is_right = text.justify == "right"
        words = text.plain
        room = width - 1
        if not words.isascii() or len(words) > room:
            cut = text.copy()
            cut.truncate(room, overflow="ellipsis")
            words = cut.plain
        lead = max(0, width - cell_len(words)) if is_right else 0
        start = place + lead
        if text.style:
            spans.append(Span(start, start + len(words), text.style))
        spans += [
            Span(start + span.start, start + min(span.end, len(words)), span.style)
            for span in text.spans
            if span.start < len(words)
        ]
        tail = 0 if is_right else max(0, width - cell_len(words))
        pieces.append(" " * lead + words + " " * tail)
        place += len(pieces[-1])
    return Text("".join(pieces), spans=spans, no_wrap=True, end="")


class Curve(Widget):
    """A line of values as filled blocks, newest at the right; the scale is its own range."""

    DEFAULT_CSS = "Curve { height: 4; width: 1fr; }"

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._values: Sequence[float] = ()
        self._strips: list[Strip] | None = None

    def set_values(self, values: Sequence[float]) -> None:
        """Show other values."""
        if list(values) != list(self._values):
            self._values, self._strips = list(values), None
            self.refresh()

    def on_resize(self) -> None:
        """Another size is another drawing."""
        self._strips = None

    def notify_style_update(self) -> None:
        """Another theme is another drawing."""
        super().notify_style_update()
        self._strips = None

    def render_line(self, y: int) -> Strip:
        """One row of the drawing."""
        if self._strips is None:
            from blofin_cli.faces.tui.themes import paint_of_app

            paint = paint_of_app(self.app)
            self._strips = curve_grid(
                self._values, self.size.width, self.size.height, paint
            ).strips()
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width)


def curve_grid(values: Sequence[float], width: int, height: int, paint: Paint) -> Grid:
    """Values as columns of eighth blocks: the last of each bucket, above and below the first."""
    grid = Grid(width, height, paint.text, paint.panel)
    good = [value for value in values if isfinite(value)]
    if not good or width < 1 or height < 1:
        return grid
    picked = _picked(good, width)
    low, high = min(picked), max(picked)
    span = (high - low) or 1.0
    for x, value in enumerate(picked):
        colour = paint.good if value >= good[0] else paint.bad
        eighths = 1 + round((value - low) / span * (height * 8 - 1))
        for row in range(height):
            filled = max(0, min(8, eighths - row * 8))
            if filled:
                shade = mix(colour, paint.panel, 0.55 + 0.45 * (row + 1) / height)
                back = shade if filled == 8 else None
                grid.put(x, height - 1 - row, BLOCKS[filled], shade, back)
    return grid


def _picked(values: Sequence[float], width: int) -> list[float]:
    if len(values) <= width:
        return list(values)
    return [values[(index + 1) * len(values) // width - 1] for index in range(width)]
