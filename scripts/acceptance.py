"""Round trips of minimum size with attached stops, and evidence of each.

Every trip opens at market with a stop and a target, finds both at the exchange, closes, and proves
that nothing is left; fees and slippage are measured from the exchange's own fills. Without options
it starts an exchange in a box. With `--exchange blofin` it trades play money on the demo host, and
with `--mode live` real money, after a person has typed a sentence. It trades beside the gate and
its limits, so it asks that the account be flat, sends one order at a time, heeds the halt before
each one, and ends at the first trip that is not as it should be, with everything closed.
"""

import argparse
import asyncio
import json
import os
import secrets
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from blofin_cli import __version__  # noqa: E402 - the path comes first
from blofin_cli.app.context import Context  # noqa: E402
from blofin_cli.app.venues import AccountRequest, open_trading  # noqa: E402
from blofin_cli.core.market import normalise_symbol  # noqa: E402
from blofin_cli.core.orders import (  # noqa: E402
    CloseRequest,
    Fill,
    MarginMode,
    OrderRequest,
    OrderType,
    Outcome,
    PositionMode,
    Protection,
    Side,
)
from blofin_cli.core.quotes import Mode  # noqa: E402
from blofin_cli.errors import BlofinError, HaltedError, RefusedError  # noqa: E402
from blofin_cli.ports import Exchange  # noqa: E402
from tests.adapters.exchanges.boxes import running_box  # noqa: E402

TRIPS_MIN = 10
STOP_AWAY, TARGET_AWAY = Decimal("0.02"), Decimal("0.04")
LEVERAGE = 3
WAIT_S, POLL_S = 10.0, 0.1
PAUSE_S = 3.5  # our own rate budget refills; no position waits for it
SENTENCE = "trade real money"


class FailedError(Exception):
    """A trip was not as it should be; its text says what was seen."""


@dataclass(kw_only=True)
class Trip:
    """Evidence of one round trip. Prices quote currency, costs USDT, slippage in basis points."""

    number: int
    side: str
    size: str
    client_id: str
    opened_at: str = ""
    order_id: str = ""
    ack_ms: float = 0.0
    bid: str = ""
    ask: str = ""
    entry_price: str = ""
    entry_slippage_bps: float = 0.0
    stop: str = ""
    target: str = ""
    protection_ids: list[str] = field(default_factory=list)
    stop_confirmed_ms: float = 0.0
    close_ack_ms: float = 0.0
    exit_price: str = ""
    exit_slippage_bps: float = 0.0
    fees_usdt: str = ""
    pnl_usdt: str = ""
    flat_ms: float = 0.0
    is_flat: bool = False


