"""Charts as HTML, SVG and PNG, and the files they are saved in."""

import re
import struct
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from blofin_cli.errors import ConfigError, DataError, UsageError
from blofin_cli.pictures.chart import zone_chart_html, zone_chart_png, zone_chart_svg
from blofin_cli.pictures.files import save, save_chart
from blofin_cli.pictures.views import ChartView
from tests.pictures import samples

SVG = "{http://www.w3.org/2000/svg}"


def test_svg_is_well_formed_and_holds_everything() -> None:
    """Candles, volume, zones with labels, trades, levels, axis and footer are all there."""
    view = samples.chart_view()
    root = ElementTree.fromstring(zone_chart_svg(view))
    groups = {group.get("id"): group for group in root.iter(f"{SVG}g") if group.get("id")}
    assert {"candles", "volume", "zones", "zone-labels", "trades", "prices", "footer"} <= set(
        groups
    )
    assert len(groups["zones"]) > 3
    assert len(groups["trades"]) > 3
    texts = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert view.title in texts
    assert any(re.fullmatch(r"(demand|supply) \dh [DR]B[DR] \d+", text) for text in texts)
    assert {"ENTRY", "SL", "TP", "UTC"} <= set(texts)


def test_svg_of_hostile_text_stays_well_formed() -> None:
    """Markup and control characters in a title are text or are replaced."""
    view = ChartView(samples.HOSTILE, samples.candles(30), subtitle=samples.HOSTILE)
    root = ElementTree.fromstring(zone_chart_svg(view, width=3_000))
    assert root.find(f".//{SVG}script") is None
    assert any("</script>" in (text.text or "") for text in root.iter(f"{SVG}text"))


@pytest.mark.parametrize("bars", [0, 1, 2, 3_000])
def test_svg_of_any_number_of_candles_has_no_unknown_numbers(bars: int) -> None:
    """Nothing, one bar and very many bars all draw."""
    view = ChartView("few", samples.candles(3_000)[:bars])
    svg = zone_chart_svg(view, bars=3_000)
    ElementTree.fromstring(svg)
    assert "nan" not in svg.lower()
    assert "inf" not in svg.lower()


def test_png_has_the_size_asked_for() -> None:
    """The rasterised picture is width x height x scale."""
    pytest.importorskip("resvg_py")
    png = zone_chart_png(samples.chart_view(), width=800, height=500, scale=1.5)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", png[16:24]) == (1_200, 750)


def test_png_without_its_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing extra is a configuration matter with one clear next step."""
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(ConfigError) as caught:
        zone_chart_png(samples.chart_view(60))
    assert "blofin-cli[png]" in caught.value.hint


def test_html_shows_the_newest_candles_and_the_nearest_zone_first() -> None:
    """The file is bounded and its tables can be read without the chart."""
    html = zone_chart_html(samples.chart_view(6_000))
    assert len(html) < 900_000
    assert html.count('"t":[') == 1
    data = html[html.index('"t":[') + 5 :]
    assert data[: data.index("]")].count(",") == 4_999
    away = [
        float(text) for text in re.findall(r"<td>(?:fresh|tested)</td><td[^>]*>([\d.]+) %", html)
    ]
    assert away == sorted(away)
    assert len(away) > 2


def test_same_view_gives_the_same_bytes() -> None:
    """Pictures are pure functions of their view."""
    assert zone_chart_html(samples.chart_view()) == zone_chart_html(samples.chart_view())
    assert zone_chart_svg(samples.chart_view()) == zone_chart_svg(samples.chart_view())


@pytest.mark.parametrize("suffix", [".html", ".SVG", ".png"])
def test_save_chart_chooses_by_suffix(tmp_path: Path, suffix: str) -> None:
    """The suffix names the format; nothing else is left in the folder."""
    if suffix == ".png":
        pytest.importorskip("resvg_py")
    path = tmp_path / f"zones{suffix}"
    save_chart(path, samples.chart_view(80))
    starts = {".html": b"<!doctype html>", ".SVG": b"<?xml", ".png": b"\x89PNG"}
    assert path.read_bytes().startswith(starts[suffix])
    assert list(tmp_path.iterdir()) == [path]


def test_save_chart_of_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    """A wrong word on the command line, with the right ones in the hint."""
    with pytest.raises(UsageError) as caught:
        save_chart(tmp_path / "zones.pdf", samples.chart_view(80))
    assert ".svg" in caught.value.hint


def test_save_into_a_missing_folder_leaves_the_old_file_alone(tmp_path: Path) -> None:
    """Whole or not at all."""
    with pytest.raises(DataError):
        save(tmp_path / "missing" / "zones.svg", "x")
    path = tmp_path / "zones.svg"
    save(path, "old")
    save(path, b"new")
    assert path.read_text() == "new"
