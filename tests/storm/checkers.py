"""The invariants, checked against the venue's truth by code that shares no line with the program.

Each class watches one family. What it cannot know it does not judge: while the exchange cannot be
reached clocks stand still, and what other people did to the account is theirs.
"""

import itertools
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from blofin_cli.adapters.exchanges.sim import records as sim
from blofin_cli.core.journal import Intent, IntentState, Purpose
from blofin_cli.core.market import Timeframe
from blofin_cli.core.orders import OrderType
from blofin_cli.core.quotes import Bar
from blofin_cli.core.status import SessionStatus
from blofin_cli.ports import Journal
from tests.storm.storage import StormJournal
from tests.storm.world import Sent, World

ZERO = Decimal(0)
ACCOUNT = "sim-demo"
NAKED_S_MAX = 15.0
NAKED_P99_S = 5.0
UNREACHED_S_MAX = 6.0
ORPHAN_S_MAX = 60.0
MOVED_S = 30.0
STORING_S = 5.0
CLOSING = {1: "sell", -1: "buy"}
SAME_S_MAX = 30.0
QUOTE_AGE_S_MAX = 10.0
HALT_CANCEL_S_MAX = 10.0
HALT_SEEN_S_MAX = 2.0
DAEMON_GRACE_S = 8.0
FUNDING_USDT, FUNDING_SHARE = Decimal("0.01"), Decimal("0.05")


@dataclass
class Limits:
    """What the owner allowed: shares of equity, counts. `slack` is the tolerance of I04."""

    total_fraction: Decimal
    positions_max: int
    slack: Decimal = Decimal("0.1")


@dataclass
class Reach:
    """Whether the exchange can be reached, as its answers tell; clocks stop while it cannot."""

    world: World
    failed_at: float | None = None
    down_at: float = -1e9

    def answered(self, sent: Sent | None, good: bool) -> None:
        """One request ended. A request that was refused for its rate reached nobody either."""
        if good and sent is not None:
            self.failed_at = None
        elif self.failed_at is None:
            self.failed_at = self.world.loop.now_s

    @property
    def is_cut(self) -> bool:
        """Nobody can reach it: an outage, a suspension, an expired key."""
        nemesis, now = self.world.nemesis, self.world.loop.now_s
        names = ("outage", "suspension", "key_expired")
        if any(nemesis.window(name, now) for name in names):
            self.down_at = now
            return True
        return now - self.down_at < 1.0

    @property
    def is_reachable(self) -> bool:
        """A request would be answered as far as anybody can tell."""
        if self.is_cut:
            return False
        failed = self.failed_at
        return failed is None or self.world.loop.now_s - failed > UNREACHED_S_MAX


@dataclass
class Daemon:
    """Whether the program runs, and since when without a break."""

    world: World
    since: float | None = None

    def settled_s(self) -> float:
        """Seconds it has been running and awake."""
        life = self.world.life
        now = self.world.loop.now_s
        if life is None or life.is_dead or life.asleep_until > now:
            return -1.0
        begun = max(self.since or 0.0, life.asleep_until)
        return now - begun


