"""Care for the state: is it whole, what is in it, a copy of it."""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from blofin_cli.app.context import Context
from blofin_cli.app.spec import Effect, Request, Result, command
from blofin_cli.errors import ComparisonError, DataError, RefusedError, UsageError

SHOWN_RECORDS_MAX = 20_000


class StateRequest(Request):
    """What to do for the state."""

    what: Annotated[
        Literal["verify", "export", "backup"],
        Field(
            description="verify: read everything; export: every record as a line of JSON; "
            "backup: a whole copy while others use it"
        ),
    ] = "verify"
    file: Annotated[
        Path | None, Field(description="For export and backup: a file that does not exist yet")
    ] = None

    def effect(self, declared: Effect) -> Effect:
        """Looking changes nothing; a new file is a change."""
        return declared if self.file is not None else Effect.READ


class StateResult(Result):
    """What a check found, what was exported, or where the copy is."""

    state: str
    problems: tuple[str, ...] = ()
    counts: dict[str, int] | None = None
    audit_rows: int | None = None
    audit_hash: str | None = None
    file: str | None = None
    size_bytes: int | None = None
    records: list[dict[str, Any]] | None = None
    note: str = ""

    def rows(self) -> list[dict[str, Any]]:
        """The exported records, or how many there are of each."""
        if self.records is not None:
            return self.records
        return [{"table": name, "records": count} for name, count in (self.counts or {}).items()]

    def summary(self) -> list[tuple[str, object]]:
        """The state, what is wrong with it, and the file that was written."""
        lines: list[tuple[str, object]] = [("state", self.state)]
        lines += [("problem", problem) for problem in self.problems]
        lines += [("note", self.note)] if self.note else []
        if self.audit_rows is not None:
            lines += [("audit trail", f"{self.audit_rows} rows, last hash {self.audit_hash}")]
        if self.file is not None:
            lines += [("written", f"{self.file}, {self.size_bytes:,} bytes")]
        return lines


@command(effect=Effect.WRITE, positional=("what", "file"))
async def state(request: StateRequest, context: Context) -> StateResult:
    """Verify, export or back up the state: journal, audit trail and saved runs.

    Example: blofin state backup state-2024-08-05.db
    """
    if request.what == "verify":
        return _verified(request, context)
    return _exported(request, context) if request.what == "export" else _copied(request, context)


def shown_state(context: Context) -> str:
    """Where the state is, without the password of a server."""
    from blofin_cli.adapters.store import is_server

    if not is_server(context.state):
        return context.state
    from blofin_cli.adapters.store.postgres import shown_address

    return shown_address(context.state)


def _verified(request: StateRequest, context: Context) -> StateResult:
    from blofin_cli.adapters.store import open_upkeep

    if request.file is not None:
        raise UsageError("verify writes no file", hint="blofin state verify")
    found, shown = open_upkeep(context.state).check(), shown_state(context)
    is_there = bool(found.schema or found.problems)
    _must_be_begun(is_there, context)
    result = StateResult(
        state=shown,
        note="" if is_there else "nothing is there yet",
        problems=found.problems,
        counts=found.records,
        audit_rows=found.audit_rows,
        audit_hash=found.audit_hash or None,
    )
    if found.problems:
        raise ComparisonError(
            f"the state is not whole: {found.problems[0]}",
            hint="stop the session, then restore a backup or begin anew from what the exchange "
            "reports (blofin guide state)",
            result=result,
        )
    return result


def _must_be_begun(is_begun: bool, context: Context) -> None:
    """Errors: UsageError when a person named a state that is not there."""
    from blofin_cli.app.settings import DEFAULT

    if not is_begun and context.loaded.origins["state"] != DEFAULT:
        raise UsageError(f"there is no state at {shown_state(context)}", hint="check the path")


def _exported(request: StateRequest, context: Context) -> StateResult:
    from blofin_cli.adapters.store import open_upkeep

    upkeep, shown = open_upkeep(context.state), shown_state(context)
    _must_be_begun(upkeep.is_begun, context)
    if request.file is None:
        records = []
        for record in upkeep.export():
            records.append(record)
            if len(records) > SHOWN_RECORDS_MAX:
                raise RefusedError(
                    f"the state holds more than {SHOWN_RECORDS_MAX} records",
                    hint="name a file: blofin state export FILE",
                )
        return StateResult(state=shown, records=records)
    try:
        handle = os.open(request.file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as lines:
            for record in upkeep.export():
                lines.write(json.dumps(record, allow_nan=False) + "\n")
    except FileExistsError:
        raise RefusedError(
            f"{request.file} is already there", hint="name a file that does not exist"
        ) from None
    except OSError as error:
        raise DataError(
            f"{request.file} cannot be written: {error.strerror or error}",
            hint="name a folder that exists, with space",
        ) from error
    size = request.file.stat().st_size
    return StateResult(state=shown, file=str(request.file), size_bytes=size)


def _copied(request: StateRequest, context: Context) -> StateResult:
    from blofin_cli.adapters.store import open_upkeep

    if request.file is None:
        raise UsageError("a backup needs a file", hint="blofin state backup FILE")
    size = open_upkeep(context.state).back_up(request.file)
    return StateResult(state=shown_state(context), file=str(request.file), size_bytes=size)
