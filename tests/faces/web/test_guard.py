"""Who is let in: where a request comes from, which page sends it, who is signed in, which token."""

import pytest

from blofin_cli.faces.web.sessions import ATTEMPTS_FREE, IDLE_S_MAX
from tests.faces.web.conftest import ORIGIN, PASSWORD

# The first test of a process seeds the state that all others copy.
pytestmark = pytest.mark.timeout(30)


class Seconds:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def stranger(visitor):
    """Somebody who has not signed in."""
    return visitor(signed_in=False)


def trail(found) -> list[str]:
    """Commands of the trail, the newest first."""
    return [row.command for row in found.site.calls.make_context().journal.audit()]


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:8788"},
        {"host": "127.0.0.1:9999"},
        {"host": ""},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "same-origin", "origin": "https://evil.example"},
    ],
)
def test_request_from_elsewhere_is_refused_before_routing(visitor, headers):
    """Another name, page or site gets 403 even with a valid session, wherever it points."""
    found = visitor()
    for path in ("/", "/login", "/api/status", "/live", "/nowhere", "/do/reject"):
        assert found.get(path, **headers).status_code == 403
        assert found.post(path, {}, **headers).status_code == 403


def test_write_that_names_no_page_is_refused(visitor):
    """Without Origin and Sec-Fetch-Site nobody can tell which page sends a form."""
    found = visitor()
    answer = found.client.post("/do/reject", data={"_csrf": found.csrf, "id": "7f3a21"})
    assert answer.status_code == 403


@pytest.mark.parametrize("token", [None, "", "x", "other"])
def test_write_without_the_sessions_own_token_has_no_effect(visitor, token):
    """No token, a wrong one and another session's are the same: 403, and nothing was done."""
    found, before = visitor(), None
    if token == "other":
        cookie = found.site.sessions.begin(found.site.passwords.fingerprint())
        token = found.site.sessions.find(cookie, found.site.passwords.fingerprint()).csrf
    before = trail(found)
    sent = {"id": "7f3a21"} | ({} if token is None else {"_csrf": token})
    answer = found.client.post("/do/reject", data=sent, headers={"origin": ORIGIN})
    assert (answer.status_code, trail(found)) == (403, before)
    answer = found.client.post(
        "/api/reject", json={"id": "7f3a21"},
        headers={"origin": ORIGIN} | ({} if token is None else {"x-csrf-token": token}),
    )  # fmt: skip
    assert (answer.status_code, trail(found)) == (403, before)


def test_write_with_its_token_is_done_and_entered(visitor):
    """The same form with the right token rejects the proposal and stands in the trail."""
    found = visitor()
    assert found.post("/do/reject", {"id": "7f3a21", "_back": "/signals"}).status_code == 303
    newest = found.site.calls.make_context().journal.audit()[0]
    assert (newest.command, newest.face, newest.outcome) == ("reject", "web:127.0.0.1", "ok")
    assert "7f3a21" in found.get("/signals").text  # told once
    assert "7f3a21" not in found.get("/signals").text


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("text/plain", "_csrf={csrf}&id=7f3a21"),
        ("multipart/form-data; boundary=x", "--x--"),
        ("", "_csrf={csrf}&id=7f3a21"),
        ("application/xml", "<a/>"),
    ],
)
def test_body_of_another_kind_is_refused(visitor, kind, content):
    """What a foreign page can send without being asked about is not read."""
    found = visitor()
    headers = {"origin": ORIGIN, "x-csrf-token": found.csrf} | (
        {"content-type": kind} if kind else {}
    )
    answer = found.client.post(
        "/do/reject", content=content.format(csrf=found.csrf).encode(), headers=headers
    )
    assert answer.status_code == 403
    assert "reject" not in trail(found)


@pytest.mark.parametrize("name", ["x-http-method-override", "x-http-method", "x-method-override"])
def test_method_override_is_refused(visitor, name):
    """A method is what the request line says."""
    found = visitor()
    assert found.get("/do/reject?id=7f3a21", **{name: "POST"}).status_code == 405
    assert found.post("/do/reject", {"id": "7f3a21"}, **{name: "DELETE"}).status_code == 405
    assert found.post("/do/reject", {"id": "7f3a21", "_method": "GET"}).status_code == 405
    assert "reject" not in trail(found)


@pytest.mark.parametrize(
    "path",
    [
        "/do/reject?id=7f3a21",
        "/api/reject?id=7f3a21",
        "/api/config?action=set&name=default_symbol&value=ETH-USDT",
        "/logout",
    ],
)
def test_get_never_writes(visitor, path):
    """A link, an image or a prefetch changes nothing."""
    found = visitor()
    assert found.get(path).status_code == 405
    page = found.get("/commands/config?_go=1&action=set&name=default_symbol&value=ETH-USDT")
    assert "changes something" in page.text
    assert trail(found) == []
    assert found.get("/").status_code == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH", "TRACE", "OPTIONS", "CONNECT"])
