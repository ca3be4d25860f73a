"""Who tells about an account, what doctor makes of answers, and which account a key belongs to."""

import asyncio
import json
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest

from blofin_cli.adapters.candles.store import CandleStore
from blofin_cli.adapters.candles.synthetic import SyntheticMarket
from blofin_cli.app import venues
from blofin_cli.app.commands import account, doctor, prices
from blofin_cli.app.context import Context
from blofin_cli.core.candles import Candles
from blofin_cli.core.journal import Halt, Session
from blofin_cli.core.market import Timeframe
from blofin_cli.core.orders import (
    AccountInfo,
    Balance,
    KeyInfo,
    KeyKind,
    MarginMode,
    OrderState,
    Position,
    PositionMode,
    Protection,
    Side,
)
from blofin_cli.core.quotes import ClockOffset, Environment, Mode
from blofin_cli.core.status import OrderView, PositionView, SessionStatus
from blofin_cli.engine.live import reporting
from blofin_cli.errors import AuthError, Exit, NetworkError, RefusedError
from tests.dealing import position, stop_order

BTC = "BTC-USDT"
DAY_MS = 86_400_000


@pytest.fixture
def context(empty_folder) -> Context:
    return Context(face="test")


def answer(outcome) -> dict:
    assert outcome.code == 0, outcome.stderr
    return json.loads(outcome.stdout)


def begin(context: Context, name: str, mode: Mode, age_ms: int) -> None:
    """A session with one position and one order, whose last heartbeat is so old."""
    now_ms = context.clock.now_ms()
    context.journal.open_session(
        Session(
            session_id="s1", account=name, exchange="blofin", mode=mode, simulated=False,
            symbols=(BTC,), timeframe="15m", config={}, digests={}, version="1", pid=1, host="h",
            started_ms=now_ms - 3_600_000, history_start_ms={}, equity_start_usdt=Decimal(1000),
        )
    )  # fmt: skip
    position = PositionView(
        symbol=BTC, side="long", quantity=0.1, entry_price=100.0, mark_price=110.0, stop=None,
        target=120.0, liquidation_price=55.0, leverage=2, margin_usdt=5.0, notional_usdt=11.0,
        unrealized_usdt=1.0, r_multiple=None, risk_usdt=None, naked_s=3.0, origin="session",
        opened_ms=now_ms,
    )  # fmt: skip
    order = OrderView(
        id="1", client_id="c1", symbol="ETH-USDT", kind="entry", side="buy", type="limit",
        size=1.0, filled=0.0, price=10.0, trigger=None, state="live", created_ms=now_ms,
    )  # fmt: skip
    context.journal.beat(
        SessionStatus(
            ts_ms=now_ms - age_ms, session_id="s1", phase="trading", mode=str(mode),
            exchange="blofin", simulated=False, symbols=(BTC,), timeframe="15m",
            equity_usdt=1234.5, available_usdt=1000.0, positions=(position,), orders=(order,),
        )
    )  # fmt: skip


def test_dry_run_tells_what_the_last_session_said(blofin, context):
    """No key and no network: the journal knows, and says how old that is."""
    begin(context, "blofin-dry-run", Mode.DRY_RUN, age_ms=60_000)
    held = answer(blofin("positions"))
    assert (held["told_by"], held["mode"]) == ("last session", "dry-run")
    assert "over or silent" in held["note"]
    assert held["heard_ms"] < context.clock.now_ms() - 59_000
    (row,) = held["positions"]
    assert (row["symbol"], row["naked"], row["liquidation_fraction"]) == (BTC, True, 0.5)
    assert [order["symbol"] for order in answer(blofin("orders"))["orders"]] == ["ETH-USDT"]
    assert answer(blofin("orders", BTC))["orders"] == []
    assert answer(blofin("account"))["equity_usdt"] == 1234.5


def test_running_session_is_asked_before_the_exchange(blofin, context):
    """A fresh heartbeat of the session that holds the account needs no request and no key."""
    begin(context, "blofin-demo", Mode.DEMO, age_ms=0)
    with context.journal.lock("account-blofin-demo"):
        held = answer(blofin("positions", "--mode", "demo"))
    assert (held["told_by"], held["note"]) == ("session", "")
    assert held["positions"][0]["r_multiple"] is None


def test_session_that_has_gone_quiet_is_told_with_its_age(blofin, context):
    """It holds the lock and may only be slow; a person decides what five seconds are worth."""
    begin(context, "blofin-demo", Mode.DEMO, age_ms=5_000)
    with context.journal.lock("account-blofin-demo"):
        held = answer(blofin("positions", "--mode", "demo"))
        table = blofin("orders", "--mode", "demo", "--output", "table").stdout
    assert held["told_by"] == "session"
    assert 5_000 <= held["age_ms"] < 10_000
    assert "s ago, and nothing since" in held["note"]
    assert "s ago" in table


