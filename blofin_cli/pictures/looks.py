"""How things look: the colours of every theme, and how a zone shows its state.

One place for all faces: the stylesheet's variables, the drawn SVG and the payload for the browser
come from here. Colour never speaks alone: borders, hatching, shapes and labels say the same.
"""

from dataclasses import dataclass

from blofin_cli.core.market import Zone, ZoneState

DARK = {
    "page": "#0e1117",
    "panel": "#161b22",
    "line": "#2a313a",
    "text": "#d5dbe1",
    "muted": "#8f98a3",
    "up": "#26a69a",
    "down": "#ef5350",
    "good": "#3fb8ab",
    "bad": "#ff6b66",
    "demand": "#2f95f0",
    "supply": "#ef5350",
    "demand-text": "#6db5f7",
    "supply-text": "#ff8a86",
    "entry": "#e3b341",
    "accent": "#58a6ff",
    "on-tag": "#0b0e13",
}
LIGHT = {
    "page": "#ffffff",
    "panel": "#f6f8fa",
    "line": "#d5dae0",
    "text": "#1f2328",
    "muted": "#5b646e",
    "up": "#0f8f83",
    "down": "#d93a3a",
    "good": "#0a6f65",
    "bad": "#b8262a",
    "demand": "#1377d4",
    "supply": "#d93a3a",
    "demand-text": "#0b5cab",
    "supply-text": "#ab2226",
    "entry": "#b07d00",
    "accent": "#0969da",
    "on-tag": "#ffffff",
}
# Okabe and Ito's set: blue against orange stays apart with every common colour vision.
COLOUR_BLIND_DARK = {
    "up": "#56b4e9",
    "down": "#e69f00",
    "good": "#6cc0ef",
    "bad": "#f0ad1c",
    "demand": "#2f86c9",
    "supply": "#d9731a",
    "demand-text": "#7cc4ee",
    "supply-text": "#f0a35e",
    "entry": "#f0e442",
}
COLOUR_BLIND_LIGHT = {
    "up": "#0072b2",
    "down": "#d97706",
    "good": "#005c91",
    "bad": "#9a4a00",
    "demand": "#0072b2",
    "supply": "#d55e00",
    "demand-text": "#005a8e",
    "supply-text": "#a04600",
    "entry": "#806b00",
}
_ALIVE = (ZoneState.FRESH, ZoneState.TESTED)


@dataclass(frozen=True, slots=True)
class ZoneLook:
    """How one zone is drawn. `border` is solid, dashed or dotted; opacity is that of the fill."""

    opacity: float
    border: str
    is_hatched: bool
    is_alive: bool


def zone_look(zone: Zone) -> ZoneLook:
    """Fill by freshness, border by state; zones whose life is over are faint and hatched."""
    if zone.state not in _ALIVE:
        return ZoneLook(0.05, "dotted", is_hatched=True, is_alive=False)
    freshness = min(1.0, max(0.0, zone.freshness)) if zone.freshness == zone.freshness else 0.0
    border = "solid" if zone.state == ZoneState.FRESH else "dashed"
    return ZoneLook(round(0.10 + 0.28 * freshness, 3), border, is_hatched=False, is_alive=True)


def zone_label(zone: Zone) -> str:
    """`demand 1h DBR 62`: kind, timeframe, pattern and textbook score."""
    score = f" {zone.confidence:.0f}" if zone.confidence == zone.confidence else ""
    return f"{zone.kind} {zone.timeframe} {zone.pattern}{score}"


def zone_edges(zone: Zone) -> tuple[float, float]:
    """Lower and upper price of the zone."""
    return min(zone.proximal, zone.distal), max(zone.proximal, zone.distal)


def theme_css() -> str:
    """The colours as CSS variables: the reader's scheme, either one by choice, colour-blind too."""
    light, dark = _variables(LIGHT), _variables(DARK)
    safe_light, safe_dark = _variables(COLOUR_BLIND_LIGHT), _variables(COLOUR_BLIND_DARK)
    return (
        f":root{{color-scheme:light dark;{light}}}"
        f":root[data-colours=safe]{{{safe_light}}}"
        f"@media (prefers-color-scheme:dark){{:root{{{dark}}}"
        f":root[data-colours=safe]{{{safe_dark}}}}}"
        f":root[data-theme=light]{{color-scheme:light;{light}}}"
        f":root[data-theme=light][data-colours=safe]{{{safe_light}}}"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}"
        f":root[data-theme=dark][data-colours=safe]{{{safe_dark}}}"
    )


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())
