"""The four looks of the dashboard: dark and light, each also for eyes that mix red and green."""

from functools import cache
from typing import Any

from textual.app import App
from textual.theme import Theme

from blofin_cli.faces.tui.paint import Paint
from blofin_cli.pictures.looks import COLOUR_BLIND_DARK, COLOUR_BLIND_LIGHT, DARK, LIGHT

COLOURS = {
    "blofin-dark": DARK,
    "blofin-light": LIGHT,
    "blofin-dark-safe": DARK | COLOUR_BLIND_DARK,
    "blofin-light-safe": LIGHT | COLOUR_BLIND_LIGHT,
}


def theme_of(name: str) -> Theme:
    """One of the looks as a Textual theme."""
    colours = COLOURS[name]
    return Theme(
        name=name,
        primary=colours["accent"],
        secondary=colours["demand"],
        warning=colours["entry"],
        error=colours["bad"],
        success=colours["good"],
        accent=colours["accent"],
        foreground=colours["text"],
        background=colours["page"],
        surface=colours["panel"],
        panel=colours["panel"],
        dark="dark" in name,
        variables={
            "footer-key-foreground": colours["entry"],
            "block-cursor-background": colours["accent"],
            "block-cursor-foreground": colours["on-tag"],
            "block-cursor-text-style": "none",
            "scrollbar": colours["line"],
            "scrollbar-hover": colours["muted"],
            "scrollbar-active": colours["accent"],
            "scrollbar-background": colours["page"],
            "scrollbar-background-hover": colours["page"],
            "scrollbar-background-active": colours["page"],
            "scrollbar-corner-color": colours["page"],
        },
    )


@cache
def paint_named(name: str, *, is_mono: bool) -> Paint:
    """The colours of a look for what draws itself."""
    colours = {key.replace("-", "_"): colour for key, colour in COLOURS[name].items()}
    return Paint(**colours, is_mono=is_mono)


def paint_of_app(app: App[Any]) -> Paint:
    """The colours in force; another theme of Textual's gets those of its own brightness."""
    name = app.theme
    if name not in COLOURS:
        name = "blofin-dark" if app.current_theme.dark else "blofin-light"
    return paint_named(name, is_mono=app.no_color)
