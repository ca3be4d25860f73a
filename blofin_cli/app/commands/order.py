"""Orders: plan one and place exactly that plan; cancel, close and protect."""

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field, StringConstraints, model_validator

from blofin_cli.app import orders
from blofin_cli.app.context import Context
from blofin_cli.app.errands import living_session
from blofin_cli.app.spec import Effect, Result, Symbol, command, invoke, registered
from blofin_cli.app.venues import AccountRequest, held_mode_of, mode_of, open_account
from blofin_cli.core.journal import Intent
from blofin_cli.core.mandate import RISK_FRACTION_HARD_MAX, percent_of
from blofin_cli.core.market import Action, Kind, Signal, Zone
from blofin_cli.core.orders import Ack, OrderType, Side
from blofin_cli.core.quotes import Mode
from blofin_cli.core.tickets import Plan, Ticket
from blofin_cli.errors import (
    BlofinError,
    Exit,
    HaltedError,
    RefusedError,
    UnknownOutcomeError,
    UsageError,
    VenueError,
)

if TYPE_CHECKING:
    from blofin_cli.core.strategy import Strategy
    from blofin_cli.engine.reducing import Reducer

TypeWord = Literal["market", "limit", "post-only", "ioc", "fok", "stop"]
_TYPES = {
    "market": OrderType.MARKET, "limit": OrderType.LIMIT, "post-only": OrderType.POST_ONLY,
    "ioc": OrderType.IOC, "fok": OrderType.FOK, "stop": OrderType.TRIGGER,
}  # fmt: skip
Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_:.\-]{1,64}$")]
Price = Annotated[Decimal | None, Field(gt=0)]


class OrderRequest(AccountRequest):
    """What to open, or which plan to place."""

    symbol: Annotated[Symbol, Field(description="Instrument, e.g. BTC-USDT")]
    side: Annotated[Literal["buy", "sell"] | None, Field(description="Never guessed")] = None
    type: Annotated[TypeWord | None, Field(description="Default market")] = None
    price: Annotated[Price, Field(description="Limit price")] = None
    trigger: Annotated[Price, Field(description="Price at which a stop entry becomes an order")] = (
        None
    )
    stop: Annotated[Price, Field(description="Stop-loss, attached to the order")] = None
    target: Annotated[Price, Field(description="Take-profit, attached to the order")] = None
    risk: Annotated[
        str | None,
        Field(description="Share of equity to lose at the stop, e.g. 1%", max_length=32),
    ] = None
    size: Annotated[Decimal | None, Field(description="Base units, never contracts", gt=0)] = None
    notional: Annotated[Decimal | None, Field(description="Order value in USDT", gt=0)] = None
    leverage: Annotated[
        int | None, Field(description="Default: chosen from the stop", ge=1, le=150)
    ] = None
    signal: Annotated[Id | None, Field(description="Zone id of the signal in force")] = None
    zone: Annotated[Id | None, Field(description="Id of a live zone: a limit at its edge")] = None
    no_stop: Annotated[bool, Field(description="Without a stop, if your mandate allows it")] = False
    apply: Annotated[
        str | None,
        Field(description="Place the plan of this hash, as it is", pattern=r"^[0-9a-f]{16}$"),
    ] = None

    def effect(self, declared: Effect) -> Effect:
        """Planning reads; placing trades."""
        return Effect.READ if self.apply is None else declared

    @model_validator(mode="after")
    def _agree(self) -> "OrderRequest":
        given = self.model_fields_set - {"exchange", "mode", "symbol"}
        if self.apply is not None:
            if others := sorted(given - {"apply"}):
                raise ValueError(f"--apply places a plan as it is; drop --{others[0]}")
            return self
        if self.signal is not None and self.zone is not None:
            raise ValueError("--signal and --zone contradict each other")
        found = self.signal or self.zone
        if found is None and self.side is None:
            raise ValueError("--side is required: buy or sell")
        fixed = {"side", "price", "trigger", "stop", "target"}
        if found is not None and (also := sorted(given & fixed)):
            raise ValueError(f"a signal or zone brings its own --{also[0]}")
        if found is None and self.stop is None and not self.no_stop:
            raise ValueError("--stop is required; --no-stop goes without if your mandate allows it")
        if self.stop is not None and self.no_stop:
            raise ValueError("--stop and --no-stop contradict each other")
        sizes = sum(each is not None for each in (self.risk, self.size, self.notional))
        if sizes != 1 and not (found is not None and sizes == 0):
            raise ValueError("an order is sized one way: --risk, --size or --notional")
        return self


