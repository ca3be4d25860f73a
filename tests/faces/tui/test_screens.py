"""The dashboard used by keys, over a real state file."""

import asyncio
import threading
from pathlib import Path

import pytest
from textual.widgets import Input

from blofin_cli.adapters.store import open_journal
from blofin_cli.core.journal import ProposalState
from blofin_cli.faces.tui.gestures import HALT_SECONDS, HaltQuestion, TypeIn
from blofin_cli.faces.tui.page import PAGES
from blofin_cli.faces.tui.parts import Still, Table, row_line
from blofin_cli.faces.tui.research import backtest_arguments
from blofin_cli.faces.tui.trades import export
from blofin_cli.faces.tui.words import cell, plain, right
from tests.faces.seed import HOSTILE, SESSION
from tests.faces.tui.conftest import picture, settled

SIZE = (120, 36)

pytestmark = pytest.mark.process  # each starts the whole application, some for several seconds


def text_of(app) -> str:
    return "\n".join(picture(app))


def journal_of(tmp_path: Path):
    return open_journal(str(tmp_path / "state" / "state.db"))


async def until(pilot, condition) -> None:
    """Wait for something another thread does."""
    for _ in range(1000):
        if condition():
            return
        await pilot.pause(0.02)
    raise AssertionError("it did not happen")


@pytest.mark.parametrize("size", [(80, 24), (200, 60)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_hostile_text_is_shown_and_not_obeyed(desk, size):
    """Escapes, markup and direction marks in every field of every screen: all of them draw."""
    app = desk("hostile")
    async with app.run_test(size=size) as pilot:
        for number in range(1, len(PAGES) + 1):
            await pilot.press(str(number))
            await settled(pilot)
            shown = text_of(app)
            assert all(mark.isprintable() for mark in shown if mark != "\n")
        await pilot.press("1")
        await settled(pilot)
        assert r"\x1b[2J" in text_of(app)
        assert "[/red]" in text_of(app)


@pytest.mark.parametrize(
    "hostile", [HOSTILE, "[/", "[link=x]", "\u202eabc", "\x9b31m", "a\nb", "\ud800", "表" * 80]
)
def test_any_text_becomes_one_printable_line(hostile):
    """Whatever stands in a field, a cell is one line of characters that mean nothing."""
    assert plain(hostile).isprintable()
    line = row_line([cell(hostile), right(hostile), cell("end")], [10, 10, 5])
    assert line.cell_len == 25
    assert line.plain.isprintable()


async def test_screens_are_reached_by_number(desk):
    """1 to 7, and back."""
    app = desk()
    async with app.run_test(size=SIZE) as pilot:
        for number in (4, 7, 1):
            await pilot.press(str(number))
            await pilot.pause()
            assert app.current_mode == PAGES[number - 1][0]


async def test_halt_is_one_key_and_the_question_never_blocks_it(desk, tmp_path):
    """Nobody answers: trading halts all the same."""
    app = desk()
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press("h")
        await pilot.pause()
        assert isinstance(app.screen, HaltQuestion)
        await until(pilot, lambda: journal_of(tmp_path).halted() is not None)


async def test_halt_can_be_taken_back_and_hurried(desk, tmp_path):
    """Escape keeps trading; a second h halts at once, long before the time is up."""
    assert HALT_SECONDS >= 2
    app = desk()
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press("h", "escape")
        await settled(pilot)
        assert journal_of(tmp_path).halted() is None
        await pilot.press("h", "h")
        await until(pilot, lambda: journal_of(tmp_path).halted() is not None)
        halt = journal_of(tmp_path).halted()
        assert halt is not None
        assert halt.face == "tui"


async def test_halt_works_while_somebody_types(desk, tmp_path):
    """F8 halts from a dialog, where h is a letter."""
    app = desk("plain", screen="logs")
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press("slash", "h")
        await pilot.pause()
        assert app.screen.query_one(Input).value == "h"
        await pilot.press("f8", "f8")
        await until(pilot, lambda: journal_of(tmp_path).halted() is not None)


@pytest.mark.parametrize(("typed", "is_done"), [("resum", False), ("resume", True)])
async def test_resume_wants_the_persons_word(desk, tmp_path, typed, is_done):
    """The gate asks and the dashboard only carries the answer."""
    app = desk("halted")
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        app.action_resume()
        await until(pilot, lambda: isinstance(app.screen, TypeIn))
        await pilot.press(*typed, "enter")
        if is_done:
            await until(pilot, lambda: journal_of(tmp_path).halted() is None)
        else:
            await pilot.press("escape")
            await settled(pilot)
            assert journal_of(tmp_path).halted() is not None


async def test_closing_wants_a_typed_word(desk, tmp_path):
    """Enter alone, or another word, sends nothing."""
    app = desk()
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, TypeIn))
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.screen, TypeIn)
        await pilot.press("escape")
        await settled(pilot)
        assert not journal_of(tmp_path).audit()


