"""The pages and acts over a seeded state, without a browser."""

import re
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import pytest

from blofin_cli.app import catalog
from blofin_cli.app.spec import Result as Answer
from blofin_cli.core.market import Gate
from blofin_cli.core.orders import OrderState, Protection, Side
from blofin_cli.core.status import OrderView, Result
from blofin_cli.engine.live.reporting import _protection
from blofin_cli.faces.web import looks
from blofin_cli.faces.web.acts import _told
from blofin_cli.faces.web.calls import PATHS, TERMINAL, served, served_names
from blofin_cli.faces.web.forms import arguments_of
from tests.faces.seed import ACCOUNT, SESSION, bracket

# The first test of a process seeds the state that all others copy.
pytestmark = pytest.mark.timeout(30)

PAGES = ("/", "/map", "/trades", "/trades/t-003", "/signals", "/research", "/settings", "/logs",
         "/commands", "/commands/order", "/guide", "/guide/cli", "/commands/zones",
         "/commands/backtest", "/commands/config")  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
def test_page_draws_and_is_well_formed(visitor, path):
    """Every page has a language, a title, one main, one heading, labels and no inline code."""
    if path.startswith("/commands/") and path.split("/")[2] not in catalog.index():
        pytest.skip("this command is not there")
    answer = visitor().get(path)
    assert answer.status_code == 200, answer.text
    text = answer.text
    assert '<html lang="en">' in text
    assert re.search(r"<title>[^<]+</title>", text)
    assert len(re.findall(r"<main\b", text)) == 1
    assert len(re.findall(r"<h1\b", text)) >= 1
    assert not re.search(r"\s(style|on\w+)\s*=", re.sub(r">[^<]*<", "><", text))
    assert "<script>" not in text
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    labels = set(re.findall(r'<label[^>]*\sfor="([^"]+)"', text))
    for control in re.findall(r"<(?:input|select)\b[^>]*>", text):
        named = re.search(r'\sid="([^"]+)"', control)
        assert (
            'type="hidden"' in control
            or "aria-label" in control
            or (named is not None and named[1] in labels)
            or re.search(rf"<label[^>]*>[^<]*{re.escape(control)}", text)
        ), control


@pytest.mark.parametrize("path", PAGES)
def test_hostile_text_stays_text(visitor, path):
    """Text from elsewhere is neither markup nor control characters nor reordering on any page."""
    if path.startswith("/commands/") and path.split("/")[2] not in catalog.index():
        pytest.skip("this command is not there")
    text = visitor(hostile=True, halted=True).get(path).text
    assert "<script>alert" not in text
    assert not set("\x1b\x07\u202e") & set(text)
    if path in ("/", "/signals", "/logs"):
        assert "&lt;script&gt;alert(1)" in text
        assert "\\x1b[2J" in text


def test_hostile_text_stays_text_in_a_stream_of_panels(visitor):
    """What the stream carries is drawn by the same templates."""
    found = visitor(hostile=True)
    status = found.client.portal.call(found.site.status)
    for panel in ("state", "tiles", "positions", "orders", "breakers", "health", "events",
                  "control", "proposals", "alerts"):  # fmt: skip
        html = looks.draw(
            f"panels/{panel}.html", s=status, problem="", csrf="c", here="/",
            known=frozenset(catalog.index()),
        )  # fmt: skip
        assert "<script>" not in html
        assert not set("\x1b\x07\u202e") & set(html)


def test_dashboard_tells_money_protection_and_breakers(visitor):
    """What a person must see at a glance stands on the first page."""
    text = visitor().get("/").text
    for words in ("10,482.11", "+71.80", "\N{MINUS SIGN}1.8%", "DEMO", "BTC-USDT", "TRIPPED",
                  "Correlated risk", "Without stop", "2.4 s", "SOL-USDT, fed"):  # fmt: skip
        assert words in text, words