class Naked:
    """I01 and I24: every position of ours has a live stop of its size, but for seconds.

    `closed_s` has a number for each time a position was bare, and a zero for each that never was.
    """

    def __init__(self, world: World, reach: Reach, daemon: Daemon) -> None:
        self.world, self.reach, self.daemon = world, reach, daemon
        self.bare_s: dict[str, float] = {}
        self.closed_s: list[float] = []
        self._held: dict[str, bool] = {}
        self._last = 0.0
        world.told.ticked.append(self.look)
        world.told.settled.append(self.look)

    def look(self) -> None:
        """Count the time since the last look for what was bare then and is bare now."""
        now = self.world.loop.now_s
        passed, self._last = now - self._last, now
        counts = passed and self.reach.is_reachable and self.daemon.settled_s() > passed
        for symbol in self.world.symbols:
            held = self.world.holdings[symbol].mine != 0
            is_bare = held and self._is_bare(symbol)
            if symbol in self.bare_s:
                if counts and self.world.terms(symbol).state == "live":
                    self._count(symbol, passed)
                if not is_bare:
                    self.closed_s.append(self.bare_s.pop(symbol))
                    self._held[symbol] = True
            elif is_bare:
                self.bare_s[symbol] = 0.0
            if held:
                self._held.setdefault(symbol, False)
            elif symbol in self._held and not self._held.pop(symbol):
                self.closed_s.append(0.0)

    def _count(self, symbol: str, passed: float) -> None:
        before = self.bare_s[symbol]
        self.bare_s[symbol] = before + passed
        if before <= NAKED_S_MAX < self.bare_s[symbol]:
            self.world.violate("I01", f"{symbol} bare for {self.bare_s[symbol]:.1f} s")

    def _is_bare(self, symbol: str) -> bool:
        position = self.world.position(symbol)
        if position is None:
            return False
        mine = self.world.holdings[symbol].mine * position.direction
        needed = min(position.contracts, max(mine, ZERO))
        if needed <= 0:
            return False
        covered = ZERO
        closing = "sell" if position.direction > 0 else "buy"
        for row in self.world.venue.triggers.tpsl_live.values():
            asked = row.request
            if asked.inst_id == symbol and asked.side == closing and row.protection.sl_trigger:
                covered += position.contracts if row.size == sim.WHOLE else row.size
        return covered < needed

    @property
    def longest_s(self) -> float:
        """The longest bare time so far."""
        return max([*self.closed_s, *self.bare_s.values()], default=0.0)


