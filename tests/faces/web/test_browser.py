"""The dashboard in a real browser: a real server, a real session, the exchange in a box."""

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from blofin_cli.adapters.clock import SystemClock
from blofin_cli.adapters.exchanges.blofin import Credentials, Settings, connect
from blofin_cli.adapters.exchanges.sim.keys import DEMO_KEY
from blofin_cli.adapters.store import open_journal
from blofin_cli.core.orders import MarginMode
from blofin_cli.core.quotes import Environment
from blofin_cli.core.status import SessionStatus
from tests.boxed import BTC, Boxed, box_running
from tests.faces.web.chromium import DESKTOP, PHONE, fill, sign_in, submit, until, visit
from tests.faces.web.conftest import PASSWORD, Running
from tests.pictures.browser import BINARY, Browser, browser

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(60),
    pytest.mark.skipif(BINARY is None, reason="needs chromium to open the pages"),
]

PAGES = ("/", "/map", "/trades", "/trades/t-003", "/signals", "/research", "/settings", "/logs",
         "/commands", "/commands/order", "/guide/cli")  # fmt: skip
AUDIT = Path(__file__).with_name("audit.js").read_text(encoding="utf-8")
TEXT = "document.body.innerText"


@pytest.fixture
def page() -> Iterator[Browser]:
    """A browser of this test's own."""
    with browser() as made:
        yield made


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Boxed]:
    """The exchange in a box, its account isolated as a person sets it once."""
    with box_running() as made:
        place = Settings(
            state_folder=tmp_path, environment=Environment.SIMULATED, simulator_url=made.url
        )
        key = Credentials(DEMO_KEY.key, DEMO_KEY.secret, DEMO_KEY.passphrase)

        async def isolate() -> None:
            account = connect(place, SystemClock(), key)
            await account.set_margin_mode(MarginMode.ISOLATED)
            await account.aclose()

        asyncio.run(isolate())
        yield made


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state of its own; a session that was started on it is ended by its process id."""
    path = tmp_path / "state.db"
    yield path
    if path.exists():
        for session in open_journal(str(path), tmp_path).sessions():
            if session.ended_ms is None:
                with suppress(ProcessLookupError):
                    os.kill(session.pid, signal.SIGTERM)


def assert_quiet(page: Browser, address: str) -> None:
    """The console holds no error, and nothing but this server was asked for anything."""
    assert [line for line in page.console if "verbose" not in line] == []
    assert {
        url for url in page.requests if not url.startswith((address, "data:", "about:"))
    } == set()


def start_session(page: Browser, address: str) -> None:
    """A demo session in the box, started through the forms."""
    visit(page, f"{address}/commands/run?symbol={BTC}&mode=demo&exchange=sim")
    submit(page, "main form button.primary")
    assert f"Type {BTC} to go on" in page.run(TEXT)
    fill(page, "#word", BTC)
    submit(page, "main form button.primary")
    visit(page, f"{address}/")
    until(page, "document.querySelector('[data-panel=state]').textContent.includes('trading')")


def place_order(page: Browser, address: str, box: Boxed) -> None:
    """A market order planned, looked at, and placed by its hash."""
    query = "mode=demo&exchange=sim&side=buy&risk=0.5%25&stop=59400&target=62000"
    visit(page, f"{address}/commands/order?symbol={BTC}&{query}")
    submit(page, "main form button.primary")
    assert "Nothing was sent" in page.run(TEXT), page.run(TEXT)
    submit(page, "main form.card button.primary")
    fill(page, "#word", "nonsense")
    submit(page, "main form button.primary")
    assert "That was not the word" in page.run(TEXT)
    box.price(60_000)  # the box stands still, and a session places nothing on an old price
    fill(page, "#word", BTC)
    submit(page, "main form button.primary")


def test_position_opens_moves_and_is_halted_and_closed_from_the_browser(
    page: Browser, box: Boxed, state: Path, tmp_path: Path, server: Callable[..., Running]
) -> None:
    """Everything a person does in a day: start, order, watch the profit move, halt, close."""
    address = server(
        state=state, cache=tmp_path / "cache", BLOFIN_SIM_URL=box.url, BLOFIN_EXCHANGE="sim"
    ).address
    sign_in(page, address, PASSWORD)
    start_session(page, address)
    place_order(page, address, box)
    assert page.run("location.pathname") == "/", page.run(TEXT)
    until(page, f"document.querySelector('[data-panel=positions]').textContent.includes('{BTC}')")
    assert box.held() > 0
    profit = "document.querySelector('.positions .profit').textContent"
    before = page.run(profit)
    box.price(60_300)
    until(page, profit, lambda text: text != before and text.startswith("+"))
    assert page.run("performance.getEntriesByType('navigation').length") == 1

    submit(page, ".top form.halt button")
    until(page, "document.querySelector('[data-panel=state]').textContent.includes('HALTED')")
    assert "Trading is halted" in page.run(TEXT)
    assert open_journal(str(state), tmp_path).halted() is not None
    assert box.held() > 0  # stops stay, and so does the position

    submit(page, ".positions a[aria-label^=Close]")
    submit(page, "main form button.primary")
    until(page, "1", lambda _: box.held() == 0)
    assert_quiet(page, address)


@pytest.fixture
def seeded(
    tmp_path: Path, seeds: Callable[..., Path], server: Callable[..., Running]
) -> Callable[..., str]:
    """Starts a server over a copy of the seeded state; returns its address."""

    def start(**how: bool) -> str:
        place = tmp_path / "seeded"
        shutil.copytree(seeds(**how), place)
        return server(state=place / "state.db", cache=place / "cache").address

    return start


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_page_fits_reads_and_stays_quiet(
    page: Browser, seeded: Callable[..., str], size: tuple[int, int]
) -> None:
    """At both sizes and in both schemes: no sideways scrolling, no defect of access, no error."""
    address = seeded(hostile=True)
    sign_in(page, address, PASSWORD, size)
    for path in PAGES:
        for scheme in ("dark", "light"):
            visit(page, address + path, size, scheme=scheme)
            assert page.run("document.documentElement.scrollWidth") <= size[0], path
            assert page.run(AUDIT) == [], (path, scheme)
    assert page.run("document.querySelectorAll('script:not([src])').length") == 0
    assert_quiet(page, address)


def test_zones_are_on_the_chart_and_replay_shows_what_was_known(
    page: Browser, seeded: Callable[..., str]
) -> None:
    """The map draws candles with zones; going back in time shows those of that moment."""
    address = seeded()
    sign_in(page, address, PASSWORD)
    visit(page, f"{address}/map?symbol={BTC}&timeframe=15m")
    ready = "document.querySelector('.plot.map').dataset.ready"
    candles, zones = until(page, ready).split(", ")
    assert int(candles.split()[0]) > 300
    assert int(zones.split()[0]) >= 1
    assert page.run("document.querySelectorAll('.plot.map canvas').length") > 3
    table = "document.querySelector('[data-zones]').textContent"
    now = page.run(table)
    middle = "Math.round((Number(s.min) + Number(s.max)) / 2)"
    page.run(
        "(() => { const s = document.querySelector('[data-replay=at]');"
        f" s.value = String({middle}); s.dispatchEvent(new Event('input')); return 1; }})()"
    )
    until(page, "document.querySelector('[data-replay=moment]').dataset.ready")
    assert page.run(table) != now
    page.run("document.querySelector('[data-replay=now]').click()")
    until(page, table, lambda text: text == now)
    assert_quiet(page, address)


def test_log_is_filtered_and_taken_away(page: Browser, seeded: Callable[..., str]) -> None:
    """A filter narrows the table, the sum above it and the file."""
    address = seeded()
    sign_in(page, address, PASSWORD)
    visit(page, f"{address}/trades")
    rows = "document.querySelectorAll('table.data tbody tr').length"
    assert page.run(rows) == 36
    fill(page, "#f-outcome", "loss")
    fill(page, "#f-symbol", "btcusdt")
    submit(page, "form.filters button.primary")
    lost = page.run(rows)
    assert 0 < lost < 12
    path = page.run("document.querySelector('.row a.button').getAttribute('href')")
    lines = page.run(f"fetch('{path}').then(answer => answer.text())").strip().splitlines()
    assert len(lines) == lost + 1
    assert all("BTC-USDT" in line for line in lines[1:])
    submit(page, "table.data tbody a")
    until(page, "document.querySelector('.plot.trade').dataset.ready")
    assert_quiet(page, address)


def test_risk_limit_is_changed(page: Browser, seeded: Callable[..., str]) -> None:
    """The form of a setting changes it, says so, and the new value is in force."""
    address = seeded()
    sign_in(page, address, PASSWORD)
    visit(page, f"{address}/settings")
    field = "strategy.risk.per_trade_pct"
    fill(page, f"[id='s-{field}']", "0.35")
    submit(page, f"[aria-label='Save {field}']")
    assert "config: written" in page.run("document.querySelector('.notes').textContent")
    assert page.run(f"document.querySelector(\"[id='s-{field}']\").value") == "0.35"
    assert_quiet(page, address)


def test_backtest_is_started_watched_and_looked_at(
    page: Browser, seeded: Callable[..., str]
) -> None:
    """One press starts it; progress moves by itself; the saved run shows its curve."""
    address = seeded()
    sign_in(page, address, PASSWORD)
    visit(page, f"{address}/research")
    fill(page, "#f-synthetic", "7")
    fill(page, "#f-since", "20d")
    submit(page, "form[action='/do/backtest'] button.primary")
    assert page.run("location.pathname").startswith("/jobs/")
    until(page, "document.querySelector('[data-panel=job] .badge').textContent", _is_over)
    assert "done" in page.run("document.querySelector('[data-panel=job]').textContent")
    submit(page, "[data-panel=job] a.primary")
    until(page, "document.querySelector('.plot.equity').dataset.ready", lambda text: text)
    assert "evidence" in page.run(TEXT)
    assert_quiet(page, address)


def _is_over(word: str) -> bool:
    return word != "running"


def test_dashboard_is_interactive_within_a_second(
    page: Browser, seeded: Callable[..., str]
) -> None:
    """From the request to a page that can be used, the chart's script included; and it is small."""
    address = seeded()
    sign_in(page, address, PASSWORD)
    visit(page, f"{address}/")
    timing = page.run("JSON.parse(JSON.stringify(performance.getEntriesByType('navigation')[0]))")
    sizes = page.run("performance.getEntriesByType('resource').map(e => e.encodedBodySize)")
    assert sum(sizes) + timing["encodedBodySize"] < 300_000
    interactive_ms = [timing["domInteractive"]]
    for _ in range(2):  # other tests run beside this one
        visit(page, f"{address}/")
        interactive_ms.append(
            page.run("performance.getEntriesByType('navigation')[0].domInteractive")
        )
    assert min(interactive_ms) < 1000


