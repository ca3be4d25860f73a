"""Starting a session from the dashboard: in a process of its own that outlives the screen."""

import subprocess
import sys
from typing import TYPE_CHECKING

from blofin_cli.core.quotes import Mode
from blofin_cli.faces.tui.gestures import Field, Form, TypeIn

if TYPE_CHECKING:
    from blofin_cli.faces.tui.app import Desk

ALIVE = {"starting", "reconciling", "trading", "paused", "halted", "stopping"}


async def start_session(desk: "Desk") -> None:
    """Ask what to run and start it; a change of mode wants a flat account or a typed word.

    A live session is never started from here alone: `run` itself asks for what live needs, in a
    terminal.
    """
    result, status = desk.seen.result, desk.status
    if result is not None and result.state in ALIVE:
        desk.tell("a session is running; halt it or stop it first", is_bad=True)
        return
    symbols = " ".join(status.symbols) if status is not None else "BTC-USDT"
    fields = (
        Field("symbols", "Symbols", symbols),
        Field("mode", "Mode", "dry-run", tuple(str(mode) for mode in Mode)),
        Field("timeframe", "Entry timeframe", "15m" if status is None else status.timeframe),
    )
    answers = await desk.push_screen_wait(Form("Start a session", fields))
    if answers is None or "symbols" not in answers:
        return
    mode = answers.get("mode", "dry-run")
    before = "dry-run" if status is None else status.mode
    if not await _agreed(desk, mode, before, 0 if status is None else len(status.positions)):
        return
    words = ["run", *answers["symbols"].split(), "--mode", mode]
    words += ["--timeframe", answers.get("timeframe", "15m")]
    start(desk, words, is_agreed=mode != "dry-run")


async def _agreed(desk: "Desk", mode: str, before: str, positions: int) -> bool:
    """Whether the person typed what this start needs; nothing for another dry run while flat."""
    question = ""
    if mode != before and positions:
        question = f"{positions} positions of the {before} session are open. Start {mode} anyway?"
    elif mode != "dry-run":
        question = f"Start a {mode} session? It places orders at the exchange."
    if not question:
        return True
    word = f"start {mode}"
    return await desk.push_screen_wait(TypeIn(question, word=word)) == word


def start(desk: "Desk", words: list[str], *, is_agreed: bool) -> None:
    """Start `blofin` with these words, apart from this terminal; its end is in the journal."""
    command = [sys.executable, "-m", "blofin_cli", *words]
    command += ["--state", desk.context().state]
    command += ["--yes"] if is_agreed else []
    try:
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        desk.tell(f"the session could not be started: {error}", is_bad=True)
        return
    desk.tell("starting: its heartbeat appears within seconds, its reasons in the log")
