"""Intents: durable before anything is sent, and let in only where there is room.

Whether an entry may be reserved is judged in the transaction that writes it, so two processes that
ask at once cannot both get the last of the room. Money is added up in Decimals.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from blofin_cli.adapters.store.database import Database, Row, Tables
from blofin_cli.adapters.store.halting import halt_in, pauses_in
from blofin_cli.adapters.store.records import damaged, packed, unpacked
from blofin_cli.core.journal import ALL_SYMBOLS, Halt, Intent, IntentState, Pause, Purpose, Room
from blofin_cli.errors import DataError, HaltedError, RefusedError

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
ZERO = Decimal(0)


class Intents:
    """Writes of ours and what became of them."""

    _db: Database
    _told_by_file: Callable[[], Halt | None]

    def reserve(self, intent: Intent, room: Room | None = None) -> Intent:
        """Make an intent durable before it is sent; the one of the same client id when it exists.

        The very object that was passed comes back when it is new, another when it was known.
        """
        row = _row(intent)
        with self._db.writing(is_durable=True) as tables:
            known = _one(tables, intent.client_id)
            if known is not None:
                return _same(known, intent)
            if intent.purpose is Purpose.ENTRY:
                self._judge(tables, intent, room)
            tables.write(_INSERT, row)
        return intent

    def settle_intent(self, intent: Intent) -> None:
        """Replace what is known of an intent; an ended one is never opened again.

        News that would open it again is left aside. Errors: DataError when it was never reserved.
        """
        row = _row(intent)
        with self._db.writing(is_durable=True) as tables:
            known = tables.ask("select is_open from intents where client_id = :client_id", row)
            if not known:
                raise DataError(f"intent {intent.client_id} was never reserved")
            if known[0][0] or not row["is_open"]:
                tables.write(_UPDATE, row)

    def intent(self, client_id: str) -> Intent | None:
        """The intent of this client id."""
        with self._db.reading() as tables:
            return None if tables is None else _one(tables, client_id)

    def open_intents(self, account: str) -> tuple[Intent, ...]:
        """Intents whose end is not proven, oldest first."""
        with self._db.reading() as tables:
            if tables is None:
                return ()
            return _intents(
                tables.ask(
                    "select client_id, document from intents where account = :account"
                    " and is_open = 1 order by created_ms, rowid",
                    {"account": account},
                )
            )

    def intents(self, account: str, *, since_ms: int = 0, limit: int = 1000) -> tuple[Intent, ...]:
        """Intents created since a time, newest first."""
        with self._db.reading() as tables:
            if tables is None:
                return ()
            return _intents(
                tables.ask(
                    "select client_id, document from intents where account = :account"
                    " and created_ms >= :since_ms order by created_ms desc, rowid desc"
                    " limit :limit",
                    {"account": account, "since_ms": since_ms, "limit": limit},
                )
            )

    def _judge(self, tables: Tables, intent: Intent, room: Room | None) -> None:
        refuse_halted(halt_in(tables) or self._told_by_file())
        refuse_paused(pauses_in(tables), intent)
        if room is None:
            raise RefusedError(
                "an entry is reserved against the room there is, and none was told",
                details={"gate": "room"},
            )
        refuse_crowded(_held(tables, intent), intent, room)
        refuse_spent(_spent(tables, intent), intent, room)


@dataclass(frozen=True, slots=True)
class Claim:
    """What one entry takes of the room. Units: quote currency."""

    symbol: str
    risk_usdt: Decimal
    notional_usdt: Decimal
    created_ms: int


def refuse_halted(halt: Halt | None) -> None:
    """Errors: HaltedError when there is a halt."""
    if halt is not None:
        raise HaltedError(
            f"trading is halted by {halt.face}: {halt.cause}",
            hint="blofin resume clears it",
            details={"gate": "halt", "since_ms": halt.ts_ms},
        )


def refuse_paused(pauses: Sequence[Pause], intent: Intent) -> None:
    """Errors: RefusedError when the symbol or everything is paused as the intent is made."""
    for pause in pauses:
        is_over = pause.until_ms is not None and pause.until_ms <= intent.created_ms
        if pause.symbol in {intent.symbol, ALL_SYMBOLS} and not is_over:
            what = "everything" if pause.symbol == ALL_SYMBOLS else pause.symbol
            raise RefusedError(
                f"{what} is paused by {pause.face}: {pause.cause}",
                hint="blofin unpause",
                details={"gate": "pause", "symbol": pause.symbol, "until_ms": pause.until_ms},
            )


def refuse_crowded(held: Sequence[Claim], intent: Intent, room: Room) -> None:
    """Errors: RefusedError when this entry does not fit beside the open ones."""
    if not room.allows_same_symbol and any(claim.symbol == intent.symbol for claim in held):
        raise RefusedError(
            f"an entry of {intent.symbol} is already under way",
            hint="wait for it, or cancel it",
            details={"gate": "same_symbol", "value": intent.symbol, "limit": "1"},
        )
    entering = [claim for claim in held if claim.symbol not in room.held]
    count = len(room.held) + len(entering) + 1
    _within("count", count, room.count, "positions and entries at a time")
    risk = sum((claim.risk_usdt for claim in held), intent.risk_usdt)
    _within("risk_usdt", risk, room.risk_usdt, "USDT at risk in open entries")
    notional = sum((claim.notional_usdt for claim in held), intent.notional_usdt)
    _within("notional_usdt", notional, room.notional_usdt, "USDT of value in open entries")


def refuse_spent(spent: Sequence[Claim], intent: Intent, room: Room) -> None:
    """Errors: RefusedError when the face has used its hour or day up; `spent` is its last day."""
    face = intent.face
    last_hour = [claim for claim in spent if claim.created_ms > intent.created_ms - HOUR_MS]
    _within("face_entries_hour", len(last_hour) + 1, room.face_entries_hour, f"of {face} an hour")
    _within("face_entries_day", len(spent) + 1, room.face_entries_day, f"of {face} a day")
    risk = sum((claim.risk_usdt for claim in spent), intent.risk_usdt)
    _within("face_risk_day_usdt", risk, room.face_risk_day_usdt, f"USDT at risk of {face} a day")
    notional = sum((claim.notional_usdt for claim in spent), intent.notional_usdt)
    _within(
        "face_notional_day_usdt", notional, room.face_notional_day_usdt, f"USDT of {face} a day"
    )


def _within(name: str, value: Decimal | int, limit: Decimal | int | None, what: str) -> None:
    if limit is not None and value > limit:
        raise RefusedError(
            f"refused by {name}: {value:f} {what} would exceed {limit:f}"
            if isinstance(value, Decimal)
            else f"refused by {name}: {value} {what} would exceed {limit}",
            hint="wait until others have ended, or make this one smaller",
            details={"gate": name, "value": str(value), "limit": str(limit)},
        )


def _held(tables: Tables, intent: Intent) -> list[Claim]:
    """The account's open entries."""
    return _claims(
        tables.ask(
            f"select {_CLAIM} from intents where account = :account and is_open = 1"  # noqa: S608 - constants
            " and purpose = 'entry'",
            {"account": intent.account},
        )
    )