def test_status_notices_a_killed_session_by_the_first_missing_beats(blofin, context):
    """Its lock is free: no need to wait until a living one would count as silent."""
    begin(context, "blofin-demo", Mode.DEMO, age_ms=4_000)
    with context.journal.lock("account-blofin-demo"):
        assert answer(blofin("status"))["state"] == "trading"
    assert answer(blofin("status"))["state"] == "stale"


def test_dry_run_that_died_is_over_at_once(blofin, context):
    """Its lock went with it, however young the heartbeat is."""
    begin(context, "blofin-dry-run", Mode.DRY_RUN, age_ms=100)
    assert answer(blofin("positions"))["told_by"] == "last session"
    with context.journal.lock("account-blofin-dry-run"):
        assert answer(blofin("positions"))["told_by"] == "session"
    now_ms = context.clock.now_ms()
    context.journal.end_session("s1", now_ms, "done")
    with context.journal.lock("account-blofin-dry-run"):  # a command, and no session
        assert answer(blofin("positions"))["told_by"] == "last session"


@pytest.mark.parametrize(("age_ms", "is_locked"), [(60_000, True), (2_000, False)])
def test_silent_or_ended_session_is_not_believed(blofin, context, age_ms, is_locked):
    """Then the exchange must be asked, which needs a key: exit 4 without one."""
    begin(context, "blofin-demo", Mode.DEMO, age_ms=age_ms)
    if is_locked:
        with context.journal.lock("account-blofin-demo"):
            outcome = blofin("positions", "--mode", "demo")
    else:
        outcome = blofin("positions", "--mode", "demo")
    assert outcome.code == 4
    assert "no API key for demo" in outcome.stderr


@pytest.mark.parametrize("command", ["account", "positions", "orders"])
@pytest.mark.parametrize("mode", ["demo", "live"])
def test_account_without_a_key_exits_4(blofin, empty_folder, command, mode):
    """The envelope says which key, and how to store it."""
    outcome = blofin(command, "--mode", mode)
    error = json.loads(outcome.stderr)["error"]
    assert (outcome.code, error["code"], outcome.stdout) == (4, "config", "")
    assert error["message"] == f"no API key for {mode}"
    assert f"blofin config key {mode}" in error["hint"]


def stop_of(size: str | None, price: str, side: Side = Side.SELL, **words) -> Protection:
    return Protection(
        symbol=words.pop("symbol", BTC), protection_id=price, client_id="", side=side,
        state=words.pop("state", OrderState.LIVE), size=None if size is None else Decimal(size),
        stop=Decimal(price), **words,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("waiting", "naked", "stop"),
    [
        ([], True, None),
        ([stop_of(None, "90")], False, 90.0),
        ([stop_of("2", "90")], False, 90.0),
        ([stop_of("1", "90")], True, 90.0),
        ([stop_of("1", "90"), stop_of("1", "85")], False, 85.0),
        ([stop_of(None, "85"), stop_of("2", "90")], False, 90.0),
        ([stop_of(None, "85"), stop_of("1", "90")], False, 85.0),
        ([stop_of(None, "90", Side.BUY)], True, None),
        ([stop_of(None, "90", symbol="ETH-USDT")], True, None),
        ([stop_of(None, "90", state=OrderState.TRIGGERED)], True, None),
    ],
)
def test_position_is_naked_unless_stops_cover_it_whole(waiting, naked, stop):
    """Only waiting stops on the closing side of this symbol count. The nearest one of the whole
    position is shown, else the farthest of a part."""
    position = Position(
        symbol=BTC, position_id="1", size=Decimal(2), available=Decimal(2),
        entry_price=Decimal(100), mark_price=Decimal(100), leverage=3,
        margin_mode=MarginMode.ISOLATED,
    )  # fmt: skip
    found = account._holding(position, waiting)
    assert (found.naked, found.stop) == (naked, stop)
    mirrored = replace(position, size=Decimal(-2))
    if waiting and waiting[0].side is Side.SELL:
        assert account._holding(mirrored, waiting).naked


@pytest.mark.parametrize(("stop", "target"), [("90", "120"), ("90", None), (None, "120")])
def test_stops_and_targets_are_listed_alike_by_session_and_exchange(stop, target):
    """One line a level, whichever of them tells."""
    row = Protection(
        symbol=BTC, protection_id="1", client_id="c", side=Side.SELL, state=OrderState.LIVE,
        size=Decimal(2), stop=stop and Decimal(stop), target=target and Decimal(target),
    )  # fmt: skip
    assert account._levels(reporting._protection(row)) == account._protection_views(row)


# Which account a key belongs to.