class OrderResult(Result):
    """A plan and what became of it.

    `status` is `planned`, `placed`, `proposed` (waits for a person) or `refused` (a gate says no).
    """

    status: Literal["planned", "placed", "proposed", "refused"]
    plan: Plan
    hash: str
    expires_ms: int
    message: str
    intent: Intent | None = None
    ack: Ack | None = None
    proposal_id: str | None = None
    simulated: bool = False

    columns: ClassVar[tuple[str, ...]] = ("gate", "passed", "value", "limit", "note")

    def exit_code(self) -> Exit:
        """3 when a gate refused, 9 when that was the halt."""
        if self.status != "refused":
            return Exit.OK
        closed = {gate.name for gate in self.plan.gates if not gate.passed}
        return Exit.HALTED if "halt" in closed else Exit.REFUSED

    def rows(self) -> list[dict[str, Any]]:
        """One line a gate."""
        return [
            {
                "gate": gate.name, "passed": gate.passed, "value": gate.value,
                "limit": gate.threshold, "note": gate.note,
            }
            for gate in self.plan.gates
        ]  # fmt: skip

    def table(self) -> list[dict[str, Any]]:
        """One line a gate, explained where it refuses; nothing once it is placed."""
        if self.status in ("placed", "proposed"):
            return []
        return [row | {"note": "" if row["passed"] else row["note"]} for row in self.rows()]

    def summary(self) -> list[tuple[str, object]]:
        """The plan in words."""
        message = self.message.removeprefix("refused ")  # the label says so already
        lines: list[tuple[str, object]] = [(self.status, message), *plan_lines(self.plan)]
        if self.intent is not None:
            lines.append(("order", f"{self.intent.client_id} is {self.intent.state}"))
        return lines


def plan_lines(plan: Plan) -> list[tuple[str, object]]:
    """Label and value of a plan, for people."""
    stop = "NONE" if plan.stop is None else f"{plan.stop:,f}"
    target = "none" if plan.target is None else f"{plan.target:,f}"
    price = f"{plan.entry:,f}" if plan.price is None else f"{plan.price:,f}"
    places = max(0, -int(plan.entry.as_tuple().exponent))
    away = "-" if plan.liquidation_stops is None else f"{plan.liquidation_stops:.1f} stop distances"
    liquidation = (
        "none" if plan.liquidation_price is None else f"{plan.liquidation_price:,.{places}f}"
    )
    where = "simulated" if plan.simulated else str(plan.mode)
    lines: list[tuple[str, object]] = [
        (
            "order",
            f"{plan.side} {plan.symbol} {_word(plan.type)} at {price}, {plan.exchange} {where}",
        ),
        (
            "size",
            f"{plan.size:f} base units = {plan.notional_usdt:,.2f} USDT = "
            f"{plan.contracts.normalize():f} contracts",
        ),
        ("stop, target", f"{stop}, {target}"),
        (
            "worst case",
            f"-{plan.risk_usdt:,.2f} USDT = {plan.risk_fraction * 100:.3f}% of "
            f"{plan.equity_usdt:,.2f} (fees {plan.fees_usdt:.2f}, slippage "
            f"{plan.slippage_usdt:.2f})",
        ),
        ("margin", f"{plan.margin_usdt:,.2f} USDT at {plan.leverage}x isolated"),
        ("liquidation", f"{liquidation}, {away} away"),
        ("price band", f"{plan.price_min:,.{places}f} to {plan.price_max:,.{places}f}"),
        (
            "book",
            f"risk {plan.open_risk_fraction:.3%} before, {plan.portfolio_risk_fraction:.3%} "
            "correlated with it",
        ),
        ("plan", f"{plan.hash}, expires {(plan.expires_ms - plan.created_ms) // 1000} s after"),
    ]
    if plan.reward_risk is not None:
        lines.insert(4, ("reward:risk", f"{plan.reward_risk:.2f} before costs"))
    return lines


def _word(kind: OrderType) -> str:
    """An order type as it is typed."""
    return next(word for word, each in _TYPES.items() if each is kind)


