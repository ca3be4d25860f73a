"""`order`, `cancel`, `close`, `protect`, `approve` against a real exchange in a box."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest

from blofin_cli.adapters.clock import SystemClock
from blofin_cli.adapters.exchanges import blofin as client
from blofin_cli.adapters.store import open_journal
from blofin_cli.app import answers, catalog, orders
from blofin_cli.app.commands import account, order
from blofin_cli.app.context import Context
from blofin_cli.app.spec import invoke
from blofin_cli.core.journal import ErrandState, Halt, IntentState, Pause, Room, Session
from blofin_cli.core.market import Gate
from blofin_cli.core.orders import MarginMode, OrderRequest, OrderType, PositionMode, Side
from blofin_cli.core.quotes import Environment, Mode
from blofin_cli.core.status import PositionView, SessionStatus
from blofin_cli.engine import following, points
from blofin_cli.errors import BlofinError, NetworkError, RefusedError
from blofin_cli.faces.render import json_ready
from tests.boxed import BTC, ETH, Boxed, box_running
from tests.dealing import intent

pytestmark = pytest.mark.process
CREDENTIALS = client.Credentials("demo-key-0001", "demo-secret-0001", "demo-pass-0001")
ACCOUNT = "sim-demo"
BUY = (BTC, "--side", "buy", "--risk", "0.5%", "--stop", "59400")


@dataclass
class Bench:
    """A command line, the box it trades on, and the state it writes."""

    box: Boxed
    run: Callable[..., Any]
    state: str

    @property
    def journal(self):
        return open_journal(self.state)

    def order(self, *words: str) -> tuple[int, dict]:
        """Exit code and JSON of `blofin order`."""
        outcome = self.run("order", *words, "--json")
        return outcome.code, json.loads(outcome.stdout or outcome.stderr)

    def planned(self, *words: str) -> dict:
        code, told = self.order(*(words or BUY))
        assert (code, told["status"]) == (0, "planned"), told
        return told

    def placed(self, *words: str) -> dict:
        """Plan and apply."""
        plan = self.planned(*words)
        code, told = self.order(plan["plan"]["symbol"], "--apply", plan["hash"], "--yes")
        assert (code, told.get("status")) == (0, "placed"), told
        return told

    def does(self, name: str, *words: str) -> tuple[int, dict]:
        outcome = self.run(name, *words, "--json")
        return outcome.code, json.loads(outcome.stdout or outcome.stderr)


@pytest.fixture(scope="module")
def running() -> Iterator[Boxed]:
    with box_running() as box, TemporaryDirectory() as folder:
        asyncio.run(_reset(box, Path(folder)))
        yield box


@pytest.fixture
def bench(running, blofin, tmp_path, monkeypatch) -> Iterator[Bench]:
    """A flat account in isolated, one-way mode, and settings that lead to it."""
    state = tmp_path / "state" / "state.db"
    for name, value in {
        "EXCHANGE": "sim", "MODE": "demo", "SIM_URL": running.url, "STATE": str(state),
    }.items():  # fmt: skip
        monkeypatch.setenv(f"BLOFIN_{name}", value)
    yield Bench(running, blofin, str(state))
    running.control("calm")
    truth = running.truth
    if any(truth[name] for name in ("positions", "orders", "tpsl", "algo")):
        asyncio.run(_reset(running, tmp_path))
    running.price(60_000)


async def _reset(box: Boxed, folder: Path) -> None:
    from blofin_cli.engine.reducing import Reducer

    settings = client.Settings(
        state_folder=folder, environment=Environment.SIMULATED, simulator_url=box.url
    )
    account = client.connect(settings, SystemClock(), CREDENTIALS)
    journal = open_journal(str(folder / "reset.db"))
    reducer = Reducer(
        exchange=account, journal=journal, clock=SystemClock(), account="reset",
        session_id="reset", face="test",
    )  # fmt: skip
    await reducer.flatten()
    for row in await account.protections():
        await account.cancel_protection(row.ref)
    await account.set_position_mode(PositionMode.ONE_WAY)
    await account.set_margin_mode(MarginMode.ISOLATED)
    await account.aclose()


# Planning.


def test_plan_says_everything_and_sends_nothing(bench):
    """Size three ways, worst case, liquidation, every gate; no order, no reservation."""
    told = bench.planned(*BUY, "--target", "63000")
    plan = told["plan"]
    assert plan["size"] == pytest.approx(plan["contracts"] / 1000)
    assert 0 < plan["risk_usdt"] <= 50
    assert plan["liquidation_stops"] > 2
    assert all(gate["passed"] for gate in plan["gates"])
    assert told["expires_ms"] - plan["created_ms"] == 120_000
    assert told["simulated"] is True
    assert bench.box.truth["orders"] == []
    assert bench.journal.intents(ACCOUNT) == ()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((BTC, "--risk", "1%", "--stop", "59000"), "--side is required"),
        ((BTC, "--side", "long", "--risk", "1%", "--stop", "59000"), "--side must be"),
        ((BTC, "--side", "BUY ", "--risk", "1%", "--stop", "59000"), "--side must be"),
        ((BTC, "--side", "", "--risk", "1%", "--stop", "59000"), "--side"),
        ((BTC, "--side", "buy", "--risk", "1", "--stop", "59000"), "percentage"),
        ((BTC, "--side", "buy", "--risk", "150%", "--stop", "59000"), "percentage"),
        ((BTC, "--side", "buy", "--risk", "0%", "--stop", "59000"), "percentage"),
        ((BTC, "--side", "buy", "--risk", "-1%", "--stop", "59000"), "percentage"),
        ((BTC, "--side", "buy", "--size", "nan", "--stop", "59000"), "--size"),
        ((BTC, "--side", "buy", "--size", "-1", "--stop", "59000"), "--size"),
        ((BTC, "--side", "buy", "--size", "0", "--stop", "59000"), "--size"),
        ((BTC, "--side", "buy", "--size", "1e400", "--stop", "59000"), "size must"),
        ((BTC, "--side", "buy", "--size", "1_000", "--stop", "59000"), "--size"),
        ((BTC, "--side", "buy", "--size", "1,5", "--stop", "59000"), "--size"),
        ((BTC, "--side", "buy", "--size", "1"), "--stop is required"),
        ((BTC, "--side", "buy", "--stop", "59000"), "one way"),
        ((BTC, "--side", "buy", "--size", "1", "--risk", "1%", "--stop", "59000"), "one way"),
        ((BTC, "--side", "buy", "--size", "0.01", "--stop", "61000"), "below the entry"),
        ((BTC, "--side", "buy", "--size", "0.01", "--stop", "60000"), "below the entry"),
        ((*BUY, "--target", "59900"), "above the entry"),
        ((*BUY, "--leverage", "0"), "--leverage must be"),
        ((*BUY, "--leverage", "1.5"), "--leverage"),
        ((*BUY, "--type", "limit"), "needs a --price"),
        ((*BUY, "--price", "59900"), "takes no --price"),
        ((*BUY, "--type", "stop"), "--trigger"),
        ((*BUY, "--no-stop"), "contradict"),
        ((*BUY, "--apply", "0" * 16), "drop --"),
        ((BTC, "--apply", "../../etc"), "--apply"),
        ((BTC, "--apply", "0" * 16, "--yes"), "no plan"),
        (("../../etc/passwd", "--side", "buy", "--size", "1", "--stop", "1"), "symbol"),
        (("NOPE-USDT", "--side", "buy", "--size", "1", "--stop", "1"), "NOPE"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_before_anything_is_sent(bench, words, said):
    """B01-B28: exit 2, one line, nothing written."""
    outcome = bench.run("order", *words)
    assert outcome.code == 2, outcome
    assert said in outcome.stderr
    assert outcome.stdout == ""
    assert bench.journal.intents(ACCOUNT) == ()


def test_gate_that_refuses_is_shown_with_exit_3(bench):
    """The plan comes all the same, so that one sees why."""
    code, told = bench.order(BTC, "--side", "buy", "--risk", "1.5%", "--stop", "59400")
    assert (code, told["status"]) == (3, "refused")
    assert [g["name"] for g in told["plan"]["gates"] if not g["passed"]] == ["risk"]
    outcome = bench.run("order", BTC, "--side", "buy", "--risk", "1.5%", "--stop", "59400")
    error = json.loads(outcome.stderr)["error"]
    assert (error["code"], error["details"]["gate"]) == ("refused", "risk")
    assert error["message"] == told["message"]
    code, told = bench.order(BTC, "--apply", told["hash"], "--yes")
    assert (code, told["error"]["details"]["gate"]) == (3, "risk")
    assert bench.box.held() == 0


def test_order_without_a_stop_needs_a_mandate(bench):
    """--no-stop is a wish; the mandate decides."""
    code, told = bench.order(BTC, "--side", "buy", "--size", "0.001", "--no-stop")
    assert (code, told["message"][:15]) == (3, "refused by stop")


def test_dry_run_plans_and_says_why_nothing_is_sent(bench):
    """F18: no account is opened; --apply is refused."""
    code, told = bench.order(*BUY, "--mode", "dry-run")
    assert (code, told["status"]) == (0, "planned")
    assert "dry-run sends no order" in told["message"]
    code, told = bench.order(BTC, "--apply", told["hash"], "--mode", "dry-run", "--yes")
    assert (code, told["error"]["code"]) == (3, "refused")


def test_fresh_account_is_brought_to_isolated_one_way_before_its_first_order(bench, tmp_path):
    """Planning changes nothing and says so; applying sets the modes, reads them back, and opens."""
    asyncio.run(_modes(bench.box, tmp_path, MarginMode.CROSS, PositionMode.HEDGE))
    plan = bench.planned()
    gates = {gate["name"]: gate for gate in plan["plan"]["gates"]}
    assert (gates["margin_mode"]["value"], gates["position_mode"]["value"]) == ("cross", "hedge")
    assert "is set before the order is sent" in gates["margin_mode"]["note"]
    assert bench.does("account")[1]["margin_mode"] == "cross"
    outcome = bench.run("order", BTC, "--apply", plan["hash"], "--yes")
    assert outcome.code == 0
    assert "the account was set to isolated margin" in outcome.stderr
    assert "the account was set to one-way positions" in outcome.stderr
    held = bench.does("account")[1]
    assert (held["margin_mode"], held["position_mode"]) == ("isolated", "one_way")
    assert bench.box.held() > 0


def test_modes_of_an_account_with_something_open_are_not_touched(bench, tmp_path):
    """F15: BloFin would refuse to change them, so the plan is refused before."""
    resting = OrderRequest(
        symbol=ETH, side=Side.BUY, type=OrderType.LIMIT, size=Decimal(1), price=Decimal(2900),
        client_id="elsewhere", stop=Decimal(2800),
    )  # fmt: skip
    margin, position = MarginMode.CROSS, PositionMode.ONE_WAY
    asyncio.run(_modes(bench.box, tmp_path, margin, position, resting))
    code, told = bench.order(*BUY)
    assert (code, told["status"]) == (3, "refused")
    assert "margin_mode: cross" in told["message"]


async def _modes(
    box: Boxed,
    folder: Path,
    margin: MarginMode,
    position: PositionMode,
    order: OrderRequest | None = None,
) -> None:
    """Somebody else at the account: its modes, and perhaps an order."""
    settings = client.Settings(
        state_folder=folder, environment=Environment.SIMULATED, simulator_url=box.url
    )
    account = client.connect(settings, SystemClock(), CREDENTIALS)
    await account.set_position_mode(position)
    await account.set_margin_mode(margin)
    if order is not None:
        await account.place(order)
    await account.aclose()


def test_stop_entry_may_wait_beyond_todays_price_band(bench):
    """Source: 6.3. The band bounds a price that trades now; a trigger meets a later one."""
    words = (BTC, "--side", "buy", "--type", "stop", "--trigger", "63000", "--stop", "62000")
    told = bench.placed(*words, "--size", "0.01")
    assert "price_band" not in {gate["name"] for gate in told["plan"]["gates"]}
    (order,) = bench.does("orders")[1]["orders"]
    assert (order["trigger"], order["kind"]) == (63_000, "entry")


def test_reducing_means_the_account_that_positions_shows(bench, monkeypatch):
    """At the box, without a mode: positions, close and cancel all mean its demo account."""
    monkeypatch.delenv("BLOFIN_MODE")
    plan = bench.planned(*BUY, "--mode", "demo")
    assert bench.order(BTC, "--apply", plan["hash"], "--yes", "--mode", "demo")[0] == 0
    assert bench.does("positions")[1]["account"] == ACCOUNT
    code, told = bench.does("close", BTC)
    assert (code, told["status"]) == (0, "closed")
    assert bench.journal.intents("sim-dry-run") == ()


def test_plan_that_came_to_nothing_is_not_told_as_placed(bench, monkeypatch):
    """Halted between intent and send, then applied again: refused with the reason, and unsent."""
    plan = bench.planned()

    def halted(name: str) -> None:
        if name == "send":
            bench.journal.set_halt(Halt(ts_ms=1, face="test", cause="drill"))

    monkeypatch.setattr(points, "hook", halted)
    code, told = bench.order(BTC, "--apply", plan["hash"], "--yes")
    assert (code, told["error"]["code"]) == (9, "halted"), told
    monkeypatch.setattr(points, "hook", None)
    bench.journal.clear_halt(2, "test")
    code, told = bench.order(BTC, "--apply", plan["hash"], "--yes")
    assert (code, told["error"]["code"]) == (3, "refused"), told
    assert "nothing was placed" in told["error"]["message"]
    assert bench.box.held() == 0


def test_tables_fit_a_terminal_of_80_columns(bench):
    """What is needed to act is in the table: an order's id, a position's stop and liquidation."""
    bench.placed(*BUY, "--target", "63000")
    orders = bench.does("orders")[1]["orders"]
    order_id = next(order["id"] for order in orders if order["kind"] == "stop")
    for name, wanted in (
        ("orders", (order_id, "59,400.00")), ("positions", ("59,400.00", "liquidation")),
        ("account", ("equity",)), ("doctor", ("margin mode: isolated",)),
        ("price BTC-USDT", ("60,000.00", "0.")), ("instruments", ("BTC-USDT",)),
    ):  # fmt: skip
        shown = bench.run(*name.split(), "--output", "table").stdout
        assert max(map(len, shown.splitlines())) <= 80, shown
        for word in wanted:
            assert word in shown


# Placing.


def test_applied_plan_is_placed_with_its_stop_and_only_once(bench):
    """One order however often it is applied; the stop is seen at the exchange."""
    plan = bench.planned(*BUY, "--target", "63000")
    for _ in range(3):
        code, told = bench.order(BTC, "--apply", plan["hash"], "--yes")
        assert (code, told["status"], told["hash"]) == (0, "placed", plan["hash"])
    assert "nothing was sent" in told["message"]
    truth = bench.box.truth
    assert bench.box.held() == pytest.approx(plan["plan"]["contracts"])
    assert [float(row["slTriggerPrice"]) for row in truth["tpsl"]] == [59_400]
    assert len(truth["fills"]) == len({fill["tradeId"] for fill in truth["fills"]})
    (intent,) = bench.journal.intents(ACCOUNT)
    assert intent.state is IntentState.DONE
    assert intent.filled == Decimal(str(plan["plan"]["size"]))
    assert intent.plan_hash == plan["hash"]
    assert truth["positions"][0]["leverage"] == "3"


def test_placing_needs_consent(bench):
    """TRADE: --yes or a person."""
    plan = bench.planned()
    code, told = bench.order(BTC, "--apply", plan["hash"])
    assert (code, told["error"]["code"]) == (3, "refused")
    assert bench.box.held() == 0


def test_terminal_asks_and_places(bench):
    """In a terminal the plan is said, and the answer decides."""
    said: list[str] = []
    words = {"symbol": BTC, "side": "buy", "risk": "0.5%", "stop": "59400"}

    async def ask(answer: bool):
        context = Context(face="cli", ask=lambda question: answer, say=said.append)
        return await invoke(catalog.load("order"), words, context)

    no = asyncio.run(ask(False))
    assert (no.status, bench.box.held()) == ("planned", 0)
    yes = asyncio.run(ask(True))
    assert (yes.status, yes.intent.state) == ("placed", IntentState.DONE)
    assert any(line.startswith("worst case") for line in said)
    commands = [row.command for row in bench.journal.audit()]
    assert commands.count("order") == 2


def test_plan_of_another_symbol_or_altered_is_refused(bench):
    """F73: exactly this plan."""
    plan = bench.planned()
    code, told = bench.order(ETH, "--apply", plan["hash"], "--yes")
    assert (code, "BTC-USDT, not ETH-USDT" in told["error"]["message"]) == (2, True)
    slot = f"plan-{plan['hash'][:3]}"
    document = bench.journal.recall(ACCOUNT, slot)
    document["plan"]["size"] = "1"
    bench.journal.remember(ACCOUNT, slot, document)
    code, told = bench.order(BTC, "--apply", plan["hash"], "--yes")
    assert (code, "no plan" in told["error"]["message"]) == (2, True)
    assert bench.box.held() == 0


def test_expired_plan_is_refused(bench):
    """120 seconds, by the exchange's clock."""
    plan = bench.planned()
    slot = f"plan-{plan['hash'][:3]}"
    document = bench.journal.recall(ACCOUNT, slot)
    bench.journal.remember(ACCOUNT, slot, document | {"offset_ms": 121_000})
    code, told = bench.order(BTC, "--apply", plan["hash"], "--yes")
    assert (code, told["error"]["details"]["gate"]) == (3, "expiry")


