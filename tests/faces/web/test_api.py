"""The JSON API: generated, described, and steady under whatever is sent to it."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blofin_cli.app import catalog
from blofin_cli.app import mandate as mandates
from blofin_cli.app.spec import Effect
from blofin_cli.faces.web.api import methods_of
from blofin_cli.faces.web.calls import ELSEWHERE, FORCED, LONG, PATHS, TERMINAL, served
from blofin_cli.faces.web.openapi import description

# The first test of a process seeds the state that all others copy.
pytestmark = pytest.mark.timeout(30)

# What leaves this machine, starts processes or lasts: their arguments are judged, not their work.
OUTWARD = frozenset(
    {"account", "cancel", "candles", "close", "doctor", "halt", "instruments", "order", "orders",
     "positions", "price", "protect", "run", "schedule", "service", "signal", "why", "zones"}
)  # fmt: skip


def test_every_command_is_described_with_its_effect():
    """A new command is in the description without anybody writing it there."""
    document = description()
    assert document["openapi"] == "3.1.0"
    for name in catalog.index():
        path = document["paths"].get(f"/api/{name}")
        if name in ELSEWHERE:
            assert path is None
            continue
        spec = served(name)
        assert {method.upper() for method in path} == set(methods_of(spec))
        for operation in path.values():
            assert f"Effect: {spec.effect}" in operation["description"]


def test_description_names_nothing_withheld_and_refers_to_what_is_there():
    """No option that names a file, and every reference resolves inside the document."""
    document = description()
    text = json.dumps(document)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            names = {item["name"] for item in operation.get("parameters", ())}
            body = operation.get("requestBody", {}).get("content", {})
            names |= set(body.get("application/json", {}).get("schema", {}).get("properties", ()))
            assert not names & (PATHS | TERMINAL), path
    references = {piece.split('"')[0] for piece in text.split('"$ref": "')[1:]}
    for reference in references:
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]


def test_description_and_look_go_over_http(visitor):
    """The document is served, and an answer has the shape of the command line's JSON."""
    found = visitor()
    assert found.get("/api/openapi.json").json()["info"]["title"] == "blofin-cli"
    answer = found.get("/api/status?events=2")
    assert answer.json()["status"]["positions"][0]["symbol"] == "BTC-USDT"
    assert answer.json()["status"]["ts"].endswith("Z")
    assert answer.headers["x-exit-code"] == "0"
    assert len(answer.json()["happenings"]) == 2


def test_error_is_the_envelope_of_every_face(visitor):
    """Code, message, hint, retryable and details, with a status that tells whose fault it is."""
    found = visitor()
    answer = found.get("/api/zones?symbol=nonsense&synthetic=7")
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"code", "message", "hint", "retryable", "details"}
    assert found.get("/api/nosuch").status_code == 404
    assert found.get("/api/web").status_code == 404


def test_act_of_a_person_needs_the_word_that_was_typed(visitor):
    """Neither consent beforehand nor another word passes; the exact word does."""
    found = visitor(halted=True)
    journal = found.site.calls.make_context().journal
    for word in ("", "yes", "resum", "resume2"):
        answer = found.call("/api/resume", {}, **{"x-confirm": word})
        assert answer.status_code == 403
        assert journal.halted() is not None
    page = found.post("/do/resume", {"_word": "no"})
    assert "That was not the word" in page.text
    assert journal.halted() is not None


def test_mandate_wants_its_passphrase_from_the_form(visitor, own_home):
    """Where there is a mandate, the word alone does not resume; word and passphrase do."""
    found = visitor(halted=True)
    context = found.site.calls.make_context()
    mandates.create(context, "open sesame and then some")
    for secret in ("", "open sesame and then some more"):
        answer = found.post("/do/resume", {"_word": "resume", "_passphrase": secret})
        assert answer.status_code == 403
        assert context.journal.halted() is not None
    fields = {"_word": "resume", "_passphrase": "open sesame and then some", "_back": "/"}
    assert found.post("/do/resume", fields).status_code == 303
    assert context.journal.halted() is None
    assert "sesame" not in json.dumps([row.arguments for row in context.journal.audit()])


def test_halt_is_one_press_and_needs_no_word(visitor):
    """The flag is up when the answer comes, the page says so, and a second press is no error."""
    found = visitor()
    journal = found.site.calls.make_context().journal
    for _ in range(2):
        assert found.post("/do/halt", {"_back": "/"}).status_code == 303
        assert journal.halted() is not None
        text = found.get("/").text
        assert "HALTED" in text
        assert "Trading is halted" in text
    assert [row.command for row in journal.audit()][:2] == ["halt", "halt"]


def test_trade_needs_its_symbol_and_live_its_own_word(visitor):
    """A session in demo wants the symbol, one with real money wants LIVE, and neither starts."""
    found = visitor()
    arguments = {"symbol": ["BTC-USDT"], "mode": "demo", "exchange": "sim"}
    answer = found.call("/api/run", arguments, **{"x-confirm": "LIVE"})
    assert (answer.status_code, "BTC-USDT" in answer.json()["error"]["hint"]) == (403, True)
    live = {"symbol": ["BTC-USDT"], "mode": "live", "exchange": "blofin"}
    answer = found.call("/api/run", live, **{"x-confirm": "BTC-USDT"})
    assert (answer.status_code, "LIVE" in answer.json()["error"]["hint"]) == (403, True)
    page = found.post("/do/run", {"symbol": "BTC-USDT", "mode": "live", "exchange": "blofin"})
    assert "Type <strong>LIVE</strong>" in page.text