@dataclass
class Keyed:
    """An account whose key the host does not know, and the other host perhaps does."""

    home: Environment | None

    async def key_belongs_to(self) -> Environment | None:
        return self.home


async def refused(home: Environment | None, code: str = "152401", mode: Mode = Mode.LIVE):
    with pytest.raises(AuthError) as caught:
        async with venues._recognising(Keyed(home), "blofin", mode):
            raise AuthError("refused", details={"venue_code": code})
    return caught.value


async def test_demo_key_on_the_live_host_is_recognised_and_named():
    """B38: the message says whose key it is and the way out; others are left as they are."""
    error = await refused(Environment.DEMO)
    assert error.message == "this is a demo key, and the live account was asked for"
    assert "--mode demo" in error.hint
    assert "live key" in (await refused(Environment.LIVE, mode=Mode.DEMO)).message
    assert (await refused(None)).message == "refused"
    assert (await refused(Environment.DEMO, code="152405")).message == "refused"


async def test_network_failure_gets_a_next_step():
    """For the box: start it. For an exchange: look at the connection."""
    for exchange, word in (("sim", "blofin sim"), ("blofin", "doctor")):
        with pytest.raises(NetworkError) as caught:
            async with venues._recognising(Keyed(None), exchange, Mode.DEMO):
                raise NetworkError("gone")
        assert word in caught.value.hint


# Doctor.

OWN = KeyInfo(name="k", kind=KeyKind.OWN, can_trade=True, ips=())


@dataclass
class Ward:
    """Answers of an exchange, made by hand."""

    key: KeyInfo = OWN
    margin: MarginMode = MarginMode.ISOLATED
    position: PositionMode = PositionMode.ONE_WAY
    equity: str = "100"
    offset_ms: int = 0
    held: tuple[Position, ...] = ()
    rows: tuple[Protection, ...] = ()

    async def positions(self) -> tuple[Position, ...]:
        return self.held

    async def protections(self) -> tuple[Protection, ...]:
        return self.rows

    async def key_info(self) -> KeyInfo:
        return self.key

    async def margin_mode(self) -> MarginMode:
        return self.margin

    async def position_mode(self) -> PositionMode:
        return self.position

    async def account(self) -> AccountInfo:
        usdt = Balance(
            currency="USDT", equity=Decimal(self.equity), balance=Decimal(1), available=Decimal(1)
        )
        return AccountInfo(total_equity_usd=None, balances=(usdt,), ts_ms=0)

    async def clock_offset(self) -> ClockOffset:
        return ClockOffset(offset_ms=self.offset_ms, uncertainty_ms=500, measured_ms=0)


@pytest.fixture
def patient(context):
    return doctor._Patient(doctor.DoctorRequest(mode=Mode.DEMO), context)


def aged(days: float, context, **words) -> KeyInfo:
    return replace(OWN, created_ms=context.clock.now_ms() - int(days * DAY_MS), **words)


@pytest.mark.parametrize(
    ("days", "ips", "verdict"),
    [(1, (), "ok"), (74.9, (), "ok"), (75, (), "warning"), (89, (), "warning"),
     (90.1, (), "failed"), (400, ("1.2.3.4",), "ok")],
)  # fmt: skip
async def test_key_age_is_warned_of_from_day_75(patient, context, days, ips, verdict):
    """A key without an address list lapses after 90 days; one with a list does not."""
    checks = await doctor._key_checks(Ward(aged(days, context, ips=ips)), patient)
    (age,) = [check for check in checks if check.name == "key age"]
    assert age.verdict == verdict
    assert bool(age.fix) is (verdict != "ok")
    assert age.exit == (Exit.AUTH if verdict == "failed" else Exit.OK)


@pytest.mark.parametrize(
    ("key", "name", "what"),
    [
        (replace(OWN, can_withdraw=True), "permissions", "withdraw"),
        (replace(OWN, can_trade=False), "permissions", "only read"),
        (replace(OWN, kind=KeyKind.THIRD_PARTY), "key type", "third party"),
        (OWN, "key age", "does not say"),
    ],
)
async def test_rights_of_a_key_are_judged(patient, key, name, what):
    """Withdrawal, read only, a broker's key and an unknown age are warnings, each with a fix."""
    checks = await doctor._key_checks(Ward(key), patient)
    (check,) = [check for check in checks if check.name == name]
    assert check.verdict == "warning"
    assert what in check.what
    assert check.fix


@pytest.mark.parametrize(
    ("ward", "name"),
    [
        (Ward(margin=MarginMode.CROSS), "margin mode"),
        (Ward(position=PositionMode.HEDGE), "position mode"),
        (Ward(equity="0"), "balance"),
    ],
)
async def test_modes_and_money_are_looked_at(patient, ward, name):
    """Isolated margin, one position a symbol and something to trade with."""
    checks = {check.name: check.verdict for check in await doctor._mode_checks(ward, patient)}
    assert checks.pop(name) == "warning"
    assert set(checks.values()) == {"ok"}


