"""Each fault of the catalogue happens once, by itself, to the product's session at its ports.

What is a matter of bytes (F04, F05, F10, F65 and the like) is proven again where the bytes are, in
`tests/adapters/exchanges/blofin`; here it is what the session makes of the port's answer.
"""

from decimal import Decimal

import pytest

from blofin_cli.core.journal import IntentState, Purpose
from tests.storm.stage import BTC, ETH, Stage, play

pytestmark = [pytest.mark.process, pytest.mark.filterwarnings("ignore")]
D = Decimal


async def nothing(stage: Stage) -> None:
    """Nothing happens."""


def entries(stage: Stage) -> list:
    """Entry intents, oldest first."""
    return sorted(
        (i for i in stage.intents if i.purpose is Purpose.ENTRY), key=lambda i: i.created_ms
    )


# Submitting and sizing.


@pytest.mark.parametrize("fate", ["answer", "late"])
def test_f01_lost_answer_leads_to_one_order(fate):
    """The order was taken, nobody heard: it is found, booked, and never sent again."""

    async def story(stage):
        stage.nemesis.force("place", fate)
        stage.chance("look_up_in_vain", 1.0)
        await stage.until(75.0)
        stage.chance("look_up_in_vain", 0.0)

    stage = play(story)
    assert len(stage.sent("place")) == 1
    assert entries(stage)[0].state is IntentState.DONE
    assert stage.held() > 0


def test_f02_lost_request_ends_only_after_repeated_misses():
    """The order never arrived: its risk stays reserved until it was not found for long."""

    async def story(stage):
        stage.nemesis.force("place", "request")
        await stage.until(100.0)
        assert [i.state for i in stage.reader.open_intents("sim-demo")] == [IntentState.UNKNOWN]

    stage = play(story, last_s=260.0)
    assert entries(stage)[0].state is IntentState.VOID
    assert stage.held() == 0
    assert len(stage.sent("place")) == 1


@pytest.mark.parametrize("fate", ["5xx", "html"])
def test_f03_internal_error_is_unknown_not_refused(fate):
    """A 5xx after the order was taken leaves it unknown until it is found."""

    async def story(stage):
        stage.nemesis.force("place", fate)
        stage.chance("look_up_in_vain", 1.0)
        await stage.until(66.0)
        states = {i.state for i in stage.reader.intents("sim-demo") if i.purpose == "entry"}
        assert IntentState.REFUSED not in states

    stage = play(story)
    assert stage.held() > 0
    assert entries(stage)[0].state is IntentState.DONE


def test_f04_refusal_inside_success_is_a_refusal():
    """What the port calls REFUSED ends the intent, opens nothing and reserves nothing.

    The two levels of an answer: `test_rest_faults.py::test_refusal_is_a_refusal`,
    `::test_batch_is_judged_part_by_part`.
    """

    async def story(stage):
        stage.nemesis.force("place", "refused:103003")

    stage = play(story)
    assert entries(stage)[0].state is IntentState.REFUSED
    assert stage.held() == 0
    assert stage.told("rejected")


def test_f05_own_resend_is_found_not_repeated():
    """A duplicate client id leads to the order that is there already.

    On the wire: `test_rest_faults.py::test_duplicate_client_id_is_our_own_order`.
    """

    async def story(stage):
        stage.nemesis.force("place", "refused:102002")

    stage = play(story)
    assert len({s.client_id for s in stage.sent("place")}) == 1


def test_f06_invisible_order_is_not_declared_dead():
    """An acknowledged order that no query finds for two minutes keeps its risk."""

    async def story(stage):
        await stage.until(61.0)
        for order_id in stage.world.venue.orders.known:
            stage.world.hidden[order_id] = 185.0
        await stage.until(150.0)
        assert stage.reader.open_intents("sim-demo")

    stage = play(story, "limit every", last_s=200.0)
    assert entries(stage)[0].state is not IntentState.VOID


def test_f07_partial_fill_is_protected_by_its_size():
    """Half of a market entry fills; the stop has the size of what is held."""

    async def story(stage):
        stage.chance("partial_fill", 1.0)

    stage = play(story)
    assert stage.held() > 0
    assert sum(stage.stops()) == stage.held()