def test_mode_from_the_settings_counts_for_the_word(visitor, monkeypatch):
    """Who set live mode once is asked for LIVE even where no mode was named."""
    monkeypatch.setenv("BLOFIN_MODE", "live")
    page = visitor().post("/do/run", {"symbol": "BTC-USDT"})
    assert "Type <strong>LIVE</strong>" in page.text


def _values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """What a schema allows, and what it does not."""
    odd = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=40),
        st.lists(st.text(max_size=8), max_size=4), st.sampled_from(
            ["'; DROP TABLE orders;--", "\x1b[2J", "../../etc/passwd", "NaN", "1e999", "9" * 400,
             "BTC-USDT", "<script>", "=1+1", "http://169.254.169.254/"]
        ),
    )  # fmt: skip
    if "enum" in schema:
        return st.one_of(st.sampled_from(schema["enum"]), odd)
    return odd


@pytest.fixture(scope="module")
def looks_here() -> dict[str, dict[str, Any]]:
    """Name and parameters of every look that stays on this machine."""
    found = {}
    for name in catalog.index():
        if name in ELSEWHERE | OUTWARD or served(name).effect is not Effect.READ or name in LONG:
            continue
        parameters = description()["paths"][f"/api/{name}"]["get"]["parameters"]
        found[name] = {item["name"]: item["schema"] for item in parameters}
    return found


def test_no_look_breaks_whatever_is_asked(visitor, looks_here):
    """Anything for any parameter is answered or refused with the envelope, never with a defect."""
    found = visitor()

    @settings(
        max_examples=120, deadline=None, derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip
    @given(st.data())
    def ask(data: Any) -> None:
        name = data.draw(st.sampled_from(sorted(looks_here)))
        schemas = looks_here[name]
        chosen = data.draw(st.sets(st.sampled_from([*schemas, "nosuch"]), max_size=4))
        query = {key: str(data.draw(_values(schemas.get(key, {})))) for key in sorted(chosen)}
        answer = found.client.get(f"/api/{name}", params=query)
        assert answer.status_code < 500, (name, query)
        assert answer.headers["content-type"] == "application/json"
        assert answer.status_code == 200 or set(answer.json()) == {"error"}

    ask()


def test_no_act_breaks_or_passes_whatever_is_sent(visitor):
    """Anything sent to any act without its word is refused or harmless, never a defect."""
    found = visitor()
    names = [
        name
        for name in catalog.index()
        if name not in ELSEWHERE | LONG and "POST" in methods_of(served(name))
    ]
    journal = found.site.calls.make_context().journal

    @settings(
        max_examples=120, deadline=None, derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip
    @given(st.data())
    def send(data: Any) -> None:
        name = data.draw(st.sampled_from(names))
        fields = sorted(served(name).request.model_fields)
        if name in OUTWARD:
            fields = [field for field in fields if field not in FORCED] or ["nosuch"]
            document = {"nosuch": data.draw(_values({}))}
        else:
            chosen = data.draw(st.sets(st.sampled_from([*fields, "nosuch"]), max_size=4))
            document = {key: data.draw(_values({})) for key in sorted(chosen)}
        sent = json.dumps(document).encode()
        answer = found.client.post(
            f"/api/{name}", content=sent,
            headers={"origin": "http://127.0.0.1:8788", "x-csrf-token": found.csrf,
                     "content-type": "application/json"},
        )  # fmt: skip
        assert answer.status_code < 500, (name, document)
        assert answer.headers["content-type"] == "application/json"

    send()
    assert journal.sessions(limit=5)[0].session_id == "20240315-0612-4f2a"
    assert not [
        row for row in journal.audit() if row.effect in ("trade", "person") and row.outcome == "ok"
    ]


def test_long_command_is_a_job_that_can_be_cancelled(visitor):
    """It answers at once with its address, tells its progress, and DELETE ends it."""
    import time

    found = visitor()
    answer = found.call("/api/backtest", {"symbol": ["BTC-USDT"], "synthetic": 7, "draws": 5000})
    assert answer.status_code == 202
    where = answer.headers["location"]
    process = found.site.jobs.find(where.rpartition("/")[2]).process
    assert found.get(where).json()["state"] == "running"
    assert (
        found.client.delete(where, headers={"origin": "http://127.0.0.1:8788"}).status_code == 403
    )
    headers = {"origin": "http://127.0.0.1:8788", "x-csrf-token": found.csrf}
    assert found.client.delete(where, headers=headers).json()["state"] == "cancelled"
    deadline = time.monotonic() + 10
    while process.returncode is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.returncode is not None
    assert found.get("/api/jobs/none").status_code == 404