class Orders:
    """I02 I03 I12 I13 I17 I19 I21 and the breath of I05 and I06, at every send and arrival."""

    def __init__(
        self,
        world: World,
        reader: Journal,
        journals: dict[int, StormJournal],
        *,
        limits: Limits,
    ) -> None:
        self.world, self.reader, self.journals, self.limits = world, reader, journals, limits
        self.halted_at: float | None = None
        self.asked: dict[int, set[str]] = defaultdict(set)
        self.by_signal: dict[str, str] = {}
        self.by_client: dict[str, Sent] = {}
        self.refusals: dict[tuple[Any, ...], deque[float]] = defaultdict(deque)
        self.stops: dict[str, Decimal] = {}
        self.duplicates = 0
        world.told.sent.append(self.sent)
        world.told.arrived.append(self.arrived)
        world.told.answered.append(self.answered)
        world.told.filled.append(self.filled)

    def answered(self, sent: Sent | None, good: bool) -> None:
        """A complete answer is what reconciliation is made of."""
        if good and sent is not None:
            self.asked[sent.life].add(sent.name)

    def sent(self, sent: Sent) -> None:
        """The first byte of a request leaves."""
        if not sent.is_write:
            return
        self._grid(sent)
        if not sent.opens:
            return
        world = self.world
        if self.halted_at is not None:
            world.violate("I05", f"{sent.client_id} sent after the halt of {self.halted_at:.3f} s")
        step, said = self.journals[sent.life].halt_read
        if said == "unreadable":
            world.violate("I06", f"{sent.client_id} sent though the flag was unreadable")
        elif step != sent.step or said != "clear":
            world.violate(
                "I05", f"{sent.client_id}: the flag was read {sent.step - step} steps ago"
            )
        missing = {"positions", "open_orders", "protections"} - self.asked[sent.life]
        if missing:
            world.violate("I12", f"{sent.client_id} sent before {sorted(missing)} were known")

    def _grid(self, sent: Sent) -> None:
        """I19: finite decimals on the grid, inside limits; the venue judges the rest."""
        request = sent.request
        terms = self.world.venue.terms.get(sent.symbol)
        if terms is None or not hasattr(request, "client_id"):
            return
        for name in ("price", "trigger", "stop", "target", "target_limit"):
            value = getattr(request, name, None)
            if value is not None and (value <= 0 or value % terms.tick_size):
                self.world.violate("I19", f"{sent.name} {sent.symbol} {name} {value}")
        size = getattr(request, "size", None)
        if size is not None:
            contracts = size / terms.contract_value
            if contracts < terms.min_size or contracts % terms.lot_size:
                self.world.violate("I19", f"{sent.name} {sent.symbol} size {size}")

    def arrived(self, sent: Sent) -> None:
        """The venue has judged a write."""
        if sent.outcome == "refused":
            self._refused(sent)
        if sent.name in ("place", "reduce", "close", "protect"):
            self._journalled(sent)
        if sent.opens and sent.outcome == "accepted":
            self._accepted(sent)

    def _journalled(self, sent: Sent) -> None:
        intent = self.reader.intent(sent.client_id)
        if intent is None:
            if sent.opens or not self._was_storage_failing():
                self.world.violate("I03", f"{sent.name} {sent.client_id} has no intent")
            return
        if not sent.opens:
            return
        request = sent.request
        told = (intent.symbol, intent.side, intent.size, intent.price, intent.stop)
        if told != (request.symbol, request.side, request.size, request.price, request.stop):
            self.world.violate("I03", f"{sent.client_id} is not what its intent says")
        age_s = (sent.at_ms - intent.data_ms) / 1000
        update_s = 3 * self.world.print_s
        if age_s > max(QUOTE_AGE_S_MAX, update_s) + 0.5:
            self.world.violate("I13", f"{sent.client_id} decided on data {age_s:.1f} s old")

    def _was_storage_failing(self) -> bool:
        """A protecting write goes out even when nothing can be written."""
        nemesis, now = self.world.nemesis, self.world.loop.now_s
        names = ("storage_locked", "storage_full")
        return any(nemesis.lasted(name, now - STORING_S, now) for name in names)

    def _accepted(self, sent: Sent) -> None:
        world, request = self.world, sent.request
        earlier = self.by_client.get(sent.client_id)
        if earlier is not None and earlier.order_id != sent.order_id:
            self.duplicates += 1
            world.violate("I02", f"two orders carry {sent.client_id}")
        self.by_client[sent.client_id] = sent
        intent = self.reader.intent(sent.client_id)
        signal = intent.zone_id if intent is not None else None
        if signal and self.by_signal.setdefault(signal, sent.client_id) != sent.client_id:
            self.duplicates += 1
            world.violate("I02", f"signal {signal} led to two orders")
        order = world.venue.orders.known.get(sent.order_id)
        told = intent.leverage if intent is not None else None
        is_touched = sent.symbol in world.leverage_touched
        if told is not None and order is not None and not is_touched and order.leverage != told:
            world.violate("F14", f"{sent.client_id} at {order.leverage}x, planned at {told}x")
        if request.stop is None:
            world.violate("I01", f"{sent.client_id} was sent without a stop")
        else:
            self.stops[sent.symbol] = request.stop
        holding = world.holdings[sent.symbol]
        sign = 1 if request.side.value == "buy" else -1
        at_once = self._filled_of(sent)
        before = holding.mine - sign * at_once
        if before * sign < 0:
            world.violate(
                "I21", f"an entry against the position of {sent.symbol}: {sent.client_id}"
            )
        self._within_limits(sent)

    def _filled_of(self, sent: Sent) -> Decimal:
        order = self.world.venue.orders.known.get(sent.order_id)
        return order.filled if order is not None else ZERO

    def _slipped(self, sent: Sent) -> Decimal:
        """What a jump of the price on the way added to the risk of a market order."""
        position, intent = self.world.position(sent.symbol), self.reader.intent(sent.client_id)
        if position is None or intent is None or intent.entry is None:
            return ZERO
        units = self._filled_of(sent) * self.world.terms(sent.symbol).contract_value
        return max(ZERO, (position.entry - intent.entry) * position.direction) * units

    def _within_limits(self, sent: Sent) -> None:
        """I04: our own sum of what positions and working entries can lose at their stops."""
        world = self.world
        total, symbols = ZERO, Counter[str]()
        for symbol, holding in world.holdings.items():
            position = world.position(symbol)
            if position is not None and holding.mine * position.direction > 0:
                stop = self.stops.get(symbol, position.entry)
                units = min(abs(holding.mine), position.contracts)
                units *= world.terms(symbol).contract_value
                total += max(ZERO, (position.entry - stop) * position.direction) * units
                symbols[symbol] += 1
        for order in world.venue.orders.open.values():
            if world.is_mine(order.order_id) and not order.request.reduce_only:
                total += self._may_lose(order, order.price or ZERO, order.remaining)
                if not world.holdings[order.request.inst_id].mine or (
                    order.order_id != sent.order_id and not order.filled
                ):
                    symbols[order.request.inst_id] += 1
        for algo in world.venue.triggers.algo_live.values():
            if world.is_mine(algo.algo_id):
                total += self._may_lose(algo, algo.trigger_price, algo.size)
                symbols[algo.request.inst_id] += 1
        account = world.venue.account
        equity = account.balance + sum(account.profit(p) for p in account.positions.values())
        allowed = equity * self.limits.total_fraction * (1 + self.limits.slack)
        # What jumped while this one was on its way, its sender could not know.
        for each in self.by_client.values():
            if each is sent or (each.arrived_ms or 0) >= sent.at_ms:
                allowed += self._slipped(each)
        if total > allowed:
            world.violate("I04", f"{total:.2f} USDT at risk, {allowed:.2f} allowed")
        if len(symbols) > self.limits.positions_max:
            world.violate("I04", f"{len(symbols)} positions and entries")
        double = [symbol for symbol, count in symbols.items() if count > 1]
        if double:
            world.violate("I04", f"more than one entry of {double}")

    def _may_lose(self, order: sim.Order | sim.Algo, price: Decimal, left: Decimal) -> Decimal:
        asked = order.request
        stop = asked.protection.sl_trigger or self.stops.get(asked.inst_id, price)
        return abs(price - stop) * left * self.world.terms(asked.inst_id).contract_value

    def _refused(self, sent: Sent) -> None:
        """I17: an identical write is not tried a fourth time after three definite refusals."""
        if not sent.opens:
            return
        request = sent.request
        key = (sent.name, sent.symbol, request.side, request.size, request.price, sent.code)
        times = self.refusals[key]
        now = self.world.loop.now_s
        while times and now - times[0] > 60.0:
            times.popleft()
        times.append(now)
        if len(times) > 3:
            self.world.violate("I17", f"{len(times)} times {sent.code} for the same {sent.name}")

    def filled(self, fill: sim.Fill, order: sim.Order, before: Decimal, after: Decimal) -> None:
        """I21: what closes never enlarges or flips."""
        closes = order.request.reduce_only or order.category in ("sl", "tp")
        if closes and (abs(after) > abs(before) or before * after < 0):
            self.world.violate("I21", f"{order.category} {order.order_id}: {before} -> {after}")


