"""The selectors of an exchange, and the ports they open: prices, an account, the right to open.

A command gets the weakest port that does its work. Only `open_trading` hands out one that can
open a position, and it holds the account lock for as long as it is open.
"""

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Annotated, cast

from pydantic import Field, StringConstraints

from blofin_cli.app import config, keys
from blofin_cli.app.context import Context
from blofin_cli.app.spec import Request, Result
from blofin_cli.core.quotes import Environment, Mode
from blofin_cli.errors import AuthError, NetworkError, RefusedError, UsageError

if TYPE_CHECKING:
    from blofin_cli.adapters.exchanges import blofin
    from blofin_cli.adapters.exchanges.blofin.public import PublicData
    from blofin_cli.ports import Exchange, MarketData, ReduceOnly, Stream

OFFLINE_HINT = "check the connection with blofin doctor; --offline uses what is kept, where offered"
KEY_SECONDS_MAX = 0.5
KEY_REFUSED = frozenset({"152401", "152408", "152409", "401"})
"""Codes a key may get from the host that does not know it: unknown, passphrase, signature."""

ExchangeName = Annotated[
    str, StringConstraints(pattern=r"^(blofin|sim|ccxt:[a-z0-9_]{1,32})$", strip_whitespace=True)
]


class VenueRequest(Request):
    """At which exchange."""

    exchange: Annotated[
        ExchangeName | None,
        Field(description="blofin, sim or ccxt:NAME; default from the settings, else blofin"),
    ] = None


class AccountRequest(VenueRequest):
    """Whose account."""

    mode: Annotated[
        Mode | None, Field(description="The account: demo or live; default from the settings")
    ] = None


class VenueResult(Result):
    """What came from an exchange names it, and says when it is a simulated one."""

    exchange: str
    simulated: bool


def exchange_of(request: VenueRequest, context: Context) -> str:
    """The exchange in force: typed, else from the settings."""
    return request.exchange or context.settings.exchange


def mode_of(request: AccountRequest, context: Context) -> Mode:
    """The mode in force: typed, else from the settings."""
    return request.mode or context.settings.mode


def held_mode_of(request: AccountRequest, context: Context) -> Mode:
    """Whose account is looked at or reduced: of the box its demo account, unless a mode is set."""
    if exchange_of(request, context) == "sim" and request.mode is None:
        is_set = context.loaded.origins.get("mode", "default") != "default"
        return context.settings.mode if is_set else Mode.DEMO
    return mode_of(request, context)


def environment_of(exchange: str, mode: Mode) -> Environment:
    """Where requests go. Dry-run reads real prices, so it looks at the live host.

    Errors: UsageError when the exchange has no such mode.
    """
    if exchange == "sim":
        if mode is Mode.LIVE:
            raise UsageError("the exchange in a box has no live mode", hint="--mode demo")
        return Environment.SIMULATED
    if mode is Mode.DEMO:
        if exchange != "blofin":
            raise UsageError(f"{exchange} has no demo mode here", hint="--mode dry-run or live")
        return Environment.DEMO
    return Environment.LIVE


def account_name(exchange: str, mode: Mode) -> str:
    """What the journal and the lock call an account: exchange and mode."""
    return f"{exchange.replace(':', '-')}-{mode}"


@asynccontextmanager
async def open_market(request: VenueRequest, context: Context) -> "AsyncIterator[MarketData]":
    """Public data of the exchange a request names; needs no key."""
    exchange = exchange_of(request, context)
    data: MarketData
    if exchange.startswith("ccxt:"):
        from blofin_cli.adapters.exchanges import ccxt

        data = ccxt.connect_public(exchange.removeprefix("ccxt:"), context.clock)
    else:
        from blofin_cli.adapters.exchanges import blofin

        mode = mode_of(request, context) if isinstance(request, AccountRequest) else Mode.DRY_RUN
        place = _blofin_settings(environment_of(exchange, mode), context)
        data = blofin.connect_public(place, context.clock)
    try:
        with _reaching(exchange):
            yield data
    finally:
        await data.aclose()


@asynccontextmanager
async def open_account(request: AccountRequest, context: Context) -> "AsyncIterator[ReduceOnly]":
    """The account a request names, to be read, protected and reduced but not enlarged.

    Errors: RefusedError in dry-run, which has no account at an exchange; ConfigError without key.
    """
    exchange, mode = exchange_of(request, context), held_mode_of(request, context)
    if mode is Mode.DRY_RUN:
        raise RefusedError(
            f"dry-run has no account at {exchange}",
            hint="name one with --mode demo"
            + ("" if exchange == "sim" else " or --mode live, or use --exchange sim"),
        )
    environment = environment_of(exchange, mode)
    account: ReduceOnly
    if exchange.startswith("ccxt:"):
        from blofin_cli.adapters.exchanges import ccxt

        name = exchange.removeprefix("ccxt:")
        account = ccxt.connect_reducing(name, context.clock, keys.credentials(f"ccxt-{name}"))
    else:
        from blofin_cli.adapters.exchanges import blofin

        place = _blofin_settings(environment, context)
        account = blofin.connect_reducing(place, context.clock, _blofin_key(environment))
    try:
        async with _recognising(account, exchange, mode):
            yield account
    finally:
        await account.aclose()


