"""From a judgement to an order: situation, plan, proposal or placement, all of it written down."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from blofin_cli.core import compiled
from blofin_cli.core.context import Market
from blofin_cli.core.journal import (
    Decision,
    Intent,
    IntentState,
    Level,
    Proposal,
)
from blofin_cli.core.mandate import Mandate
from blofin_cli.core.market import Zone, price_text
from blofin_cli.core.orders import MarginMode, OrderRef, OrderType, Outcome, PositionMode
from blofin_cli.core.quotes import Capability, Listing, PositionTier
from blofin_cli.core.risk import DAY_MS
from blofin_cli.core.strategy import Strategy, build_strategy
from blofin_cli.core.tickets import Plan, Ticket
from blofin_cli.engine import planning
from blofin_cli.engine.gate import Gate, Placement, Standing
from blofin_cli.engine.live.clerk import Clerk
from blofin_cli.engine.live.state import LiveState
from blofin_cli.engine.points import point
from blofin_cli.engine.situation import Situation, candles_of
from blofin_cli.engine.strategist import Judgement, Strategist, Wish
from blofin_cli.errors import BlofinError, DataError, HaltedError, RefusedError, VenueError

STALE_MS = 10_000
SEEN_WITHIN_MS = 3_000
"""A filled entry shows as a position within this, or no other entry is sent."""
PROPOSAL_MS = 600_000
HOUR_MS = 3_600_000
TERMS_MS = 300_000
MODE_GATES = frozenset({"margin_mode", "position_mode"})
ZERO = Decimal(0)
_STAYS = frozenset({"risk.limits", "risk.tiers"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Contract terms and modes of a symbol, read before its first entry."""

    listing: Listing
    tiers: tuple[PositionTier, ...]
    leverage: int | None
    margin_mode: MarginMode
    position_mode: PositionMode