LONG = position(2, 3_000)
HALF = stop_order(LONG, 2_900, size=Decimal(1))


@pytest.mark.parametrize(
    ("ward", "verdict", "said"),
    [
        (Ward(), "ok", "nothing is held"),
        (Ward(held=(LONG,), rows=(stop_order(LONG, 2_900),)), "ok", "1 position, each"),
        (Ward(held=(LONG,), rows=(HALF,)), "warning", "no whole stop: ETH-USDT"),
        (Ward(held=(LONG,)), "warning", "no whole stop: ETH-USDT"),
    ],
)
async def test_position_without_a_whole_stop_is_warned_of(ward, verdict, said):
    """With the command that gives it one."""
    check = await doctor._protection(ward)
    assert (check.verdict, said in check.what) == (verdict, True)
    assert ("blofin protect ETH-USDT" in check.fix) == (verdict == "warning")


@pytest.mark.parametrize(
    ("offset_ms", "verdict"),
    [(0, "ok"), (2_400, "ok"), (2_600, "warning"), (-2_600, "warning"), (31_000, "failed")],
)
async def test_clock_skew_warns_at_2_s_and_fails_at_30(patient, offset_ms, verdict):
    """What the measurement cannot tell apart is not held against the clock."""
    check = await doctor._clock(Ward(offset_ms=offset_ms), patient)
    assert check.verdict == verdict


@pytest.mark.parametrize(("skew_ms", "verdict"), [(29_000, "ok"), (60_000, "warning")])
def test_box_whose_time_runs_away_is_told_to_be_for_looking_on(skew_ms, verdict):
    """It keeps its own time; beyond 30 s the gate opens nothing there either."""
    check = doctor._box_clock("reached", skew_ms)
    assert (check.verdict, "--speed 1" in check.fix) == (verdict, verdict == "warning")


def test_gaps_of_the_store_are_told_with_the_command_that_fills_them(patient, context):
    """A hole in stored candles is a warning with its own fix."""
    market = SyntheticMarket(5, bars=100).candles(BTC, Timeframe.M15)
    kept = [index for index in range(100) if index not in {40, 41}]
    columns = [getattr(market, name)[kept] for name in ("open", "high", "low", "close", "volume")]
    holed = Candles(BTC, Timeframe.M15, market.ts[kept], *columns)
    CandleStore(context.cache_folder / "candles").merge(holed)
    (check,) = doctor._candle_checks(patient)
    assert check.verdict == "warning"
    assert "1 gaps of 2 bars" in check.what
    assert "--refetch" in check.fix


def test_halted_trading_is_told(patient, context):
    """A halt is no defect, and nobody should look for one."""
    context.journal.set_halt(Halt(ts_ms=context.clock.now_ms(), face="cli", cause="a test"))
    check = doctor._halt(patient)
    assert (check.verdict, "a test" in check.what) == ("warning", True)


def test_broken_state_is_a_failed_check(empty_folder):
    """A damaged state file fails its check, and the others go on."""
    (empty_folder / "state.db").write_text("not a database")
    broken = Context(face="test", state_override="state.db")
    found = doctor._Patient(doctor.DoctorRequest(), broken)
    assert (doctor._state(found).verdict, doctor._state(found).exit) == ("failed", Exit.DATA)
    assert doctor._halt(found).verdict == "warning"


# The list of instruments.


def test_list_of_instruments_is_kept_for_an_hour(blofin, context):
    """A young list answers without a request and tells its age; an old one is not used."""
    row = prices._terms(prices_instrument(), None, is_live=True)
    now_ms = context.clock.now_ms()
    prices._cache("blofin", now_ms - 600_000, [row], context)
    found = answer(blofin("instruments"))
    assert (found["exchange"], found["age_s"] // 60) == ("blofin", 10)
    assert found["instruments"][0]["symbol"] == BTC
    assert prices._cached("blofin", now_ms + 3_600_000, context) is None
    prices._cache_path("blofin", context).write_text("[")
    assert prices._cached("blofin", now_ms, context) is None


def prices_instrument():
    from blofin_cli.core.instruments import instrument

    return instrument(BTC)


def test_exchange_that_does_not_tell_about_its_key_is_a_warning(patient):
    """Some exchanges have no such question."""

    class Silent(Ward):
        async def key_info(self):
            raise RefusedError("it does not tell", hint="look there")

    (check,) = asyncio.run(doctor._key_checks(Silent(), patient))
    assert (check.verdict, check.fix) == ("warning", "look there")