@command(effect=Effect.TRADE, positional=("symbol",), tool="place_order")
async def order(request: OrderRequest, context: Context) -> OrderResult:
    """Plan an order with its stop; --apply HASH places exactly that plan, once.

    Without --apply nothing is sent: the plan shows size, worst case, liquidation, exposure and
    every gate. In a terminal you are then asked whether to place it.

    Example: blofin order BTC-USDT --side buy --risk 0.5% --stop 59400 --exchange sim
    """
    if request.apply is not None:
        return await _apply(request, request.apply, context)
    ticket = await _ticket(request, context)
    plan = await orders.plan_order(request, ticket, context)
    if not plan.allowed:
        gate = next(gate for gate in plan.gates if not gate.passed)
        refused = _result("refused", plan, orders.refusal_words(gate))
        kind = HaltedError if refused.exit_code() is Exit.HALTED else RefusedError
        problem = kind(refused.message, details=orders.gate_details(gate))
        return _beside(problem, refused, context)
    if plan.mode is Mode.DRY_RUN:
        return _result("planned", plan, "dry-run sends no order: --mode demo would")
    if context.ask is None:
        return _result("planned", plan, f"nothing was sent; --apply {plan.hash} places it")
    for label, value in plan_lines(plan):
        context.say(f"{label:<14} {value}")
    again = {"symbol": plan.symbol, "apply": plan.hash, "mode": request.mode}
    again |= {"exchange": request.exchange}
    try:
        placed = await invoke(registered()["order"], _given(again), context)
    except RefusedError as refusal:
        if refusal.message != "not confirmed":
            raise
        return _result("planned", plan, "nothing was sent")
    assert isinstance(placed, OrderResult)
    return placed


async def _apply(request: OrderRequest, plan_hash: str, context: Context) -> OrderResult:
    if mode_of(request, context) is Mode.DRY_RUN:
        raise RefusedError("dry-run sends no order", hint="plan and apply with --mode demo")
    plan, placed = await orders.apply_plan(request, request.symbol, plan_hash, context)
    return OrderResult(
        status="proposed" if placed.status == "proposed" else "placed",
        plan=plan,
        hash=plan.hash,
        expires_ms=plan.expires_ms,
        message=placed.message,
        intent=placed.intent,
        ack=placed.ack,
        proposal_id=None if placed.proposal is None else placed.proposal.id,
        simulated=plan.simulated,
    )


def _result(status: Literal["planned", "refused"], plan: Plan, message: str) -> OrderResult:
    return OrderResult(
        status=status,
        plan=plan,
        hash=plan.hash,
        expires_ms=plan.expires_ms,
        message=message,
        simulated=plan.simulated,
    )


_Told = TypeVar("_Told", bound=Result)


def _beside(problem: BlofinError, result: _Told, context: Context) -> _Told:
    """A result that is no success: at the command line its error follows it on stderr.

    As with a comparison that fell short, stdout still has the document, since it says why. Other
    faces show one answer, and the document is the better one.
    """
    if context.face != "cli":
        return result
    problem.result = result
    raise problem


def _given(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value is not None}


# From words to a ticket.


async def _ticket(request: OrderRequest, context: Context) -> Ticket:
    if request.signal is not None:
        return await _signal_ticket(request, request.signal, context)
    if request.zone is not None:
        return await _zone_ticket(request, request.zone, context)
    assert request.side is not None
    return Ticket(
        symbol=request.symbol,
        side=Side(request.side),
        type=_TYPES[request.type or "market"],
        price=request.price,
        trigger=request.trigger,
        stop=request.stop,
        target=request.target,
        risk_fraction=_risk(request),
        size=request.size,
        notional_usdt=request.notional,
        leverage=request.leverage,
    )


def _risk(request: OrderRequest) -> Decimal | None:
    if request.risk is None:
        return None
    return percent_of(request.risk, "--risk", RISK_FRACTION_HARD_MAX)


def _sized(request: OrderRequest, planned: float | None) -> dict[str, Any]:
    """How a signal's or zone's order is sized: as asked, else by what the strategy risks."""
    if request.risk is None and request.size is None and request.notional is None:
        assert planned is not None
        return {"risk_fraction": Decimal(repr(planned))}
    return {
        "risk_fraction": _risk(request), "size": request.size, "notional_usdt": request.notional,
    }  # fmt: skip