def test_f08_fill_during_a_cancel_is_booked():
    """A resting entry fills while its cancel is on the way; both are in the books."""

    async def story(stage):
        stage.chance("cancel_race", 1.0)
        await stage.until(62.0)
        stage.people.halt(1e9)

    stage = play(story, "limit")
    assert not stage.world.venue.orders.open
    assert stage.held() > 0
    assert sum(stage.stops()) >= stage.held()


def test_f09_size_below_a_lot_opens_nothing():
    """An account too small for one lot is told so; nothing is rounded up."""

    async def story(stage):
        stage.world.venue.account.balance = D("0.05")

    stage = play(story)
    assert not stage.sent("place")


def test_f10_prices_and_sizes_lie_on_the_grid():
    """A contract of 1,000 units at 1e-7 ticks trades without exponent or remainder.

    I19 judges each field; on the wire: `test_wire_calls.py::test_price_between_ticks_is_refused`.
    """
    stage = play(nothing, symbols=3)
    request = stage.accepted("place", "MEM-USDT")[0].request
    for value in (request.size, request.stop, request.target):
        assert "E" not in f"{value:f}"
        assert value.is_finite()


def test_f11_contracts_are_not_base_units():
    """What is held at the exchange times its contract value is what the plan said."""
    stage = play(nothing, symbols=3)
    for symbol in stage.world.symbols:
        intent = next(i for i in entries(stage) if i.symbol == symbol)
        value = stage.world.terms(symbol).contract_value
        assert stage.held(symbol) * value == intent.size
        assert intent.notional_usdt < 35_000


@pytest.mark.parametrize("seconds", [5, 15, 60])
def test_f12_old_signal_is_not_acted_on(seconds):
    """After a wait for the connection data, price and halt are read again; old ones are refused."""

    async def story(stage):
        stage.nemesis.force("place", f"wait:{seconds}")

    stage = play(story, last_s=200.0)
    assert bool(stage.sent("place")) is (seconds < 10)


def test_f13_close_never_adds():
    """Closing twice at once ends flat, not short."""

    async def story(stage):
        await stage.until(70.0)
        for _ in range(2):
            stage.people.errand("close", {"symbol": BTC, "fraction": "1"})

    stage = play(story)
    assert stage.held() == 0


def test_f14_leverage_that_does_not_stick_blocks_the_entry():
    """Set-leverage says yes and keeps the old value: nothing opens."""

    async def story(stage):
        stage.chance("ignored_leverage", 1.0)

    stage = play(story)
    assert stage.sent("set_leverage")
    assert not stage.sent("place")


def test_f15_hedge_mode_blocks_entries():
    """Where one position a symbol is expected and the mode cannot be set, nothing opens."""

    async def story(stage):
        stage.world.venue.set_position_mode("long_short_mode")
        stage.nemesis.force("set_position_mode", *["refused:110019"] * 50)

    stage = play(story)
    assert not stage.accepted("place")


def test_f16_nan_never_reaches_an_order():
    """A strategy that says NaN fails for its symbol; the session goes on."""

    async def story(stage):
        stage.bad_signals.append("nan")

    stage = play(story, "market every", last_s=260.0)
    assert "NaN" in " ".join(stage.told("session"))
    assert stage.accepted("place")


def test_f17_signals_of_one_instant_share_one_room():
    """Two symbols signal in the same bar where one position is allowed: one opens."""
    stage = play(nothing, symbols=2, positions_max=1)
    assert len([s for s in stage.world.log if s.name == "place"]) == 1


def test_f18_dry_run_has_no_port_that_sends():
    """A dry run is built from public data alone; see `tests/app/test_order_commands.py` too."""
    from blofin_cli.ports import MarketData

    assert not {"place", "protect", "cancel", "reduce"} & set(dir(MarketData))


# Stops, targets, closing.


@pytest.mark.parametrize("faults", [("dropped_stop",), ("dropped_target",),
                                    ("dropped_stop", "dropped_target")])  # fmt: skip
def test_f19_missing_stop_is_placed(faults):
    """What was attached and is not there is put there."""

    async def story(stage):
        for name in faults:
            stage.chance(name, 1.0)

    stage = play(story)
    assert sum(stage.stops()) >= stage.held() > 0
    live = stage.world.venue.triggers.tpsl_live.values()
    assert any(row.protection.tp_trigger for row in live)
    assert stage.naked.longest_s < 5.0


