"""What the screens look like: compared with pictures kept beside this file.

A picture is the characters of a screen and, in its last line, the digest of its SVG, which holds
the colours too. `REMAKE_PICTURES=1` writes them anew; read every changed line.
"""

import hashlib
import os
from collections import deque
from pathlib import Path

import pytest

from blofin_cli.faces.tui.page import PAGES
from tests.faces.tui.conftest import picture, settled

GOLDEN = Path(__file__).parent / "golden"
SIZES = ((80, 24), (120, 36), (200, 60))


def compare(app, name: str, folder: Path) -> None:
    """The screen equals its picture; a fresh one is left beside the test's other files."""
    svg = app.export_screenshot(title="blofin")
    digest = hashlib.sha256(svg.encode()).hexdigest()[:16]
    shown = "\n".join(line.rstrip() for line in picture(app)) + f"\nsvg {digest}\n"
    kept = GOLDEN / f"{name}.txt"
    if os.environ.get("REMAKE_PICTURES"):
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(shown, encoding="utf-8")
    (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    assert shown == kept.read_text(encoding="utf-8"), f"see {folder / name}.svg"


@pytest.mark.process
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_every_screen_equals_its_picture(desk, tmp_path, size):
    """Seven screens at three sizes, in the dark look."""
    app = desk()
    app.timings_ms = deque(maxlen=0)  # how fast this machine is has no place in a picture
    async with app.run_test(size=size) as pilot:
        for number, (name, _) in enumerate(PAGES, 1):
            await pilot.press(str(number))
            await settled(pilot)
            compare(app, f"{name}-{size[0]}x{size[1]}", tmp_path)


@pytest.mark.process
async def test_looks_differ_in_colour_alone(desk, tmp_path):
    """The map reads the same in every look, and each has a picture."""
    app = desk(screen="map")
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        before = picture(app)
        for look in ("blofin-light", "blofin-dark-safe", "blofin-light-safe"):
            app.theme = look
            await settled(pilot)
            compare(app, f"map-{look}", tmp_path)
            assert picture(app) == before


async def test_without_colour_the_map_says_the_same(desk, tmp_path):
    """Rising bodies are grey cells, zones are filled with points: nothing rests on colour."""
    app = desk(screen="map", timeframe="1h")
    app.no_color = True
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        compare(app, "map-mono", tmp_path)
        text = "\n".join(picture(app))
        assert "▒" in text
        assert "·" in text


@pytest.mark.process
async def test_replay_equals_its_picture(desk, tmp_path):
    """The slider, what was known then, and nothing that came later."""
    app = desk(screen="map")
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        await pilot.press("r")
        await settled(pilot)
        await pilot.press("less_than_sign")
        await settled(pilot)
        compare(app, "map-replay", tmp_path)
