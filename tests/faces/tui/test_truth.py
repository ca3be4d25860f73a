"""What the screens say is true of the state there is: after a loss of it, by another clock, when a
list is empty, when a setting was taken over."""

import asyncio
from dataclasses import replace

import pytest
from textual.widgets import Input

from blofin_cli.adapters.store import open_journal
from blofin_cli.core.journal import ErrandState
from blofin_cli.faces.tui.chart import Chart
from blofin_cli.faces.tui.dashboard import event_lines, session_rows
from blofin_cli.faces.tui.page import PAGES, state_line
from blofin_cli.faces.tui.parts import Curve, Panel, Still, Table, widths_within
from blofin_cli.faces.tui.reading import Seen
from blofin_cli.faces.tui.research import comparison_lines
from blofin_cli.faces.tui.settings import LATER
from blofin_cli.faces.tui.themes import paint_named
from blofin_cli.faces.tui.trades import trade_lines
from blofin_cli.faces.tui.words import price
from blofin_cli.faces.tui.zone_map import readout
from tests.faces.seed import ACCOUNT, NOW_MS, StillClock
from tests.faces.tui.conftest import picture, settled

PAINT = paint_named("blofin-dark", is_mono=False)
HOUR = 3_600_000


def text_of(app) -> str:
    return "\n".join(picture(app))


def shown_in(app, name: str) -> str:
    return app.screen.query_one(name, Still).shown


async def look(app, pilot) -> None:
    app.look()
    await settled(pilot)


async def test_panels_are_emptied_when_the_state_is_gone(desk, tmp_path):
    """Old positions never stand under `no session has run yet`."""
    app = desk()
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        assert app.screen.query_one("#positions", Table).row_count
        for path in (tmp_path / "state").glob("state.db*"):
            path.unlink()
        await look(app, pilot)  # it says that the file has gone
        await look(app, pilot)  # and looks afresh
        assert app.status is None
        assert "no session has run yet" in text_of(app)
        assert app.screen.query_one("#positions", Table).row_count == 0
        assert app.screen.query_one("#orders", Table).row_count == 0
        assert not app.screen.query_one("#curve", Curve)._values
        for name in ("#money", "#breakers", "#feeds"):
            assert shown_in(app, name) == ""
        assert app.screen.query_one("#positions-panel", Panel)._title == "Positions"


@pytest.mark.parametrize("moved_ms", [0, 2 * HOUR, -2 * HOUR])
async def test_reconciliation_is_dated_by_the_markets_clock(desk, moved_ms):
    """A box two hours ahead or behind reconciled just as long ago."""
    app = desk()
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        result = app.seen.result
    status = result.status
    quotes = {
        name: replace(quote, ts_ms=quote.ts_ms + moved_ms) for name, quote in status.quotes.items()
    }
    moved = status.health.reconciled_ms + moved_ms
    status = replace(status, quotes=quotes, health=replace(status.health, reconciled_ms=moved))
    rows = dict(session_rows(result.model_copy(update={"status": status}), PAINT))
    assert rows["reconciled"] == "21 s ago"


@pytest.mark.parametrize("width", [60, 80, 120])
async def test_the_clock_ends_the_top_line_at_every_width(desk, width):
    """What is cut is what matters less."""
    app = desk()
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        result = app.seen.result
    status = replace(result.status, simulated=True, equity_usdt=1_234_567.0, symbols=("BTC",) * 30)
    line = state_line(Seen(result.model_copy(update={"status": status})), width, PAINT)
    assert line.plain.endswith("14:05:33Z")
    assert line.cell_len <= width


def test_events_name_their_symbol_once(sown):
    """What the engine puts before its words stands in front already."""
    known = open_journal(str(sown("plain")[0] / "state.db")).happenings(limit=1)[0]
    happening = replace(known, symbol="ETH-USDT", text="ETH-USDT: opened 1.5", next_step="")
    shown = event_lines([happening], PAINT).plain
    assert shown.endswith("ETH-USDT opened 1.5")
    assert shown.count("ETH-USDT") == 1


@pytest.mark.parametrize("number", range(1, len(PAGES) + 1))
async def test_halt_stands_in_every_footer(desk, number):
    """At 80 columns the keys that matter are not pushed out."""
    app = desk()
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press(str(number))
        await settled(pilot)
        assert "h HALT" in picture(app)[-1]
        assert "q quit" in picture(app)[-1]


