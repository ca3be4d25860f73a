"""The box on real loopback sockets: REST, both WebSockets, control, and what a cut looks like."""

import asyncio
import json
import time

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from blofin_cli.adapters.exchanges.sim.box import Box
from blofin_cli.adapters.exchanges.sim.faults import Fault
from blofin_cli.adapters.exchanges.sim.keys import RateLimits
from blofin_cli.adapters.exchanges.sim.market import MarketClock
from blofin_cli.adapters.exchanges.sim.server import BoxServer, listening, system_ms
from tests.adapters.exchanges.sim.driver import (
    ALL,
    COIN,
    KEY,
    PASSPHRASE,
    SECRET,
    Caller,
    sign,
    subscribe,
    terms,
    tick,
)

pytestmark = pytest.mark.process


def new_server(speed=0.0, **given):
    """A box that starts now, with one print."""
    now_ms = system_ms()
    box = Box([terms()], ALL, now_ms=now_ms, **given)
    box.print(tick(1000, now_ms))
    return BoxServer(box, MarketClock(now_ms, speed, system_ms))


def headers(method, target, body=b""):
    """A claim made now."""
    stamp, nonce = str(system_ms()), f"n{time.perf_counter_ns()}"
    return {
        "ACCESS-KEY": KEY,
        "ACCESS-PASSPHRASE": PASSPHRASE,
        "ACCESS-TIMESTAMP": stamp,
        "ACCESS-NONCE": nonce,
        "ACCESS-SIGN": sign(f"{target}{method}{stamp}{nonce}".encode() + body, SECRET),
    }


async def order(client, **fields):
    """An order over HTTP."""
    given = {
        "instId": COIN, "marginMode": "isolated", "side": "buy", "orderType": "market", "size": "1",
    }  # fmt: skip
    body = json.dumps(given | fields).encode()
    target = "/api/v1/trade/order"
    return await client.post(target, content=body, headers=headers("POST", target, body))


async def received(socket, count=1):
    """The next frames of a WebSocket."""
    found = [await asyncio.wait_for(socket.recv(), 20) for _ in range(count)]
    return [text if text == "pong" else json.loads(text) for text in found]


async def test_request_and_push_meet_over_sockets():
    """An order over REST is told on the private socket; the query is signed as it was sent."""
    server = new_server()
    async with listening(server) as address, httpx.AsyncClient(base_url=address.rest) as client:
        target = f"/api/v1/account/batch-leverage-info?instId={COIN}%2C{COIN}&marginMode=isolated"
        answer = await client.get(target, headers=headers("GET", target))
        assert len(answer.json()["data"]) == 2
        assert answer.headers["date"].endswith("GMT")
        async with connect(address.private, proxy=None) as socket:
            caller = Caller(server.box)
            caller.wall_ms = system_ms()
            await socket.send(caller.login_frame())
            await socket.send(subscribe("orders", inst_id=None))
            await socket.send("ping")
            first = await received(socket, 3)
            assert [item if item == "pong" else item["event"] for item in first] == [
                "login",
                "subscribe",
                "pong",
            ]
            assert (await order(client)).json()["code"] == "0"
            states = [f["data"][0]["state"] for f in await received(socket, 2)]
            assert states == ["live", "filled"]


async def test_lost_answer_is_a_cut_connection():
    """The client sees a broken connection, the venue has the order."""
    server = new_server()
    server.box.faults.switch_on(Fault("lost_answer", path="trade/order", count=1))
    async with listening(server) as address, httpx.AsyncClient(base_url=address.rest) as client:
        with pytest.raises(httpx.TransportError):
            await order(client, clientOrderId="lost")
        target = f"/api/v1/trade/order-detail?instId={COIN}&clientOrderId=lost"
        answer = await client.get(target, headers=headers("GET", target))
        assert answer.json()["data"]["state"] == "filled"


async def test_html_and_delay_arrive_as_they_are():
    """A body that is no JSON; an answer that takes its time."""
    server = new_server()
    server.box.faults.switch_on(Fault("html", count=1))
    server.box.faults.switch_on(Fault("delay", ms=120))
    async with listening(server) as address, httpx.AsyncClient(base_url=address.rest) as client:
        answer = await client.get("/api/v1/market/tickers")
        assert answer.text.startswith("<html>")
        started = time.perf_counter()
        assert (await client.get("/api/v1/market/tickers")).json()["code"] == "0"
        assert time.perf_counter() - started > 0.1