def main() -> int:
    """Read the command line, trade, print and save the evidence. 0 when every trip was right."""
    given = arguments()
    with ExitStack() as stack:
        if given.exchange == "sim":
            url = stack.enter_context(running_box("--symbol", given.symbol, seconds=900))
            os.environ["BLOFIN_SIM_URL"] = url
            given.state = str(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "state.db")
        elif given.mode is Mode.LIVE and not consented(given):
            print("acceptance: nothing was sent", file=sys.stderr)
            return 3
        try:
            evidence = asyncio.run(accept(given))
        except BlofinError as error:
            print(f"acceptance: {error.message}; {error.hint}", file=sys.stderr)
            return int(error.exit)
    text = json.dumps(evidence, indent=1)
    given.out.write_text(text + "\n", encoding="utf-8")
    print(text if given.json else table(evidence))
    print(f"acceptance: evidence saved in {given.out}", file=sys.stderr)
    return 0 if evidence["verdict"] == "accepted" else 10


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        prog="scripts/acceptance", description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--exchange", choices=("sim", "blofin"), default="sim")
    parser.add_argument("--mode", type=Mode, choices=(Mode.DEMO, Mode.LIVE), default=Mode.DEMO)
    parser.add_argument("--symbol", type=normalise_symbol, default="BTC-USDT")
    parser.add_argument("--trips", type=int, default=TRIPS_MIN, help=f"at least {TRIPS_MIN}")
    parser.add_argument("--out", type=Path, default=Path("acceptance.json"), help="evidence file")
    parser.add_argument("--json", action="store_true", help="print the evidence as JSON")
    parser.add_argument("--state", default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.trips < TRIPS_MIN or given.trips > 100:
        parser.error(f"--trips is {TRIPS_MIN} to 100")
    if given.exchange == "sim" and given.mode is Mode.LIVE:
        parser.error("the exchange in a box has no live mode")
    return given


def consented(given: argparse.Namespace) -> bool:
    """Whether a person at a terminal typed the sentence."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        print("acceptance: live needs a person at a terminal", file=sys.stderr)
        return False
    print(
        f"This opens and closes {given.trips} positions of minimum size in {given.symbol} with "
        f"REAL money, at {LEVERAGE}x, beside all limits. Type: {SENTENCE}",
        file=sys.stderr,
    )
    return input("> ").strip() == SENTENCE


async def accept(given: argparse.Namespace) -> dict[str, Any]:
    """The whole run under the account's lock; flat at the end, whatever happened."""
    context = Context(face="cli", state_override=given.state)
    request = AccountRequest(exchange=given.exchange, mode=given.mode)
    trips: list[Trip] = []
    failures: list[str] = []
    started = datetime.now(UTC)
    async with open_trading(request, context) as account:
        is_simulated = account.venue.is_simulated
        await prepare(account, given.symbol)
        before = await equity(account)
        try:
            for number in range(1, given.trips + 1):
                trip = await round_trip(account, context, given.symbol, number)
                trips.append(trip)
                print(line(trip), file=sys.stderr, flush=True)
                await asyncio.sleep(PAUSE_S if number < given.trips else 0)
        except (FailedError, BlofinError) as problem:
            failures.append(f"trip {len(trips) + 1}: {problem}")
        finally:
            left = await swept(account, given.symbol)
        if left:
            failures.append(f"left at the exchange: {left}")
        after = await equity(account)
    booked = sum((Decimal(trip.pnl_usdt) - Decimal(trip.fees_usdt) for trip in trips), Decimal(0))
    if not failures and abs(after - before - booked) > Decimal("0.01"):
        failures.append(f"equity moved by {after - before}, fills explain {booked}")
    return {
        "version": __version__,
        "exchange": given.exchange,
        "mode": given.mode.value,
        "simulated": is_simulated,
        "symbol": given.symbol,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round((datetime.now(UTC) - started).total_seconds(), 1),
        "trips": [asdict(trip) for trip in trips],
        "totals": totals(trips, before, after),
        "flat": not left,
        "verdict": "failed" if failures else "accepted",
        "failed": failures,
    }


async def prepare(account: Exchange, symbol: str) -> None:
    """One-way, isolated, low leverage. Errors: RefusedError when the account is not empty."""
    if await account.positions() or await account.open_orders() or await account.protections():
        raise RefusedError(
            "the account is not empty", hint="close positions and cancel orders first"
        )
    await account.set_position_mode(PositionMode.ONE_WAY)
    await account.set_margin_mode(MarginMode.ISOLATED)
    await account.set_leverage(symbol, LEVERAGE)


async def round_trip(account: Exchange, context: Context, symbol: str, number: int) -> Trip:
    """One position opened, found protected, closed, gone. Errors: FailedError."""
    terms = (await account.instrument(symbol)).instrument
    side = Side.BUY if number % 2 else Side.SELL
    size = terms.min_size * terms.contract_value
    trip = Trip(
        number=number, side=side.value, size=str(size), client_id=f"acc{secrets.token_hex(6)}"
    )
    quote = await account.quote(symbol)
    if quote.bid is None or quote.ask is None:
        raise FailedError("no best prices")
    trip.bid, trip.ask = str(quote.bid), str(quote.ask)
    stop = terms.quantise_price(quote.last * (1 - side.sign * STOP_AWAY), up=side is Side.SELL)
    target = terms.quantise_price(quote.last * (1 + side.sign * TARGET_AWAY), up=side is Side.BUY)
    trip.stop, trip.target = str(stop), str(target)
    order = OrderRequest(
        symbol=symbol, side=side, type=OrderType.MARKET, size=size, client_id=trip.client_id,
        stop=stop, target=target,
    )  # fmt: skip
    trip.opened_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    started = time.perf_counter()
    ack = await account.place(order, fence=lambda: heed(context))
    trip.ack_ms = since(started)
    if ack.outcome is not Outcome.ACCEPTED or not ack.order_id:
        raise FailedError(f"the order was {ack.outcome}: {ack.code} {ack.message}")
    trip.order_id = ack.order_id
    await confirm_position(account, symbol, size * side.sign)
    found = await confirm_protection(account, symbol, stop, target)
    trip.stop_confirmed_ms = since(started)
    trip.protection_ids = [each.protection_id for each in found]
    opened = await fills_of(account, symbol, trip.order_id, size)
    best = quote.ask if side is Side.BUY else quote.bid
    entry = average(opened)
    trip.entry_price, trip.entry_slippage_bps = str(entry), slippage(side, entry, best)
    await close(account, symbol, trip, opened)
    return trip


async def close(account: Exchange, symbol: str, trip: Trip, opened: tuple[Fill, ...]) -> None:
    """End the position and measure it. Errors: FailedError."""
    quote = await account.quote(symbol)
    side = Side(trip.side).opposite
    best = quote.ask if side is Side.BUY else quote.bid
    if best is None:
        raise FailedError("no best price to close at")
    last_ms = max(fill.ts_ms for fill in opened)
    started = time.perf_counter()
    ack = await account.close_position(CloseRequest(symbol=symbol, client_id=f"{trip.client_id}x"))
    trip.close_ack_ms = since(started)
    if ack.outcome is not Outcome.ACCEPTED:
        raise FailedError(f"closing was {ack.outcome}: {ack.code} {ack.message}")
    await confirm_position(account, symbol, Decimal(0))
    for left in await account.protections(symbol):
        await account.cancel_protection(left.ref)
    trip.flat_ms = since(started)
    known = {fill.trade_id for fill in opened}
    size = sum((fill.size for fill in opened), Decimal(0))
    closed: tuple[Fill, ...] = ()
    async for _ in attempts():
        recent = await account.fills(symbol, since_ms=last_ms)
        closed = tuple(fill for fill in recent if fill.side is side and fill.trade_id not in known)
        if sum(fill.size for fill in closed) == size:
            break
    else:
        raise FailedError(f"the closing fills make {sum(fill.size for fill in closed)}, not {size}")
    exit_price = average(closed)
    trip.exit_price, trip.exit_slippage_bps = str(exit_price), slippage(side, exit_price, best)
    both = (*opened, *closed)
    trip.fees_usdt = str(sum((fill.fee_usdt for fill in both), Decimal(0)))
    trip.pnl_usdt = str(sum((fill.pnl_usdt for fill in both), Decimal(0)))
    trip.is_flat = not await account.positions(symbol) and not await account.protections(symbol)
    if not trip.is_flat:
        raise FailedError("something is left after closing")


def heed(context: Context) -> None:
    """Errors: HaltedError while trading is halted."""
    if (halt := context.journal.halted()) is not None:
        raise HaltedError(f"trading is halted: {halt.cause}", hint="blofin resume clears it")


async def confirm_position(account: Exchange, symbol: str, size: Decimal) -> None:
    """The exchange holds exactly this. Errors: FailedError."""
    held: Decimal = Decimal(0)
    async for _ in attempts():
        held = sum((each.size for each in await account.positions(symbol)), Decimal(0))
        if held == size:
            return
    raise FailedError(f"the position is {held}, not {size}")


async def confirm_protection(
    account: Exchange, symbol: str, stop: Decimal, target: Decimal
) -> tuple[Protection, ...]:
    """Stop and target wait at the exchange at these prices. Errors: FailedError."""
    found: tuple[Protection, ...] = ()
    async for _ in attempts():
        found = await account.protections(symbol)
        if stop in {each.stop for each in found} and target in {each.target for each in found}:
            return found
    raise FailedError(f"the stop {stop} is not at the exchange, only {len(found)} protections")


async def fills_of(
    account: Exchange, symbol: str, order_id: str, size: Decimal
) -> tuple[Fill, ...]:
    """Every fill of an order. Errors: FailedError when they do not make its size."""
    found: tuple[Fill, ...] = ()
    async for _ in attempts():
        found = await account.fills(symbol, order_id=order_id)
        if sum(fill.size for fill in found) == size:
            return found
    raise FailedError(f"the fills make {sum(fill.size for fill in found)}, not {size}")


async def attempts():
    """Ask at once, then again for some seconds: an exchange is not consistent at once."""
    started = time.perf_counter()
    pause_s = POLL_S
    while time.perf_counter() - started < WAIT_S:
        yield
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, 2.0)