class Books:
    """I07 I08 I09: the journal and the heartbeat against the venue."""

    def __init__(self, world: World, reader: Journal, reach: Reach, daemon: Daemon) -> None:
        self.world, self.reader, self.reach, self.daemon = world, reader, reach, daemon
        self.booked: dict[str, Any] = {}
        self._since_ms = 0
        self._wrong_s: dict[str, float] = defaultdict(float)
        self._last = 0.0
        self._next = 10.0
        world.told.ticked.append(self.look)

    def look(self) -> None:
        """Every ten seconds."""
        now = self.world.loop.now_s
        if now < self._next:
            return
        passed, self._last, self._next = now - self._last, now, now + 10.0
        self._read_fills()
        self._intents()
        counts = self.reach.is_reachable and self.daemon.settled_s() > 15.0
        counts = counts and not self._is_failing()
        for symbol in self.world.symbols:
            for name, told in (("fills", self._net(symbol)), ("status", self._shown(symbol))):
                self._compare(symbol, name, told, passed if counts else 0.0)

    def _compare(self, symbol: str, name: str, told: Decimal | None, passed: float) -> None:
        value = self.world.terms(symbol).contract_value
        truth = self.world.signed(symbol) * value
        changed_s = (self.world.now_ms - self.world.holdings[symbol].changed_ms) / 1000
        key = f"{symbol} {name}"
        if told is None or abs(told - truth) <= abs(truth) * Decimal("1e-9"):
            self._wrong_s[key] = 0.0
            return
        storing = self.world.nemesis
        if storing.window("storage_locked", self.world.loop.now_s) or storing.window(
            "storage_full", self.world.loop.now_s
        ):
            passed = 0.0
        if changed_s > 15.0:
            self._wrong_s[key] += passed
        limit = 60.0 if self._is_muffled() else 40.0
        if self._wrong_s[key] > limit:
            self._wrong_s[key] = -1e9
            self.world.violate("I07", f"{key} say {told}, the exchange {truth}")

    def _is_failing(self) -> bool:
        """Of a complete look at the account one part cannot be had."""
        nemesis, now = self.world.nemesis, self.world.loop.now_s
        names = ("positions_fail", "orders_fail", "protections_fail")
        return any(nemesis.window(name, now) for name in names)

    def _is_muffled(self) -> bool:
        nemesis, now = self.world.nemesis, self.world.loop.now_s
        names = ("deaf", "private_down")
        return any(nemesis.window(name, now) for name in names)

    def _net(self, symbol: str) -> Decimal:
        rows = [row for row in self.booked.values() if row.symbol == symbol]
        return sum((row.size * row.side.sign for row in rows), ZERO)

    def _shown(self, symbol: str) -> Decimal | None:
        status = self.status()
        if status is None:
            return None
        rows = [row for row in status.positions if row.symbol == symbol]
        return sum((Decimal(str(row.quantity)) for row in rows), ZERO)

    def status(self) -> SessionStatus | None:
        """The last heartbeat of the program that runs."""
        life = self.world.life
        if life is None or life.is_dead:
            return None
        journal = self.world.journals.get(life.number)
        return journal.status_seen if journal is not None else None

    def _read_fills(self) -> None:
        since = max(0, self._since_ms - 600_000)
        for row in self.reader.fills(ACCOUNT, since_ms=since):
            known = self.booked.setdefault(row.trade_id, row)
            if known != row:
                self.world.violate("I09", f"fill {row.trade_id} changed")
        self._since_ms = self.world.now_ms

    def _intents(self) -> None:
        """I08: nothing is booked dead while it lives."""
        for intent in self.reader.intents(ACCOUNT, since_ms=self.world.now_ms - 900_000):
            if intent.purpose is not Purpose.ENTRY:
                continue
            state = intent.state
            if state.is_open:
                continue
            live, filled = self._fate_of(intent)
            is_dead = state in (IntentState.REFUSED, IntentState.VOID)
            if live or (is_dead and filled):
                text = f"{intent.client_id} is {state}, the order {'lives' if live else 'filled'}"
                key = f"I08 {intent.client_id}"
                self._wrong_s[key] += 10.0
                if self._wrong_s[key] == 20.0:
                    self.world.violate("I08", text)

    def _fate_of(self, intent: Intent) -> tuple[bool, bool]:
        venue = self.world.venue
        order = venue.orders.by_client.get(intent.client_id)
        if order is not None:
            return order.is_open, bool(order.filled)
        algo = venue.triggers.algo_by_client.get(intent.client_id)
        if algo is None:
            return False, False
        born = [o for o in venue.orders.known.values() if o.algo_id == algo.algo_id]
        is_live = algo.state == "live" or any(o.is_open for o in born)
        return is_live, any(o.filled for o in born)

    def final(self) -> None:
        """I07 and I09 after the quiet phase: equal to the lot, each fill once."""
        self._since_ms = 0
        self._read_fills()
        truth = {row.trade_id: row for row in self.world.venue.account.fills}
        missing = truth.keys() - self.booked.keys()
        extra = self.booked.keys() - truth.keys()
        if missing or extra:
            text = f"{len(missing)} fills not booked {sorted(missing)[:3]}, {len(extra)} invented"
            self.world.violate("I09", text)
        for name, row in self.booked.items():
            told = truth.get(name)
            if told is None:
                continue
            size = told.size * self.world.terms(told.inst_id).contract_value
            if (row.price, row.size, row.fee_usdt) != (told.price, size, told.fee):
                self.world.violate("I09", f"fill {name} was booked wrongly")
        for symbol in self.world.symbols:
            value = self.world.terms(symbol).contract_value
            if self._net(symbol) != self.world.signed(symbol) * value:
                self.world.violate("I07", f"{symbol}: fills sum to another position")
        self._funding()

    def _funding(self) -> None:
        """Each settlement of a position of ours is booked, about as the exchange charged it."""
        booked = {(row.symbol, row.ts_ms): row for row in self.reader.funding_payments(ACCOUNT)}
        for bill in self.world.venue.account.bills:
            if bill.bill_id in self.world.foreign_bills:
                continue
            row = booked.get((bill.inst_id, bill.ts_ms))
            if row is None:
                self.world.violate("I07", f"{bill.inst_id}: funding {bill.amount:.4f} not booked")
            elif abs(row.amount_usdt - bill.amount) > max(
                FUNDING_USDT, abs(bill.amount) * FUNDING_SHARE
            ):
                text = (
                    f"{bill.inst_id}: funding {row.amount_usdt:.4f} booked, {bill.amount:.4f} due"
                )
                self.world.violate("I07", text)


