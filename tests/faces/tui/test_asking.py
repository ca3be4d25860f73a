"""Questions put to the person say what they are about, and one answer is enough."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import HelpPanel, Input

from blofin_cli.adapters.store import open_journal
from blofin_cli.core.journal import Proposal
from blofin_cli.core.tickets import plan_of
from blofin_cli.faces.tui.dashboard import ORDERS, order_row, order_words
from blofin_cli.faces.tui.gestures import TypeIn
from blofin_cli.faces.tui.parts import Table, row_line
from blofin_cli.faces.tui.signals import PROPOSALS, approval, plan_rows, proposal_row
from blofin_cli.faces.tui.starting import session_matter
from blofin_cli.faces.tui.themes import paint_named
from blofin_cli.faces.tui.words import right
from blofin_cli.faces.tui.zone_map import ZoneMap
from tests.faces.seed import HOUR, NOW_MS, StillClock, bracket
from tests.faces.tui.conftest import picture, settled

SMALL = (80, 24)
PAINT = paint_named("blofin-dark", is_mono=False)


def journal_of(tmp_path: Path):
    return open_journal(str(tmp_path / "state" / "state.db"))


def text_of(app) -> str:
    return "\n".join(picture(app))


async def until(pilot, condition: Callable[[], object]) -> None:
    """Wait for something another thread does."""
    for _ in range(500):
        if condition():
            return
        await pilot.pause(0.02)
    raise AssertionError("it did not happen")


def proposed(sown, **changes) -> Proposal:
    """A proposal whose hash is that of its plan, as a session makes it."""
    seeded = sown("plain")[1].proposals[0]
    plan = replace(plan_of(seeded.plan), **changes)
    return replace(seeded, id=plan.hash[:6], plan_hash=plan.hash, plan=plan.record())


def test_columns_keep_a_gap_however_long_their_figures():
    """A figure as wide as its column is cut rather than joined to the one before it."""
    cells = [right("40000"), right("3.13200996"), right("1")]
    assert row_line(cells, [10, 8, 4]).plain == "     40000 3.1320…   1"


def test_a_proposal_is_shown_in_rounded_figures(sown):
    """Prices and risk read as elsewhere, and never run together."""
    made = sown("plain")[1].proposals[0]
    plan = made.plan | {"target": "40000", "risk_usdt": "3.13200996", "stop": None}
    key, cells = proposal_row(replace(made, plan=plan), NOW_MS)
    assert key == made.id
    line = row_line(cells, [width for _, width in PROPOSALS]).plain
    assert "40,000.0    3.13 " in line


def test_a_plan_that_cannot_be_read_says_so(sown):
    """What nobody can place is shown as that, not as a crash."""
    made = sown("plain")[1].proposals[0]
    broken = replace(made, plan={"symbol": "BTC-USDT", "size": "many"})
    assert "cannot be read" in str(plan_rows(broken))


async def test_approving_names_the_plan_and_asks_once(desk, sown, tmp_path):
    """At 80x24 everything that matters can be read beside the word; no toast repeats it."""
    app = desk("plain", screen="signals")
    made = proposed(sown)
    journal_of(tmp_path).propose(made)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        table = app.screen.query_one("#proposals", Table)
        table.move_cursor(row=list(table._lines).index(made.id))
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, TypeIn))
        await pilot.pause()
        shown = text_of(app)
        for words in (
            f"Approve {made.id}: {made.plan['side']} 1.5 {made.plan['symbol']}?",
            "stop, target", "worst case", "-52.41 USDT", "1.5 base units", "why asked",
            "Type approve",
        ):  # fmt: skip
            assert words in shown, words
        await pilot.press(*"approve", "enter")
        await settled(pilot)
        assert not isinstance(app.screen, TypeIn)
        told = " ".join(str(note.message) for note in app._notifications)
        assert "worst case" not in told, told
        assert "refused by correlated risk" in told  # agreed to, and stopped by its closed gate


def test_a_live_proposal_says_that_it_is_real_money(sown):
    """The first line of the question."""
    made = sown("plain")[1].proposals[0]
    lines = approval(replace(made, plan=made.plan | {"mode": "live"})).lines
    assert lines[0] == "REAL MONEY: live at blofin"


async def test_a_passphrase_is_asked_beside_the_plan_and_typed_unseen(desk):
    """With a mandate the passphrase is the gesture; what it agrees to stands above it."""
    app = desk()
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        app.push_screen(TypeIn("Approve 7f3a21?", about=["worst case -1"], secret="passphrase"))
        await pilot.pause()
        assert app.screen.query_one(Input).password
        assert "worst case -1" in text_of(app)
        await pilot.press("escape")


async def test_a_long_plan_is_read_on_with_the_arrows(desk):
    """What does not fit is a key away, and the input stays in sight."""
    app = desk()
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        app.push_screen(TypeIn("Long?", about=[f"line {n}" for n in range(30)], word="yes"))
        await pilot.pause()
        assert "line 29" not in text_of(app)
        for _ in range(12):
            await pilot.press("down")
        await pilot.pause()
        assert "line 29" in text_of(app)
        assert "Type yes" in text_of(app)
        await pilot.press("escape")


async def test_cancelling_a_stop_names_the_order_and_what_it_protects(desk):
    """The gate's own text follows what it is about."""
    app = desk()
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        app.screen.query_one("#orders", Table).focus()
        await pilot.press("k")
        await until(pilot, lambda: isinstance(app.screen, TypeIn))
        await pilot.pause()
        shown = text_of(app)
        for words in (
            "Cancel the stop of BTC-USDT?", "demo at blofin", "sell 0.12 BTC-USDT, stop 29,5",
            "order 100000", "It protects long 0.12", "remove protection", "Type cancel",
        ):  # fmt: skip
            assert words in shown, words
        await pilot.press("escape")
        await settled(pilot)