def test_f20_stop_that_the_price_has_passed_closes_at_market():
    """The price gaps through a stop that is missing: out."""

    async def story(stage):
        stage.chance("dropped_stop", 1.0)
        await stage.until(60.6)
        stage.chance("stop_refused", 1.0)
        stage.move(-0.015)

    stage = play(story)
    assert stage.held() == 0
    assert stage.naked.longest_s < 15.0


def test_f21_stop_that_cannot_be_placed_closes_before_the_deadline():
    """Every stop is answered by 500 while reads work: the position goes."""

    async def story(stage):
        stage.chance("dropped_stop", 1.0)
        stage.nemesis.force("protect", *["5xx"] * 40)
        stage.chance("look_up_in_vain", 1.0)
        await stage.until(62.0)
        stage.chance("stop_refused", 1.0)

    stage = play(story)
    assert stage.held() == 0 or sum(stage.stops()) >= stage.held()
    assert stage.naked.longest_s < 15.0


def test_f22_whole_position_stop_of_somebody_else_is_no_obstacle():
    """A person has put a stop on the whole position; ours are still of its size or it stays."""

    async def story(stage):
        await stage.until(70.0)
        stage.people.do("external_whole_stop")

    stage = play(story)
    assert stage.stops()


@pytest.mark.parametrize("kill_s", [0.0, 0.5, 1.0, 2.0])
def test_f23_kill_while_a_stop_is_replaced_leaves_one(kill_s):
    """Half the position is closed, so the stop is made anew; the process dies meanwhile."""

    async def story(stage):
        await stage.until(70.0)
        stage.people.errand("close", {"symbol": BTC, "fraction": "0.5"})
        await stage.until(72.3 + kill_s)
        stage.kill()

    stage = play(story)
    assert sum(stage.stops()) == stage.held()


def test_f24_no_stop_without_a_position():
    """The position is closed by somebody while its stop is being replaced."""

    async def story(stage):
        await stage.until(70.0)
        stage.people.do("external_reduce")
        await stage.until(72.0)
        stage.people.do("external_close")

    stage = play(story)
    assert stage.held() == 0
    assert not stage.world.venue.triggers.tpsl_live


def test_f25_orphans_are_cancelled():
    """After a manual close neither stop nor target is left."""

    async def story(stage):
        await stage.until(70.0)
        stage.people.do("external_close")

    stage = play(story)
    assert not stage.world.venue.triggers.tpsl_live


def test_f26_halved_position_is_not_flipped_by_its_target():
    """Somebody halves the position under a full-size bracket; the price runs to the target."""

    async def story(stage):
        await stage.until(70.0)
        stage.people.do("external_reduce")
        stage.move(0.025)

    stage = play(story)
    assert stage.held() == 0


def test_f27_refused_close_is_tried_another_way():
    """Close-position is refused while a target reserves the size; a reduce-only order closes."""

    async def story(stage):
        stage.chance("close_refused", 1.0)
        await stage.until(70.0)
        stage.people.errand("close", {"symbol": BTC, "fraction": "1"})

    stage = play(story)
    assert stage.held() == 0
    assert stage.accepted("reduce")


def test_f28_stop_beyond_liquidation_is_refused():
    """Leverage is chosen so that the stop lies inside liquidation by a margin."""
    stage = play(nothing)
    position = stage.world.position(BTC)
    liquidation = stage.world.venue.account.health(position).liquidation
    stop = stage.accepted("place")[0].request.stop
    assert liquidation is None or liquidation < stop - (position.entry - stop)


def test_f29_stop_removed_by_somebody_is_put_back():
    """Another client cancels the stop; another stands within the deadline."""

    async def story(stage):
        await stage.until(70.0)
        stage.people.do("external_cancel_stop")

    stage = play(story)
    assert sum(stage.stops()) >= stage.held() > 0
    assert stage.naked.longest_s < 15.0


