"""Checks of everything a trade depends on, each with what was found and what to do about it."""

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from blofin_cli.app.commands.account import key_age_days
from blofin_cli.app.context import Context
from blofin_cli.app.history import open_store
from blofin_cli.app.spec import Effect, Symbol, command, to_record
from blofin_cli.app.timespec import day_of, minute_of
from blofin_cli.app.venues import (
    AccountRequest,
    VenueResult,
    account_name,
    exchange_of,
    held_mode_of,
    open_account,
    open_market,
)
from blofin_cli.core.orders import KeyKind, MarginMode, PositionMode
from blofin_cli.core.quotes import Mode
from blofin_cli.errors import AuthError, BlofinError, Exit, NetworkError, RefusedError

if TYPE_CHECKING:
    from blofin_cli.core.orders import KeyInfo
    from blofin_cli.ports import MarketData, ReduceOnly

Verdict = Literal["ok", "warning", "failed", "skipped"]

SKEW_WARN_MS, SKEW_MAX_MS = 2_000, 30_000
KEY_DAYS_WARN, KEY_DAYS_MAX = 75, 90
NEW_KEY = "bind it to this machine's address, or make a new one and store it: blofin config key"
UNREACHED = "check name resolution, firewall and cable; no proxy is used and TLS is always verified"
UNKNOWN_KEY = "152401"
LINE_WIDTH = 80
FREE_BYTES_MIN, FREE_BYTES_WARN = 50_000_000, 1_000_000_000


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: the verdict, what was found, and what to do about it."""

    name: str
    verdict: Verdict
    what: str
    fix: str = ""
    exit: Exit = field(default=Exit.OK, kw_only=True)


class DoctorRequest(AccountRequest):
    """Which exchange and account to look at."""

    symbol: Annotated[
        Symbol | None, Field(description="Instrument to ask for; default from the settings")
    ] = None


class DoctorResult(VenueResult):
    """Every check; `healthy` when none failed."""

    account: str
    healthy: bool
    failed: int
    warnings: int
    checks: list[Check]

    columns: ClassVar[tuple[str, ...]] = ("name", "verdict", "what", "fix")

    def exit_code(self) -> Exit:
        """0, or the code of the first check that failed."""
        return next((check.exit for check in self.checks if check.verdict == "failed"), Exit.OK)

    def rows(self) -> list[dict[str, Any]]:
        """One record a check."""
        return [to_record(check) for check in self.checks]

    def text(self) -> str:
        """One line a check, its fix below it: advice is too long for a table."""
        from textwrap import wrap

        marks = {"ok": "ok  ", "warning": "WARN", "failed": "FAIL", "skipped": "skip"}
        lines = [f"{self.account}{' (simulated)' if self.simulated else ''}", ""]
        for check in self.checks:
            head = f"{marks[check.verdict]}  {check.name}: {check.what}"
            lines += wrap(head, LINE_WIDTH, subsequent_indent=" " * 6, break_long_words=False)
            lines += wrap(
                check.fix, LINE_WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6,
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
        lines += ["", f"{self.failed} failed, {_counted(self.warnings, 'warning')}"]
        return "\n".join(lines)


@command(effect=Effect.READ, tool="diagnose")
async def doctor(request: DoctorRequest, context: Context) -> DoctorResult:
    """Check host, clock, key, modes, disk, state and candles, and say how to mend what is wrong.

    In dry-run no key is needed and the checks of the account are skipped. The exit code is 0 unless
    a check failed; then it is the code of the first failure, and the checks are still on stdout.

    Example: blofin doctor --exchange sim
    """
    patient = _Patient(request, context)
    checks = [check async for check in _examine(patient)]
    failed = [check for check in checks if check.verdict == "failed"]
    return DoctorResult(
        exchange=patient.exchange,
        simulated=patient.exchange == "sim",
        account=account_name(patient.exchange, patient.mode),
        healthy=not failed,
        failed=len(failed),
        warnings=sum(check.verdict == "warning" for check in checks),
        checks=checks,
    )


@dataclass(frozen=True, slots=True)
class _Patient:
    """What is examined."""

    request: DoctorRequest
    context: Context

    @property
    def exchange(self) -> str:
        return exchange_of(self.request, self.context)

    @property
    def mode(self) -> Mode:
        """The mode in force; of the box its account is looked at, unless a mode is set."""
        return held_mode_of(self.request, self.context)

    @property
    def symbol(self) -> str:
        return self.request.symbol or self.context.settings.default_symbol

    @property
    def account(self) -> str:
        """The name of the account's key."""
        if self.exchange.startswith("ccxt:"):
            return self.exchange.replace(":", "-")
        return str(self.mode)