def test_a_bracket_shows_both_its_prices_and_both_go():
    """The stop never stands under the target's price."""
    line = row_line(order_row(bracket(), PAINT)[1], [width for _, width in ORDERS]).plain
    assert "stop 36,000.0, target 38,500.0" in line
    words = order_words(bracket(), None)
    assert words[1] == "stop 36,000.0 and target 38,500.0 both go"


async def test_p_unpauses_what_p_paused_after_a_word(desk, tmp_path):
    """The footer names what the key does, and entries come back by a person's word alone."""
    app = desk()
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        assert "p pause" in picture(app)[-1]
        await pilot.press("p")
        await settled(pilot)
        assert app.is_paused
        assert "p unpause" in picture(app)[-1]
        assert "p lets them through" in " ".join(str(n.message) for n in app._notifications)
        await pilot.press("p")
        await until(pilot, lambda: isinstance(app.screen, TypeIn))
        await pilot.press(*"unpause", "enter")
        await settled(pilot)
        assert not app.is_paused
        assert [item.symbol for item in journal_of(tmp_path).pauses()] == ["SOL-USDT"]
        assert "p pause" in picture(app)[-1]


async def test_closing_says_how_old_its_profit_is(desk):
    """A session that died an hour ago leaves figures of an hour ago."""
    app = desk()
    app._clock = StillClock(NOW_MS + HOUR)
    async with app.run_test(size=SMALL) as pilot:
        await settled(pilot)
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, TypeIn))
        await pilot.pause()
        assert "uPnL as of 1 h ago" in text_of(app)
        await pilot.press("escape")


@pytest.mark.parametrize(
    ("mode", "word", "said"),
    [("demo", "run", "demo at sim"), ("live", "live", "REAL MONEY: live at sim")],
)
def test_starting_a_session_names_it_and_live_wants_its_own_word(mode, word, said):
    """Mode, exchange, symbols; what may lose real money says so."""
    answers = {"symbol": "BTC-USDT ETH-USDT", "mode": mode, "exchange": "sim", "timeframe": "15m"}
    matter = session_matter(answers)
    assert matter.word == word
    assert said in matter.lines
    assert "symbols BTC-USDT ETH-USDT" in matter.lines
    assert ("REAL MONEY" in matter.name) == (mode == "live")


async def test_keys_are_shown_and_hidden_by_the_same_key_and_by_escape(desk):
    """`?` toggles; Escape closes the panel first, then belongs to the screen again."""
    app = desk("plain", screen="map")
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot)
        palette = ("ctrl+p", *"Keys", "down", "enter")
        for closing in (("question_mark",), ("escape",), palette):
            await pilot.press("question_mark")
            await pilot.pause()
            assert app.screen.query(HelpPanel)
            commands = app.get_system_commands(app.screen)
            assert "Hide" in next(item.help for item in commands if item.title == "Keys")
            for key in closing:
                await pilot.press(key)
                await pilot.pause(0.2 if len(closing) > 1 else None)
            await until(pilot, lambda: not app.screen.query(HelpPanel))
            assert isinstance(app.screen, ZoneMap)
        await pilot.press("r")
        await settled(pilot)
        await pilot.press("escape")
        await settled(pilot)
        assert app.screen._data.at_ms is None