def test_price_that_moved_voids_the_plan(bench):
    """F12: the price is read again after the last wait."""
    plan = bench.planned()
    bench.box.price(60_500)
    code, told = bench.order(BTC, "--apply", plan["hash"], "--yes")
    assert (code, told["error"]["details"]["gate"]) == (3, "price_moved")
    assert bench.box.held() == 0


def test_halted_means_no_order(bench):
    """Exit 9, whether it was halted before the plan or after it."""
    plan = bench.planned()
    bench.journal.set_halt(Halt(ts_ms=1, face="test", cause="drill"))
    code, told = bench.order(BTC, "--apply", plan["hash"], "--yes")
    assert (code, told["error"]["code"]) == (9, "halted")
    outcome = bench.run("order", *BUY, "--json")
    assert (outcome.code, json.loads(outcome.stdout)["status"]) == (9, "refused")
    assert json.loads(outcome.stderr)["error"]["code"] == "halted"
    words = {"symbol": BTC, "side": "buy", "risk": "0.5%", "stop": "59400"}
    told = asyncio.run(invoke(catalog.load("order"), words, agent()))
    assert (told.status, told.exit_code()) == ("refused", 9)  # one answer: the plan, with its why
    assert bench.box.held() == 0


def test_refusal_names_a_path_as_it_is():
    """Words are told without underscores; a file or a cause keeps them."""
    for value, told in (("one_way", "one way"), ("guard: /tmp/t_tui/HALT", "/tmp/t_tui/HALT")):
        assert told in orders.refusal_words(Gate("halt", False, value, "not halted", "why"))