async def test_control_moves_prices_time_and_faults():
    """What a test may do to a running box; nonsense is refused with a reason."""
    server = new_server()
    async with listening(server) as address, httpx.AsyncClient(base_url=address.rest) as client:

        async def act(name, /, **fields):
            answer = await client.post(f"/control/{name}", json=fields)
            return answer.status_code, answer.json()

        assert (await act("price", instId=COIN, price="990"))[0] == 200
        rows = (await client.get("/api/v1/market/tickers")).json()["data"]
        assert rows[0]["last"] == "990"
        before = (await act("state"))[1]
        assert before["simulated"] is True
        moved = (await act("time", advance_ms=3_600_000))[1]
        assert moved["market_ms"] == before["market_ms"] + 3_600_000
        assert (await act("fault", name="rate_limit", count=1))[0] == 200
        assert (await client.get("/api/v1/market/tickers")).status_code == 429
        assert (await act("state"))[1]["fired"] == {"rate_limit": 1}
        assert (await act("chaos", seed=4))[1]
        assert (await act("calm"))[1] == {"active": []}
        assert (await act("instrument", instId=COIN, state="suspend"))[0] == 200
        assert (await order(client)).json()["code"] == "152404"
        assert (await act("key", state="expired"))[0] == 200
        assert (await order(client)).json()["code"] == "152402"
        assert (await act("account"))[1]["positions"] == []
        for name, fields in (
            ("dance", {}), ("fault", {"name": "nothing"}),
            ("price", {"instId": COIN, "price": "-1"}), ("time", {"speed": "-1"}),
            ("fault", {"name": "delay", "probability": "2"}),
            ("instrument", {"instId": "X", "state": "live"}),
        ):  # fmt: skip
            status, answer = await act(name, **fields)
            assert (status, bool(answer["error"])) == (400, True), name


@pytest.mark.parametrize(
    "sent", [{"Origin": "http://evil.example"}, {"Host": "evil.example:80"}, {"Origin": "null"}]
)
async def test_control_is_not_for_web_pages(sent):
    """A page that drives the local port is refused."""
    async with listening(new_server()) as address, httpx.AsyncClient() as client:
        answer = await client.post(f"{address.rest}/control/state", headers=sent)
        assert answer.status_code == 403


async def test_market_moves_by_itself_at_its_speed():
    """At 100x a minute passes in 0.6 s."""
    server = new_server(speed=100.0)
    async with listening(server) as address, httpx.AsyncClient(base_url=address.rest) as client:
        first = (await client.get("/api/v1/market/mark-price")).json()["data"][0]["ts"]
        await asyncio.sleep(0.3)
        last = (await client.get("/api/v1/market/mark-price")).json()["data"][0]["ts"]
        assert 20_000 < int(last) - int(first) < 200_000


async def test_second_connection_within_a_second_is_refused():
    """BloFin's limit, per endpoint."""
    async with listening(new_server()) as address, connect(address.public, proxy=None):
        with pytest.raises(Exception, match=r"HTTP 403|1008"):
            async with connect(address.public, proxy=None) as second:
                await second.recv()


async def test_disconnected_socket_is_closed_and_forgotten():
    """By the control endpoint; the server keeps no session of it."""
    server = new_server(limits=RateLimits(enabled=False))
    async with listening(server) as address, httpx.AsyncClient(base_url=address.rest) as client:
        async with connect(address.public, proxy=None) as socket:
            await socket.send(subscribe("trades"))
            await received(socket)
            await client.post("/control/disconnect")
            with pytest.raises(ConnectionClosed):
                await received(socket)
        async with connect(address.public, proxy=None) as socket:
            await socket.send("ping")
            assert await received(socket) == ["pong"]
        for _ in range(50):
            if not server.box.publisher.sessions:
                break
            await asyncio.sleep(0.02)
        assert not server.box.publisher.sessions


async def test_port_in_use_is_an_error():
    """No silent second server."""
    async with listening(new_server()) as address:
        with pytest.raises(OSError, match="in use"):
            async with listening(new_server(), address.port):
                pass


async def test_huge_body_and_wild_paths_do_no_harm():
    """Cut, refused, alive."""
    async with (
        listening(new_server()) as address,
        httpx.AsyncClient(base_url=address.rest) as client,
    ):
        big = b"[" * 3_000_000
        target = "/api/v1/trade/batch-orders"
        answer = await client.post(target, content=big, headers=headers("POST", target, big))
        assert answer.json()["code"] in {"152409", "152004"}
        assert (await client.get("/api/v1/..%2f..%2fetc")).json()["code"] == "152404"
        assert (await client.get("/nothing")).status_code == 404
        assert (await client.get("/api/v1/market/tickers?instId=%00")).json()["code"] == "152002"
