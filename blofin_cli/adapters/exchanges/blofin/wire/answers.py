"""Envelopes and error codes: what BloFin said, and what it means for the caller.

A write is judged on two levels: the envelope's code and the code inside each row. Business
failures arrive with HTTP 200. Source: BloFin API documentation, "Errors", 2026-03-21; codes marked
newer in its change log are those ccxt 4.5.90 knows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from blofin_cli.adapters.exchanges.blofin.wire.fields import Row, clean, load_json
from blofin_cli.core.orders import Ack, Outcome
from blofin_cli.errors import AuthError, BadAnswerError, BlofinError, NetworkError, VenueError

RATE_LIMITED = "429"
DUPLICATE_CLIENT_ID = frozenset({"102002", "150003", "152420"})
CANCEL_FAILED = "Cancel failed"
CLOCK = frozenset({"152405", "152410"})
NONCE = "152407"
UNKNOWN_KEY = "152401"
NO_ROUTE = "152404"
_SUCCESS = frozenset({"0", "200"})  # 200 is accepted by one careful client; unverified
_PARTS_FAILED = frozenset({"1", "2"})
_AMBIGUOUS = frozenset({"500", "103013"})  # an internal error may come after the order was taken
_AUTH_HINTS = {
    "401": "check the secret",
    UNKNOWN_KEY: "check the key, and that it belongs to this host: demo and live keys differ",
    "152402": "the key has expired; keys without an address list live 90 days",
    NO_ROUTE: "the key may lack the permission, or the host does not offer this",
    "152405": "set this machine's clock; the exchange allows 60 s",
    "152406": "this machine's address is not on the key's list",
    NONCE: "two programs may share this key and its nonces",
    "152408": "check the passphrase",
    "152409": "check the secret",
    "152410": "set this machine's clock",
    "152011": "this key must not name a broker",
    "152012": "this key is bound to a broker; make a key of your own",
    "152013": "this key is bound to a broker; make a key of your own",
}

Shape = Literal["array", "object", "either"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A decoded envelope. `code` "0" is success."""

    code: str
    message: str
    data: Any

    @property
    def is_success(self) -> bool:
        """The envelope reports success; rows inside may still have failed."""
        return self.code in _SUCCESS

    @property
    def has_rows(self) -> bool:
        """The verdict is inside: success, or some or all parts failed with rows to say which."""
        return self.is_success or (self.code in _PARTS_FAILED and bool(self.data))

    @property
    def is_ambiguous(self) -> bool:
        """A write that got this may have been taken all the same."""
        return self.code in _AMBIGUOUS


def decode(body: bytes) -> Answer:
    """Take an envelope apart.

    Errors: BadAnswerError when the body is no JSON object with a code.
    """
    values = load_json(body)
    if not isinstance(values, dict):
        raise BadAnswerError(f"the answer is no object but {type(values).__name__}")
    code = values.get("code")
    if isinstance(code, bool) or not isinstance(code, str | int) or code == "":
        raise BadAnswerError("the answer has no code")
    message = values.get("msg")
    data = None if values.get("data") == "" else values.get("data")
    return Answer(clean(code), clean(message), data)


def error_of(code: str, message: str) -> BlofinError:
    """The exception that a refusal means. 429 is not here: it needs to know when it ends."""
    said = f"BloFin refused ({code}): {message or 'no reason given'}"
    if code in _AUTH_HINTS:
        return AuthError(said, hint=_AUTH_HINTS[code], details={"venue_code": code})
    if code in _AMBIGUOUS:
        return NetworkError(
            f"BloFin reports an internal error ({code}): {message}", details={"venue_code": code}
        )
    return VenueError(said, venue_code=code)


def data_of(answer: Answer) -> Any:
    """The data of a read.

    Errors: what the refusal means; BadAnswerError when success comes without data.
    """
    if not answer.is_success:
        raise error_of(answer.code, answer.message)
    if answer.data is None:
        raise BadAnswerError("the answer reports success without data")
    return answer.data


def object_of(answer: Answer, place: str) -> Row:
    """The data of a read that answers one object. Errors: as `data_of`."""
    return Row(data_of(answer), place)


def acks(
    answer: Answer, client_ids: Sequence[str | None], *, shape: Shape, id_name: str
) -> tuple[Ack, ...]:
    """One Ack for each part of a write, in the order of `client_ids` (None where unknown).

    A row that names another client id than the one sent, a count that differs, or a success
    without an id leaves UNKNOWN: it must be looked up. Errors: BadAnswerError when the shape is
    not the documented one; the caller then knows nothing.
    """
    if not answer.has_rows:
        return tuple(_ack(answer.code, answer.message, None, wanted) for wanted in client_ids)
    listed = _listed(answer.data, shape)
    rows = _matched([Row(values, "answer") for values in listed], client_ids)
    return tuple(
        Ack(outcome=Outcome.UNKNOWN, client_id=wanted, message="no row for this part")
        if row is None
        else _row_ack(row, answer, wanted, id_name)
        for row, wanted in zip(rows, client_ids, strict=True)
    )


def _listed(data: object, shape: Shape) -> list[Any]:
    if isinstance(data, list) and shape != "object":
        return data
    if isinstance(data, dict) and shape != "array":
        return [data]
    raise BadAnswerError(f"the answer's data is {type(data).__name__}, not {shape}")


def _matched(rows: list[Row], client_ids: Sequence[str | None]) -> list[Row | None]:
    """Rows by client id where they name one, else by place if the counts agree."""
    by_id = {name: row for row in rows if (name := row.maybe_text("clientOrderId"))}
    in_place = len(rows) == len(client_ids)
    matched: list[Row | None] = []
    for number, wanted in enumerate(client_ids):
        row = by_id.get(wanted) if wanted else None
        if row is None and in_place:
            named = rows[number].maybe_text("clientOrderId")
            row = rows[number] if not (wanted and named) else None
        matched.append(row)
    return matched


def _row_ack(row: Row, answer: Answer, wanted: str | None, id_name: str) -> Ack:
    found_id = row.maybe_text(id_name) or None
    code = clean(row.raw("code"))
    if not code:  # documented rows of batches leave it out on success
        code = "0" if found_id else answer.code
    return _ack(code, row.maybe_text("msg") or answer.message, found_id, wanted)


def _ack(code: str, message: str, order_id: str | None, wanted: str | None) -> Ack:
    is_success = code in _SUCCESS
    if is_success:
        outcome = Outcome.ACCEPTED if order_id else Outcome.UNKNOWN
    elif code in _AMBIGUOUS and not message.startswith(CANCEL_FAILED):
        outcome = Outcome.UNKNOWN
    else:
        outcome = Outcome.REFUSED
    return Ack(
        outcome=outcome,
        order_id=order_id,
        client_id=wanted,
        code="" if is_success else code,
        message=message,
    )