async def _signal_ticket(request: OrderRequest, wanted: str, context: Context) -> Ticket:
    """The ticket of the signal in force; a signal of the past is nobody's any more."""
    from blofin_cli.app.commands.market import SignalRequest, signal

    asked = _given({"symbol": request.symbol, "exchange": request.exchange})
    found = (await signal(SignalRequest(**asked), context)).signal
    if found.action is Action.HOLD or found.entry is None or found.stop is None:
        closed = ", ".join(gate.name for gate in found.gates if not gate.passed)
        raise RefusedError(f"there is no signal now: held by {closed}", hint="blofin why")
    if wanted not in (found.zone_id, str(found.ts_ms)):
        raise UsageError(f"the signal in force is of zone {found.zone_id}", hint="blofin signal")
    return signal_ticket(request, found)


def signal_ticket(request: OrderRequest, found: Signal) -> Ticket:
    """A market order with the signal's stop and target. Source: 6.1, confirm entries."""
    assert found.stop is not None
    return Ticket(
        symbol=request.symbol,
        side=Side.BUY if found.action is Action.BUY else Side.SELL,
        type=_TYPES[request.type or "market"],
        stop=_decimal(found.stop),
        target=_decimal(found.target),
        leverage=request.leverage,
        confidence=found.confidence,
        zone_id=found.zone_id,
        signal_ms=found.ts_ms,
        **_sized(request, found.risk_fraction),
    )


async def _zone_ticket(request: OrderRequest, wanted: str, context: Context) -> Ticket:
    from blofin_cli.app.commands.market import ZonesRequest, zones

    strategy, _ = orders.limits_of(context)
    asked = _given({"symbol": (request.symbol,), "exchange": request.exchange})
    listed = (await zones(ZonesRequest(**asked), context)).zones
    zone = next((each for each in listed if each.id == wanted), None)
    if zone is None:
        raise UsageError(f"no live zone of {request.symbol} has this id", hint="blofin zones")
    return zone_ticket(request, zone, strategy)


def zone_ticket(request: OrderRequest, zone: Zone, strategy: "Strategy") -> Ticket:
    """A limit at the near edge of a zone, its stop beyond the far one. Source: 6.1, 6.2, 6.3."""
    sign = 1 if zone.kind is Kind.DEMAND else -1
    stop = zone.distal - sign * strategy.stop.buf * zone.atr
    target = zone.proximal + sign * strategy.target.rr * abs(zone.proximal - stop)
    return Ticket(
        symbol=request.symbol,
        side=Side.BUY if sign > 0 else Side.SELL,
        type=_TYPES[request.type or "limit"],
        price=_decimal(zone.proximal),
        stop=_decimal(stop),
        target=_decimal(target),
        leverage=request.leverage,
        confidence=zone.confidence,
        zone_id=zone.id,
        **_sized(request, strategy.risk.per_trade_pct / 100),
    )


def _decimal(value: float | None) -> Decimal | None:
    return None if value is None else Decimal(repr(value))


# Cancel, close, protect.


_Held = TypeVar("_Held", bound=AccountRequest)


def _held(request: _Held, context: Context) -> _Held:
    """The request with the mode of the account that `positions` shows under the same words."""
    return request.model_copy(update={"mode": held_mode_of(request, context)})


class DoneResult(Result):
    """What was done, and by whom: the session, or this command itself.

    `details` has the same names either way; null is what whoever did it does not tell.
    """

    symbol: str
    status: str
    by: str
    details: dict[str, Any]
    next_step: str
    code: Annotated[Exit, Field(exclude=True)] = Exit.OK

    columns: ClassVar[tuple[str, ...]] = ("what", "outcome", "ref", "message")

    def summary(self) -> list[tuple[str, object]]:
        """What became of it and what comes next."""
        lines = (("symbol", self.symbol), ("status", self.status), ("by", self.by))
        return [(name, text) for name, text in (*lines, ("next", self.next_step)) if text]

    def exit_code(self) -> Exit:
        """6 when nothing was there to cancel, 7 when something is unconfirmed."""
        return self.code

    def rows(self) -> list[dict[str, Any]]:
        """One line a deed."""
        return [
            {
                "what": deed["action"], "outcome": deed["outcome"], "ref": deed["ref"],
                "message": deed["message"],
            }
            for deed in self.details.get("deeds", ())
        ]  # fmt: skip


class CancelRequest(AccountRequest):
    """Which orders."""

    id: Annotated[
        tuple[Id, ...], Field(description="Order ids or client ids", min_length=1, max_length=50)
    ]
    protection: Annotated[
        bool, Field(description="Stops and targets too: a position may be bare then")
    ] = False

    def effect(self, declared: Effect) -> Effect:
        """Taking protection away is trading."""
        return Effect.TRADE if self.protection else declared