class Orphans:
    """I22: nothing of ours waits to close what is not there, or what is held the other way."""

    def __init__(self, world: World, reach: Reach, daemon: Daemon) -> None:
        self.world, self.reach, self.daemon = world, reach, daemon
        self._age_s: dict[str, float] = {}
        self._last = 0.0
        world.told.ticked.append(self.look)
        world.told.sent.append(self.sent)

    def look(self) -> None:
        """Count the time of each orphan."""
        now = self.world.loop.now_s
        passed, self._last = now - self._last, now
        live = self.world.venue.triggers.tpsl_live
        # Nothing is tidied before everything could be read.
        reads = ("protections_fail", "positions_fail", "orders_fail", "lookups_fail")
        failing = any(self.world.nemesis.window(name, now) for name in reads)
        counts = self.reach.is_reachable and self.daemon.settled_s() > 10.0 and not failing
        for tpsl_id, row in live.items():
            symbol = row.request.inst_id
            held = self.world.position(symbol)
            is_of_use = held is not None and row.request.side == CLOSING[held.direction]
            moved_s = (self.world.now_ms - self.world.holdings[symbol].changed_ms) / 1000
            if is_of_use or (held is not None and moved_s < MOVED_S):
                self._age_s.pop(tpsl_id, None)
            elif self.world.is_mine(tpsl_id):
                before = self._age_s.get(tpsl_id, 0.0)
                self._age_s[tpsl_id] = before + (passed if counts else 0.0)
                if before <= ORPHAN_S_MAX < self._age_s[tpsl_id]:
                    self.world.violate("I22", f"orphan {tpsl_id} of {row.request.inst_id}")
        for gone in self._age_s.keys() - live.keys():
            del self._age_s[gone]

    def sent(self, sent: Sent) -> None:
        """None may wait when the next entry is sent."""
        if sent.opens and self.world.position(sent.symbol) is None:
            waiting = [
                row.tpsl_id
                for row in self.world.venue.triggers.tpsl_live.values()
                if row.request.inst_id == sent.symbol
                and self.world.is_mine(row.tpsl_id)
                and self._age_s.get(row.tpsl_id, 0.0) > 4.0
            ]
            if waiting:
                self.world.violate("I22", f"entry of {sent.symbol} while {waiting} wait")


