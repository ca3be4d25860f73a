"""The control endpoint: what a test or a person may do to a running box.

Prices by script, faults by name, time, keys, instruments, and the truth about the account. Not
BloFin's; it lives under `/control/`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from blofin_cli.adapters.exchanges.sim import rows
from blofin_cli.adapters.exchanges.sim.faults import FAULTS, Fault, FaultPlan, chaos
from blofin_cli.adapters.exchanges.sim.keys import Key
from blofin_cli.adapters.exchanges.sim.reading import Fields
from blofin_cli.adapters.exchanges.sim.records import Tick, VenueError

if TYPE_CHECKING:
    from blofin_cli.adapters.exchanges.sim.box import Box
    from blofin_cli.adapters.exchanges.sim.market import MarketClock

Data = dict[str, Any]
ADVANCE_MS_MAX = 31 * 86_400_000


class ControlError(Exception):
    """A control request that makes no sense; the text says why."""


class Control:
    """Actions by name, each taking the fields of a JSON object and answering one."""

    def __init__(self, box: "Box", clock: "MarketClock") -> None:
        self._box = box
        self._clock = clock
        self._actions: dict[str, Callable[[Fields], Data]] = {
            "state": self.state,
            "account": self.account,
            "price": self.price,
            "release": self.release,
            "time": self.time,
            "fault": self.fault,
            "calm": self.calm,
            "chaos": self.chaos,
            "key": self.key,
            "limits": self.limits,
            "instrument": self.instrument,
            "disconnect": self.disconnect,
        }

    @property
    def names(self) -> list[str]:
        """Every action."""
        return list(self._actions)

    def act(self, name: str, fields: Fields) -> Data:
        """Carry out one action.

        Errors: ControlError.
        """
        action = self._actions.get(name)
        if action is None:
            raise ControlError(f"no action {name[:40]!a}; there are {', '.join(self._actions)}")
        try:
            return action(fields)
        except VenueError as error:
            raise ControlError(error.message) from None
        except ValueError as error:
            raise ControlError(str(error)) from None

    def state(self, fields: Fields) -> Data:
        """Time, seed, faults, counts, limits reached, and the trace of everything that happened."""
        box = self._box
        limits = box.limits
        return {
            "simulated": True,
            "market_ms": box.now_ms,
            "speed": self._clock.speed,
            "is_over": box.stream.is_over,
            "instruments": list(box.venue.terms),
            "seed": box.faults.seed,
            "faults": {
                fault.name: {"probability": fault.probability, "path": fault.path, "ms": fault.ms}
                for fault in box.faults.active
            },
            "known_faults": FAULTS,
            "fired": dict(box.faults.fired),
            "counts": dict(box.counts),
            "sessions": len(box.publisher.sessions),
            "limits": {
                "enabled": limits.enabled,
                "minute_max": limits.minute.seen_max,
                "trading_max": limits.trading.seen_max,
                "connections_max": {
                    name: window.seen_max for name, window in limits.connections.items()
                },
                "suspended_until_ms": limits.suspended_until_ms,
            },
            "trace": f"{box.trace:08x}",
        }

    def account(self, fields: Fields) -> Data:
        """The truth, without faults: balance, positions, orders, stops, fills."""
        venue = self._box.venue
        value = venue.terms
        return {
            "balance": self._box.balance(),
            "positions": [
                rows.position_row(position, venue.account)
                for position in venue.account.positions.values()
            ],
            "orders": [
                rows.order_row(order, value[order.request.inst_id].contract_value)
                for order in venue.orders.open.values()
            ],
            "tpsl": [rows.tpsl_row(tpsl) for tpsl in venue.triggers.tpsl_live.values()],
            "algo": [rows.algo_row(algo) for algo in venue.triggers.algo_live.values()],
            "fills": [rows.fill_row(fill) for fill in venue.account.fills],
        }

    def price(self, fields: Fields) -> Data:
        """One print by hand; the instrument's own prices stop until `release`."""
        inst_id = fields.need("instId")
        self._box.venue.orders.terms(inst_id)
        price = fields.need_number("price")
        if price <= 0:
            raise ControlError("a price is positive")
        mark = fields.number("mark")
        self._box.hold(inst_id)
        self._box.print(
            Tick(
                inst_id=inst_id,
                ts_ms=self._box.now_ms,
                price=price,
                size=fields.number("size"),
                side=fields.text("side", "buy"),
                mark=price if mark is None else mark,
                depth=fields.number("depth"),
            )
        )
        return {"instId": inst_id, "price": rows.plain(price)}

    def release(self, fields: Fields) -> Data:
        """Let an instrument's own prices go on."""
        inst_id = fields.need("instId")
        self._box.hold(inst_id, held=False)
        return {"instId": inst_id}

    def time(self, fields: Fields) -> Data:
        """Jump ahead by `advance_ms`, or go on at another `speed` (0 stands still)."""
        speed, jump = fields.number("speed"), fields.integer("advance_ms")
        if speed is not None:
            if not 0 <= speed <= 1_000_000:
                raise ControlError("a speed lies between 0 and 1000000")
            self._clock.set_speed(float(speed))
        if jump is not None:
            if not 0 <= jump <= ADVANCE_MS_MAX:
                raise ControlError(f"advance_ms lies between 0 and {ADVANCE_MS_MAX}")
            self._clock.move(jump)
            self._box.advance(self._clock.now_ms())
        return {"market_ms": self._box.now_ms, "speed": self._clock.speed}

    def fault(self, fields: Fields) -> Data:
        """Switch a fault on: `name`, `probability`, `path`, `count`, `ms`."""
        probability = fields.number("probability")
        fault = Fault(
            fields.need("name"),
            1.0 if probability is None else float(probability),
            path=fields.text("path"),
            count=fields.integer("count"),
            ms=fields.integer("ms") or 0,
        )
        self._box.faults.switch_on(fault)
        return {"name": fault.name, "what": FAULTS[fault.name]}

    def calm(self, fields: Fields) -> Data:
        """Switch off the faults of a `name`, or all."""
        self._box.faults.switch_off(fields.text("name") or None)
        return {"active": [fault.name for fault in self._box.faults.active]}

    def chaos(self, fields: Fields) -> Data:
        """A storm drawn from `seed`."""
        seed = fields.integer("seed")
        self._box.faults = chaos(seed) if seed is not None else FaultPlan()
        return {fault.name: fault.probability for fault in self._box.faults.active}

    def key(self, fields: Fields) -> Data:
        """Change a key: `state` ok, unknown, expired or address; `permissions` like READ,TRADE."""
        name = fields.text("key", next(iter(self._box.gate.keys)))
        key: Key | None = self._box.gate.keys.get(name)
        if key is None:
            raise ControlError("no such key")
        words = fields.text("permissions")
        permissions = frozenset(words.split(",")) if words else key.permissions
        changed = replace(key, state=fields.text("state", key.state), permissions=permissions)
        self._box.gate.keys[name] = changed
        return {"key": name, "state": changed.state, "permissions": sorted(permissions)}

    def limits(self, fields: Fields) -> Data:
        """Rate limits on or off (`enabled`); a suspension ends."""
        self._box.limits.enabled = fields.flag("enabled")
        self._box.limits.suspended_until_ms = 0
        return {"enabled": self._box.limits.enabled}

    def instrument(self, fields: Fields) -> Data:
        """Suspend an instrument, or make it live again: `instId`, `state`."""
        inst_id, state = fields.need("instId"), fields.need("state")
        self._box.venue.orders.terms(inst_id)
        if state not in {"live", "suspend"}:
            raise ControlError("a state is live or suspend")
        self._box.venue.set_state(inst_id, state)
        return {"instId": inst_id, "state": state}

    def disconnect(self, fields: Fields) -> Data:
        """Hang up on every WebSocket, or on those of one `kind`."""
        kind = fields.text("kind")
        hung_up = [s for s in self._box.publisher.sessions if not kind or s.kind == kind]
        for session in hung_up:
            session.close()
        return {"closed": len(hung_up)}