def test_state_that_cannot_be_read_is_said(visitor):
    """A damaged state is no empty state: every page says that nothing may be opened."""
    found = visitor()
    path = Path(found.site.calls.make_context().state)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.write_bytes(b"not a database, and long enough " * 200)
    found.site.forget_status()
    text = found.get("/guide").text
    assert "state cannot be read" in text


def test_settings_are_a_form_made_from_the_types(visitor, monkeypatch):
    """A number has its rule, a choice its words, a place is only shown, a secret not at all."""
    monkeypatch.setenv("BLOFIN_WEB__PASSWORD_HASH", "scrypt:32768:8:1:c2VjcmV0:aGFzaA==")
    text = visitor().get("/settings").text
    assert "c2VjcmV0" not in text
    assert 'id="s-strategy.risk.per_trade_pct" name="value"' in text
    assert "(0.05 to 2)" in text
    assert re.search(r'<select id="s-mode"', text)
    assert '<output id="s-state">' in text
    assert re.search(r'<output id="s-web.password_hash">[^<]*</output>', text)


def test_risk_limit_is_changed_and_bounds_hold(visitor, own_home, empty_folder):
    """A saved limit is in force and shown; one outside its rule is refused with the rule."""
    found = visitor()
    fields = {"action": "set", "name": "strategy.risk.per_trade_pct", "_back": "/settings"}
    assert found.post("/do/config", fields | {"value": "0.4"}).status_code == 303
    text = found.get("/settings").text
    assert 'name="value" value="0.4"' in text
    answer = found.post("/do/config", fields | {"value": "50"})
    assert answer.status_code == 400
    assert "Not done" in answer.text
    assert 'name="value" value="0.4"' in found.get("/settings").text


@pytest.mark.parametrize(
    "fields",
    [
        {"action": "set", "name": "state", "value": "/elsewhere/state.db"},
        {"action": "set", "name": "sim_url", "value": "http://169.254.169.254/"},
        {"action": "set", "name": "web.allow", "value": "0.0.0.0/0"},
        {"action": "set", "name": "mcp.allow_trading", "value": "true"},
        {"action": "key", "name": "live"},
        {"action": "init"},
    ],
)
def test_places_keys_and_doors_are_not_set_over_the_web(visitor, empty_folder, fields):
    """Where things lie, who is told and who may come is decided on the machine."""
    found = visitor()
    assert found.post("/do/config", fields).status_code == 403
    assert found.call("/api/config", fields).status_code == 403


def test_no_option_names_a_file(visitor):
    """Every option that a description calls a file or folder is withheld from browsers."""
    words = re.compile(r"\b(file|folder|path|parquet|html|draw|certificate)\b", re.IGNORECASE)
    harmless = {("backtest", "save"), ("config", "action"), ("config", "project"),
                ("zones", "as_of"), ("run", "keep")}  # fmt: skip
    for name in served_names():
        for option in served(name).options():
            if words.search(option.help) and (name, option.field) not in harmless:
                assert option.field in PATHS | TERMINAL, (name, option.field, option.help)


def test_machine_is_not_told_to_run_words_later(visitor):
    """A line in cron or a unit of systemd would trade without anybody typing the word for it."""
    found = visitor()
    words = {"action": "add", "name": "x", "when": "@daily", "command": "run BTC-USDT --mode live"}
    for name in ("schedule", "service", "guard", "mcp", "sim"):
        assert found.post(f"/do/{name}", words).status_code == 404
        assert found.call(f"/api/{name}", words).status_code == 404
        assert found.get(f"/commands/{name}").status_code == 404


@pytest.mark.parametrize(
    "address",
    ["/api/nope", "/api/jobs/zzz", "/jobs/zzz", "/trades/zzz", "/data/trades/zzz", "/guide/zzz",
     "/commands/zzz", "/runs/zzz", "/zzz"],
)  # fmt: skip
def test_address_of_nothing_is_not_found(visitor, address):
    """404 says that nothing is there; 400 would blame the request."""
    assert visitor().get(address).status_code == 404