class Rates:
    """I16: requests in every window, as the port was asked for them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._trading: deque[float] = deque()
        self._opening: deque[float] = deque()
        self._all: deque[float] = deque()
        self.most = Counter[str]()
        world.told.sent.append(self.sent)

    def sent(self, sent: Sent) -> None:
        """One more request."""
        self._count("all", self._all, 60.0, 500)
        if sent.is_write and not sent.name.startswith("set_"):
            self._count("trading", self._trading, 10.0, 30)
        if sent.opens:
            self._count("opening", self._opening, 10.0, 20)

    def _count(self, name: str, times: deque[float], window_s: float, most: int) -> None:
        now = self.world.loop.now_s
        times.append(now)
        while now - times[0] > window_s:
            times.popleft()
        self.most[name] = max(self.most[name], len(times))
        if len(times) == most + 1:
            self.world.violate("I16", f"more than {most} {name} requests in {window_s:g} s")


class Halting:
    """I05: resting entries go within seconds, the daemon says that it has seen the flag."""

    def __init__(self, world: World, orders: Orders, books: Books, reach: Reach) -> None:
        self.world, self.orders, self.books, self.reach = world, orders, books, reach
        self.seen_s: list[float] = []
        self._unseen_s = 0.0
        self._resting_s: dict[str, float] = defaultdict(float)
        self._was_seen = False
        self._last = 0.0
        world.told.ticked.append(self.look)

    def begun(self) -> None:
        """`halt` has returned."""
        self._was_seen = False
        self._unseen_s = 0.0

    def look(self) -> None:
        """Count the time of what should be gone or seen."""
        now = self.world.loop.now_s
        passed, self._last = now - self._last, now
        halted = self.orders.halted_at
        if halted is None:
            self._resting_s.clear()
            return
        self._look_seen(passed)
        if not self.reach.is_reachable or self.books.daemon.settled_s() < DAEMON_GRACE_S:
            return
        failing = self.world.nemesis.window("orders_fail", now)
        for order in self.world.venue.orders.open.values():
            if order.request.reduce_only or not self.world.is_mine(order.order_id) or failing:
                continue
            if not self.world.is_visible(order.order_id):
                continue
            self._resting_s[order.order_id] += passed
            if (
                HALT_CANCEL_S_MAX + 8
                < self._resting_s[order.order_id]
                <= HALT_CANCEL_S_MAX + 8 + passed
            ):
                self.world.violate("I05", f"entry {order.order_id} rests while halted")

    def _look_seen(self, passed: float) -> None:
        if self._was_seen:
            return
        status = self.books.status()
        halted = self.orders.halted_at
        if status is not None and status.halt_seen_ms is not None and halted is not None:
            self._was_seen = True
            self.seen_s.append(self._unseen_s)
            return
        nemesis, now = self.world.nemesis, self.world.loop.now_s
        is_storing = nemesis.window("storage_locked", now) or nemesis.window("storage_full", now)
        if self.books.daemon.settled_s() > DAEMON_GRACE_S and not is_storing:
            self._unseen_s += passed
            if HALT_SEEN_S_MAX + 4 < self._unseen_s <= HALT_SEEN_S_MAX + 4 + passed:
                self.world.violate("I05", "the daemon does not acknowledge the halt")


@dataclass
class Steps:
    """I14: the strategy sees each finished bar once, in order, on a history without holes."""

    world: World
    seen: dict[tuple[int, str], int] = field(default_factory=dict)
    count: int = 0

    def on_bar(self, life: int, symbol: str, timeframe: Timeframe, bars: list[Bar]) -> None:
        """The program called its strategy."""
        self.count += 1
        world = self.world
        if not bars:
            world.violate("I14", f"{symbol}: a step without bars")
            return
        last = bars[-1]
        if not last.is_closed or last.ts_ms + timeframe.ms > world.now_ms + 1_500:
            world.violate("I14", f"{symbol}: bar {last.ts_ms} is not finished")
        before = self.seen.get((life, symbol), 0)
        if last.ts_ms <= before:
            world.violate("I14", f"{symbol}: bar {last.ts_ms} after {before}")
        self.seen[life, symbol] = last.ts_ms
        tail = bars[-60:]
        for one, two in itertools.pairwise(tail):
            if two.ts_ms - one.ts_ms != timeframe.ms:
                world.violate("I14", f"{symbol}: a hole after bar {one.ts_ms}")
                break
        truth = {row.ts_ms: row for row in world.walks[symbol].bars(timeframe, world.now_ms)}
        for row in tail:
            told = truth.get(row.ts_ms)
            if told is None or (told.open, told.high, told.low, told.close) != (
                row.open,
                row.high,
                row.low,
                row.close,
            ):
                world.violate("I14", f"{symbol}: bar {row.ts_ms} is not the exchange's")
                break


Check = Callable[[], None]
__all__ = [
    "ACCOUNT", "Books", "Check", "Daemon", "Halting", "Limits", "Naked", "OrderType", "Orders",
    "Orphans", "Rates", "Reach", "Steps",
]  # fmt: skip