@command(effect=Effect.SAFE, positional=("id",), tool="cancel_orders")
async def cancel(request: CancelRequest, context: Context) -> DoneResult:
    """Cancel resting orders. A stop or target only with --protection.

    Example: blofin cancel 1000128754245 --mode demo
    """
    from dataclasses import asdict

    request = _held(request, context)

    async def here(reducer: "Reducer") -> dict[str, Any]:
        deeds = await reducer.cancel(request.id, protection_too=request.protection)
        return {"deeds": [asdict(deed) for deed in deeds]}

    account = orders.account_of(request, context)
    if living_session(context, account) is not None and not request.protection:
        await _refuse_protection(request, context)
    errand = ("cancel", {"ids": list(request.id)})
    done = await orders.by_session_or_here(request, context, errand, here)
    deeds = done.pop("deeds", None) or [
        {"symbol": "", "action": "cancel", "ref": row["id"], "message": row.get("message", ""),
         "outcome": row["outcome"]}
        for row in done.pop("cancelled", [])
    ]  # fmt: skip
    status, code = _canceled({deed["outcome"] for deed in deeds})
    result = DoneResult(
        symbol=deeds[0]["symbol"] if deeds else "",
        status=status,
        by=str(done.pop("by")),
        details={"deeds": deeds},
        next_step="blofin orders shows what still rests",
        code=code,
    )
    if code is Exit.VENUE:
        why = "; ".join(f"{deed['ref']}: {deed['message']}" for deed in deeds)
        problem = VenueError(f"nothing was canceled: {why}", hint=result.next_step)
        return _beside(problem, result, context)
    return _confirmed(result, context)


def _canceled(outcomes: set[str]) -> tuple[str, Exit]:
    """What became of several cancels as one word.

    One that was gone already is no trouble beside another that went; alone it is a wrong id, or an
    order that was filled.
    """
    if outcomes & {"unknown", "failed"}:
        return "unconfirmed", Exit.NETWORK
    if outcomes <= {"accepted"}:
        return "done", Exit.OK
    if "accepted" in outcomes:
        return "partly", Exit.OK
    return "gone" if outcomes == {"gone"} else "refused", Exit.VENUE


def _confirmed(result: DoneResult, context: Context) -> DoneResult:
    """The result, with an error beside it when nobody knows how it ended."""
    if result.code is not Exit.NETWORK:
        return result
    trouble = [row["message"] for row in result.rows() if row["outcome"] != "accepted"]
    words = ": ".join((f"{result.symbol or 'this'} is {result.status}", *trouble[:1]))
    return _beside(UnknownOutcomeError(words, hint=result.next_step), result, context)


async def _refuse_protection(request: CancelRequest, context: Context) -> None:
    """The session cancels whatever it is told to, so what protects is looked for here."""
    if mode_of(request, context) is Mode.DRY_RUN:
        return
    from blofin_cli.engine.reducing import refuse_protection

    async with open_account(request, context) as exchange:
        orders_now, guards = await exchange.open_orders(), await exchange.protections()
    refuse_protection(orders_now, guards, request.id)


class CloseRequest(AccountRequest):
    """Which position, and how much of it."""

    symbol: Annotated[Symbol, Field(description="Instrument, e.g. BTC-USDT")]
    fraction: Annotated[
        str, Field(description="Share of the position, e.g. 50%", max_length=32)
    ] = "100%"


@command(effect=Effect.SAFE, positional=("symbol",), tool="close_position")
async def close(request: CloseRequest, context: Context) -> DoneResult:
    """Close a position at market, reduce-only; its stop goes last.

    Example: blofin close BTC-USDT --fraction 50% --mode demo
    """
    from dataclasses import asdict

    from blofin_cli.app.answers import with_signs, with_sizes
    from blofin_cli.app.commands.account import refuse_unlisted

    request = _held(request, context)
    fraction = percent_of(request.fraction, "--fraction")

    async def here(reducer: "Reducer") -> dict[str, Any]:
        return asdict(await reducer.close(request.symbol, fraction))

    seen = _seen(request, context)
    errand = ("close", {"symbol": request.symbol, "fraction": f"{fraction:f}"})
    done = await orders.by_session_or_here(request, context, errand, here)
    by = str(done.pop("by"))
    is_count = by == "session" and mode_of(request, context) is Mode.DRY_RUN
    done = with_signs(done, seen, is_count=is_count) if by == "session" else with_sizes(done)
    if done["status"] == "flat" and not done["deeds"]:
        await refuse_unlisted(request, request.symbol, context)
    is_open = done["status"] == "open"
    result = DoneResult(
        symbol=request.symbol,
        status=str(done["status"]),
        by=by,
        details=done,
        next_step="close it at the exchange; its stop stays" if is_open else "blofin positions",
        code=Exit.NETWORK if is_open else Exit.OK,
    )
    return _confirmed(result, context)