async def test_reject_is_one_key(desk, tmp_path):
    """No to a proposal needs no confirmation, and is final."""
    app = desk("plain", screen="signals")
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        chosen = app.screen.query_one("#proposals", Table).current
        await pilot.press("x")
        await until(
            pilot,
            lambda: any(
                item.state is ProposalState.REJECTED and item.id == chosen
                for item in journal_of(tmp_path).proposals(open_only=False)
            ),
        )


async def test_pause_is_one_key(desk, tmp_path):
    """No entries, no question."""
    app = desk()
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press("p")
        await until(pilot, lambda: "*" in {p.symbol for p in journal_of(tmp_path).pauses()})


async def test_replay_shows_what_was_known_and_nothing_later(desk):
    """At a past moment: candles closed by then, zones known then, the decision of that bar."""
    app = desk("plain", screen="map")
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        live = app.screen._data
        await pilot.press("r", "less_than_sign")
        await settled(pilot)
        then = app.screen._data
        assert then.at_ms is not None
        assert int(then.candles.close_ts[-1]) == then.at_ms < int(live.candles.close_ts[-1])
        assert then.decision.bar_ms <= then.at_ms
        assert all(zone.born_ms <= then.at_ms for zone in then.zones)
        assert "REPLAY" in text_of(app)
        await pilot.press("escape")
        await settled(pilot)
        assert app.screen._data.at_ms is None


async def test_go_to_a_time_of_day(desk):
    """`g` and 12:30: what did the bot know at 12:30."""
    app = desk("plain", screen="map")
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press("g", *"12:30", "enter")
        await settled(pilot)
        assert "REPLAY 2024-03-15 12:30" in text_of(app)


async def test_map_pans_zooms_and_points(desk):
    """Older, newer, more, fewer; the crosshair reads the candle under it."""
    app = desk("plain", screen="map")
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        chart = app.screen.query_one("#chart")
        before = chart.view
        await pilot.press("left", "left")
        assert chart.view.end < before.end
        await pilot.press("end", "plus")
        assert chart.view.end == before.end
        assert chart.view.slot > before.slot
        await pilot.press("c", "left", "up")
        bar, at_price = chart.pointed
        assert bar == before.end - 2
        assert at_price is not None
        assert "+ " in app.screen.query_one("#readout", Still).shown
        await pilot.press("right_square_bracket")
        await settled(pilot)
        assert app.screen.timeframe == "1h"


async def test_trades_are_filtered_by_the_command(desk):
    """w goes through all, wins, losses."""
    app = desk("plain", screen="trades")
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        table = app.screen.query_one("#trades", Table)
        everything = table.row_count
        await pilot.press("w")
        await settled(pilot)
        wins = table.row_count
        await pilot.press("w")
        await settled(pilot)
        assert wins + table.row_count == everything
        assert 0 < wins < everything