async def swept(account: Exchange, symbol: str) -> str:
    """Close and cancel whatever is there; what is left in the end, in words."""
    try:
        if await account.positions(symbol):
            await account.close_position(
                CloseRequest(symbol=symbol, client_id=f"accsweep{secrets.token_hex(6)}")
            )
        orders = await account.open_orders(symbol)
        if orders:
            await account.cancel_many([each.ref for each in orders])
        for left in await account.protections(symbol):
            await account.cancel_protection(left.ref)
        await confirm_position(account, symbol, Decimal(0))
        rest = (*await account.open_orders(symbol), *await account.protections(symbol))
    except (FailedError, BlofinError) as problem:
        return str(problem)
    return f"{len(rest)} orders" if rest else ""


async def equity(account: Exchange) -> Decimal:
    """USDT of the futures account."""
    balance = (await account.account()).balance()
    return balance.equity if balance else Decimal(0)


def average(fills: tuple[Fill, ...]) -> Decimal:
    """Volume-weighted price."""
    value = sum((fill.price * fill.size for fill in fills), Decimal(0))
    return value / sum((fill.size for fill in fills), Decimal(0))


def slippage(side: Side, price: Decimal, best: Decimal) -> float:
    """Basis points worse than the best price seen before; negative is better."""
    return round(float((price / best - 1) * side.sign * 10_000), 3)