@contextmanager
def beating(state: Path, **changes: Any) -> Iterator[SessionStatus]:
    """The seeded session alive again, so changed: a heartbeat every half second."""
    journal = open_journal(str(state), state.parent)
    found = journal.status()
    assert found is not None
    status, is_over = replace(found, **changes), Event()

    def beat() -> None:
        own = open_journal(str(state), state.parent)
        while not is_over.wait(0.5):
            own.beat(replace(status, ts_ms=SystemClock().now_ms()))

    thread = Thread(target=beat)
    thread.start()
    try:
        yield status
    finally:
        is_over.set()
        thread.join()


def test_price_line_is_the_quote_of_a_session_else_a_dated_close(
    page: Browser, seeded: Callable[..., str], tmp_path: Path
) -> None:
    """Nobody takes the close of a bar long gone for the price of now."""
    address = seeded()
    sign_in(page, address, PASSWORD)
    line = "document.querySelector('.plot.main').dataset.price"
    assert until(page, line).startswith("CLOSE 03-15 14:00 ")
    state = tmp_path / "seeded" / "state.db"
    found = open_journal(str(state), state.parent).status()
    assert found is not None
    moved = found.quotes | {BTC: replace(found.quotes[BTC], last=30_444.5)}
    with beating(state, quotes=moved):
        until(page, line, lambda text: text == "30444.5")
        assert "30,444.5" in page.run("document.querySelector('.tiles').textContent")
    until(page, line, lambda text: text.startswith("CLOSE"))
    assert_quiet(page, address)


