"""What an account holds: balances and rights, open positions with their protection, orders."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from blofin_cli.app.context import Context
from blofin_cli.app.spec import Effect, Result, Symbol, command, shown, to_record
from blofin_cli.app.timespec import second_of
from blofin_cli.app.venues import (
    AccountRequest,
    VenueResult,
    account_name,
    exchange_of,
    held_mode_of,
    open_account,
    open_market,
)
from blofin_cli.core.market import price_text
from blofin_cli.core.orders import KeyInfo, MarginMode, Order, OrderState, PositionMode
from blofin_cli.core.quotes import Mode
from blofin_cli.core.status import OrderView, PositionView
from blofin_cli.errors import BlofinError, UsageError

if TYPE_CHECKING:
    from blofin_cli.core.orders import Position, Protection
    from blofin_cli.core.status import SessionStatus
    from blofin_cli.ports import ReduceOnly

HEARTBEAT_FRESH_MS = 10_000
HEARTBEAT_NEW_MS = 2_000
LIST_S = 3.0
FROM_EXCHANGE, FROM_SESSION, FROM_LAST_SESSION = "exchange", "session", "last session"


class HeldResult(VenueResult):
    """Whose account, and who says so: `exchange`, the running `session`, or the `last session`.

    `heard_ms` is when the session said it, `age_ms` how long ago; `note` tells what a person should
    know about that.
    """

    account: str
    mode: Mode
    told_by: str
    heard_ms: int | None = None
    age_ms: int | None = None
    note: str = ""

    def summary(self) -> list[tuple[str, object]]:
        """The account and the source."""
        head: list[tuple[str, object]] = [("account", self.account)]
        if self.simulated:
            head.append(("simulated", True))
        told = (
            self.told_by if self.heard_ms is None else f"{self.told_by}, {second_of(self.heard_ms)}"
        )
        head.append(("told by", told))
        return [*head, ("note", self.note)] if self.note else head


class AccountResult(HeldResult):
    """Balances in USDT, modes, and what the key may do. Null: the exchange does not say."""

    equity_usdt: float | None = None
    balance_usdt: float | None = None
    available_usdt: float | None = None
    unrealized_usdt: float | None = None
    margin_mode: MarginMode | None = None
    position_mode: PositionMode | None = None
    key: KeyInfo | None = None
    key_age_days: int | None = None

    def rows(self) -> list[dict[str, Any]]:
        """One record: the account."""
        return [{name: getattr(self, name) for name in type(self).model_fields if name != "key"}]

    def table(self) -> list[dict[str, Any]]:
        """Nothing beside the summary."""
        return []

    def summary(self) -> list[tuple[str, object]]:
        """Money, modes and rights."""
        names = ("equity", "balance", "available", "unrealized")
        money = [(name, getattr(self, f"{name}_usdt")) for name in names]
        lines: list[tuple[str, object]] = [
            (name, f"{value:,.2f} USDT") for name, value in money if value is not None
        ]
        lines += [("margin mode", self.margin_mode), ("position mode", self.position_mode)]
        if self.key is not None:
            lines.append(("key", _key_words(self.key, self.key_age_days)))
        return [*super().summary(), *((name, value) for name, value in lines if value is not None)]


def _key_words(key: KeyInfo, age_days: int | None) -> str:
    rights = "read and trade" if key.can_trade else "read only"
    withdraws = {True: "WITHDRAW", False: "no withdrawal", None: "withdrawal not told"}
    place = f"bound to {len(key.ips)} addresses" if key.ips else "bound to no address"
    age = "" if age_days is None else f", {age_days} days old"
    name = key.name or "unnamed"
    return f"{name}: {rights}, {withdraws[key.can_withdraw]}, {place}{age}"


@command(effect=Effect.READ, tool="get_account")
async def account(request: AccountRequest, context: Context) -> AccountResult:
    """Show balance, equity, margin and position mode, and what the key may do.

    In dry-run it shows what the last session said; no key is needed for that.

    Example: blofin account --mode dry-run
    """
    head = _head(request, context)
    if head["mode"] is Mode.DRY_RUN:
        last, told = _heard(head, context)
        return AccountResult(
            **head,
            **(told or {}),
            equity_usdt=None if last is None else last.equity_usdt,
            available_usdt=None if last is None else last.available_usdt,
        )
    async with _opened(request, head, context) as held:
        return await _account_now(held, head, context)


async def _account_now(held: "ReduceOnly", head: dict[str, Any], context: Context) -> AccountResult:
    import asyncio

    from blofin_cli.errors import RefusedError

    info, margin, position = await asyncio.gather(
        held.account(), held.margin_mode(), held.position_mode()
    )
    key, note = None, ""
    try:
        key = await held.key_info()
    except RefusedError as refusal:  # an exchange that does not tell
        note = refusal.message
    usdt = info.balance()
    if usdt is None:
        note = "the exchange lists no USDT in this account"
    return AccountResult(
        **head,
        told_by=FROM_EXCHANGE,
        note=note,
        equity_usdt=_float(usdt.equity if usdt else None),
        balance_usdt=_float(usdt.balance if usdt else None),
        available_usdt=_float(usdt.available if usdt else None),
        unrealized_usdt=_float(usdt.unrealized_pnl if usdt else None),
        margin_mode=margin,
        position_mode=position,
        key=key,
        key_age_days=key_age_days(key, context.clock.now_ms()),
    )


def key_age_days(key: KeyInfo | None, now_ms: int) -> int | None:
    """Whole days since the key was made; None when the exchange does not say."""
    if key is None or key.created_ms is None:
        return None
    return max(0, (now_ms - key.created_ms) // 86_400_000)


class HoldingsRequest(AccountRequest):
    """Whose, and of which instrument."""

    symbol: Annotated[Symbol | None, Field(description="Instrument; without it, all")] = None


class Holding(Result):
    """An open position and what protects it.

    Units: `quantity` signed base units; `_fraction` distances from the mark price. `naked` when no
    stop, or stops for less than the whole, wait at the exchange.
    """

    symbol: str
    side: str
    quantity: float
    entry_price: float
    mark_price: float | None
    stop: float | None
    target: float | None
    stop_fraction: float | None
    liquidation_price: float | None
    liquidation_fraction: float | None
    naked: bool
    leverage: int | None
    margin_usdt: float | None
    notional_usdt: float
    unrealized_usdt: float
    r_multiple: float | None = None
    origin: str | None = None


class PositionsResult(HeldResult):
    """Open positions with their protection."""

    positions: list[Holding]

    def rows(self) -> list[dict[str, Any]]:
        """One record a position."""
        return [to_record(holding) for holding in self.positions]

    def table(self) -> list[dict[str, Any]]:
        """One line a position, its protection in words."""
        return [
            {
                "symbol": item.symbol,
                "side": item.side,
                "size": abs(item.quantity),
                "entry": item.entry_price,
                "mark": item.mark_price,
                "stop": _stop_words(item),
                "target": item.target,
                "profit": round(item.unrealized_usdt, 2),
                "liquidation": item.liquidation_price,
                "leverage": item.leverage,
            }
            for item in self.positions
        ]

    def summary(self) -> list[tuple[str, object]]:
        """Count, and a word about what has no stop."""
        naked = [item.symbol for item in self.positions if item.naked]
        lines = [*super().summary(), ("positions", len(self.positions))]
        return [*lines, ("WITHOUT A WHOLE STOP", ", ".join(naked))] if naked else lines


@command(effect=Effect.READ, positional=("symbol",), tool="get_positions")
async def positions(request: HoldingsRequest, context: Context) -> PositionsResult:
    """Show open positions with stop, target, liquidation and whether a stop is missing.

    While a session runs its heartbeat tells, else the exchange; in dry-run the last session.

    Example: blofin positions --mode dry-run
    """
    head = _head(request, context)
    status, told = _heard(head, context)
    if told is not None:
        views = [] if status is None else [_of_view(view) for view in status.positions]
        await _check_symbol(request, head, _names(status), context)
        return PositionsResult(**head, **told, positions=_of(request.symbol, views))
    async with _opened(request, head, context) as held:
        found = await held.positions(request.symbol)
        waiting = await held.protections(request.symbol) if found else ()
    await _check_symbol(request, head, {each.symbol for each in found}, context)
    return PositionsResult(
        **head, told_by=FROM_EXCHANGE, positions=[_holding(each, waiting) for each in found]
    )


class OrdersResult(HeldResult):
    """Working orders, stop entries, stops and targets; `kind` is `entry close stop target`."""

    orders: list[OrderView]

    columns: ClassVar[tuple[str, ...]] = (
        "symbol", "kind", "side", "size", "price", "trigger", "id", "state", "created",
    )  # fmt: skip

    def rows(self) -> list[dict[str, Any]]:
        """One record an order."""
        return [to_record(order) for order in self.orders]

    def table(self) -> list[dict[str, Any]]:
        """One line an order; a size of - is the whole position."""
        return [
            {**to_record(order), "created": second_of(order.created_ms)} for order in self.orders
        ]

    def summary(self) -> list[tuple[str, object]]:
        """Count."""
        return [*super().summary(), ("orders", len(self.orders))]


@command(effect=Effect.READ, positional=("symbol",), tool="get_orders")
async def orders(request: HoldingsRequest, context: Context) -> OrdersResult:
    """Show open orders: entries, closing orders, and the stops and targets that wait.

    Example: blofin orders --mode dry-run
    """
    head = _head(request, context)
    status, told = _heard(head, context)
    if told is not None:
        views = [] if status is None else [row for view in status.orders for row in _levels(view)]
        await _check_symbol(request, head, _names(status), context)
        return OrdersResult(**head, **told, orders=_of(request.symbol, views))
    async with _opened(request, head, context) as held:
        working = await held.open_orders(request.symbol)
        waiting = await held.protections(request.symbol)
        rests = {each.symbol for each in (*working, *waiting)}
        if request.symbol is not None and not rests:
            rests = {each.symbol for each in await held.positions(request.symbol)}
    await _check_symbol(request, head, rests, context)
    found = [_order_view(order) for order in working]
    found += [view for protection in waiting for view in _protection_views(protection)]
    return OrdersResult(
        **head, told_by=FROM_EXCHANGE, orders=sorted(found, key=lambda view: view.created_ms)
    )


# Who is asked.


def _head(request: AccountRequest, context: Context) -> dict[str, Any]:
    exchange, mode = exchange_of(request, context), held_mode_of(request, context)
    return {
        "exchange": exchange,
        "simulated": exchange == "sim",
        "mode": mode,
        "account": account_name(exchange, mode),
    }


def _opened(request: AccountRequest, head: dict[str, Any], context: Context) -> Any:
    return open_account(request.model_copy(update={"mode": head["mode"]}), context)


def _heard(
    head: dict[str, Any], context: Context
) -> "tuple[SessionStatus | None, dict[str, Any] | None]":
    """What a session says and how that is told; (None, None) when the exchange must be asked.

    A process that has died holds no lock any more, however young its last heartbeat is.
    """
    newest = next(iter(context.journal.sessions(head["account"], limit=1)), None)
    last = None if newest is None else context.journal.status(newest.session_id)
    is_there = (
        newest is not None
        and newest.ended_ms is None
        and context.journal.is_locked(f"account-{head['account']}")
    )
    age_ms = None if last is None else context.clock.now_ms() - last.ts_ms
    is_living = is_there and age_ms is not None and 0 <= age_ms < HEARTBEAT_FRESH_MS
    if head["mode"] is not Mode.DRY_RUN and not is_living:
        return None, None
    return last, _told_by(last, age_ms, is_living=is_living)


def _told_by(
    last: "SessionStatus | None", age_ms: int | None, *, is_living: bool
) -> dict[str, Any]:
    if last is None or age_ms is None:
        note = "no dry-run session has run yet: blofin run starts one"
        return {"told_by": FROM_LAST_SESSION, "note": note}
    told = {
        "told_by": FROM_SESSION if is_living else FROM_LAST_SESSION,
        "heard_ms": last.ts_ms, "age_ms": age_ms,
    }  # fmt: skip
    if not is_living:
        return told | {"note": "the session is over or silent; this is the last it said"}
    if age_ms > HEARTBEAT_NEW_MS:
        return told | {"note": f"said {age_ms / 1000:.0f} s ago, and nothing since"}
    return told


def _names(status: "SessionStatus | None") -> set[str]:
    """Every symbol a session knows."""
    if status is None:
        return set()
    held = {row.symbol for row in status.positions}
    return {*status.symbols, *held, *(row.symbol for row in status.orders)}


async def _check_symbol(
    request: HoldingsRequest, head: dict[str, Any], known: set[str], context: Context
) -> None:
    """A symbol nobody knows is a slip of the pen and no empty answer. Errors: UsageError."""
    if request.symbol is not None and request.symbol not in known:
        asked = AccountRequest(exchange=head["exchange"], mode=head["mode"])
        await refuse_unlisted(asked, request.symbol, context)


async def refuse_unlisted(request: AccountRequest, symbol: str, context: Context) -> None:
    """A name under which nothing is held and nothing rests must be one the exchange lists.

    In that case alone, so that no list, be it missing, slow or stale, stands between a person and
    what is held. The packaged list does not speak for the box, which lists what it was started
    with.
    Errors: UsageError.
    """
    import asyncio

    from blofin_cli.core.instruments import instrument

    name = exchange_of(request, context)
    if name != "sim" and instrument(symbol) is not None:
        return
    try:
        async with asyncio.timeout(LIST_S), open_market(request, context) as data:
            listed = {each.instrument.symbol for each in await data.instruments()}
    except (BlofinError, TimeoutError):
        return
    if listed and symbol not in listed:
        bases = {each.partition("-")[0]: each for each in sorted(listed)}
        near = get_close_matches(symbol.partition("-")[0], bases, 1, 0.6)
        raise UsageError(
            f"{name} lists no USDT-M perpetual {shown(symbol)}, and nothing is held under it",
            hint=f"did you mean {bases[near[0]]}?" if near else "see: blofin instruments",
        )


def _of(symbol: str | None, found: Sequence[Any]) -> list[Any]:
    return [item for item in found if symbol is None or item.symbol == symbol]


# Records of the exchange and of a session as one.


def _holding(position: "Position", waiting: "Sequence[Protection]") -> Holding:
    from blofin_cli.engine.reducing import stop_in_force

    mine = [each for each in waiting if _protects(each, position)]
    stops = [each for each in mine if each.stop is not None]
    covered = sum((_covered(each, position) for each in stops), Decimal(0))
    sign = 1 if position.size > 0 else -1
    # The nearest stop of the whole position is hit first; of parts the farthest tells what may be
    # lost.
    stop = stop_in_force(position, stops)
    if stop is None and stops:
        stop = sign * min(each.stop * sign for each in stops if each.stop is not None)
    targets = [each.target * sign for each in mine if each.target is not None]
    mark = float(position.mark_price)
    stop_price = _float(stop)
    liquidation = _float(position.liquidation_price)
    return Holding(
        symbol=position.symbol,
        side="long" if sign > 0 else "short",
        quantity=float(position.size),
        entry_price=float(position.entry_price),
        mark_price=mark,
        stop=stop_price,
        target=float(min(targets) * sign) if targets else None,
        stop_fraction=_distance(stop_price, mark),
        liquidation_price=liquidation,
        liquidation_fraction=_distance(liquidation, mark),
        naked=covered < abs(position.size),
        leverage=position.leverage,
        margin_usdt=_float(position.margin_usdt),
        notional_usdt=float(abs(position.size)) * mark,
        unrealized_usdt=float(position.unrealized_pnl_usdt),
    )


def _stop_words(item: Holding) -> object:
    """The stop, unless there is none or one for a part only."""
    if item.stop is None:
        return "NONE"
    return f"{price_text(item.stop)} PART" if item.naked else item.stop


def _protects(protection: "Protection", position: "Position") -> bool:
    return (
        protection.symbol == position.symbol
        and protection.side is position.closing_side
        and protection.position_side is position.position_side
        and protection.state is OrderState.LIVE
    )


def _covered(protection: "Protection", position: "Position") -> Decimal:
    return abs(position.size) if protection.size is None else protection.size


def _of_view(view: PositionView) -> Holding:
    return Holding(
        symbol=view.symbol,
        side=view.side,
        quantity=view.quantity,
        entry_price=view.entry_price,
        mark_price=view.mark_price,
        stop=view.stop,
        target=view.target,
        stop_fraction=_distance(view.stop, view.mark_price),
        liquidation_price=view.liquidation_price,
        liquidation_fraction=_distance(view.liquidation_price, view.mark_price),
        naked=view.stop is None or view.naked_s > 0,
        leverage=view.leverage,
        margin_usdt=view.margin_usdt,
        notional_usdt=view.notional_usdt,
        unrealized_usdt=view.unrealized_usdt,
        r_multiple=view.r_multiple,
        origin=view.origin,
    )


def _order_view(order: Order) -> OrderView:
    return OrderView(
        id=order.order_id,
        client_id=order.client_id,
        symbol=order.symbol,
        kind="close" if order.reduce_only else "entry",
        side=order.side.value,
        type=order.type.value,
        size=float(order.size),
        filled=float(order.filled),
        price=_float(order.price),
        trigger=_float(order.trigger),
        state=order.state.value,
        created_ms=order.created_ms,
    )


def _levels(view: OrderView) -> list[OrderView]:
    """A session's line of a stop or target as the exchange's answer has it: one line a level."""
    if view.type not in ("bracket", "trigger") or view.kind not in ("stop", "target"):
        return [view]
    plain = replace(view, type="market", price=None)
    if view.type == "trigger":
        return [plain]
    return [plain, replace(plain, kind="target", trigger=view.price)]


def _protection_views(protection: "Protection") -> list[OrderView]:
    """A stop and a target are two lines, although one order holds both."""
    levels = (
        ("stop", protection.stop, protection.stop_limit),
        ("target", protection.target, protection.target_limit),
    )
    return [
        OrderView(
            id=protection.protection_id,
            client_id=protection.client_id,
            symbol=protection.symbol,
            kind=kind,
            side=protection.side.value,
            type="market" if limit is None else "limit",
            size=_float(protection.size),
            filled=0.0,
            price=_float(limit),
            trigger=float(level),
            state=protection.state.value,
            created_ms=protection.created_ms,
        )
        for kind, level, limit in levels
        if level is not None
    ]


def _distance(level: float | None, mark: float | None) -> float | None:
    return None if level is None or not mark else round(abs(level - mark) / mark, 6)


def _float(value: Decimal | None) -> float | None:
    return None if value is None else float(value)