async def _examine(patient: _Patient) -> AsyncIterator[Check]:
    """Every check in the order in which one depends on the other; this machine first."""
    for look in (_disk, _state, _halt):
        yield look(patient)
    async for check in _exchange_checks(patient):
        yield check
    async for check in _account_checks(patient):
        yield check
    for check in _candle_checks(patient):
        yield check


# This machine.


def _disk(patient: _Patient) -> Check:
    """Free space where the state lies."""
    folder = patient.context.state_folder
    existing = next((each for each in (folder, *folder.resolve().parents) if each.exists()), None)
    try:
        free = shutil.disk_usage(existing or Path("/")).free
    except OSError as defect:
        return Check("disk", "failed", f"cannot be measured: {defect.strerror}", exit=Exit.CONFIG)
    what = f"{free / 1e9:,.1f} GB free in {folder}"
    if free < FREE_BYTES_MIN:
        fix = "make room: without a durable journal nothing is opened"
        return Check("disk", "failed", what, fix, exit=Exit.DATA)
    if free < FREE_BYTES_WARN:
        return Check("disk", "warning", what, "make room before it ends; move it with --state PATH")
    return Check("disk", "ok", what)


def _state(patient: _Patient) -> Check:
    """The journal opens, and its trail follows."""
    try:
        rows, broken = patient.context.journal.verify_audit()
    except BlofinError as problem:
        return _failure("state", problem)
    what = f"{patient.context.state} opens"
    if broken is not None:
        fix = "somebody changed it: compare with a backup, and do not trust it for trading"
        return Check(
            "state",
            "failed",
            f"the audit trail does not follow at row {broken}",
            fix,
            exit=Exit.DATA,
        )
    return Check("state", "ok", f"{what}; {rows} audit rows follow one another")


def _halt(patient: _Patient) -> Check:
    """Whether trading is halted."""
    try:
        halt = patient.context.journal.halted()
    except BlofinError as problem:
        return Check(
            "halt flag", "warning", f"cannot be read, which counts as halted: {problem.message}",
            "mend the state file, then blofin resume",
        )  # fmt: skip
    if halt is None:
        return Check("halt flag", "ok", "not halted")
    what = f"halted since {minute_of(halt.ts_ms)} UTC by {halt.face}: {halt.cause}"
    return Check("halt flag", "warning", what, "blofin resume clears it, typed by a person")


# The exchange.


async def _exchange_checks(patient: _Patient) -> AsyncIterator[Check]:
    try:
        async with open_market(patient.request, patient.context) as data:
            yield await _clock(data, patient)
            yield await _listed(data, patient)
    except NetworkError as problem:
        fix = problem.hint if patient.exchange == "sim" else UNREACHED
        yield Check("host", "failed", problem.message, fix, exit=problem.exit)
    except BlofinError as problem:
        yield _failure("host", problem)