@asynccontextmanager
async def open_trading(request: AccountRequest, context: Context) -> "AsyncIterator[Exchange]":
    """The account a request names with the right to open, under its lock.

    Errors: RefusedError in dry-run or when another process holds the account; ConfigError
    without key.
    """
    exchange, mode = exchange_of(request, context), mode_of(request, context)
    if mode is Mode.DRY_RUN:
        raise RefusedError("dry-run sends no order", hint="pass --mode demo or --mode live")
    environment = environment_of(exchange, mode)
    with context.journal.lock(f"account-{account_name(exchange, mode)}"):
        account: Exchange
        key: str
        if exchange.startswith("ccxt:"):
            from blofin_cli.adapters.exchanges import ccxt

            name = exchange.removeprefix("ccxt:")
            credentials = keys.credentials(f"ccxt-{name}")
            key = f"{exchange} {credentials.key}"
            account = ccxt.connect(name, context.clock, credentials)
        else:
            from blofin_cli.adapters.exchanges import blofin

            place = _blofin_settings(environment, context)
            own = _blofin_key(environment)
            key = f"{place.simulator_url or environment} {own.key}"
            account = blofin.connect(place, context.clock, own)
        try:
            with _sole(key, context):
                async with _recognising(account, exchange, mode):
                    yield account
        finally:
            await account.aclose()


@contextmanager
def _sole(key: str, context: Context) -> Iterator[None]:
    """Hold a key against processes of this user that go by another state.

    They would share neither halt nor reservations. Errors: RefusedError.
    """
    from filelock import FileLock, Timeout

    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    lock = FileLock(config.shared_folder(context.state) / f"key-{name}.lock", mode=0o600)
    try:
        lock.acquire(timeout=KEY_SECONDS_MAX)
    except Timeout:
        raise RefusedError(
            "another process trades with this key, by another state",
            hint="end it, or pass the same --state",
        ) from None
    try:
        yield
    finally:
        lock.release()


def open_stream(
    request: AccountRequest, context: Context, data: "MarketData", *, private: bool = False
) -> "Stream":
    """A live feed beside the prices or the account that `data` is.

    Errors: UsageError when the exchange has no feed here.
    """
    exchange, mode = exchange_of(request, context), mode_of(request, context)
    if exchange.startswith("ccxt:"):
        raise UsageError(
            f"{exchange} has no live feed here, and the loop needs one",
            hint="run on blofin or sim; orders by hand work there",
        )
    from blofin_cli.adapters.exchanges import blofin

    environment = environment_of(exchange, mode)
    place = _blofin_settings(environment, context)
    key = _blofin_key(environment) if private else None
    return blofin.connect_stream(place, cast("PublicData", data), key)


@contextmanager
def _reaching(exchange: str) -> Iterator[None]:
    """Add the next step to a failure of the network that knows none."""
    try:
        yield
    except NetworkError as problem:
        hint = "start it in another terminal: blofin sim" if exchange == "sim" else OFFLINE_HINT
        problem.hint = problem.hint or hint
        raise


@asynccontextmanager
async def _recognising(account: object, exchange: str, mode: Mode) -> AsyncIterator[None]:
    """Say of a key that is refused when it is the other account's: demo and live keys differ."""
    try:
        with _reaching(exchange):
            yield
    except AuthError as refusal:
        other = await _other_home(account, refusal)
        if other is None:
            raise
        raise AuthError(
            f"this is a {other} key, and the {mode} account was asked for",
            hint=f"use --mode {other}, or store the {mode} key: blofin config key {mode}",
            details=refusal.details,
        ) from refusal


async def _other_home(account: object, refusal: AuthError) -> Environment | None:
    """The host that knows a key which this one does not; asks it once."""
    belongs_to = getattr(account, "key_belongs_to", None)
    if belongs_to is None or refusal.details.get("venue_code") not in KEY_REFUSED:
        return None
    found: Environment | None = await belongs_to()
    return found


def _blofin_settings(environment: Environment, context: Context) -> "blofin.Settings":
    from blofin_cli.adapters.exchanges import blofin

    is_simulated = environment is Environment.SIMULATED
    return blofin.Settings(
        # The budget belongs to the user, not to one state; a box's refusals say nothing of BloFin.
        state_folder=(
            context.state_folder if is_simulated else config.shared_folder(context.state)
        ),
        environment=environment,
        simulator_url=context.settings.sim_url if is_simulated else None,
    )


def _blofin_key(environment: Environment) -> "blofin.Credentials":
    """The key of a BloFin account; the box takes the demo key it prints, so nobody sets one."""
    from blofin_cli.adapters.exchanges.blofin import Credentials

    if environment is not Environment.SIMULATED:
        found = keys.credentials(environment)
        return Credentials(found.key, found.secret, found.passphrase)
    from blofin_cli.adapters.exchanges.sim.keys import DEMO_KEY

    return Credentials(DEMO_KEY.key, DEMO_KEY.secret, DEMO_KEY.passphrase)