def test_paused_symbol_means_no_order(bench):
    """A pause after the plan holds too."""
    plan = bench.planned()
    bench.journal.set_pause(Pause(symbol=BTC, ts_ms=1, face="test", cause="news"))
    code, told = bench.order(BTC, "--apply", plan["hash"], "--yes")
    assert (code, told["error"]["details"]["gate"]) == (3, "pause")


def test_same_order_within_a_minute_is_refused_where_nobody_answers(bench):
    """F77: another plan of the same order is a repetition."""
    first = (ETH, "--side", "buy", "--type", "limit", "--price", "2900", "--stop", "2850")
    bench.placed(*first, "--size", "0.1")
    again = bench.planned(*first, "--size", "0.1")
    code, told = bench.order(ETH, "--apply", again["hash"], "--yes")
    assert (code, told["error"]["details"]["gate"]) == (3, "repeat")
    assert len(bench.box.truth["orders"]) == 1


@pytest.fixture
def strike(bench, monkeypatch) -> Callable[..., None]:
    """Switches a fault on at the moment an order is about to be sent."""

    def at_send(name: str, **words: Any) -> None:
        def struck(point: str) -> None:
            if point == "send":
                bench.box.fault(name, "trade/order", **words)

        monkeypatch.setattr(points, "hook", struck)

    return at_send