async def _clock(data: "MarketData", patient: _Patient) -> Check:
    """Our clock against the exchange's; the first request, so it tells about the host, too."""
    offset = await data.clock_offset()
    apart, unsure = offset.offset_ms / 1000, offset.uncertainty_ms / 1000
    what = f"reached; its clock is {apart:+.1f} s from ours, give or take {unsure:.1f} s"
    skew_ms = max(0, abs(offset.offset_ms) - offset.uncertainty_ms)
    if patient.exchange == "sim":
        return _box_clock(what, skew_ms)
    fix = "set this machine's clock: timedatectl set-ntp true"
    if skew_ms > SKEW_MAX_MS:
        return Check(
            "host and clock",
            "failed",
            f"{what}; nothing is opened beyond 30 s",
            fix,
            exit=Exit.NETWORK,
        )
    if skew_ms > SKEW_WARN_MS:
        return Check("host and clock", "warning", what, fix)
    return Check("host and clock", "ok", what)


def _box_clock(what: str, skew_ms: int) -> Check:
    """A box keeps its own time, and one that is fast or slow is for looking on."""
    if skew_ms <= SKEW_MAX_MS:
        return Check("host and clock", "ok", f"{what}; the box keeps its own time")
    fix = "start blofin sim anew with --speed 1 to trade there; a faster market is to look on"
    return Check("host and clock", "warning", f"{what}; nothing is opened beyond 30 s", fix)


async def _listed(data: "MarketData", patient: _Patient) -> Check:
    """The instrument is listed and has a fresh price."""
    listing = await data.instrument(patient.symbol)
    quote = await data.quote(patient.symbol)
    age_ms = max(0, await data.server_time_ms() - quote.ts_ms)
    what = f"last {quote.last:f}, quote {age_ms / 1000:.1f} s old"
    if not listing.is_live:
        return Check(
            patient.symbol,
            "warning",
            f"suspended or outside its listing time; {what}",
            "trade another instrument",
        )
    return Check(patient.symbol, "ok", what)


# The account.


async def _account_checks(patient: _Patient) -> AsyncIterator[Check]:
    if patient.mode is Mode.DRY_RUN:
        yield Check("key", "skipped", "dry-run needs none", "try one with --mode demo")
        return
    if patient.exchange != "sim":
        check = _key_at_hand(patient)
        yield check
        if check.verdict == "failed":
            return
    request = patient.request.model_copy(update={"mode": patient.mode})
    try:
        async with open_account(request, patient.context) as account:
            for check in await _key_checks(account, patient):
                yield check
            for check in await _mode_checks(account, patient):
                yield check
            yield await _protection(account)
    except AuthError as problem:
        swapped = "; or its key and secret are swapped" * (UNKNOWN_KEY in str(problem.details))
        yield Check("key", "failed", problem.message, problem.hint + swapped, exit=problem.exit)
    except BlofinError as problem:
        yield _failure("key", problem)


def _key_at_hand(patient: _Patient) -> Check:
    """A whole key in a safe place; what it holds is never shown."""
    from blofin_cli.app import keys

    try:
        found = keys.find(patient.account)
    except BlofinError as problem:
        return _failure("key place", problem)
    return Check("key place", "ok", f"the {patient.account} key comes from {found.source}")


async def _key_checks(account: "ReduceOnly", patient: _Patient) -> list[Check]:
    """What the exchange says of the key: accepted, rights, age."""
    try:
        key = await account.key_info()
    except RefusedError as refusal:
        return [Check("key", "warning", refusal.message, refusal.hint)]
    checks = [Check("key", "ok", f"accepted as {key.name or 'unnamed'}")]
    if key.kind is KeyKind.THIRD_PARTY:
        fix = "make an API transaction key; a key bound to a broker must name that broker"
        checks.append(Check("key type", "warning", "bound to a third party", fix))
    else:
        checks.append(Check("key type", "ok", {KeyKind.OWN: "your own"}.get(key.kind, "not told")))
    if key.can_withdraw:
        fix = "take that right from the key: nothing here needs it, and a thief would"
        checks.append(Check("permissions", "warning", "the key may withdraw", fix))
    elif not key.can_trade:
        fix = "give the key the right to trade, or stay with dry-run"
        checks.append(Check("permissions", "warning", "the key may only read", fix))
    else:
        told = (
            "it may not withdraw"
            if key.can_withdraw is False
            else "see on the exchange's page that it may not withdraw"
        )
        checks.append(Check("permissions", "ok", f"read and trade; {told}"))
    return [*checks, _key_age(key, patient)]