def test_two_runs_fit_side_by_side_at_120_columns():
    """Half of 120 columns, less frame and scrollbar."""
    row = {"measure": "deflated_sharpe_ratio", "bt-000000000001": 1.0, "bt-000000000002": -123.4}
    lines = comparison_lines([row], PAINT).plain.splitlines()
    assert all(len(line) <= 56 for line in lines)
    assert "bt-000000000001  bt-000000000002" in lines[0]


async def test_a_dead_sessions_figures_are_marked_as_old(desk):
    """What was live an hour ago is doubted, and its age is said in 80 columns, halted or not."""
    app = desk("halted")
    app._clock = StillClock(NOW_MS + HOUR)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        shown = text_of(app)
        for words in ("stale 1 h", "uPnL +71.80?", "+84.20?", "? not known for 1 h",
                      "Positions  2, 1 h old"):  # fmt: skip
            assert words in shown, words
        assert "1 h" in shown_in(app, "#feeds")
        assert "●" not in shown
        await pilot.press("2")
        await settled(pilot)
        assert "? 1 h old" in shown_in(app, "#readout")
        assert app.screen.query_one("#chart", Chart).data.last_price is None


def test_no_figure_is_cut_by_the_edge():
    """Half a number reads as another one: it stands beyond the edge whole."""
    columns = (("Symbol", 10), (">Size", 10), (">Stop", 10), ("Id", 10))
    assert widths_within(columns, 40) == [10, 10, 10, 10]
    assert widths_within(columns, 24) == [10, 10, 14, 10]
    assert widths_within(columns, 34) == [10, 10, 10, 10]  # words may be cut


async def test_size_is_whole_in_80_columns(desk, tmp_path):
    """0.0627 never reads as 0.06."""
    app = desk()
    journal = open_journal(str(tmp_path / "state" / "state.db"))
    status = journal.status()
    first, *others = status.positions
    journal.beat(replace(status, positions=(replace(first, quantity=0.0627), *others)))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert " 0.0627 " in text_of(app)
        assert "Liq." not in text_of(app)
        for _ in range(12):
            await pilot.press("right")
        await settled(pilot)
        assert f" {price(first.liquidation_price)} " in text_of(app)


async def test_the_close_is_the_last_figure_to_go(desk):
    """A narrow title leaves out other figures whole before it cuts that one."""
    app = desk("plain", screen="map")
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        data = app.screen._data
    for width in (60, 80, 120):
        line = readout(data, (None, None), width, PAINT).plain
        assert len(line) <= width
        assert f"C{price(float(data.candles.close[-1]))}" in line


# Trades.


def test_a_trade_without_a_setting_shows_no_empty_places(sown):
    """What was opened by hand has no pattern, no regime and no zone."""
    trade = replace(sown("plain")[1].trades[0], pattern="", regime="", session="europe", zone_id="")
    shown = trade_lines(trade, PAINT).plain.splitlines()
    assert [line.split() for line in shown if line.startswith(("setting", "zone"))] == [
        ["zone", "-"],
        ["setting", "europe"],
    ]


async def test_no_trade_listed_means_no_trade_beside_the_list(desk, tmp_path):
    """The detail never belongs to a trade that the filter left out."""
    app = desk("plain", screen="trades")
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        assert "t-0" in shown_in(app, "#trade-facts")
        app.screen._filter = {"min_r": "900"}
        app.screen.load()
        await settled(pilot)
        assert app.screen.query_one("#trades", Table).row_count == 0
        assert shown_in(app, "#trade-facts") == ""
        assert "no trade" in shown_in(app, "#trade-head")
        app.screen._filter = {}
        app.screen.load()
        await settled(pilot)
        assert "t-0" in shown_in(app, "#trade-facts")
        assert app.screen.query_one("#trade-chart").display


async def test_a_filter_that_cannot_be_read_leaves_the_one_before(desk):
    """What the title says is what the list holds."""
    app = desk("plain", screen="trades")
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        await pilot.press("w")
        await settled(pilot)
        before = app.screen.query_one("#trades-panel", Panel)._title
        assert "outcome win" in before
        app.screen._filter = {"min_r": "abc"}
        app.screen.load()
        await settled(pilot)
        assert app.screen.query_one("#trades-panel", Panel)._title == before
        assert app.screen._filter == {"outcome": "win"}
        assert "stays as it was" in " ".join(str(n.message) for n in app._notifications)