def test_trade_log_without_trades_is_its_header(visitor):
    """As a file: the same columns as with trades, and no row."""
    found = visitor()
    whole = found.get("/trades.csv").text.splitlines()
    assert len(whole) > 1
    assert found.get("/trades.csv?tag=nosuch").text.splitlines() == whole[:1]


@pytest.mark.parametrize("field", ["data", "chart", "strategy"])
def test_withheld_option_is_refused(visitor, field):
    """Leaving it out of the form is not enough."""
    found = visitor()
    answer = found.get(f"/api/zones?symbol=BTC-USDT&synthetic=7&{field}=x.html")
    assert answer.status_code == 400
    assert "not offered over the web" in answer.json()["error"]["message"]
    assert found.get(f"/commands/zones?_go=1&symbol=BTC-USDT&{field}=x.html").status_code == 200


def test_zone_chart_is_as_known_at_its_moment(visitor):
    """Replay ends where it is asked to, and shows other zones than now."""
    found = visitor()
    now = found.get("/data/chart?symbol=BTC-USDT&timeframe=15m").json()
    assert len(now["candles"]["t"]) > 100
    assert [level["role"] for level in now["levels"]][:3] == ["entry", "stop", "target"]
    then_ms = now["candles"]["t"][-200] * 1000
    then = found.get(f"/data/chart?symbol=BTC-USDT&timeframe=15m&at={then_ms}").json()
    assert then["candles"]["t"][-1] * 1000 < then_ms
    assert [zone["id"] for zone in then["zones"]] != [zone["id"] for zone in now["zones"]]


def test_chart_of_anything_else_is_refused(visitor):
    """A symbol, a timeframe and a moment are judged like everywhere."""
    found = visitor()
    for query in ("symbol=<script>", "timeframe=7m", "at=yesterday", "at=99999999999999999",
                  "at=-1", "symbol=BTC-USDT'; DROP TABLE orders;--"):  # fmt: skip
        answer = found.get(f"/data/chart?{query}")
        assert answer.status_code == 400, query
        assert answer.json()["error"]["code"] == "usage"


def test_equity_falls_below_its_peak(visitor):
    """Drawdown is measured from the highest equity so far and never above zero."""
    found = visitor().get("/data/equity").json()
    assert len(found["t"]) == len(found["equity"]) == len(found["drawdown"]) > 50
    assert max(found["drawdown"]) == 0.0
    assert min(found["drawdown"]) < 0.0
    assert found["t"] == sorted(set(found["t"]))


def test_empty_fields_were_not_given():
    """A form sends every field; what was left empty is not an argument, and `_` is the page's."""
    spec = served("backtest")
    pairs = [("symbol", " BTC-USDT ETH-USDT "), ("since", ""), ("_csrf", "x"), ("draws", "0")]
    assert arguments_of(spec, pairs) == {"symbol": ["BTC-USDT", "ETH-USDT"], "draws": "0"}


def test_static_files_are_kept_for_ever_under_their_digest(visitor):
    """Another content has another address; an old address is gone; packed when asked."""
    found = visitor(signed_in=False)
    path = looks.static_path("app.css")
    answer = found.client.get(path, headers={"accept-encoding": "gzip"})
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-encoding"] == "gzip"
    assert found.get("/static/0000000000000000/app.css").status_code == 404
    assert found.get("/static/0000000000000000/..%2f..%2fpyproject.toml").status_code == 404


def test_first_pages_are_small(visitor):
    """The dashboard with all it brings along is below 300 KB, even unpacked."""
    found = visitor()
    page = found.get("/").text
    names = [name for name in looks.static_files() if looks.static_path(name) in page]
    assert "lightweight-charts.js" in names
    size = len(page.encode()) + sum(len(looks.static_files()[name].content) for name in names)
    assert size < 300_000


def with_orders(found, *orders: OrderView, **changes) -> None:
    """The session of a visitor holds these orders and nothing else."""
    journal = found.site.calls.make_context().journal
    journal.beat(replace(journal.status(), orders=orders, **changes))