def test_far_levels_stand_at_the_edge_of_the_chart(
    page: Browser, seeded: Callable[..., str], tmp_path: Path
) -> None:
    """A stop at half the price does not press the candles flat."""
    address = seeded()
    sign_in(page, address, PASSWORD)
    state = tmp_path / "seeded" / "state.db"
    found = open_journal(str(state), state.parent).status()
    assert found is not None
    held = tuple(replace(position, stop=position.entry_price / 2) for position in found.positions)
    with beating(state, positions=held):
        words = until(page, "document.querySelector('.beyond').textContent", lambda t: "SL" in t)
        assert "▼ SL" in words
    assert_quiet(page, address)


def test_halt_stands_in_the_first_row_of_a_phone(
    page: Browser, seeded: Callable[..., str], tmp_path: Path
) -> None:
    """However many badges there are, it is at the top right."""
    address = seeded()
    sign_in(page, address, PASSWORD, PHONE)
    middle = "(r => (r.top + r.bottom) / 2)(document.querySelector('{}').getBoundingClientRect())"
    for changes in ({"simulated": True}, {"mode": "dry-run", "phase": "reconciling"}):
        with beating(tmp_path / "seeded" / "state.db", **changes) as status:
            badges = "document.querySelector('[data-panel=state]').textContent"
            until(page, badges, lambda text, phase=status.phase: phase in text)
            brand, halt = (page.run(middle.format(name)) for name in (".brand", ".halt button"))
            assert abs(brand - halt) < 8
            assert page.run("document.querySelector('.halt').getBoundingClientRect().right") > 360