@pytest.mark.parametrize("fault", ["lost_answer", "internal_error", "html"])
def test_lost_answer_is_looked_up_and_never_repeated(bench, strike, fault):
    """F01, F03: carried out, unheard, found by its id."""
    plan = bench.planned()
    strike(fault)
    code, told = bench.order(BTC, "--apply", plan["hash"], "--yes")
    assert (code, told["ack"]["resolved"]) == (0, True)
    assert bench.box.held() == pytest.approx(plan["plan"]["contracts"])


def test_order_nobody_knows_about_is_exit_7_with_its_risk_reserved(bench, strike, monkeypatch):
    """F02: lost on the way; it is not repeated, and it counts until the evidence."""
    plan = bench.planned()
    monkeypatch.setattr(following, "FOLLOW_MS", 500)
    strike("lost_request")
    code, told = bench.order(BTC, "--apply", plan["hash"], "--yes")
    assert (code, told["error"]["code"]) == (7, "unknown_outcome")
    (intent,) = bench.journal.open_intents(ACCOUNT)
    assert intent.state is IntentState.UNKNOWN
    monkeypatch.setattr(points, "hook", None)
    code, told = bench.order(BTC, "--apply", plan["hash"], "--yes")
    assert (told["status"], told["intent"]["state"]) == ("placed", "unknown")
    assert bench.box.held() == 0
    assert bench.journal.open_intents(ACCOUNT)[0].risk_usdt > 40