def _seen(request: CloseRequest, context: Context) -> Decimal | None:
    """The signed size of a position in the session's last heartbeat."""
    session = living_session(context, orders.account_of(request, context))
    status = None if session is None else context.journal.status(session.session_id)
    rows = () if status is None else status.positions
    sizes = [row.quantity for row in rows if row.symbol == request.symbol]
    return Decimal(repr(sizes[0])) if sizes else None


class ProtectRequest(AccountRequest):
    """Where the stop and the target should be."""

    symbol: Annotated[Symbol, Field(description="Instrument, e.g. BTC-USDT")]
    stop: Annotated[Price, Field(description="New stop price")] = None
    target: Annotated[Price, Field(description="New target price")] = None
    wider: Annotated[
        bool, Field(description="The stop may be further away than the one in force")
    ] = False

    def effect(self, declared: Effect) -> Effect:
        """Risking more is trading."""
        return Effect.TRADE if self.wider else declared

    @model_validator(mode="after")
    def _something(self) -> "ProtectRequest":
        if self.stop is None and self.target is None:
            raise ValueError("there is nothing to set: give --stop, --target or both")
        return self


@command(effect=Effect.SAFE, positional=("symbol",))
async def protect(request: ProtectRequest, context: Context) -> DoneResult:
    """Set stop and target of an open position: the new one first, then the old one goes.

    A stop that is further away than the one in force needs --wider, and consent.

    Example: blofin protect BTC-USDT --stop 59000 --mode demo
    """
    from dataclasses import asdict

    request = _held(request, context)

    async def here(reducer: "Reducer") -> dict[str, Any]:
        return asdict(
            await reducer.protect(request.symbol, request.stop, request.target, wider=request.wider)
        )

    account = orders.account_of(request, context)
    if living_session(context, account) is not None and not request.wider:
        await _refuse_wider(request, context)
    errand = (
        "protect",
        {
            "symbol": request.symbol,
            "stop": None if request.stop is None else f"{request.stop:f}",
            "target": None if request.target is None else f"{request.target:f}",
        },
    )
    done = await orders.by_session_or_here(request, context, errand, here)
    by = str(done.pop("by"))
    done = {"deeds": ()} | done | {name: _price(done[name]) for name in ("stop", "target")}
    wanted = request.stop
    is_set = wanted is None or (done["stop"] is not None and _near(done["stop"], wanted))
    result = DoneResult(
        symbol=request.symbol,
        status="protected" if is_set else "unconfirmed",
        by=by,
        details=done,
        next_step="blofin positions" if is_set else "blofin positions shows the stop in force",
        code=Exit.OK if is_set else Exit.NETWORK,
    )
    return _confirmed(result, context)


def _price(told: object) -> Decimal | None:
    """A price as a number; a session tells it as text."""
    return None if told in (None, "None") else Decimal(str(told))


async def _refuse_wider(request: ProtectRequest, context: Context) -> None:
    """The session moves stops either way, so the direction is judged here."""
    from blofin_cli.engine.reducing import is_wider, stop_in_force

    if request.stop is None or mode_of(request, context) is Mode.DRY_RUN:
        return
    async with open_account(request, context) as exchange:
        guards = await exchange.protections(request.symbol)
        held = next((row for row in await exchange.positions(request.symbol) if row.size), None)
    if held is None:
        return
    live = stop_in_force(held, [row for row in guards if row.side is held.closing_side])
    if live is not None and is_wider(held, request.stop, live):
        raise RefusedError(
            f"{request.stop:f} is further away than the stop in force, {live.normalize():f}",
            hint="pass --wider to risk more",
        )


def _near(told: Decimal, wanted: Decimal) -> bool:
    """The same price but for the grid."""
    return abs(told - wanted) <= wanted / 1000
