"""The box: a venue, its markets, keys, limits and faults behind BloFin's protocol, without I/O.

Requests come as bytes and leave as bytes; pushes go to the sessions of `streams`. Time is told:
`advance` moves the market, every request names the wall's moment. So one box serves a socket, an
in-process transport and a simulation in virtual time alike.
"""

import json
import zlib
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from blofin_cli.adapters.exchanges.sim import rows
from blofin_cli.adapters.exchanges.sim.assets_api import Transfer
from blofin_cli.adapters.exchanges.sim.bars import BarBook
from blofin_cli.adapters.exchanges.sim.faults import FaultPlan
from blofin_cli.adapters.exchanges.sim.keys import (
    DEMO_KEY,
    Claim,
    Clocks,
    Gatekeeper,
    Key,
    RateLimits,
    claim_of,
)
from blofin_cli.adapters.exchanges.sim.market import CandleFeed, PrintStream
from blofin_cli.adapters.exchanges.sim.reading import (
    Fields,
    read_object,
    read_objects,
    read_query,
)
from blofin_cli.adapters.exchanges.sim.records import Event, Terms, Tick, VenueError, VenueRules
from blofin_cli.adapters.exchanges.sim.routes import ROUTES, Route
from blofin_cli.adapters.exchanges.sim.streams import Publisher
from blofin_cli.adapters.exchanges.sim.trade_api import Envelope
from blofin_cli.adapters.exchanges.sim.venue import DEFAULT_RULES, Venue

PRINTS_KEPT = 200
JSON_TYPE = "application/json"
_HTML = b"<html><head><title>502 Bad Gateway</title></head><body>Bad Gateway</body></html>"
_NO_FIELDS = Fields({})


