"""Charts and report opened in a real browser from a file, without a network."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from blofin_cli.pictures.files import save, save_chart
from blofin_cli.pictures.report import report_html
from tests.pictures import samples
from tests.pictures.browser import BINARY, Browser, browser

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(60),
    pytest.mark.skipif(BINARY is None, reason="needs chromium to open the pages"),
]


@pytest.fixture
def chromium() -> Iterator[Browser]:
    """A browser of this test's own."""
    with browser() as made:
        yield made


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A report whose notes, title and tags try to become markup."""
    path = tmp_path / "report.html"
    save(path, report_html(samples.report_view(1_200, note=samples.HOSTILE, title=samples.HOSTILE)))
    return path


def assert_quiet(page: Browser) -> None:
    """Nothing was logged, nothing but files was asked for, and no smuggled script ran."""
    assert page.console == []
    assert {url.split(":")[0] for url in page.requests} == {"file"}


@pytest.mark.parametrize(("width", "height"), [(1400, 900), (390, 844)])
def test_chart_opens_with_candles_zones_and_trades(
    chromium: Browser, tmp_path: Path, width: int, height: int
) -> None:
    """The chart draws in both schemes, fits the window and says what it holds."""
    path = tmp_path / "zones.html"
    save_chart(path, samples.chart_view())
    for scheme in ("dark", "light"):
        chromium.open(path, width=width, height=height, scheme=scheme)
        ready = chromium.run("document.getElementById('chart').dataset.ready")
        assert ready == "400 candles, 14 zones, 16 trades"
        assert chromium.run("document.documentElement.scrollWidth") <= width
        assert chromium.run("document.querySelectorAll('#chart canvas').length") > 3
    assert "#tv-attr-logo" in chromium.run("document.querySelector('#chart style').textContent")
    assert_quiet(chromium)


def test_chart_keys_move_and_zoom(chromium: Browser, tmp_path: Path) -> None:
    """Everything the buttons do can be done from the keyboard."""
    path = tmp_path / "zones.html"
    save_chart(path, samples.chart_view())
    chromium.open(path)
    legend = "document.querySelector('.legend').textContent"
    assert "BTC-USDT 1h" in chromium.run(legend)
    for key in ("ArrowLeft", "+", "-", "Home", "End"):
        event = f"new KeyboardEvent('keydown', {{key: '{key}', cancelable: true}})"
        assert chromium.run(f"document.getElementById('chart').dispatchEvent({event})") is False
    assert_quiet(chromium)


@pytest.mark.parametrize("width", [1400, 390])
def test_report_opens_and_its_hostile_notes_stay_text(
    chromium: Browser, report: Path, width: int
) -> None:
    """All sections draw, the page does not scroll sideways, and notes are only read."""
    chromium.open(report, width=width, height=844)
    assert chromium.run("document.getElementById('equity-chart').dataset.ready").endswith("points")
    ready = chromium.run("document.getElementById('price-chart').dataset.ready")
    assert ready == "1200 candles, 60 zones, 100 trades"
    assert chromium.run("document.querySelectorAll('#trade-table tbody tr').length") == 50
    assert "</script>" in chromium.run("document.querySelector('td.note').textContent")
    assert chromium.run("document.querySelectorAll('img').length") == 0
    assert chromium.run("document.documentElement.scrollWidth") <= width
    assert_quiet(chromium)


def test_report_trades_sort_filter_page_and_lead_to_the_chart(
    chromium: Browser, report: Path
) -> None:
    """The list narrows and orders, and a chosen trade is shown on its symbol's chart."""
    chromium.open(report)
    run = chromium.run
    header = "[...document.querySelectorAll('#trade-table th')].find(h => h.textContent === 'R')"
    run(f"{header}.querySelector('button').click()")
    assert run(f"{header}.getAttribute('aria-sort')") == "descending"
    run("document.getElementById('page-after').click()")
    assert run("document.getElementById('page-now').textContent") == "2 of 4"
    run(
        "(() => { const s = document.getElementById('filter-symbol'); s.value = 'XRP-USDT';"
        " s.dispatchEvent(new Event('input')); })()"
    )
    assert run("document.getElementById('trade-count').textContent").startswith("100 trades")
    assert run("document.getElementById('page-now').textContent") == "1 of 2"
    run("document.querySelector('#trade-table tbody button').click()")
    assert run("document.getElementById('price-symbol').value") == "1"
    assert "XRP-USDT" in run("document.querySelector('#trade-detail h3').textContent")
    assert run("document.querySelectorAll('#trade-table tr.selected').length") == 1
    assert_quiet(chromium)


def test_display_buttons_change_theme_and_colours(chromium: Browser, report: Path) -> None:
    """Theme and colour-blind palette switch without a reload and repaint the charts."""
    chromium.open(report, scheme="light")
    paper = "getComputedStyle(document.body).backgroundColor"
    assert chromium.run(paper) == "rgb(255, 255, 255)"
    chromium.run("document.getElementById('theme').click()")
    assert chromium.run(paper) == "rgb(14, 17, 23)"
    up = "getComputedStyle(document.documentElement).getPropertyValue('--up')"
    before = chromium.run(up)
    chromium.run("document.getElementById('colours').click()")
    assert chromium.run(up) != before
    assert chromium.run("document.getElementById('colours').getAttribute('aria-pressed')") == "true"
    assert_quiet(chromium)
