"""The candle chart as a widget on the line API: pan, zoom and a crosshair over `drawing`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from blofin_cli.faces.tui.drawing import (
    AXIS_WIDTH,
    LABEL_SPACE,
    ZOOM_DEFAULT,
    ZOOMS,
    Frame,
    Scene,
    draw,
    frame_of,
)
from blofin_cli.faces.tui.paint import Grid
from blofin_cli.faces.tui.themes import paint_of_app

if TYPE_CHECKING:
    from textual import events

    from blofin_cli.app.desk import ChartData


class Chart(Widget, can_focus=True):
    """One symbol's candles with zones, levels and fills.

    Strips are drawn once and kept until data, size, view or theme change.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "pan(-1)", "older", show=False),
        Binding("right", "pan(1)", "newer", show=False),
        Binding("shift+left,pageup", "pan(-20)", "much older", show=False),
        Binding("shift+right,pagedown", "pan(20)", "much newer", show=False),
        Binding("plus,equals_sign", "zoom(1)", "zoom in", show=False),
        Binding("minus", "zoom(-1)", "zoom out", show=False),
        Binding("up", "lift(1)", "crosshair up", show=False),
        Binding("down", "lift(-1)", "crosshair down", show=False),
        Binding("c", "cross", "crosshair", show=True),
        Binding("end", "newest", "newest", show=False),
    ]
    DEFAULT_CSS = "Chart { width: 1fr; height: 1fr; min-height: 6; }"

    @dataclass
    class Moved(Message):
        """The crosshair points at another candle, or at none (`bar` None)."""

        bar: int | None
        price: float | None

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # Textual's own name
        super().__init__(id=id)
        self.data: ChartData | None = None
        self._zoom = ZOOM_DEFAULT
        self._end: int | None = None  # None: follow the newest candle
        self._bar: int | None = None
        self._price: float | None = None
        self._strips: list[Strip] | None = None

    @property
    def is_crossing(self) -> bool:
        """Whether the crosshair is shown."""
        return self._bar is not None

    @property
    def pointed(self) -> tuple[int | None, float | None]:
        """Row of the candle and price under the crosshair."""
        return self._bar, self._price

    @property
    def scene(self) -> Scene | None:
        """What is drawn now."""
        if self.data is None:
            return None
        data = self.data
        return Scene(
            candles=data.candles,
            zones=data.zones,
            levels=data.levels,
            marks=data.marks,
            last_price=data.last_price,
            end=self._end,
            zoom=self._zoom,
            cursor=None if self._bar is None else (self._bar, self._price),
        )

    @property
    def view(self) -> Frame | None:
        """Where things are drawn now."""
        scene = self.scene
        return None if scene is None else frame_of(scene, self.size.width, self.size.height)

    def set_data(self, data: "ChartData") -> None:
        """Show other data; the view stays where it was if it is the same chart."""
        before = self.data
        is_same = before is not None and (before.symbol, before.timeframe) == (
            data.symbol,
            data.timeframe,
        )
        self.data = data
        if not is_same:
            self._end, self._bar, self._price = None, None, None
        elif before is not None and len(before.candles) and len(data.candles):
            self._keep_place(int(before.candles.ts[0]), int(data.candles.ts[0]))
        self._redraw()

    def fit(self) -> None:
        """Zoom to the most that shows every candle at once."""
        count = 0 if self.data is None else len(self.data.candles)
        room = self.size.width - AXIS_WIDTH - LABEL_SPACE
        fitting = [
            zoom for zoom, (slot, merge) in enumerate(ZOOMS) if count <= room // slot * merge
        ]
        self._zoom = min(ZOOM_DEFAULT + 1, max(fitting, default=0))
        self._end = None
        self._redraw()

    def _keep_place(self, first_before_ms: int, first_ms: int) -> None:
        """The bars under view and crosshair keep their times when older ones drop out."""
        assert self.data is not None
        moved = (first_ms - first_before_ms) // self.data.timeframe.ms
        count = len(self.data.candles)
        if self._end is not None:
            self._end = max(1, min(count, self._end - moved))
        if self._bar is not None:
            self._bar = max(0, min(count - 1, self._bar - moved))

    def _redraw(self) -> None:
        self._strips = None
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
            self._strips = self._drawn()
        if y < len(self._strips):
            return self._strips[y]
        return Strip.blank(self.size.width)

    def _drawn(self) -> list[Strip]:
        scene, (width, height), paint = self.scene, self.size, paint_of_app(self.app)
        if scene is None:
            return Grid(width, height, paint.text, paint.page).strips()
        return draw(scene, width, height, paint).strips()

    def action_pan(self, bars: int) -> None:
        """Move the crosshair if it is there, else the view."""
        view = self.view
        if view is None or self.data is None:
            return
        if self._bar is not None:
            self._point_at(self._bar + bars * view.merge)
            return
        count = len(self.data.candles)
        shown = view.end - view.first
        self._end = max(min(shown, count), min(count, view.end + bars * 4 * view.merge))
        if self._end >= count:
            self._end = None
        self._redraw()

    def action_zoom(self, steps: int) -> None:
        """More or fewer bars."""
        self._zoom = max(0, min(len(ZOOMS) - 1, self._zoom + steps))
        self._redraw()

    def action_newest(self) -> None:
        """Back to the newest candle."""
        self._end = None
        if self._bar is not None and self.data is not None:
            self._point_at(len(self.data.candles) - 1)
        self._redraw()

    def action_cross(self) -> None:
        """Show the crosshair on the newest candle in sight, or take it away."""
        view = self.view
        if self._bar is not None or view is None or self.data is None:
            self._bar, self._price = None, None
            self.post_message(self.Moved(None, None))
            self._redraw()
            return
        self._price = float(self.data.candles.close[view.end - 1])
        self._point_at(view.end - 1)

    def action_lift(self, rows: int) -> None:
        """Move the crosshair's price by a row."""
        view = self.view
        if view is None or self._bar is None or self._price is None:
            return
        self._price = view.price(max(0, min(view.rows - 1, view.row(self._price) - rows)))
        self.post_message(self.Moved(self._bar, self._price))
        self._redraw()

    def _point_at(self, bar: int) -> None:
        view = self.view
        if view is None or self.data is None:
            return
        count = len(self.data.candles)
        self._bar = max(0, min(count - 1, bar))
        if self._bar < view.first:
            self._end = max(view.end - (view.first - self._bar), 1)
        elif self._bar >= view.end:
            self._end = self._bar + 1 if self._bar + 1 < count else None
        self.post_message(self.Moved(self._bar, self._price))
        self._redraw()

    def on_click(self, event: "events.Click") -> None:
        """Put the crosshair where the mouse is."""
        view = self.view
        if view is None:
            return
        self._price = view.price(max(0, min(view.rows - 1, event.y)))
        self._point_at(view.bar(event.x))

    def on_mouse_scroll_up(self) -> None:
        """The wheel zooms."""
        self.action_zoom(1)

    def on_mouse_scroll_down(self) -> None:
        """The wheel zooms."""
        self.action_zoom(-1)