def since(started: float) -> float:
    """Milliseconds."""
    return round((time.perf_counter() - started) * 1000, 1)


def totals(trips: list[Trip], before: Decimal, after: Decimal) -> dict[str, Any]:
    """Sums and medians of the evidence."""
    count = len(trips)
    middle = count // 2

    def median(name: str) -> float:
        return float(sorted(getattr(trip, name) for trip in trips)[middle]) if count else 0.0

    names = ("ack_ms", "stop_confirmed_ms", "flat_ms", "entry_slippage_bps", "exit_slippage_bps")
    return {
        "trips": count,
        "fees_usdt": str(sum((Decimal(trip.fees_usdt) for trip in trips), Decimal(0))),
        "pnl_usdt": str(sum((Decimal(trip.pnl_usdt) for trip in trips), Decimal(0))),
        "equity_before_usdt": str(before),
        "equity_after_usdt": str(after),
        "median": {name: median(name) for name in names},
    }


def line(trip: Trip) -> str:
    """One trip, as it ends."""
    entry, way_out = Decimal(trip.entry_price), Decimal(trip.exit_price)
    return (
        f"{trip.number:>3} {trip.side:<4} {trip.size} at {entry:.2f}, stop found after "
        f"{trip.stop_confirmed_ms:.0f} ms, out at {way_out:.2f}, flat after {trip.flat_ms:.0f} ms, "
        f"fees {Decimal(trip.fees_usdt):.6f}, slippage {trip.entry_slippage_bps:+.2f} "
        f"{trip.exit_slippage_bps:+.2f} bps"
    )


def table(evidence: dict[str, Any]) -> str:
    """The end of the report for a person."""
    told = evidence["totals"]
    where = "simulated exchange" if evidence["simulated"] else f"BloFin {evidence['mode']}"
    lines = [
        f"{evidence['verdict']}: {told['trips']} round trips in {evidence['symbol']}, {where}, "
        f"{evidence['seconds']} s",
        f"fees {told['fees_usdt']} USDT, result {told['pnl_usdt']} USDT before fees, equity "
        f"{told['equity_before_usdt']} -> {told['equity_after_usdt']}",
        "median: " + ", ".join(f"{name} {value}" for name, value in told["median"].items()),
        "flat at the end" if evidence["flat"] else "NOT FLAT at the end",
    ]
    return "\n".join([*lines, *evidence["failed"]])


if __name__ == "__main__":
    sys.exit(main())
