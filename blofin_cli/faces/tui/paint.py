"""The colours of the terminal dashboard, and a grid of cells that becomes strips.

The colours are those of the web pages and reports. Without colour (`NO_COLOR`) shapes and filling
characters carry the meaning instead: see `Paint.is_mono`.
"""

from dataclasses import dataclass
from functools import lru_cache

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

SOFT = " ┈·:"
"""What may be drawn over: nothing, grid lines, the filling of zones without colour."""


@dataclass(frozen=True, slots=True)
class Paint:
    """Colours as `#rrggbb`, by what they mean; `is_mono`: meaning must not rest on them."""

    page: str
    panel: str
    line: str
    text: str
    muted: str
    up: str
    down: str
    good: str
    bad: str
    demand: str
    supply: str
    demand_text: str
    supply_text: str
    entry: str
    accent: str
    on_tag: str
    is_mono: bool = False


@lru_cache(maxsize=4096)
def mix(over: str, under: str, share: float) -> str:
    """`share` of one colour laid over another."""
    top, bottom = _rgb(over), _rgb(under)
    mixed = (round(b + (t - b) * share) for t, b in zip(top, bottom, strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


@lru_cache(maxsize=512)
def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


@lru_cache(maxsize=8192)
def style_of(fore: str, back: str, *, is_bold: bool = False) -> Style:
    """One style object for each pair of colours."""
    return Style(color=fore, bgcolor=back, bold=is_bold or None)


class Grid:
    """Cells of one character, a foreground and a background each; (0, 0) is the upper left.

    What lies outside is silently not drawn, so that callers need not clip.
    """

    def __init__(self, width: int, height: int, fore: str, back: str) -> None:
        self.width, self.height = width, height
        self._chars = [[" "] * width for _ in range(height)]
        self._fore = [[fore] * width for _ in range(height)]
        self._back = [[back] * width for _ in range(height)]

    def put(self, x: int, y: int, char: str, fore: str, back: str | None = None) -> None:
        """Draw one character; without `back` the cell keeps its background."""
        if 0 <= x < self.width and 0 <= y < self.height:
            self._chars[y][x] = char
            self._fore[y][x] = fore
            if back is not None:
                self._back[y][x] = back

    def put_swapped(self, x: int, y: int, char: str, colour: str) -> None:
        """Draw a block whose inside is what lies behind it and whose outside is the colour."""
        if 0 <= x < self.width and 0 <= y < self.height:
            self.put(x, y, char, self._back[y][x], colour)

    def put_behind(self, x: int, y: int, char: str, fore: str) -> None:
        """Draw one character where nothing is drawn yet."""
        if self.is_empty(x, y):
            self.put(x, y, char, fore)

    def text(self, x: int, y: int, words: str, fore: str, back: str | None = None) -> None:
        """Draw words from left to right."""
        for offset, char in enumerate(words):
            self.put(x + offset, y, char, fore, back)

    def tint(self, columns: range, y: int, colour: str, share: float) -> None:
        """Lay a colour over the background of part of a row."""
        if 0 <= y < self.height:
            row = self._back[y]
            for x in columns:
                if 0 <= x < self.width:
                    row[x] = mix(colour, row[x], share)

    def is_empty(self, x: int, y: int) -> bool:
        """Whether nothing but a grid line or filling is drawn in a cell; False outside."""
        return 0 <= x < self.width and 0 <= y < self.height and self._chars[y][x] in SOFT

    def clear(self, x: int, y: int, length: int) -> None:
        """Take away what is drawn in part of a row; backgrounds stay."""
        for place in range(max(0, x), min(self.width, x + length)):
            if 0 <= y < self.height:
                self._chars[y][place] = " "

    def lines(self) -> list[str]:
        """The characters alone."""
        return ["".join(row) for row in self._chars]

    def strips(self) -> list[Strip]:
        """Rows for the compositor, neighbours of one look merged."""
        return [self._strip(y) for y in range(self.height)]

    def _strip(self, y: int) -> Strip:
        chars, fore, back = self._chars[y], self._fore[y], self._back[y]
        segments: list[Segment] = []
        start = 0
        for x in range(1, self.width + 1):
            if x == self.width or fore[x] != fore[start] or back[x] != back[start]:
                segments.append(
                    Segment("".join(chars[start:x]), style_of(fore[start], back[start]))
                )
                start = x
        return Strip(segments, self.width)
