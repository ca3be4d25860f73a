"""The deterministic core of the exchange in a box: prints and requests in, fills and events out.

No I/O, no clock, no randomness: time comes with the prints and with `advance`. The same calls
give the same ids, fills and events. It is the dry run's venue too.

Inside one print: funding that fell due before it, then liquidation by mark, resting orders, and
triggers by last price. What a trigger starts executes against the book of that same print.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal

from blofin_cli.adapters.exchanges.sim.account import Account
from blofin_cli.adapters.exchanges.sim.books import MarketState
from blofin_cli.adapters.exchanges.sim.checks import parameter
from blofin_cli.adapters.exchanges.sim.desk import OrderDesk
from blofin_cli.adapters.exchanges.sim.records import (
    CROSS,
    HEDGE_MODE,
    ISOLATED,
    NET_MODE,
    Event,
    Order,
    Terms,
    Tick,
    VenueError,
    VenueRules,
)
from blofin_cli.adapters.exchanges.sim.triggers import TriggerDesk

DEFAULT_RULES = VenueRules()
NEVER_MS = 1 << 62


class Venue:
    """One account on one exchange.

    `orders` and `triggers` take requests; `account` holds what came of them. Every refusal is a
    VenueError with BloFin's code.
    """

    def __init__(
        self, terms: Iterable[Terms], rules: VenueRules = DEFAULT_RULES, *, now_ms: int = 0
    ) -> None:
        self.rules = rules
        self.terms = {item.inst_id: item for item in terms}
        self.markets = {
            inst_id: MarketState(item, rules.half_spread) for inst_id, item in self.terms.items()
        }
        self.account = Account(self.terms, rules)
        self.orders = OrderDesk(self.account, self.markets)
        self.triggers = TriggerDesk(self.orders)
        self.orders.on_fill = self.triggers.on_fill
        self.orders.now_ms = now_ms
        self.funding_table: dict[str, dict[int, Decimal]] = {}
        self.funding_paid: dict[str, list[tuple[int, Decimal]]] = {key: [] for key in self.terms}
        self._due = {key: self.next_funding_ms(key, now_ms) for key in self.terms}
        self._due_first = min(self._due.values(), default=NEVER_MS)

    @property
    def now_ms(self) -> int:
        """The latest moment this venue has been told of."""
        return self.orders.now_ms

    def drain(self) -> list[Event]:
        """Everything told since the last call."""
        events = list(self.account.events)
        self.account.events.clear()
        return events

    def advance(self, now_ms: int) -> None:
        """Let time pass without a print: funding falls due."""
        while self._due_first <= now_ms:
            due = self._due_first
            self.orders.now_ms = max(self.now_ms, due)
            for inst_id in [key for key, at in self._due.items() if at == due]:
                self._pay_funding(inst_id, due)
            self._due_first = min(self._due.values())
        self.orders.now_ms = max(self.now_ms, now_ms)

    def on_tick(self, tick: Tick) -> None:
        """Take one print of the market.

        Errors: KeyError for an instrument that is not listed.
        """
        self.advance(tick.ts_ms)
        state = self.markets[tick.inst_id]
        state.print(tick)
        account = self.account
        account.marks[tick.inst_id] = state.mark
        if account.positions:
            for position in list(account.of_instrument(tick.inst_id)):
                if account.is_liquidated(position):
                    self.orders.liquidate(position)
        if self.orders.open:
            self.orders.on_print(tick)
        if self.triggers.tpsl_live or self.triggers.algo_live:
            self.triggers.fire(tick.inst_id, tick.price)
            if not self.rules.orphans_kept:
                self.triggers.drop_orphans(tick.inst_id)

    def close_position(
        self, inst_id: str, margin_mode: str, position_side: str, client_order_id: str, broker: str
    ) -> Order:
        """Close a whole position at market.

        Errors: VenueError 102005 when there is none.
        """
        self.orders.terms(inst_id)
        if client_order_id and client_order_id in self.orders.by_client:
            raise VenueError("102002", "Duplicate customized order ID.")
        position = self.account.positions.get((inst_id, position_side))
        if position is None or position.margin_mode != margin_mode:
            raise VenueError("102005", "Position had been closed")
        order = self.orders.close(position, client_order_id, broker)
        if not self.rules.orphans_kept:
            self.triggers.drop_orphans(inst_id)
        return order

    def set_margin_mode(self, margin_mode: str) -> None:
        """Change the account's default margin mode.

        Errors: VenueError while anything is open.
        """
        if margin_mode not in {ISOLATED, CROSS}:
            raise parameter("marginMode")
        if margin_mode != self.account.margin_mode:
            self._refuse_while_open()
        self.account.margin_mode = margin_mode

    def set_position_mode(self, position_mode: str) -> None:
        """Change between one-way and hedge mode.

        Errors: VenueError while anything is open.
        """
        if position_mode not in {NET_MODE, HEDGE_MODE}:
            raise parameter("positionMode")
        if position_mode != self.account.position_mode:
            self._refuse_while_open()
        self.account.position_mode = position_mode

    def set_leverage(self, inst_id: str, margin_mode: str, position_side: str, value: int) -> None:
        """Change leverage of one instrument and margin mode.

        Errors: VenueError beyond the instrument's limit, or for another value while something of
        that instrument and mode is open.
        """
        terms = self.orders.terms(inst_id)
        if margin_mode not in {ISOLATED, CROSS}:
            raise parameter("marginMode")
        if not 1 <= value <= terms.leverage_max:
            raise parameter("leverage")
        if value != self.account.leverage(inst_id, margin_mode, position_side):
            self._refuse_leverage(inst_id, margin_mode)
        self.account.set_leverage(inst_id, margin_mode, position_side, value)

    def set_state(self, inst_id: str, state: str) -> None:
        """Suspend an instrument, or make it live again."""
        terms = replace(self.terms[inst_id], state=state)
        self.terms[inst_id] = self.markets[inst_id].terms = terms

    def next_funding_ms(self, inst_id: str, now_ms: int | None = None) -> int:
        """The upcoming settlement."""
        step = self.terms[inst_id].funding_ms
        return ((self.now_ms if now_ms is None else now_ms) // step + 1) * step

    def funding_rate(self, inst_id: str, due_ms: int) -> Decimal:
        """The rate of a settlement: from the market's history, else the venue's own."""
        return self.funding_table.get(inst_id, {}).get(due_ms, self.rules.funding_rate)

    def load_funding(self, inst_id: str, rates: Mapping[int, Decimal]) -> None:
        """Take a market's rates: what is past is history, the rest falls due."""
        self.funding_table[inst_id] = dict(rates)
        past = [(at, rate) for at, rate in sorted(rates.items()) if at <= self.now_ms]
        self.funding_paid[inst_id] = past + self.funding_paid[inst_id]

    def _pay_funding(self, inst_id: str, due_ms: int) -> None:
        rate = self.funding_rate(inst_id, due_ms)
        self.account.pay_funding(inst_id, rate, due_ms)
        paid = self.funding_paid[inst_id]
        paid.append((due_ms, rate))
        del paid[: -self.rules.history_max]
        self._due[inst_id] = due_ms + self.terms[inst_id].funding_ms

    def _refuse_while_open(self) -> None:
        if self.account.positions or self.orders.open or self.triggers.algo_live:
            raise VenueError("110019", "Setting failed. Cancel orders and close positions first.")

    def _refuse_leverage(self, inst_id: str, margin_mode: str) -> None:
        resting = any(
            (order.request.inst_id, order.request.margin_mode) == (inst_id, margin_mode)
            for order in self.orders.open.values()
        )
        if resting and margin_mode == CROSS:
            raise VenueError(
                "110006", "Cancel pending cross margin orders before adjusting leverage."
            )
        held = any(
            position.margin_mode == margin_mode for position in self.account.of_instrument(inst_id)
        )
        if resting or held:
            raise VenueError("110019", "Setting failed. Cancel orders and close positions first.")