async def test_export_over_a_file_says_in_words_that_it_is_kept(desk, own_home):
    """No number of the operating system's, no name of a file in between."""
    target = own_home / "out.csv"
    target.write_text("mine")
    app = desk("plain", screen="trades")
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        await pilot.press("e")
        await pilot.pause()
        app.screen.query_one(Input).value = "out.csv"
        await pilot.press("enter")
        await settled(pilot)
        told = " ".join(str(note.message) for note in app._notifications)
        assert told == "out.csv was not written: it exists, and is kept"
    assert target.read_text() == "mine"


# Settings.


async def changed(app, pilot, key: str, value: str) -> str:
    """Change one setting by keys, and what was said about it."""
    app.clear_notifications()
    table = app.screen.query_one("#settings", Table)
    table.move_cursor(row=list(table._lines).index(key))
    await pilot.press("e")
    await pilot.pause()
    app.screen.query_one(Input).value = value
    await pilot.press("enter")
    await settled(pilot)
    return " ".join(str(note.message) for note in app._notifications)


async def session_answers(journal, state: ErrandState, answer: dict[str, object]) -> None:
    """Be the session: take the next errand and answer it."""
    for _ in range(500):
        if taken := journal.take_errands(ACCOUNT, NOW_MS):
            journal.answer_errand(taken[0].id, state, answer, NOW_MS)
            return
        await asyncio.sleep(0.02)
    raise AssertionError("nothing was asked")


async def test_a_setting_taken_over_shows_as_what_the_session_runs_with(desk, tmp_path):
    """The column moves with the session's answer, and the toast says which it was."""
    app = desk("plain", screen="settings")
    key = "strategy.risk.per_trade_pct"
    journal = open_journal(str(tmp_path / "state" / "state.db"))
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        assert app.screen._lines[key].running == "0.5"
        status = journal.status()
        assert status is not None
        journal.beat(replace(status, changed={key.removeprefix("strategy."): "0.25"}))
        answering = asyncio.create_task(session_answers(journal, ErrandState.DONE, {}))
        told = await changed(app, pilot, key, "0.25")
        await answering
        assert told == f"{key} = 0.25 is saved, and the session has taken it over"
        assert app.screen._lines[key].running == "0.25"
        assert not app.screen._lines[key].differs


async def test_a_setting_refused_by_the_session_holds_at_the_next_start(desk, tmp_path):
    """The column stays, and the reason is said."""
    app = desk("plain", screen="settings")
    key = "strategy.zones.out_move_atr"
    journal = open_journal(str(tmp_path / "state" / "state.db"))
    why = {"error": {"code": "refused", "message": "a session keeps its zones"}}
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        answering = asyncio.create_task(session_answers(journal, ErrandState.FAILED, why))
        told = await changed(app, pilot, key, "1.5")
        await answering
        assert told.endswith("is saved and holds at the next start: a session keeps its zones")


async def test_a_setting_no_session_knows_holds_at_the_next_start(desk):
    """While one trades, `no session` would be untrue."""
    app = desk("plain", screen="settings")
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        key = next(k for k in app.screen._lines if not k.startswith(("strategy.", "session.")))
        assert app.screen._lines[key].running == LATER
        assert not app.screen._lines[key].differs
        assert app.screen._lines["session.approval_only"].running == "false"
        table = app.screen.query_one("#settings", Table)
        table.move_cursor(row=list(table._lines).index(key))
        await pilot.pause()
        assert "holds at the next start" in shown_in(app, "#about")


# Logs.


async def test_what_a_session_in_the_background_said_can_be_read(desk, tmp_path):
    """f goes from events to session.log to blofin.log and back."""
    app = desk("plain", screen="logs")
    (tmp_path / "state" / "session.log").write_text("first words\nthe box has a time of its own\n")
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        assert "session started" in shown_in(app, "#log")
        await pilot.press("f")
        await settled(pilot)
        assert shown_in(app, "#log") == "the box has a time of its own\nfirst words"
        assert app.screen.query_one("#log-panel", Panel)._title == "session.log, newest first"
        await pilot.press("f")
        await settled(pilot)
        assert "it is empty: no defect" in shown_in(app, "#log")
        await pilot.press("f")
        await settled(pilot)
        assert "session started" in shown_in(app, "#log")