def test_f30_liquidation_is_seen_and_booked():
    """A spike takes the position while the private stream is down."""

    async def story(stage):
        await stage.until(70.0)
        for row in list(stage.world.venue.triggers.tpsl_live.values()):
            stage.world.venue.triggers.cancel(row)
        stage.window("private_down", 30.0)
        stage.break_streams(is_private=True)
        for _ in range(8):
            stage.move(-0.12)

    stage = play(story, last_s=200.0)
    assert stage.held() == 0
    assert stage.world.counts["fill"] == len(stage.books.booked)


def test_f31_stop_filled_unheard_is_noticed():
    """The stop fills and no message ever tells of it."""

    async def story(stage):
        await stage.until(65.0)
        stage.window("deaf", 300.0)
        stage.move(-0.02)
        await stage.until(110.0)
        assert not stage.books.status().positions

    stage = play(story)
    assert stage.held() == 0


@pytest.mark.parametrize("factor", [0.1, 10.0, 1000.0])
def test_f32_nonsense_tick_moves_nothing(factor):
    """One tick that no market ever had neither opens nor closes."""

    async def story(stage):
        await stage.until(70.0)
        for stream in stage.world.streams:
            stream.nonsense(BTC, factor)

    stage = play(story)
    assert stage.held() > 0
    assert not stage.sent("close")


def test_f32_real_crash_is_believed():
    """A fall of 30 % that repeats itself is the market."""

    async def story(stage):
        await stage.until(70.0)
        for _ in range(4):
            stage.move(-0.09)

    stage = play(story)
    assert stage.held() == 0


# Market data.


@pytest.mark.parametrize("name", ["stall", "public_down", "frozen_time"])
def test_f33_f34_f35_nothing_opens_on_old_data(name):
    """F33 silence, F34 standing times, F35 a cut line: no entry on data older than the limit.

    Pings: `test_stream.py::test_idle_line_pings_and_a_dead_one_is_replaced`.
    """

    async def story(stage):
        await stage.until(44.0)
        stage.window(name, 100.0)
        if name == "public_down":
            stage.break_streams(is_private=False)

    stage = play(story, "market every", last_s=140.0)
    assert not stage.sent("place")


def test_f36_refused_subscription_is_asked_again():
    """A topic that is not served at first is served in the end; nothing is traded before.

    On the wire: `test_stream.py::test_refused_topic_leaves_the_others_alone`.
    """

    async def story(stage):
        stage.window("subscribe_refused", 80.0)

    stage = play(story, "market every", last_s=220.0)
    assert stage.told("gap")
    assert stage.accepted("place")
    assert stage.accepted("place")[0].at_ms - 1_767_252_900_000 > 80_000


@pytest.mark.parametrize("name", ["repeated_candle", "old_candle", "lost_candle"])
def test_f37_f38_f39_each_finished_bar_is_one_step(name):
    """F37 unfinished, F38 double and old, F39 missing bars: I14 watches order and completeness."""

    async def story(stage):
        stage.chance(name, 1.0)

    stage = play(story, "none", last_s=400.0)
    assert stage.steps.count >= 5


def test_f40_merged_messages_lead_to_the_same_state():
    """Where two updates came there is one: state follows fields, not counts."""

    async def story(stage):
        stage.chance("merged", 1.0)

    stage = play(story)
    assert stage.held() > 0
    assert entries(stage)[0].state is IntentState.DONE


def test_f41_burst_is_absorbed():
    """Ten thousand messages in an instant; the newest are kept and account news is not lost."""

    async def story(stage):
        await stage.until(60.3)
        for _ in range(10_000):
            for stream in stage.world.streams:
                stream.on_print(BTC, stage.world.walks[BTC], frozen=False)

    stage = play(story)
    assert stage.held() > 0


# The account stream and reconciliation.


def test_f42_without_the_private_stream_nothing_opens():
    """A login that fails is not 'connected'; protection is by question meanwhile.

    On the wire: `test_stream.py::test_failed_login_is_not_connected`.
    """

    async def story(stage):
        stage.window("private_down", 100.0)

    stage = play(story, last_s=95.0)
    assert not stage.sent("place")
    assert len(stage.sent("positions", "")) > 8