def test_refusal_of_the_exchange_is_exit_6(bench, monkeypatch):
    """A stop the price has passed: its own words, nothing opened, nothing reserved."""
    low = (BTC, "--side", "buy", "--type", "limit", "--price", "59900", "--size", "0.01")
    plan = bench.planned(*low, "--stop", "59400")

    def gap(point: str) -> None:
        if point == "send":
            bench.box.price(59_300)

    monkeypatch.setattr(points, "hook", gap)
    code, told = bench.order(BTC, "--apply", plan["hash"], "--yes")
    assert (code, told["error"]["code"]) == (6, "venue"), told
    assert bench.journal.open_intents(ACCOUNT) == ()
    assert bench.box.held() == 0


def test_filled_order_whose_stop_was_not_seen_is_no_success(bench, monkeypatch):
    """F19: the stop was dropped and positions cannot be read: exit 7, and what to do."""
    plan = bench.planned()
    monkeypatch.setattr(following, "FOLLOW_MS", 1_000)
    bench.box.fault("dropped_stop")

    def blind(point: str) -> None:
        if point == "send":
            bench.box.fault("unavailable", "account/positions", count=None)

    monkeypatch.setattr(points, "hook", blind)
    code, told = bench.order(BTC, "--apply", plan["hash"], "--yes")
    assert (code, told["error"]["code"]) == (7, "unknown_outcome"), told
    assert "may be bare" in told["error"]["message"]
    assert "blofin protect BTC-USDT --stop" in told["error"]["hint"]


def test_dropped_stop_is_placed_anew(bench):
    """F19: the attached stop is missing; it is seen, and mended."""
    bench.box.fault("dropped_stop")
    told = bench.placed()
    assert "live" in told["message"]
    assert [float(row["slTriggerPrice"]) for row in bench.box.truth["tpsl"]] == [59_400]


def test_position_that_takes_no_stop_is_closed(bench):
    """F21: dropped, and every replacement refused: out."""
    plan = bench.planned()
    bench.box.fault("dropped_stop")
    bench.box.fault("lost_request", "trade/order-tpsl", count=None)
    code, told = bench.order(BTC, "--apply", plan["hash"], "--yes")
    assert code == 0
    assert "was closed" in told["message"]
    assert bench.box.held() == 0


def test_resting_order_whose_stop_was_dropped_is_taken_back(bench):
    """A limit that would fill bare is canceled."""
    bench.box.fault("dropped_stop")
    told = bench.placed(
        BTC, "--side", "buy", "--type", "limit", "--price", "59000", "--stop", "58000",
        "--risk", "0.5%",
    )  # fmt: skip
    assert "canceled" in told["message"]
    assert bench.box.truth["orders"] == []
    assert bench.journal.open_intents(ACCOUNT) == ()


def test_ignored_leverage_blocks_the_order(bench):
    """F14: what is read back differs from what was set."""
    plan = bench.planned(*BUY, "--leverage", "2")
    bench.box.fault("ignored_leverage", count=None)
    code, told = bench.order(BTC, "--apply", plan["hash"], "--yes")
    assert code == 6, told
    assert bench.box.held() == 0


def test_stop_entry_waits(bench):
    """--type stop is a trigger order with its own stop attached."""
    told = bench.placed(
        BTC, "--side", "buy", "--type", "stop", "--trigger", "60500", "--stop", "59900",
        "--size", "0.01",
    )  # fmt: skip
    assert "rests" in told["message"]
    (algo,) = bench.box.truth["algo"]
    assert float(algo["triggerPrice"]) == 60_500
    code, told = bench.does("cancel", told["intent"]["client_id"])
    assert (code, told["status"]) == (0, "done")
    assert bench.box.truth["algo"] == []


def test_two_processes_apply_at_once_and_one_order_comes_of_it(bench):
    """B53: the same plan a hundred times is one intent; here twenty, in parallel."""
    plan = bench.planned()
    words = {"symbol": BTC, "apply": plan["hash"]}

    async def all_at_once():
        contexts = [Context(face="cli", consent=True) for _ in range(6)]
        spec = catalog.load("order")
        return await asyncio.gather(
            *(invoke(spec, words, each) for each in contexts), return_exceptions=True
        )

    told = asyncio.run(all_at_once())
    assert bench.box.held() == pytest.approx(plan["plan"]["contracts"])
    assert len(bench.journal.intents(ACCOUNT)) == 1
    assert all(getattr(each, "status", "") == "placed" for each in told), told


# Agents and people.


def agent(**changes) -> Context:
    return Context(face="mcp", client="probe", consent=True, **changes)