def _key_age(key: "KeyInfo", patient: _Patient) -> Check:
    """A key without an address list lapses after 90 days."""
    days = key_age_days(key, patient.context.clock.now_ms())
    if key.ips:
        return Check("key age", "ok", f"bound to {len(key.ips)} addresses, so it does not lapse")
    if days is None:
        return Check(
            "key age",
            "warning",
            "the exchange does not say how old the key is",
            "note when you made it: without an address list it lapses after 90 days",
        )
    lapses = "" if key.expires_ms is None else f" ({day_of(key.expires_ms)})"
    what = f"{days} days old, bound to no address: it lapses after {KEY_DAYS_MAX}{lapses}"
    if days >= KEY_DAYS_MAX:
        return Check("key age", "failed", what, NEW_KEY, exit=Exit.AUTH)
    if days >= KEY_DAYS_WARN:
        return Check("key age", "warning", what, NEW_KEY)
    return Check("key age", "ok", what)


async def _mode_checks(account: "ReduceOnly", patient: _Patient) -> list[Check]:
    """Isolated margin and one position a symbol; money to trade with."""
    margin, position = await account.margin_mode(), await account.position_mode()
    info = await account.account()
    checks = []
    fix = "blofin run and order set it while nothing is open; or set it on the exchange's page"
    good = margin is MarginMode.ISOLATED
    checks.append(
        Check("margin mode", "ok" if good else "warning", str(margin), "" if good else fix)
    )
    good = position is PositionMode.ONE_WAY
    checks.append(
        Check("position mode", "ok" if good else "warning", str(position), "" if good else fix)
    )
    usdt = info.balance()
    if usdt is None or usdt.equity <= 0:
        checks.append(
            Check("balance", "warning", "no USDT in the futures account", "transfer some to it")
        )
    else:
        checks.append(
            Check("balance", "ok", f"{usdt.equity:,.2f} USDT, {usdt.available:,.2f} free")
        )
    return checks


async def _protection(account: "ReduceOnly") -> Check:
    """Whether every position has a stop of its size."""
    from blofin_cli.engine.guardian import is_bare

    held = [row for row in await account.positions() if row.size]
    rows = await account.protections() if held else ()
    bare = [row.symbol for row in held if is_bare(row, rows)]
    if bare:
        what = f"no whole stop: {', '.join(bare)}"
        return Check("protection", "warning", what, f"blofin protect {bare[0]} --stop PRICE")
    what = f"{_counted(len(held), 'position')}, each with its stop" if held else "nothing is held"
    return Check("protection", "ok", what)


# Candles.


def _candle_checks(patient: _Patient) -> list[Check]:
    """What is stored of each instrument, and its holes."""
    store = open_store(patient.context, patient.exchange)
    try:
        held = [
            store.coverage(symbol, timeframe)
            for symbol in store.symbols()
            for timeframe in store.timeframes(symbol)
        ]
    except BlofinError as problem:
        return [_failure("candles", problem)]
    if not held:
        fix = f"fetched when first needed; or now: blofin candles {patient.symbol} --since 2y"
        return [Check("candles", "ok", "none stored yet", fix)]
    checks = []
    for each in held:
        name = f"candles {each.symbol} {each.timeframe}"
        if each.first_ms is None or each.last_ms is None:
            continue
        what = f"{each.rows} from {day_of(each.first_ms)} to {minute_of(each.last_ms)} UTC"
        if each.gaps:
            words = f"{each.symbol} --timeframe {each.timeframe} --since {day_of(each.first_ms)}"
            fix = f"blofin candles {words} --refetch"
            what += f", {each.gaps} gaps of {each.missing_bars} bars"
            checks.append(Check(name, "warning", what, fix))
        else:
            checks.append(Check(name, "ok", what))
    return checks


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _failure(name: str, problem: BlofinError) -> Check:
    return Check(name, "failed", problem.message, problem.hint, exit=problem.exit)
