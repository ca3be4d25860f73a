"""The halt flag in its two places, and the pauses.

Either place suffices. Raising the flag writes the file first and the database second, each whether
or not the other took it; taking it down goes the other way round. So a halt that comes while
another person resumes is never lost, and a crash half way leaves trading halted.
"""

import contextlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from blofin_cli.adapters.store.database import Database, Tables
from blofin_cli.adapters.store.file import sync_folder
from blofin_cli.adapters.store.records import packed, unpacked
from blofin_cli.core.journal import Halt, Pause
from blofin_cli.errors import BlofinError, DataError

HALT_FILE = "HALT"
HALT_BYTES_MAX = 65_536


class HaltFile:
    """The file HALT in a folder: when it is there, in whatever shape, trading is halted."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / HALT_FILE

    def read(self) -> Halt | None:
        """The halt the file tells; anything that cannot be read is a halt as well."""
        try:
            status = os.lstat(self.path)
        except FileNotFoundError:
            return None
        except OSError as error:
            return self._unclear(f"cannot be looked at: {error.strerror}", 0)
        changed_ms = int(status.st_mtime * 1000)
        try:
            with self.path.open("rb") as file:
                content = file.read(HALT_BYTES_MAX)
            if not content.strip():
                return self._unclear("is there", changed_ms)
            return Halt(**_checked(json.loads(content)))
        except (OSError, ValueError, TypeError):
            return self._unclear("is there and tells no cause", changed_ms)

    def write(self, halt: Halt) -> None:
        """Put the file there, whole and durable. Errors: OSError."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self.path.with_name(f".{HALT_FILE}.{os.getpid()}")
        try:
            handle = os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(json.dumps(asdict(halt)) + "\n")
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path)
            sync_folder(self.path.parent)
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)

    def touch(self) -> bool:
        """Put the file there empty, which a full disk still allows and which halts all the same;
        False when not even that can be done."""
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o600))
            sync_folder(self.path.parent)
        except OSError:
            return False
        return True

    def remove(self) -> bool:
        """Take the file away; False when there was none. Errors: OSError."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        sync_folder(self.path.parent)
        return True

    def _unclear(self, what: str, ts_ms: int) -> Halt:
        return Halt(ts_ms=ts_ms, face="file", cause=f"the file {self.path} {what}")


def _checked(content: object) -> dict[str, Any]:
    """What the file may hold; a text where a number belongs is no halt record."""
    if not isinstance(content, dict):
        raise TypeError("no object")
    kinds = {"ts_ms": int, "face": str, "cause": str, "flatten": bool}
    if any(not isinstance(content.get(name), kind) for name, kind in kinds.items()):
        raise TypeError("no halt")
    return {name: content[name] for name in kinds}


class Halting:
    """Halts and pauses over a database and the HALT files beside it."""

    _db: Database
    _halt_files: tuple[HaltFile, ...]

    def halted(self) -> Halt | None:
        """The halt in force; never None when one of the places cannot be read."""
        told = self._told_by_file()
        try:
            with self._db.reading(is_quick=True) as tables:
                kept = None if tables is None else halt_in(tables)
        except DataError:
            if told is not None:
                return told
            raise
        return kept or told

    def set_halt(self, halt: Halt) -> tuple[str, ...]:
        """Raise the flag in both places; what could not be written, in words."""
        problems = [*self._set_files(halt)]
        has_file = len(problems) < len(self._halt_files)
        try:
            with self._db.writing(is_durable=True) as tables:
                _set(tables, halt)
        except DataError as problem:
            if not has_file:
                raise DataError(
                    f"the halt flag could not be set anywhere: {'; '.join(problems)}; "
                    f"{problem.message}",
                    hint=f"end the session's process, or make the file {self._halt_files[0].path}",
                ) from problem
            problems.append(problem.message)
        return tuple(problems)

    def clear_halt(self, ts_ms: int, face: str) -> bool:
        """Take the flag down in both places; False when there was none."""
        with self._db.writing(is_durable=True) as tables:
            was_kept = tables.write(
                "update halts set cleared_ms = :ts_ms, cleared_by = :face where cleared_ms is null",
                {"ts_ms": ts_ms, "face": face},
            )
        try:
            were_there = [file.remove() for file in self._halt_files]
        except OSError as error:
            raise DataError(
                f"trading stays halted: {error.filename} cannot be removed: {error.strerror}",
                hint="remove it by hand, then run blofin resume again",
            ) from error
        return was_kept > 0 or any(were_there)

    def pauses(self) -> tuple[Pause, ...]:
        """Pauses in force."""
        with self._db.reading() as tables:
            return () if tables is None else pauses_in(tables)

    def set_pause(self, pause: Pause) -> None:
        """Pause a symbol, or all as `*`; replaces the one it had."""
        with self._db.writing(is_durable=True) as tables:
            tables.write(
                "insert into pauses (symbol, document) values (:symbol, :document)"
                " on conflict (symbol) do update set document = excluded.document",
                {"symbol": pause.symbol, "document": packed(pause)},
            )

    def clear_pause(self, symbol: str) -> bool:
        """End a pause; False when there was none."""
        with self._db.writing(is_durable=True) as tables:
            return tables.write("delete from pauses where symbol = :symbol", {"symbol": symbol}) > 0

    def _told_by_file(self) -> Halt | None:
        told = (file.read() for file in self._halt_files)
        return next((halt for halt in told if halt is not None), None)

    def _set_files(self, halt: Halt) -> Iterable[str]:
        """Write each file; the first halt's cause stays. What failed, in words."""
        for file in self._halt_files:
            known = file.read()
            whole = halt if known is None or known.face == "file" else _merged(known, halt)
            try:
                if known != whole:
                    file.write(whole)
            except OSError as error:
                if (
                    known is None and not file.touch()
                ):  # else it is there and halts, whatever it says
                    yield f"the file {file.path} could not be written: {error.strerror or error}"


def halt_in(tables: Tables) -> Halt | None:
    """The halt in force as the database has it."""
    found = tables.ask(
        "select id, document from halts where cleared_ms is null order by id limit 1"
    )
    return unpacked(Halt, found[0][1], f"halt {found[0][0]}") if found else None


def pauses_in(tables: Tables) -> tuple[Pause, ...]:
    """The pauses as the database has them."""
    found = tables.ask("select document, symbol from pauses order by symbol")
    return tuple(unpacked(Pause, text, symbol) for text, symbol in found)


def _set(tables: Tables, halt: Halt) -> None:
    try:
        known = halt_in(tables)
    except BlofinError:  # a damaged flag halts; a whole one beside it tells why
        known = None
    if known is None:
        tables.write(
            "insert into halts (ts_ms, document) values (:ts_ms, :document)",
            {"ts_ms": halt.ts_ms, "document": packed(halt)},
        )
    elif _merged(known, halt) != known:
        tables.write(
            "update halts set document = :document where cleared_ms is null",
            {"document": packed(_merged(known, halt))},
        )


def _merged(first: Halt, second: Halt) -> Halt:
    """The first halt's cause, and the wish to be flat of either."""
    return replace(first, flatten=first.flatten or second.flatten)