@pytest.mark.parametrize("script", ["limit", "trigger"])
def test_f43_fills_missed_while_disconnected_are_booked(script):
    """A resting entry fills during an outage; it is booked and protected after it."""

    async def story(stage):
        await stage.until(62.0)
        stage.window("private_down", 30.0)
        stage.break_streams(is_private=True)
        stage.move(-0.004 if script == "limit" else 0.004)

    stage = play(story, script)
    assert stage.held() > 0
    assert sum(stage.stops()) >= stage.held()


def test_f44_fill_told_twice_is_booked_once():
    """Every message comes twice, across a restart too."""

    async def story(stage):
        stage.chance("duplicate", 1.0)
        await stage.until(61.0)
        stage.kill()

    stage = play(story)
    assert len(stage.books.booked) == stage.world.counts["fill"]


@pytest.mark.parametrize("late", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("reorder", [0.0, 0.5, 0.9])
def test_f45_any_order_of_messages_ends_alike(late, reorder):
    """Acknowledgement, fill and position come in any order."""

    async def story(stage):
        stage.chance("push_delay", late)
        stage.chance("reorder", reorder)

    stage = play(story)
    assert stage.held() > 0
    assert entries(stage)[0].state is IntentState.DONE
    assert sum(stage.stops()) == stage.held()


@pytest.mark.parametrize("name", ["positions_fail", "orders_fail", "protections_fail"])
def test_f46_failed_query_is_not_flat(name):
    """One query fails for half a minute: the stop stays, nothing is closed, nothing opens."""

    async def story(stage):
        await stage.until(70.0)
        stage.window(name, 40.0)

    stage = play(story, "market every")
    assert len(stage.accepted("place")) == 1
    assert not stage.sent("close")
    assert sum(stage.stops()) == stage.held()


@pytest.mark.parametrize("journal", ["kept", "lost"])
def test_f47_restart_with_a_position_leaves_it(journal):
    """A start with an open position neither closes nor doubles it, with or without a journal."""

    async def story(stage):
        await stage.until(70.0)
        stage.kill()
        if journal == "lost":
            from tests.storm.storage import open_journal

            stage.path = stage.path.with_name("other.db")
            stage.reader = stage.books.reader = open_journal(str(stage.path))
            stage.orders.reader = stage.reader
            stage.world.externals.update(stage.world.venue.orders.known)
            stage.world.externals.update(stage.world.venue.triggers.tpsl)
            holding = stage.world.holdings[BTC]
            holding.others, holding.mine = holding.mine, D(0)

    stage = play(story, last_s=140.0)
    assert stage.held() > 0
    assert not stage.sent("close")


@pytest.mark.parametrize("became", ["resting", "filled", "cancelled"])
def test_f48_restart_asks_what_became_of_an_entry(became):
    """A resting entry, filled or cancelled while the program was dead: its state is asked."""

    async def story(stage):
        await stage.until(61.5)
        stage.kill()
        if became == "filled":
            stage.move(-0.004)
        elif became == "cancelled":
            stage.people.do("external_cancel_entry")

    stage = play(story, "limit", last_s=200.0)
    if became == "cancelled":
        assert stage.held() == 0
        assert not stage.world.venue.triggers.tpsl_live
    else:
        assert sum(stage.stops()) == max(D(0), stage.held())


def test_f49_ten_restarts_change_nothing():
    """Start is reconciliation; ten in a row send no write and end no intent otherwise."""

    async def story(stage):
        await stage.until(70.0)
        writes = stage._writes()
        for _ in range(10):
            stage.kill()
            await stage.until(stage.loop.now_s + 18.0)
        assert stage._writes() == writes

    stage = play(story, last_s=260.0)
    assert stage.held() > 0


@pytest.mark.parametrize("what", ["open", "enlarge", "reduce", "close", "flip"])
def test_f50_manual_trades_are_adopted_not_doubled(what):
    """Another client of the account trades: seen, counted, never closed or doubled by us."""

    async def story(stage):
        await stage.until(40.0 if what == "open" else 70.0)
        stage.people.do(f"external_{what}")

    stage = play(story, "market every", last_s=135.0)
    if what == "open":
        assert stage.told("external") or stage.told("fill")
    assert len(stage.sent("place")) <= 2


def test_f51_failed_look_ups_never_forget_an_order():
    """Ten minutes of failing look-ups, then it is found.

    On the wire: `test_rest_faults.py::test_lost_answer_with_failing_look_up_stays_unknown`.
    """

    async def story(stage):
        stage.nemesis.force("place", "answer")
        stage.chance("look_up_in_vain", 1.0)
        await stage.until(60.3)
        stage.window("lookups_fail", 400.0)
        stage.window("orders_fail", 400.0)
        stage.window("deaf", 400.0)

    stage = play(story, "limit", last_s=480.0)
    assert entries(stage)[0].state is not IntentState.VOID


# The process, its storage and its host.


def test_f52_kill_between_send_and_journal_is_healed():
    """The process dies with the order on the wire; the next one finds it. Exhaustively: kills."""

    async def story(stage):
        def at(name):
            if name == "send":
                stage.loop.call_later(0.02, stage.kill)

        hook = stage._at_point
        from blofin_cli.engine import points

        def both(name):
            hook(name)
            at(name)

        points.hook = both

    stage = play(story, last_s=200.0)
    assert len(stage.accepted("place")) <= 1
    assert stage.broken_trail is None


@pytest.mark.parametrize("name", ["storage_locked", "storage_full"])
def test_f53_f54_unwritable_journal_opens_nothing_and_protects(name):
    """F53 locked, F54 full: no entry; what is held keeps its stop; the books heal."""

    async def story(stage):
        stage.window(name, 30.0)
        await stage.until(59.0)
        stage.window(name, 15.0)
        await stage.until(130.0)
        stage.window(name, 20.0)
        stage.people.do("external_cancel_stop")

    stage = play(story, "market every", last_s=220.0)
    first = stage.accepted("place")[0].at_ms - 1_767_252_900_000
    assert first > 74_000
    assert sum(stage.stops()) >= stage.held() > 0


def test_f55_damaged_journal_starts_nothing(tmp_path):
    """A state that is no database is refused, not replaced. More: tests/adapters/store."""
    from blofin_cli.adapters.store import open_journal
    from blofin_cli.errors import DataError

    path = tmp_path / "state.db"
    path.write_text("not a database")
    with pytest.raises(DataError):
        open_journal(str(path)).open_intents("sim-demo")
    assert path.read_text() == "not a database"


def test_f56_bad_symbol_is_fenced_off():
    """One symbol's strategy always fails; the other trades, and the session lives."""

    async def story(stage):
        await stage.until(59.0)
        stage.bad_signals.append("nan")

    stage = play(story, "market every", symbols=2, last_s=200.0)
    assert stage.world.counts["lives"] <= 1
    assert stage.accepted("place", ETH) or stage.accepted("place", BTC)


def test_f57_dead_task_is_noticed_and_replaced():
    """The listener dies: entries stop for a while, it is told, and listening goes on."""

    async def story(stage):
        await stage.until(30.0)
        for stream in stage.world.streams:
            stream._outbox.fail(RuntimeError("dead"))
            stream._outbox._problem = RuntimeError("dead")
        await stage.until(31.0)
        for stream in stage.world.streams:
            stream._outbox._problem = None

    stage = play(story, "market every", last_s=240.0)
    assert any("failed" in text for text in stage.told("session"))
    assert stage.accepted("place")


@pytest.mark.parametrize("seconds", [30.0, 300.0])
def test_f58_waking_reads_everything_anew(seconds):
    """The machine sleeps over bars: they are read, none of them is traded late."""

    async def story(stage):
        await stage.until(50.0)
        stage.loop.sleep(stage.world.life, seconds)

    stage = play(story, "market every", last_s=seconds + 200.0)
    assert stage.told("gap")
    for sent in stage.sent("place"):
        assert (sent.at_ms - 1_767_252_900_000) % 60_000 < 15_000


@pytest.mark.parametrize("point", ["bar", "decide", "intent", "halt-check", "send", "ack"])
def test_f59_halt_at_each_step_of_the_order_path(point):
    """No order leaves after the halt, wherever it comes."""

    async def story(stage):
        from blofin_cli.engine import points

        hook = stage._at_point

        def strike(name):
            hook(name)
            if name == point:
                stage.people.halt(1e9)

        points.hook = strike

    stage = play(story, "market every")
    assert len(stage.sent("place")) == (1 if point == "ack" else 0)


def test_f60_unreadable_flag_counts_as_halted():
    """While nobody can read the flag nothing opens; resting entries go."""

    async def story(stage):
        await stage.until(55.0)
        stage.window("halt_unreadable", 60.0)

    stage = play(story, "market every", last_s=112.0)
    assert not stage.sent("place")


def test_f61_halt_takes_resting_entries_away():
    """Entries rest on three symbols and one cancel fails; stops stay."""

    async def story(stage):
        await stage.until(62.0)
        stage.nemesis.force("cancel", "request")
        stage.people.halt(1e9)

    stage = play(story, "limit", symbols=3)
    assert not stage.world.venue.orders.open


@pytest.mark.parametrize("seconds", [-90, -45, -10, 10, 45, 90])
def test_f62_clock_skew_blocks_beyond_the_bound(seconds):
    """Beyond 30 s nothing opens; below it trades by exchange time; above 2 s it is said."""

    async def story(stage):
        stage.world.skew_ms = seconds * 1000
        stage.window("skew", 0.0)

    stage = play(story)
    assert bool(stage.sent("place")) is (abs(seconds) < 30)
    assert stage.told("skew")


# The exchange.


def test_f63_rate_limits_are_waited_out():
    """Everything is answered 429 for a while: no storm of questions, and it recovers.

    The budget itself: `test_governor.py`.
    """

    async def story(stage):
        await stage.until(61.5)
        stage.window("suspension", 60.0)

    stage = play(story, last_s=220.0)
    assert stage.rates.most["all"] < 200
    assert sum(stage.stops()) == stage.held() > 0


def test_f64_maintenance_changes_nothing():
    """HTML and 503 for two minutes with a position open: it is there after it, with its stop."""

    async def story(stage):
        await stage.until(65.0)
        stage.window("outage", 120.0)

    stage = play(story, last_s=260.0)
    assert stage.held() == 0 or sum(stage.stops()) == stage.held()


def test_f65_answers_that_make_no_sense_are_not_used():
    """A bad answer to each question of the start: it is asked again, nothing is concluded.

    Field by field: `test_rest_faults.py::test_list_with_a_broken_row_is_refused_whole`.
    """

    async def story(stage):
        for name in ("positions", "open_orders", "protections", "account", "fills"):
            stage.nemesis.force(name, "html")

    stage = play(story)
    assert stage.held() > 0


def test_f66_suspended_symbol_is_fenced():
    """One of two symbols is suspended with a position open; the other goes on."""

    async def story(stage):
        await stage.until(70.0)
        stage.window("suspended_symbol", 60.0)
        stage.people.errand("close", {"symbol": ETH, "fraction": "1"})
        stage.people.errand("close", {"symbol": BTC, "fraction": "1"})
        await stage.until(90.0)
        assert stage.held(BTC) == 0

    stage = play(story, symbols=2, last_s=200.0)
    assert stage.held(ETH) == 0


def test_f67_expired_key_stops_entries_and_leaves_stops():
    """The key is refused with a position open: nothing opens, the stop stays, it is told."""

    async def story(stage):
        await stage.until(70.0)
        stage.window("key_expired", 60.0)

    stage = play(story, "market every", last_s=200.0)
    assert stage.told("reconnect")
    assert sum(stage.stops()) >= stage.held()


def test_f68_result_is_fills_fees_and_funding():
    """What the books say a closed trade brought is what the wallet says, funding included."""

    async def story(stage):
        await stage.until(1490.0)
        stage.loop.sleep(stage.world.life, 1.0)

    stage = play(story, "market every", last_s=1_760.0)
    booked = sum(D(repr(trade.pnl_usdt)) for trade in stage.trades)
    open_cost = D(0)
    position = stage.world.position(BTC)
    if position is not None:
        open_cost = position.funding - position.fee + position.pnl
    wallet = stage.world.venue.account.balance - D(10_000)
    assert stage.trades
    assert abs(booked + open_cost - wallet) < D("0.05")


def test_f69_refused_leverage_changes_nothing_else():
    """Set-leverage is refused outright: nothing opens, what was there stays."""

    async def story(stage):
        stage.nemesis.force("set_leverage", "refused:110019")

    stage = play(story)
    assert not stage.sent("place")
    assert stage.held() == 0