def test_agent_proposes_and_a_person_approves(bench):
    """Without a budget in the mandate every entry of an agent waits for a person."""
    plan = bench.planned()
    words = {"symbol": BTC, "apply": plan["hash"]}
    told = asyncio.run(invoke(catalog.load("order"), words, agent()))
    assert (told.status, bench.box.held()) == ("proposed", 0)
    with pytest.raises(RefusedError):
        asyncio.run(invoke(catalog.load("approve"), {"id": told.proposal_id}, agent()))
    person = Context(face="cli", consent=True, demand=lambda question: "approve")
    done = asyncio.run(invoke(catalog.load("approve"), {"id": told.proposal_id}, person))
    assert (done.status, done.intent.state) == ("placed", IntentState.DONE)
    assert bench.box.held() == pytest.approx(plan["plan"]["contracts"])
    with pytest.raises(RefusedError):
        asyncio.run(invoke(catalog.load("approve"), {"id": told.proposal_id}, person))
    code, again = bench.order(BTC, "--apply", plan["hash"], "--yes")
    assert (code, "nothing was sent" in again["message"]) == (0, True)


def test_rejected_proposal_cannot_be_approved(bench):
    """No is final."""
    plan = bench.planned()
    words = {"symbol": BTC, "apply": plan["hash"]}
    told = asyncio.run(invoke(catalog.load("order"), words, agent()))
    code, gone = bench.does("reject", told.proposal_id)
    assert (code, gone["state"]) == (0, "rejected")
    person = Context(face="cli", consent=True, demand=lambda question: "approve")
    with pytest.raises(RefusedError):
        asyncio.run(invoke(catalog.load("approve"), {"id": told.proposal_id}, person))
    assert bench.box.held() == 0


def test_guessing_ids_is_slowed_down(bench):
    """B52: five wrong ids a minute."""
    codes = [bench.does("reject", f"{n:04x}")[0] for n in range(7)]
    assert codes == [2, 2, 2, 2, 2, 3, 3]


# Cancel, close, protect.


def test_close_protect_and_cancel_from_the_command_line(bench):
    """Tighten, refuse to widen, close a part, close all; each says what it did."""
    told = bench.placed(*BUY, "--target", "63000")
    code, done = bench.does("protect", BTC, "--stop", "59500")
    assert (code, done["status"], done["by"]) == (0, "protected", "here")
    code, done = bench.does("protect", BTC, "--stop", "59000")
    assert (code, "--wider" in done["error"]["hint"]) == (3, True)
    code, done = bench.does("protect", BTC, "--stop", "59000", "--wider", "--yes")
    assert (code, done["status"]) == (0, "protected")
    code, done = bench.does("close", BTC, "--fraction", "50%")
    assert (code, done["status"]) == (0, "reduced")
    assert bench.box.held() < told["plan"]["contracts"]
    code, done = bench.does("close", BTC)
    assert (code, done["status"], bench.box.held()) == (0, "closed", 0)
    code, done = bench.does("close", BTC)
    assert (code, done["status"]) == (0, "flat")
    assert bench.box.truth["tpsl"] == []


def test_stop_is_not_canceled_without_the_word(bench):
    """Cancelling a stop is trading: the flag, and consent."""
    bench.placed()
    (stop,) = bench.box.truth["tpsl"]
    code, told = bench.does("cancel", stop["tpslId"])
    assert (code, "protects a position" in told["error"]["message"]) == (3, True)
    code, told = bench.does("cancel", stop["tpslId"], "--protection")
    assert (code, told["error"]["message"]) == (3, "this needs consent")
    code, told = bench.does("cancel", stop["tpslId"], "--protection", "--yes")
    assert (code, told["status"]) == (0, "done")


def test_cancel_that_finds_nothing_is_exit_6(bench):
    """A dead or wrong id is told as gone, with the error beside it; not as done."""
    outcome = bench.run("cancel", "9999", "--json")
    told, error = json.loads(outcome.stdout), json.loads(outcome.stderr)["error"]
    assert (outcome.code, told["status"], error["code"]) == (6, "gone", "venue")
    assert "9999: no open order has this id" in error["message"]
    resting = bench.placed(
        ETH, "--side", "buy", "--type", "limit", "--price", "2900", "--stop", "2850",
        "--size", "0.1",
    )  # fmt: skip
    code, told = bench.does("cancel", resting["intent"]["client_id"], "9999")
    assert (code, told["status"]) == (0, "partly")
    assert [row["outcome"] for row in told["details"]["deeds"]] == ["accepted", "gone"]


@pytest.mark.parametrize(
    ("outcomes", "told"),
    [
        ({"accepted"}, ("done", 0)), ({"accepted", "gone"}, ("partly", 0)),
        ({"gone"}, ("gone", 6)), ({"refused"}, ("refused", 6)),
        ({"gone", "refused"}, ("refused", 6)),
        ({"accepted", "unknown"}, ("unconfirmed", 7)), ({"failed"}, ("unconfirmed", 7)),
    ],
)  # fmt: skip
def test_what_became_of_several_cancels(outcomes, told):
    """Nobody knows comes first; then done whole, in part, or not at all."""
    assert order._canceled(outcomes) == told


@pytest.mark.parametrize(
    ("symbol", "hint"), [("BTX-USDT", "did you mean BTC-USDT?"), ("DOGE-USDT", "see: blofin")]
)
@pytest.mark.parametrize("name", ["close", "positions", "orders"])
def test_symbol_that_is_not_listed_is_no_empty_answer(bench, name, symbol, hint):
    """B15: a slip of the pen is exit 2, and not flat or none."""
    code, told = bench.does(name, symbol)
    assert (code, told["error"]["code"]) == (2, "usage"), told
    assert symbol in told["error"]["message"]
    assert hint in told["error"]["hint"]