@dataclass(frozen=True, slots=True)
class Call:
    """One request as an endpoint sees it."""

    query: Fields
    body: Fields = _NO_FIELDS
    items: tuple[Fields, ...] = ()
    key: Key | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back. `is_cut` means that nothing does; `delay_ms` passes before either."""

    status: int
    body: bytes
    content_type: str = JSON_TYPE
    is_cut: bool = False
    delay_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxRequest:
    """One HTTP request: the raw target, lower-case header names."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Box:
    """One simulated exchange.

    `terms` lists what trades here; `feeds` bring its prices, and prints may also be given by hand
    with `print`. Two boxes told the same things answer the same bytes.
    """

    def __init__(
        self,
        terms: Iterable[Terms],
        rules: VenueRules = DEFAULT_RULES,
        *,
        feeds: Iterable[CandleFeed] = (),
        keys: tuple[Key, ...] = (DEMO_KEY,),
        faults: FaultPlan | None = None,
        limits: RateLimits | None = None,
        now_ms: int = 0,
    ) -> None:
        feeds = list(feeds)
        self.venue = Venue(terms, rules, now_ms=now_ms)
        self.bars = {
            name: BarBook(float(item.contract_value)) for name, item in self.venue.terms.items()
        }
        for feed in feeds:
            value = float(feed.terms.contract_value)
            self.bars[feed.terms.inst_id] = BarBook(value, feed.history())
        self.stream = PrintStream(feeds)
        self.gate = Gatekeeper(keys)
        self.faults = faults or FaultPlan()
        self.limits = limits or RateLimits()
        self.publisher = Publisher(self)
        self.prints: dict[str, deque[tuple[int, Tick]]] = {
            name: deque(maxlen=PRINTS_KEPT) for name in self.venue.terms
        }
        self.held: set[str] = set()
        self.wallets: dict[str, Decimal] = {}
        self.transfers: deque[Transfer] = deque(maxlen=rules.history_max)
        self.counts: Counter[str] = Counter()
        self.key_created_ms = now_ms
        self.trace = 0
        self.now_ms = now_ms
        self._wall_ms = now_ms
        self._last_print = 0
        self._frozen_ms: int | None = None
        self._hidden: dict[str, int] = {}

    @property
    def clocks(self) -> Clocks:
        """The moments a caller's timestamp may be near, skewed when a fault says so."""
        skew = self.faults.offset_ms("clock_skew")
        return Clocks(self._wall_ms + skew, self.now_ms + skew)

    @property
    def stamp_ms(self) -> int:
        """The time that market data carries."""
        if self.faults.is_on("frozen_time"):
            if self._frozen_ms is None:
                self._frozen_ms = self.now_ms
            return self._frozen_ms
        self._frozen_ms = None
        return self.now_ms

    def advance(self, now_ms: int, wall_ms: int | None = None) -> None:
        """Let the market run up to a moment and tell everyone who listens."""
        self._wall_ms = now_ms if wall_ms is None else wall_ms
        for tick in self.stream.until(now_ms):
            if tick.inst_id not in self.held:
                self._print(tick)
        if now_ms > self.now_ms:
            self.now_ms = now_ms
            self.venue.advance(now_ms)
        self.flush()

    def print(self, tick: Tick) -> None:
        """Take one print by hand and tell everyone who listens."""
        self._print(tick)
        self.flush()

    def hold(self, inst_id: str, *, held: bool = True) -> None:
        """Stop an instrument's own prices, so that only prints by hand move it; or go on."""
        if held:
            self.held.add(inst_id)
        else:
            self.held.discard(inst_id)

    def flush(self) -> None:
        """Hand what happened to the sessions, and into the trace."""
        events = self.venue.drain()
        for event in events:
            self._remember(event)
        self.publisher.flush(events, self._wall_ms)

    def request(self, request: BoxRequest, wall_ms: int) -> Answer:
        """Answer one request.

        Invariants: never raises; a refused or lost request has changed nothing.
        """
        self._wall_ms = wall_ms
        path = request.target.partition("?")[0]
        self.counts["requests"] += 1
        early = self._before(path, wall_ms)
        if early is not None:
            return early
        answer = self._carry_out(request, path, wall_ms)
        self.flush()
        return self._after(path, answer)

    def ticker(self, inst_id: str) -> dict[str, Any]:
        """The ticker row of an instrument that has a price."""
        state = self.venue.markets[inst_id]
        return rows.ticker_row(state, self.bars[inst_id].day(self.now_ms), self.stamp_ms)

    def funding_row(self, inst_id: str) -> dict[str, str]:
        """The funding row of an instrument."""
        due = self.venue.next_funding_ms(inst_id)
        hours = self.venue.terms[inst_id].funding_ms // 3_600_000
        return {
            "instId": inst_id,
            "fundingRate": rows.plain(self.venue.funding_rate(inst_id, due)),
            "fundingTime": str(due),
            "fundingInterval": str(hours),
            "fundingIntervalUnit": "hour",
            "fundingRateCap": "0.03",
            "fundingRateFloor": "-0.03",
        }

    def balance(self, *, push: bool = False) -> dict[str, Any]:
        """The futures wallet."""
        frozen = self.venue.orders.frozen()
        return rows.balance_data(self.venue.account, frozen, self.now_ms, push=push)

    def hide(self, order_id: str, for_ms: int) -> None:
        """Keep an accepted order out of every list for a while."""
        self._hidden[order_id] = self.now_ms + for_ms

    def is_visible(self, order_id: str) -> bool:
        """Whether queries find an order yet."""
        return self._hidden.get(order_id, 0) <= self.now_ms

    def login(self, claim: Claim, wall_ms: int) -> None:
        """Judge a WebSocket login.

        Errors: VenueError.
        """
        self._wall_ms = wall_ms
        self.gate.login(claim, self.clocks)

    def _print(self, tick: Tick) -> None:
        self.now_ms = max(self.now_ms, tick.ts_ms)
        self.venue.on_tick(tick)
        self.bars[tick.inst_id].on_tick(tick)
        self._last_print += 1
        self.prints[tick.inst_id].append((self._last_print, tick))
        self.publisher.on_print(tick, self._last_print)

    def _remember(self, event: Event) -> None:
        text = f"{event.channel} {event.ts_ms} {event.record}"
        self.trace = zlib.crc32(text.encode(), self.trace)

    def _before(self, path: str, wall_ms: int) -> Answer | None:
        """The answer a fault gives before anything is carried out."""
        faults = self.faults
        if not faults.active:
            return None
        if fault := faults.strikes("lost_request", path):
            return Answer(0, b"", is_cut=True, delay_ms=fault.ms)
        if fault := faults.strikes("suspended", path):
            self.limits.suspend(wall_ms + fault.ms)
        if faults.strikes("rate_limit", path):
            return _refusal("429", "Too Many Requests", 429)
        if faults.strikes("unavailable", path):
            return Answer(503, b"Service Unavailable", "text/plain")
        return None

    def _after(self, path: str, answer: Answer) -> Answer:
        """The answer as faults let it out."""
        faults = self.faults
        if not faults.active:
            return answer
        if fault := faults.strikes("lost_answer", path):
            return Answer(0, b"", is_cut=True, delay_ms=fault.ms)
        if faults.strikes("server_error", path):
            status = 500 if faults.draw("which error", 2) else 502
            return _refusal("500", "Internal Server Error", status)
        if faults.strikes("internal_error", path):
            return _refusal("103013", "Internal error; unable to process your request.")
        if faults.strikes("html", path):
            status = (200, 502, 503)[faults.draw("which html", 3)]
            return Answer(status, _HTML, "text/html")
        body = answer.body
        if answer.status == 200 and faults.strikes("null_fields", path):
            body = self._with_nulls(body)
        late = faults.strikes("delay", path)
        return Answer(answer.status, body, answer.content_type, delay_ms=late.ms if late else 0)

    def _with_nulls(self, body: bytes) -> bytes:
        """Every row of `data` loses one of its fields."""
        document = json.loads(body)
        data = document.get("data")
        for row in data if isinstance(data, list) else [data]:
            if isinstance(row, dict) and row:
                row[list(row)[self.faults.draw("which field", len(row))]] = None
        return _json(document)

    def _carry_out(self, request: BoxRequest, path: str, wall_ms: int) -> Answer:
        route = ROUTES.get((request.method, path))
        try:
            self.limits.check(wall_ms, is_trading=route is not None and route.is_trading)
        except VenueError as refusal:
            self.counts["rate limited"] += 1
            return _refusal(refusal.code, refusal.message, 429)
        if route is None:
            return _unknown(request.method, path)
        try:
            return self._dispatch(route, request)
        except VenueError as refusal:
            self.counts[f"refused {refusal.code}"] += 1
            return _refusal(refusal.code, refusal.message)
        except ArithmeticError:  # a number beyond all reason
            return _refusal("152005", "Parameter error: wrong or empty")

    def _dispatch(self, route: Route, request: BoxRequest) -> Answer:
        key = self._caller(route, request) if route.is_private else None
        call = Call(read_query(request.target), key=key)
        if route.body == "object":
            call = Call(call.query, body=read_object(request.body), key=key)
        elif route.body == "array":
            call = Call(call.query, items=tuple(read_objects(request.body)), key=key)
        result = route.handler(self, call)
        if isinstance(result, Envelope):
            return _answer(result.code, result.msg, result.data)
        return _answer("0", "success", result)

    def _caller(self, route: Route, request: BoxRequest) -> Key:
        key = self.gate.check(
            claim_of(request.headers),
            request.target.encode(),
            request.method,
            request.body,
            self.clocks,
        )
        needed = "TRADE" if request.method == "POST" else "READ"
        if needed not in key.permissions:
            raise VenueError("152404", "This operation is not supported")
        return key


