"""Everybody else: another client of the account, a person at another terminal, the market.

All of it happens outside the program, at random times or exactly at a named point of its order
path.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from blofin_cli.adapters.exchanges.sim import records as sim
from blofin_cli.core.journal import Errand, Halt
from blofin_cli.errors import BlofinError
from blofin_cli.ports import Journal
from tests.storm.checkers import ACCOUNT, Halting, Orders
from tests.storm.nemesis import WINDOW_FAULTS, Nemesis
from tests.storm.world import World

ZERO = Decimal(0)


class People:
    """What others do. `kill` ends the program; `flatten` is what a person asks for at the end."""

    def __init__(
        self,
        world: World,
        face: Journal,
        orders: Orders,
        halting: Halting,
        kill: Callable[[], None],
    ) -> None:
        self.world, self.face, self.orders, self.halting = world, face, orders, halting
        self.kill = kill
        self.nemesis: Nemesis = world.nemesis
        self.chance = world.nemesis.chances.of("people")
        self.resumes_at: float | None = None
        self._numbers = 0

    def do(self, name: str) -> None:
        """Let one thing happen now, if it can."""
        action = getattr(self, f"_{name}", None)
        if action is not None:
            before = self.world.trace
            if action() is not False:
                self.nemesis.fired[name] += 1
                self.world.note(f"nemesis {name} {before == self.world.trace}")
                self.world.settle()

    def at_point(self, name: str) -> None:
        """The program passes a named point."""
        self.nemesis.fired[f"point {name}"] += 1
        what = self.nemesis.strikes_at(name)
        if what is None:
            return
        self.world.note(f"point {name}: {what}")
        now = self.world.loop.now_s
        if what == "halted":
            self.halt(self.chance.uniform(15.0, 90.0))
        elif what in WINDOW_FAULTS:
            self.nemesis.open_window(what, now, self.chance.uniform(0.5, 15.0))
            for stream in list(self.world.streams):
                stream.watch()
        else:
            self.do(what)

    # The person.

    def halt(self, seconds: float) -> None:
        """`blofin halt` in another process; `blofin resume` after a while."""
        now = self.world.loop.now_s
        self.world.face_writes += 1
        try:
            self.face.set_halt(Halt(ts_ms=self.world.now_ms, face="cli", cause="storm"))
        except BlofinError:
            return
        if self.orders.halted_at is None:
            self.orders.halted_at = now
            self.halting.begun()
        self.nemesis.fired["halted"] += 1
        self.world.is_halted = True
        self.resumes_at = max(self.resumes_at or 0.0, now + seconds)
        self.world.note("halted")

    def resume_if_due(self, *, at_once: bool = False) -> None:
        """Take the halt down when its time is over."""
        due = self.resumes_at is not None and self.world.loop.now_s >= self.resumes_at
        if due or at_once:
            self.world.face_writes += 1
            self.face.clear_halt(self.world.now_ms, "cli")
            self.orders.halted_at = self.resumes_at = None
            self.world.is_halted = False
            self.world.note("resumed")

    def _close_errand(self) -> bool:
        held = [s for s in self.world.symbols if self.world.position(s) is not None]
        if not held:
            return False
        self.errand("close", {"symbol": self.chance.choice(held), "fraction": "1"})
        return True

    def errand(self, kind: str, arguments: dict[str, Any]) -> str:
        """Ask the program for something, as a face does; the errand's id."""
        self._numbers += 1
        self.world.face_writes += 1
        now = self.world.bot_ms
        name = f"e{self._numbers}"
        errand = Errand(
            id=name,
            account=ACCOUNT,
            kind=kind,
            arguments=arguments,
            face="cli",
            created_ms=now,
            expires_ms=now + 60_000,
        )
        self.face.post_errand(errand)
        return name

    # The process and its machine.

    def _kill(self) -> bool:
        if self.world.life is None or self.world.life.is_dead:
            return False
        self.kill()
        return True

    def _sleep(self) -> bool:
        life = self.world.life
        if life is None or life.is_dead:
            return False
        self.world.loop.sleep(life, self.nemesis.uniform("sleep", 5.0, 300.0))
        return True

    # The market.

    def _jump(self) -> None:
        symbol = self.chance.choice(self.world.symbols)
        sign = 1 if self.chance.random() < 0.5 else -1
        self.world.walks[symbol].force(sign * self.chance.uniform(0.003, 0.04))
        self._print(symbol)

    def _crash(self) -> None:
        symbol = self.chance.choice(self.world.symbols)
        held = self.world.position(symbol)
        sign = -held.direction if held is not None else -1
        for _ in range(4):
            self.world.walks[symbol].force(sign * 0.12)
            self._print(symbol)

    def _print(self, symbol: str) -> None:
        walk = self.world.walks[symbol]
        tick = walk.terms.tick_size
        self.world.print_at(symbol, tick * max(1, round(walk.price / float(tick))))

    def _nonsense_tick(self) -> None:
        symbol = self.chance.choice(self.world.symbols)
        factor = self.chance.choice((0.1, 10.0, 0.5, 2.0, 1000.0))
        for stream in list(self.world.streams):
            stream.nonsense(symbol, factor)

    def _burst(self) -> None:
        for _ in range(300):
            for symbol in self.world.symbols:
                for stream in self.world.streams:
                    stream.on_print(symbol, self.world.walks[symbol], frozen=False)

    # Another client of the account.

    def _external_open(self) -> bool:
        free = [s for s in self.world.symbols if self.world.position(s) is None]
        return bool(free) and self._trade(self.chance.choice(free), self._lots(), closes=False)

    def _external_enlarge(self) -> bool:
        held = self._held()
        return held is not None and self._trade(
            held.inst_id, held.direction * abs(self._lots(held.inst_id)), closes=False
        )

    def _external_reduce(self) -> bool:
        held = self._held()
        if held is None:
            return False
        lot = self.world.terms(held.inst_id).lot_size
        part = (held.contracts / 2 // lot) * lot
        return part > 0 and self._trade(held.inst_id, -held.direction * part, closes=True)

    def _external_close(self) -> bool:
        held = self._held()
        return held is not None and self._trade(
            held.inst_id, -held.direction * held.contracts, closes=True
        )

    def _external_flip(self) -> bool:
        held = self._held()
        return held is not None and self._trade(
            held.inst_id, -held.direction * held.contracts * 2, closes=False
        )

    def _external_cancel_stop(self) -> bool:
        live = list(self.world.venue.triggers.tpsl_live.values())
        if not live:
            return False
        self.world.venue.triggers.cancel(self.chance.choice(live))
        return True

    def _external_cancel_entry(self) -> bool:
        live = list(self.world.venue.orders.open.values())
        if not live:
            return False
        self.world.venue.orders.cancel(self.chance.choice(live))
        return True

    def _external_whole_stop(self) -> bool:
        held = self._held()
        if held is None:
            return False
        last = self.world.venue.markets[held.inst_id].quote().last
        tick = self.world.terms(held.inst_id).tick_size
        away = Decimal("0.97") if held.direction > 0 else Decimal("1.03")
        request = sim.TpslRequest(
            inst_id=held.inst_id,
            margin_mode="isolated",
            side="sell" if held.direction > 0 else "buy",
            size=sim.WHOLE,
            protection=sim.Protection(sl_trigger=last * away // tick * tick),
            reduce_only=True,
        )
        try:
            placed = self.world.venue.triggers.place_tpsl(request)
        except sim.VenueError:
            return False
        self.world.externals.add(placed.tpsl_id)
        return True

    def _leverage_changed(self) -> None:
        symbol = self.chance.choice(self.world.symbols)
        self.world.venue.account.set_leverage(symbol, "isolated", "net", 20)
        self.world.leverage_touched.add(symbol)

    def _mode_changed(self) -> bool:
        try:
            self.world.venue.set_position_mode("long_short_mode")
        except sim.VenueError:
            return False
        after = self.chance.uniform(20.0, 120.0)
        self.world.loop.call_later(after, self.restore_modes)
        return True

    def restore_modes(self) -> None:
        """Back to one-way and isolated, as soon as the exchange allows it."""
        try:
            self.world.venue.set_position_mode("net_mode")
            self.world.venue.set_margin_mode("isolated")
        except sim.VenueError:
            self.world.loop.call_later(5.0, self.restore_modes)

    def _margin_changed(self) -> bool:
        try:
            self.world.venue.set_margin_mode("cross")
        except sim.VenueError:
            return False
        self.world.loop.call_later(self.chance.uniform(20.0, 300.0), self.restore_modes)
        return True

    def _held(self) -> sim.Position | None:
        held = list(self.world.venue.account.positions.values())
        return self.chance.choice(held) if held else None

    def _lots(self, symbol: str = "") -> Decimal:
        lots = self.chance.randrange(1, 30)
        sign = 1 if self.chance.random() < 0.5 else -1
        lot = self.world.terms(symbol).lot_size if symbol else Decimal(1)
        return sign * lots * lot

    def _trade(self, symbol: str, contracts: Decimal, *, closes: bool) -> bool:
        """An order by another client; its fills are not ours."""
        desk = self.world.venue.orders
        account = self.world.venue.account
        first_id = int(account.new_id())
        request = sim.OrderRequest(
            inst_id=symbol,
            margin_mode="isolated",
            side="buy" if contracts > 0 else "sell",
            order_type="market",
            size=abs(contracts),
            reduce_only=closes,
            position_side="net",
        )
        try:
            self.world.venue.advance(self.world.now_ms)
            order = desk.place(request)
        except sim.VenueError:
            return False
        assert int(order.order_id) > first_id
        self.world.externals.add(order.order_id)
        return True