def test_other_methods_are_not_served(visitor, method):
    """Only looking, sending and deleting exist; no preflight is ever answered."""
    found = visitor()
    answer = found.client.request(method, "/api/status", headers={"origin": ORIGIN})
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_stranger_sees_nothing_but_the_door(stranger):
    """Pages lead to the sign-in, data and acts are refused, and nothing tells what is there."""
    for path in ("/", "/settings", "/nowhere", "/commands/zones"):
        answer = stranger.get(path)
        assert (answer.status_code, answer.headers["location"][:12]) == (303, "/login?next=")
    for path in ("/api/status", "/live?page=dashboard", "/data/chart", "/api/openapi.json"):
        assert stranger.get(path).status_code == 401
    answer = stranger.post("/do/reject", {"id": "7f3a21"})
    assert answer.status_code == 401
    assert stranger.get("/health").text == "ok\n"
    assert "10,482" not in stranger.get("/login").text


def test_next_page_after_signing_in_is_always_ours(stranger):
    """A link cannot send somebody who signs in to another host."""
    for path in (
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "javascript:1",
        "/\r\nx",
    ):
        answer = stranger.client.post(
            "/login", data={"password": PASSWORD, "next": path}, headers={"origin": ORIGIN},
            follow_redirects=False,
        )  # fmt: skip
        assert answer.headers["location"] == "/"
    assert stranger.sign_in().status_code == 303


def test_thousand_guesses_do_not_get_in(visitor):
    """After five free tries the waits double, and even the right password must wait."""
    seconds = Seconds()
    found = visitor(signed_in=False, seconds=seconds)
    codes = [found.sign_in(f"guess number {number}").status_code for number in range(8)]
    assert codes == [403] * ATTEMPTS_FREE + [429] * (8 - ATTEMPTS_FREE)
    assert found.sign_in().status_code == 429
    tried = ATTEMPTS_FREE
    for _ in range(992):
        seconds.now += 1.0
        if found.site.attempts.wait_s("127.0.0.1") == 0:
            found.site.attempts.failed("127.0.0.1")
            tried += 1
    assert tried < 20
    assert found.sign_in().status_code == 429
    seconds.now += 901
    assert found.sign_in().status_code == 303
    assert trail(found).count("sign-in") == ATTEMPTS_FREE + 1


def test_guesses_from_everywhere_are_braked_together(visitor):
    """Sixty wrong passwords in a quarter of an hour stop the guessing, whoever sends them."""
    seconds = Seconds()
    attempts = visitor(signed_in=False, seconds=seconds).site.attempts
    for number in range(60):
        assert attempts.wait_s(f"10.0.{number}.1") == 0
        attempts.failed(f"10.0.{number}.1")
    assert attempts.wait_s("10.9.9.9") > 0
    assert attempts.wait_s("2001:db8::1") == attempts.wait_s("2001:db8::2") > 0


def test_session_ends_with_time_password_and_sign_out(visitor, passwords):
    """An idle session, one under an old password and one that signed out are all over."""
    seconds = Seconds()
    found = visitor(seconds=seconds)
    assert found.get("/").status_code == 200
    seconds.now += IDLE_S_MAX + 1
    assert found.get("/").status_code == 303
    found.sign_in()
    passwords.choose("another password altogether")
    assert found.get("/").status_code == 303
    found.sign_in("another password altogether")
    assert found.post("/logout").status_code == 303
    assert found.get("/").status_code == 303


def test_answers_carry_their_protection(visitor):
    """Policy, framing, sniffing, referrer and caching are said with every answer, errors too."""
    found = visitor()
    for path in ("/", "/nowhere", "/api/status", "/do/reject"):
        headers = found.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
    cookie = found.sign_in().headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_too_much_is_refused(visitor):
    """Bodies, fields and headers have limits."""
    found = visitor()
    assert found.post("/do/reject", {"id": "x" * 70_000}).status_code == 413
    many = {f"f{number}": "1" for number in range(400)}
    assert found.post("/do/reject", many).status_code == 400
    assert found.get("/", **{f"x-{number}": "1" for number in range(150)}).status_code == 431
    deep = ("[" * 30_000).encode()
    headers = {"origin": ORIGIN, "x-csrf-token": found.csrf, "content-type": "application/json"}
    assert found.client.post("/api/reject", content=deep, headers=headers).status_code == 400