class Trader:
    """Opens what the strategist and people want, through the gate.

    `blocked()` says why nothing may be opened at all just now.
    """

    def __init__(
        self,
        state: LiveState,
        clerk: Clerk,
        strategist: Strategist,
        strategy: Strategy,
        *,
        mandate: Callable[[], Mandate],
        blocked: Callable[[], str],
        approval_only: bool,
        approval_always: bool = False,
    ) -> None:
        self._state, self._clerk, self._strategist = state, clerk, strategist
        self._strategy, self._mandate, self._blocked = strategy, mandate, blocked
        self._approval_only, self._approval_always = approval_only, approval_always
        self._changed: dict[str, str] = {}
        self._terms: dict[str, Terms] = {}
        self._modes: tuple[str | None, str | None] = (None, None)
        self._read_ms: dict[str, int] = {}
        self._others: dict[str, Market] = {}
        self.gate = Gate(
            state.exchange,
            state.journal,
            account=state.account,
            session_id=state.session.session_id,
            keep=self._keep_placed,
        )

    @property
    def approval_only(self) -> bool:
        """Whether entries become proposals."""
        return self._approval_always or self._approval_only or self._state.breakers.approval_only

    @property
    def changed(self) -> dict[str, str]:
        """Parameters that were changed since the session began, by their dotted names."""
        return dict(self._changed)

    def change(self, name: str, value: object) -> None:
        """Let a risk parameter or the need for approval be another from now on.

        What decides about zones and entries stays as it was when the session began: its decisions
        must be those that a replay with its recorded settings makes.
        Nor does a session stop asking a person that began with `approval_always`.
        Errors: UsageError for a value out of range; RefusedError for anything else.
        """
        if name == "session.approval_only":
            wanted = str(value).lower() == "true"
            if self._approval_always and not wanted:
                raise RefusedError(
                    "this session began with --approval-only: its entries wait for a person",
                    hint="end this one and run again",
                )
            self._approval_only = wanted
            return
        parameter = name.removeprefix("strategy.")
        if not parameter.startswith("risk.") or parameter in _STAYS:
            raise RefusedError(
                f"{name} takes effect when a session begins", hint="end this one and run again"
            )
        changed = self._changed | {parameter: str(value)}
        self._strategy = build_strategy(self._state.session.config | changed)
        self._changed = changed
        self._state.breakers.risk = self._strategy.risk

    async def read_terms(self, symbol: str) -> Terms:
        """Read and keep terms, leverage and modes of a symbol. Errors: as the port."""
        exchange = self._state.exchange
        listing = await exchange.instrument(symbol)
        tiers: tuple[PositionTier, ...] = ()
        if Capability.POSITION_TIERS in exchange.venue.capabilities:
            tiers = await exchange.position_tiers(symbol)
        settings = await exchange.leverage(symbol)
        terms = Terms(
            listing=listing,
            tiers=tiers,
            leverage=max((row.leverage for row in settings), default=None),
            margin_mode=await exchange.margin_mode(),
            position_mode=await exchange.position_mode(),
        )
        self._state.answered()
        self._terms[symbol], self._read_ms[symbol] = terms, self._state.mono_ms()
        return terms

    async def _known_terms(self, symbol: str) -> Terms:
        """Terms of a symbol, read anew when they are old. Errors: as the port."""
        terms = self._terms.get(symbol)
        is_old = terms is None or self._state.mono_ms() - self._read_ms[symbol] >= TERMS_MS
        if terms is None or is_old or not terms.listing.is_live:
            return await self.read_terms(symbol)
        return terms

    async def set_modes(self) -> None:
        """Bring the account to isolated margin and one-way positions, where it lets us.

        What is read back counts; where it stays otherwise, every entry is refused with the reason.
        Errors: those of the exchange when the modes could not even be read.
        """
        state, exchange = self._state, self._state.exchange
        try:
            position = await exchange.position_mode()
            if position is not PositionMode.ONE_WAY:
                position = await exchange.set_position_mode(PositionMode.ONE_WAY)
                state.tell(Level.INFO, "session", "the account was set to one-way positions")
            margin = await exchange.margin_mode()
            if margin is not MarginMode.ISOLATED:
                margin = await exchange.set_margin_mode(MarginMode.ISOLATED)
                state.tell(Level.INFO, "session", "the account was set to isolated margin")
            self._modes = (str(margin), str(position))
        except VenueError as refused:
            state.tell_once(
                Level.ALERT, "rejected",
                f"the account's modes cannot be set: {refused.message}; nothing opens",
                protects="stops stay at the exchange",
                next_step="close what is open, then set isolated margin and one-way mode",
            )  # fmt: skip
        self.forget_terms()

    def forget_terms(self) -> None:
        """Terms and modes are read anew before the next entry."""
        self._terms.clear()

    def tick_size(self, symbol: str) -> Decimal | None:
        """Price step of a symbol whose terms were read."""
        terms = self._terms.get(symbol)
        return None if terms is None else terms.listing.instrument.tick_size

    def modes(self) -> tuple[str | None, str | None]:
        """Margin and position mode as last read."""
        known = next(iter(self._terms.values()), None)
        return self._modes if known is None else (str(known.margin_mode), str(known.position_mode))

    # The strategy's wishes.

    async def act(self, judgement: Judgement, *, is_fresh: bool) -> None:
        """Place, propose or refuse what a judgement wants; write the decision down once."""
        decisions = [judgement.decision]
        if judgement.wishes:
            decisions = [
                await self._outcome(judgement.decision, wish, is_fresh=is_fresh)
                for wish in judgement.wishes
            ]
        is_kept = judgement.keeps_zones(self._strategist.timeframe)
        zones = self._strategist.zones(judgement.decision.symbol) if is_kept else None
        for decision in decisions:
            if decision.side is not None:
                self._tell(decision)
        acted = ("placed", "proposed")
        said = next((each for each in decisions if each.outcome in acted), decisions[0])
        self._note(said, zones)  # a bar has one decision: of several wishes the one that was met

    def _tell(self, decision: Decision) -> None:
        """Say what became of a signal."""
        entry, stop = price_text(decision.entry), price_text(decision.stop)
        said = f"{decision.symbol}: {decision.action} at {entry}, stop {stop}"
        why = f" ({decision.note})" if decision.note and decision.outcome != "placed" else ""
        text = f"{said}: {decision.outcome}{why}"
        self._state.tell(Level.INFO, "signal", text[:300], symbol=decision.symbol)

    async def _outcome(self, decision: Decision, wish: Wish, *, is_fresh: bool) -> Decision:
        """The decision with what came of it."""
        if not is_fresh:
            return replace(decision, outcome="stale", note="the bar was too old to trade on")
        symbol = wish.ticket.symbol
        try:
            why = self._refused(symbol)
            if why:
                return replace(decision, outcome="refused", note=why)
            plan = await self.plan(wish.ticket)
            decision = replace(
                decision,
                gates=(*decision.gates, *plan.gates),
                quantity=float(plan.size),
                equity_usdt=float(plan.equity_usdt),
            )
            if not plan.allowed:
                gate = next(gate for gate in plan.gates if not gate.passed)
                if gate.name in MODE_GATES:
                    await self.set_modes()  # somebody changed them; the next entry finds them right
                return replace(decision, outcome="refused", note=f"{gate.name}: {gate.note}"[:200])
            if self.approval_only:
                self._propose(plan, "entries need a person's approval")
                return replace(decision, outcome="proposed", note=plan.hash)
            placed = await self._place_wish(plan, wish, decision)
        except (HaltedError, RefusedError) as no:
            return replace(decision, outcome="refused", note=no.message[:200])
        except BlofinError as problem:
            if not isinstance(problem, DataError):
                self._state.failed()
            return replace(decision, outcome=problem.code, note=problem.message[:200])
        return replace(decision, outcome="placed", client_id=placed.intent.client_id)

    async def _place_wish(self, plan: Plan, wish: Wish, decision: Decision) -> Placement:
        until_ms = None if plan.price is None else decision.bar_ms + 400 * HOUR_MS
        key = f"{plan.symbol}:{decision.bar_ms}:{plan.zone_id or plan.side}"
        return await self.place(
            plan, face="session", key=key, hold_ms=wish.hold_ms, until_ms=until_ms
        )

    def _refused(self, symbol: str) -> str:
        """Why a symbol may not be entered, by what is known without asking anybody."""
        state = self._state
        if why := self._blocked():
            return why
        if symbol in state.holdings or state.mirror.position(symbol) is not None:
            return "a position is open"
        if state.mirror.entries(symbol) or state.open_entries(symbol):
            return "an entry is on its way"
        if any(row.symbol == symbol for row in state.mirror.protections.values()):
            return "stops of the last position are still there"
        return state.breakers.blocked(symbol, state.now_ms())

    async def plan(self, ticket: Ticket) -> Plan:
        """Draw the plan of a ticket on the account as it is mirrored.

        Errors: DataError when the account or the market is not known well enough.
        """
        point("decide")
        terms = await self._known_terms(ticket.symbol)
        await self._read_others(ticket.symbol)
        situation = self._situation(ticket.symbol, terms)
        plan = self._draw(ticket, situation)
        if terms.leverage != plan.leverage:
            terms = await self._set_leverage(ticket.symbol, terms, plan.leverage)
            situation = self._situation(ticket.symbol, terms)
            plan = self._draw(ticket, situation)
        return plan

    def _draw(self, ticket: Ticket, situation: Situation) -> Plan:
        """The plan, its kernels interpreted: compiling them would take longer than any wait."""
        with compiled.forced(False):
            return planning.draw(ticket, situation, self._strategy, self._mandate())

    async def place(
        self,
        plan: Plan,
        *,
        face: str,
        key: str,
        hold_ms: int | None = None,
        until_ms: int | None = None,
    ) -> Placement:
        """Send a plan through the gate and let the breakers know what came of it.

        Errors: as `Gate.place`.
        """
        state = self._state
        terms = await self._known_terms(plan.symbol)
        if terms.leverage != plan.leverage:
            terms = await self._set_leverage(plan.symbol, terms, plan.leverage)
        await self._read_others(plan.symbol)
        await self._see_what_filled()

        def standing() -> Standing:
            return self._standing(plan.symbol, terms, face)

        placed = await self.gate.place(
            plan, standing, face=face, key=key, hold_ms=hold_ms, until_ms=until_ms
        )
        if placed.ack is None:
            return placed
        state.touch(plan.symbol)
        if placed.ack.outcome is Outcome.REFUSED:
            self.forget_terms()
            for happening in state.breakers.rejected(state.now_ms()):
                state.happened(happening)
            state.tell(
                Level.WARNING, "rejected",
                f"{plan.symbol}: the exchange refused the entry: {placed.ack.code} "
                f"{placed.ack.message}",
                symbol=plan.symbol, protects="nothing was opened", next_step="blofin doctor",
            )  # fmt: skip
            raise RefusedError(
                f"the exchange refused: {placed.ack.code} {placed.ack.message}",
                details={"venue_code": placed.ack.code, "client_id": placed.intent.client_id},
            )
        state.answered()
        state.breakers.placed()
        state.keep_memory()
        if placed.ack.outcome is Outcome.UNKNOWN:
            state.tell(
                Level.ALERT, "order_unknown",
                f"{plan.symbol}: nobody knows whether the entry was taken; it is being looked up",
                symbol=plan.symbol, protects="its stop travels with it", next_step="blofin orders",
            )  # fmt: skip
        return placed

    def _keep_placed(self, intent: Intent) -> None:
        """Enter an answer, unless the stream has told more about the order meanwhile."""
        state = self._state
        if intent.state is IntentState.RESERVED:  # durable already; from now on its fill is ours
            state.intents[intent.client_id] = intent
            return
        known = state.intents.get(intent.client_id)
        if known is None and self._clerk.has_ended(intent.client_id):
            return
        if known is not None and known.filled > intent.filled:
            intent = replace(intent, filled=known.filled)
        self._clerk.keep_intent(intent)

    def _propose(self, plan: Plan, reason: str) -> None:
        state, now = self._state, self._state.wall.now_ms()
        left_ms = plan.expires_ms - state.now_ms()
        proposal = Proposal(
            id=plan.hash[:6],
            account=state.account,
            plan_hash=plan.hash,
            plan=plan.record(),
            reason=reason,
            face="session",
            created_ms=now,
            expires_ms=now + min(PROPOSAL_MS, left_ms),
        )
        kept = state.journal.propose(proposal)
        state.tell(
            Level.ALERT, "proposal",
            f"{plan.symbol}: {plan.side} {plan.size} at {plan.entry}, stop {plan.stop}: {reason}",
            symbol=plan.symbol, protects="nothing is open", next_step=f"blofin approve {kept.id}",
        )  # fmt: skip

    # What a plan and the gate look at.

    def _situation(self, symbol: str, terms: Terms) -> Situation:
        state = self._state
        quote = state.quotes.get(symbol)
        balance = None if state.mirror.account is None else state.mirror.account.balance()
        if quote is None or balance is None:
            raise DataError(f"no {'quote' if quote is None else 'balance'} of {symbol} yet")
        memory = state.breakers.memory
        positions = tuple(state.mirror.positions.values())
        orders = tuple(state.mirror.orders.values())
        symbols = dict.fromkeys(
            [
                symbol,
                *(p.symbol for p in positions),
                *(o.symbol for o in orders),
                *(i.symbol for i in state.open_entries()),
            ]
        )
        return Situation(
            exchange=state.session.exchange,
            mode=state.session.mode,
            simulated=state.session.simulated,
            listing=terms.listing,
            tiers=terms.tiers,
            quote=quote,
            price_range=None,
            equity_usdt=balance.equity,
            available_usdt=balance.available,
            leverage=terms.leverage,
            margin_mode=terms.margin_mode,
            position_mode=terms.position_mode,
            positions=positions,
            orders=orders,
            protections=tuple(state.mirror.protections.values()),
            reserved=state.open_entries(),
            entries_today=memory.entries_today,
            markets=tuple(self._market(each) for each in symbols),
            clock_offset_ms=state.offset_ms,
            now_ms=state.now_ms(),
            day_start_usdt=Decimal(repr(memory.day_start)),
            week_start_usdt=Decimal(repr(memory.week_start)),
            peak_usdt=Decimal(repr(memory.peak)),
            **self._spent(),
        )

    def _spent(self) -> dict[str, Any]:
        """Flags, and what today's entries used of the mandate. Errors: DataError."""
        state, now = self._state, self._state.now_ms()
        day_ms = now // DAY_MS * DAY_MS
        made = state.journal.intents(state.account, since_ms=min(day_ms, now - HOUR_MS))
        entered = [i for i in made if i.purpose == "entry" and i.state not in ("refused", "void")]
        return {
            "halt": state.journal.halted(),
            "pauses": tuple(
                pause
                for pause in state.journal.pauses()
                if pause.until_ms is None or pause.until_ms > now
            ),
            "entries_hour": sum(intent.created_ms > now - HOUR_MS for intent in entered),
            "risk_today_usdt": sum(
                (intent.risk_usdt for intent in entered if intent.created_ms >= day_ms), ZERO
            ),
        }

    def _standing(self, symbol: str, terms: Terms, face: str) -> Standing:
        state = self._state
        quote = state.quotes.get(symbol)
        if quote is None:
            raise RefusedError(
                f"no quote of {symbol}", details={"gate": "quote_age_ms"}, is_retryable=True
            )
        blocked = self._blocked() or self._held(symbol)
        situation = self._situation(symbol, terms)
        room = planning.room(
            situation, self._strategy, self._mandate(), is_agent=face.startswith("mcp")
        )
        return Standing(
            now_ms=state.now_ms(),
            quote=quote,
            room=room,
            mandate=self._mandate(),
            clock_offset_ms=state.offset_ms,
            blocked=blocked,
        )

    async def _see_what_filled(self) -> None:
        """Wait until every filled entry shows as a position: only then do the limits count it.

        Errors: RefusedError when one does not show in time.
        """
        until_ms = self._state.mono_ms() + SEEN_WITHIN_MS
        while (symbol := self._clerk.unseen()) is not None:
            if self._state.mono_ms() >= until_ms:
                raise RefusedError(
                    f"the position of {symbol} is not seen yet", details={"gate": "account"}
                )
            await asyncio.sleep(0.05)

    def _held(self, symbol: str) -> str:
        """Why an entry into this symbol may not be sent at this instant."""
        state = self._state
        if state.mirror.position(symbol) is not None:
            return "a position is open"
        return state.breakers.blocked(symbol, state.now_ms())

    def _market(self, symbol: str) -> Market:
        if symbol in self._others:
            return self._others[symbol]
        return self._strategist.market(symbol)

    async def _read_others(self, symbol: str) -> None:
        """What no stream brings of symbols that are not traded here: candles of what is held, for
        their correlation, and a fresh quote of the one that a person's order is for."""
        state = self._state
        traded = set(state.session.symbols)
        held = {*state.mirror.positions, *(o.symbol for o in state.mirror.orders.values())}
        if symbol not in traded:
            state.hear_quote(await state.exchange.quote(symbol))
        for other in sorted(({symbol} | held) - traded - self._others.keys()):
            timeframe = self._strategist.timeframe
            bars = await state.exchange.candles(other, timeframe, limit=1_400)
            listing = await state.exchange.instrument(other)
            self._others[other] = Market(candles_of(other, timeframe, bars), listing.instrument)
        if symbol not in traded and symbol not in self._others:
            timeframe = self._strategist.timeframe
            bars = await state.exchange.candles(symbol, timeframe, limit=1_400)
            listing = await state.exchange.instrument(symbol)
            self._others[symbol] = Market(candles_of(symbol, timeframe, bars), listing.instrument)

    async def _set_leverage(self, symbol: str, terms: Terms, leverage: int) -> Terms:
        """Bring the exchange's leverage to the plan's, and believe only what is read back."""
        state = self._state
        told = await state.exchange.set_leverage(symbol, leverage)
        state.answered()
        in_force = max((row.leverage for row in told), default=None)
        self._terms[symbol] = terms = replace(terms, leverage=in_force)
        if in_force != leverage:
            raise RefusedError(
                f"{symbol} stays at {in_force}x instead of {leverage}x",
                details={"gate": "leverage", "value": in_force, "limit": leverage},
            )
        return terms

    def _note(self, decision: Decision, zones: Sequence[Zone] | None) -> None:
        state = self._state
        session_id = state.session.session_id
        state.scribe.write(lambda: state.journal.save_decision(session_id, decision, zones))

    # Resting entries.

    async def give_up(self, intent: Intent) -> None:
        """Cancel a resting entry whose time or reason is over."""
        state = self._state
        ref = OrderRef(
            symbol=intent.symbol,
            client_id=intent.client_id,
            order_id=intent.order_id,
            is_trigger=intent.type is OrderType.TRIGGER,
        )
        await state.exchange.cancel(ref)
        found = await state.exchange.order(ref)
        if found is not None:
            state.mirror.hear_order(found, state.mono_ms())
            self._clerk.hear_order(found)