def test_what_is_held_needs_no_list_of_instruments(bench, monkeypatch):
    """Stale or unreadable, the list stands in nobody's way: it is asked about the unknown only."""

    @asynccontextmanager
    async def listing(*_: Any) -> AsyncIterator[Any]:
        yield SimpleNamespace(instruments=answers[-1])

    async def listed() -> tuple[Any, ...]:
        return (SimpleNamespace(instrument=SimpleNamespace(symbol=ETH)),)

    async def broken() -> tuple[Any, ...]:
        raise NetworkError("gone")

    answers = [listed]
    monkeypatch.setattr(account, "open_market", listing)
    bench.placed()
    assert len(bench.does("positions", BTC)[1]["positions"]) == 1
    assert len(bench.does("orders", BTC)[1]["orders"]) == 1
    assert bench.does("protect", BTC, "--stop", "59500")[0] == 0
    assert bench.does("close", BTC)[1]["status"] == "closed"
    assert bench.does("close", BTC)[0] == 2
    answers.append(broken)
    assert bench.does("close", BTC)[1]["status"] == "flat"
    assert bench.does("orders", BTC)[1]["orders"] == []


@pytest.mark.parametrize("words", [("--fraction", "50"), ("--fraction", "0%"), ("--fraction", "x")])
def test_close_refuses_an_ambiguous_fraction(bench, words):
    """A bare number could mean two things."""
    assert bench.run("close", BTC, *words).code == 2


def test_dry_run_has_no_account_to_close(bench):
    """Said plainly."""
    code, told = bench.does("close", BTC, "--mode", "dry-run", "--exchange", "blofin")
    assert (code, told["error"]["code"]) == (3, "refused")


# A session holds the account.


@dataclass
class FakeSession:
    """Holds the account's lock, beats, and answers errands by script."""

    bench: Bench
    answers: dict[str, Any]
    session_id: str = "run1"
    is_alive: bool = True
    config: dict[str, Any] = field(default_factory=dict)
    positions: tuple[PositionView, ...] = ()

    async def around(self, work: Callable[[], Any]) -> Any:
        journal, now_ms = self.bench.journal, SystemClock().now_ms()
        session = Session(
            session_id=self.session_id, account=ACCOUNT, exchange="sim", mode=Mode.DEMO,
            simulated=True, symbols=(BTC,), timeframe="15m", config=self.config, digests={},
            version="0", pid=1, host="h", started_ms=now_ms, history_start_ms={},
            equity_start_usdt=Decimal(1),
        )  # fmt: skip
        status = SessionStatus(
            ts_ms=now_ms if self.is_alive else now_ms - 60_000, session_id=self.session_id,
            phase="trading", mode="demo", exchange="sim", simulated=True, symbols=(BTC,),
            timeframe="15m", positions=self.positions,
        )  # fmt: skip
        with journal.lock(f"account-{ACCOUNT}"):
            journal.open_session(session)
            journal.beat(status)
            task = asyncio.ensure_future(work())
            while not task.done():
                for errand in journal.take_errands(ACCOUNT, SystemClock().now_ms()):
                    state, answer = self.answers[errand.kind]
                    journal.answer_errand(errand.id, state, answer, SystemClock().now_ms())
                await asyncio.sleep(0.02)
            return task.result()


def test_running_session_places_the_plan(bench):
    """The errand carries the plan as it is; its refusal is told as it was meant."""
    plan = bench.planned()
    refusal = RefusedError("refused by blocked", details={"gate": "blocked"}).envelope()
    session = FakeSession(bench, {"place": (ErrandState.FAILED, refusal | {"exit": 3})})

    async def apply():
        words = {"symbol": BTC, "apply": plan["hash"]}
        return await invoke(catalog.load("order"), words, Context(face="cli", consent=True))

    for _ in range(2):  # a definite no is the same no the second time, and no "placed before"
        with pytest.raises(RefusedError, match="blocked"):
            asyncio.run(session.around(apply))
    assert bench.box.held() == 0


def test_running_session_closes(bench):
    """Its answer is the answer."""
    done = {"symbol": BTC, "closed": "0.1", "remaining": "0"}
    session = FakeSession(bench, {"close": (ErrandState.DONE, done)})

    async def close():
        return await invoke(catalog.load("close"), {"symbol": BTC}, Context(face="cli"))

    told = asyncio.run(session.around(close))
    assert (told.status, told.by) == ("closed", "session")


SHORT = PositionView(
    symbol=BTC, side="short", quantity=-0.1, entry_price=1.0, mark_price=1.0, stop=2.0, target=None,
    liquidation_price=None, leverage=3, margin_usdt=None, notional_usdt=1.0, unrealized_usdt=0.0,
    r_multiple=None, risk_usdt=None, naked_s=0.0, origin="session", opened_ms=1,
)  # fmt: skip


def by_session(bench: Bench, name: str, words: dict, answer: dict, **how: Any) -> Any:
    """What a command tells when a session does it with this answer."""
    session = FakeSession(bench, {name: (ErrandState.DONE, answer)}, **how)

    async def call():
        return await invoke(catalog.load(name), words, Context(face="test", consent=True))

    return asyncio.run(session.around(call))