async def test_export_writes_whole_files_and_never_over_one(desk, tmp_path):
    """CSV by its name; what is there stays."""
    app = desk("plain", screen="trades")
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        result = app.screen._result
    target = tmp_path / "trades.csv"
    export(result, str(target))
    lines = target.read_text().splitlines()
    assert len(lines) == 1 + len(result.trades)
    with pytest.raises(FileExistsError):
        export(result, str(target))
    with pytest.raises(ValueError, match="must end"):
        export(result, str(tmp_path / "trades.exe"))
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


async def test_setting_is_saved_and_what_is_wrong_is_refused(desk, own_home):
    """An edit goes through `config set`: out of range changes nothing, in range is on disk."""
    app = desk("plain", screen="settings")
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        chosen = app.screen.query_one("#settings", Table).current
        assert chosen == "strategy.risk.per_trade_pct"
        await pilot.press("e")
        await pilot.pause()
        app.screen.query_one(Input).value = "99"
        await pilot.press("enter")
        await settled(pilot)
        assert not list(own_home.rglob("blofin.toml"))
        await pilot.press("e")
        await pilot.pause()
        app.screen.query_one(Input).value = "0.25"
        await pilot.press("enter")
        await until(pilot, lambda: list(own_home.rglob("blofin.toml")))
        assert "0.25" in next(own_home.rglob("blofin.toml")).read_text()


async def test_reading_never_waits_for_a_chart(desk):
    """A slow reader holds up neither the heartbeat nor a halt: each has a thread of its own."""
    app = desk()
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        gate = threading.Event()
        slow = asyncio.create_task(app.slow.read(lambda context: gate.wait(4)))
        before = len(app.timings_ms)
        app.look()
        await until(pilot, lambda: len(app.timings_ms) > before)
        gate.set()
        await slow


async def test_unreadable_state_is_said_and_recovered_from(desk, tmp_path):
    """A damaged file is a line on the screen; when it is back, so are the figures."""
    app = desk()
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        state = tmp_path / "state" / "state.db"
        for path in state.parent.glob("state.db*"):
            path.rename(path.with_name("away-" + path.name))
        state.write_bytes(b"no database at all, sorry" * 10)
        app.look()
        await until(pilot, lambda: app.seen.error)
        await pilot.pause()
        assert "STATE UNREADABLE" in text_of(app)
        state.unlink()
        for path in state.parent.glob("away-*"):
            path.rename(path.with_name(path.name.removeprefix("away-")))
        app.look()
        await until(pilot, lambda: not app.seen.error)
        assert app.status is not None
        assert app.status.session_id == SESSION


async def test_empty_state_says_what_to_do(desk, tmp_path):
    """No session has run: every screen draws, none fails."""
    app = desk()
    app._state_override = str(tmp_path / "none" / "state.db")
    async with app.run_test(size=(80, 24)) as pilot:
        for number in range(1, len(PAGES) + 1):
            await pilot.press(str(number))
            await settled(pilot)
        assert "no session has run yet" in text_of(app)


async def test_backtest_is_started_from_a_form_and_listed(desk):
    """n, a synthetic market, Enter: the run is kept and stands first in the list."""
    app = desk("plain", screen="research")
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        before = app.screen.query_one("#runs", Table).row_count
        await pilot.press("n")
        await pilot.pause()
        assert app.focused is not None
        assert app.focused.id == "field-symbol"
        for name, value in (("symbol", "BTC-USDT"), ("since", "5d"), ("synthetic", "7")):
            app.screen.query_one(f"#field-{name}", Input).value = value
        await pilot.press("enter")
        await pilot.app.workers.wait_for_complete()
        await settled(pilot)
        assert app.screen.query_one("#runs", Table).row_count == before + 1


def test_form_of_a_backtest_becomes_the_commands_arguments():
    """Words become lists where the command takes several."""
    answers = {"symbol": "BTC-USDT ETH-USDT", "since": "90d", "set": "target.rr=3"}
    assert backtest_arguments(answers) == {
        "save": True,
        "symbol": ["BTC-USDT", "ETH-USDT"],
        "since": "90d",
        "set": ["target.rr=3"],
    }