def test_a_bracket_shows_both_its_prices(visitor):
    """The stop never stands under the target's price, and a lone one is shown by its own."""
    found = visitor()
    lone = _protection(
        Protection(
            symbol="ETH-USDT", protection_id="8", client_id="d", side=Side.BUY,
            state=OrderState.LIVE, size=None, stop=Decimal(1756),
        )
    )  # fmt: skip
    with_orders(found, bracket(), lone)
    text = found.get("/").text
    assert "stop 36,000.0, target 38,500.0" in text
    assert '<td class="n">1,756.00</td>' in text


def test_cancelling_a_bracket_says_what_goes_and_who_is_bare(visitor):
    """The question names symbol, prices and position, not an id alone."""
    found = visitor()
    with_orders(found, bracket())
    fields = {"id": "7", "protection": "true", "exchange": "blofin", "mode": "demo"}
    text = found.post("/do/cancel", fields).text
    assert "BTC-USDT: stop 36,000.0 and target 38,500.0 both go" in text
    assert "The position long 0.12 BTC-USDT from 29,954.3 is then without a stop." in text
    assert "--protection" not in text


def test_cancelling_a_target_leaves_the_stop(visitor):
    """Nobody is called bare who is not."""
    text = visitor().post("/do/cancel", {"id": "100001", "protection": "true"}).text
    assert "the target at 30,863.8 goes" in text
    assert "without a stop" not in text


def test_events_name_their_symbol_once_and_one_trade_is_one(visitor):
    """What the engine puts before its words stands in front already."""
    found = visitor()
    journal = found.site.calls.make_context().journal
    known = journal.happenings(limit=1)[0]
    told = replace(known, kind="fill", symbol="BTC-USDT", text="BTC-USDT: opened 0.1")
    journal.tell(ACCOUNT, SESSION, told)
    with_orders(found, today=Result(trades=1))
    text = found.get("/").text
    assert re.search(r"</strong> BTC-USDT opened 0.1", text)
    assert "1 trade<" in text


def test_a_halted_session_says_so_once(visitor):
    """One badge, not the same word in two sizes."""
    found = visitor(halted=True)
    with_orders(found, phase="halted")
    state = re.search(r'data-panel="state">(.*?)</div>', found.get("/").text, re.DOTALL)
    assert state is not None
    assert state[1].lower().count("halted</") == 1


def test_a_filter_that_cannot_be_read_is_a_bad_request(visitor):
    """As over the API; the reason stands before the form."""
    answer = visitor().get("/trades?min_r=nan")
    assert answer.status_code == 400
    assert answer.text.index('role="alert"') < answer.text.index('class="filters"')


@dataclass
class Plan:
    """A plan as far as an answer shows it."""

    gates: tuple[Gate, ...]


class Planned(Answer):
    """The answer of `order`, which has one row a gate."""

    plan: Any
    columns: ClassVar[tuple[str, ...]] = ("gate", "passed", "value", "limit", "note")

    def rows(self) -> list[dict[str, Any]]:
        """One line a gate."""
        return [{"gate": gate.name, "note": gate.note} for gate in self.plan.gates]


def test_the_answer_to_an_order_lists_its_gates_below_each_other(visitor):
    """A table of five columns would be cut on a phone; the title is no help text."""
    found = visitor()
    cookie = found.client.cookies.get("blofin")
    session = found.site.sessions.find(cookie, found.site.passwords.fingerprint())
    gates = (Gate("stop", False, 1.0, 2.0, "too near"),)
    result = Planned(plan=Plan(gates=gates))
    _told(session, served("order"), {}, result, None)
    text = found.get("/result").text
    assert "<h1>Order</h1>" in text
    assert 'class="gates"' in text
    assert "too near" in text
    assert "<table" not in text


def test_help_is_shown_without_options_of_a_command_line():
    """A form has fields."""
    assert looks.lead("Plan an order; --apply HASH places it, once.\nMore") == "Plan an order."
    assert looks.lead("Cancel orders. A stop only with --protection.") == "Cancel orders."