def _unknown(method: str, path: str) -> Answer:
    other = "GET" if method == "POST" else "POST"
    if (other, path) in ROUTES:
        return _refusal("405", "Method Not Allowed")
    return _refusal("152404", "This operation is not supported")


def _answer(code: str, msg: str, data: Any) -> Answer:
    return Answer(200, _json({"code": code, "msg": msg, "data": data}))


def _refusal(code: str, msg: str, status: int = 200) -> Answer:
    return Answer(status, _json({"code": code, "msg": msg}))


def _json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()


def box_of_feeds(
    feeds: Iterable[CandleFeed],
    rules: VenueRules = DEFAULT_RULES,
    *,
    funding: Mapping[str, Mapping[int, Decimal]] | None = None,
    faults: FaultPlan | None = None,
    limits: RateLimits | None = None,
) -> Box:
    """A box that replays candles from the feeds' starting moment, with their funding."""
    feeds = list(feeds)
    now_ms = max(feed.span.start_ms + feed.span.shift_ms for feed in feeds)
    terms = [feed.terms for feed in feeds]
    box = Box(terms, rules, feeds=feeds, faults=faults, limits=limits, now_ms=now_ms)
    for inst_id, rates in (funding or {}).items():
        box.venue.load_funding(inst_id, rates)
    box.advance(now_ms)
    return box