def test_answer_has_one_shape_whoever_gives_it(bench):
    """Names and numbers of close and protect are those of the direct answer."""
    bench.placed()
    direct = bench.does("protect", BTC, "--stop", "59500")[1]
    wish = {"symbol": BTC, "stop": "36300"}
    answer = {"symbol": BTC, "stop": "36300", "target": "None"}
    told = json_ready(by_session(bench, "protect", wish | {"wider": True}, answer))
    assert told["details"].keys() == direct["details"].keys()
    assert (told["details"]["stop"], told["details"]["target"]) == (36_300, None)
    direct = bench.does("close", BTC)[1]["details"]
    assert direct["closed"] == direct["before"] > 0 == direct["remaining"]
    answer = {"symbol": BTC, "closed": "0.0259", "remaining": "0.0741"}
    told = json_ready(by_session(bench, "close", {"symbol": BTC}, answer, positions=(SHORT,)))
    assert told["status"] == "reduced"
    assert told["details"] == {
        "symbol": BTC, "status": "reduced", "before": -0.1, "after": -0.0741, "closed": 0.0259,
        "remaining": 0.0741, "deeds": [],
    }  # fmt: skip
    assert told["details"].keys() == direct.keys()


@pytest.mark.parametrize(
    ("closed", "remaining", "seen", "is_count", "told"),
    [
        ("0", "0", None, False, ("flat", 0, 0, 0)),
        ("0.1", "0", None, False, ("closed", None, 0, Decimal("0.1"))),
        ("0", "0.1", Decimal("0.1"), False, ("open", Decimal("0.1"), Decimal("0.1"), 0)),
        ("1", "0", Decimal("-0.3"), True, ("closed", Decimal("-0.3"), 0, Decimal("0.3"))),
        ("0", "0", None, True, ("flat", 0, 0, 0)),
    ],
)
def test_session_tells_sizes_and_its_heartbeat_the_sign(closed, remaining, seen, is_count, told):
    """A dry run tells how many it closed, which is no size."""
    answer = {"symbol": BTC, "closed": closed, "remaining": remaining}
    found = answers.with_signs(answer, seen, is_count=is_count)
    assert tuple(found[name] for name in ("status", "before", "after", "closed")) == told


def test_session_that_knows_no_such_order_canceled_nothing(bench):
    """The same status and exit code as without a session; a dry run tells no message."""
    rows = [{"id": "9999", "outcome": "gone", "message": "no such open order"}]
    told = by_session(bench, "cancel", {"id": ["9999"]}, {"cancelled": rows})
    assert (told.status, told.exit_code()) == ("gone", 6)
    rows = [{"id": "9999", "outcome": "accepted"}]
    told = by_session(bench, "cancel", {"id": ["9999"]}, {"cancelled": rows})
    assert (told.status, told.exit_code()) == ("done", 0)


def test_plan_is_judged_by_the_settings_of_the_session_that_will_place_it(bench):
    """It was started with --set; the file says something else."""
    config = {"risk.max_leverage": "2"}
    words = {"symbol": BTC, "side": "buy", "risk": "0.5%", "stop": "59400"}

    async def plan():
        return await invoke(catalog.load("order"), words, Context(face="test"))

    for told, limit in (
        (asyncio.run(FakeSession(bench, {}, config=config).around(plan)), 2),
        (asyncio.run(plan()), 3),
    ):
        assert {gate.name: gate.threshold for gate in told.plan.gates}["leverage"] == limit


def test_silent_session_does_not_stop_a_close(bench):
    """F60: the reduce-only port needs no lock."""
    bench.placed()
    session = FakeSession(bench, {}, is_alive=False)

    async def close():
        return await invoke(catalog.load("close"), {"symbol": BTC}, Context(face="cli"))

    told = asyncio.run(session.around(close))
    assert (told.status, told.by, bench.box.held()) == ("closed", "here", 0)


def test_unknown_intent_is_resolved_before_the_next_order(bench, tmp_path):
    """I12: what nobody followed is looked up first; one is found, one is not there yet."""
    room = Room(risk_usdt=Decimal(10_000), notional_usdt=Decimal(100_000), count=9)
    now_ms = SystemClock().now_ms()
    for name in ("known1", "lost1"):
        waiting = intent(
            1, client_id=name, key=name, account=ACCOUNT, created_ms=now_ms - 120_000,
            state=IntentState.UNKNOWN, notional_usdt=Decimal(10),
        )  # fmt: skip
        bench.journal.reserve(waiting, replace(room, allows_same_symbol=True))

    async def arrange() -> None:
        settings = client.Settings(
            state_folder=tmp_path, environment=Environment.SIMULATED, simulator_url=bench.box.url
        )
        account = client.connect(settings, SystemClock(), CREDENTIALS)
        resting = OrderRequest(
            symbol=ETH, side=Side.BUY, type=OrderType.LIMIT, size=Decimal("0.1"),
            price=Decimal(2_900), stop=Decimal(2_880), client_id="known1",
        )  # fmt: skip
        await account.place(resting)
        await account.aclose()

    asyncio.run(arrange())
    bench.placed()
    known, lost = bench.journal.intent("known1"), bench.journal.intent("lost1")
    assert (known.state, known.order_id is not None) == (IntentState.ACCEPTED, True)
    assert (lost.state, lost.misses) == (IntentState.UNKNOWN, 1)


def test_broken_state_opens_nothing(bench):
    """I06: a state that cannot be read counts as halted."""
    plan = bench.planned()
    Path(bench.state).write_bytes(b"not a database at all, and quite long enough" * 100)
    for suffix in ("-wal", "-shm"):
        Path(bench.state + suffix).unlink(missing_ok=True)
    outcome = bench.run("order", BTC, "--apply", plan["hash"], "--yes")
    assert outcome.code in (8, 9)
    assert bench.box.held() == 0
    with pytest.raises(BlofinError):
        bench.journal.halted()