def _spent(tables: Tables, intent: Intent) -> list[Claim]:
    """The face's entries of the last day, whatever became of them."""
    return _claims(
        tables.ask(
            f"select {_CLAIM} from intents where account = :account and face = :face"  # noqa: S608 - constants
            " and purpose = 'entry' and created_ms > :since_ms",
            {
                "account": intent.account,
                "face": intent.face,
                "since_ms": intent.created_ms - DAY_MS,
            },
        )
    )


def _claims(rows: Sequence[Row]) -> list[Claim]:
    claims = []
    for client_id, symbol, risk, notional, created_ms in rows:
        try:
            claim = Claim(symbol, Decimal(risk), Decimal(notional), created_ms)
        except InvalidOperation as error:
            raise damaged("intent", client_id) from error
        if not (claim.risk_usdt.is_finite() and claim.notional_usdt.is_finite()):
            raise damaged("intent", client_id)
        claims.append(claim)
    return claims


def _one(tables: Tables, client_id: str) -> Intent | None:
    found = tables.ask(
        "select client_id, document from intents where client_id = :client_id",
        {"client_id": client_id},
    )
    return _intents(found)[0] if found else None


def _intents(rows: Sequence[Row]) -> tuple[Intent, ...]:
    return tuple(unpacked(Intent, text, client_id) for client_id, text in rows)


def _same(known: Intent, intent: Intent) -> Intent:
    """The known one, if it is of the same session, key, account and symbol."""
    ours = (intent.session_id, intent.key, intent.account, intent.symbol, intent.purpose)
    if ours != (known.session_id, known.key, known.account, known.symbol, known.purpose):
        raise RefusedError(
            f"client id {intent.client_id} is already that of another intent",
            hint="use a new key",
            details={"gate": "client_id", "value": intent.key, "limit": known.key},
        )
    return known


_COLUMNS = (
    "client_id", "account", "session_id", "symbol", "purpose", "state", "is_open", "face",
    "created_ms", "updated_ms", "risk_usdt", "notional_usdt", "document",
)  # fmt: skip
_CLAIM = "client_id, symbol, risk_usdt, notional_usdt, created_ms"
_INSERT = (
    f"insert into intents ({', '.join(_COLUMNS)})"  # noqa: S608 - constants
    f" values ({', '.join(f':{name}' for name in _COLUMNS)})"
)
_UPDATE = (
    f"update intents set {', '.join(f'{name} = :{name}' for name in _COLUMNS[1:])}"  # noqa: S608 - constants
    " where client_id = :client_id"
)


def _row(intent: Intent) -> dict[str, object]:
    """The columns of an intent. Errors: DataError when a number is no amount."""
    amounts = (intent.size, intent.risk_usdt, intent.notional_usdt)
    if any(not amount.is_finite() or amount < ZERO for amount in amounts):
        raise DataError(f"intent {intent.key[:80]!a} has an amount that is none: {amounts}")
    return {
        "client_id": intent.client_id,
        "account": intent.account,
        "session_id": intent.session_id,
        "symbol": intent.symbol,
        "purpose": str(intent.purpose),
        "state": str(intent.state),
        "is_open": int(IntentState(intent.state).is_open),
        "face": intent.face,
        "created_ms": intent.created_ms,
        "updated_ms": intent.updated_ms,
        "risk_usdt": str(intent.risk_usdt),
        "notional_usdt": str(intent.notional_usdt),
        "document": packed(intent),
    }
