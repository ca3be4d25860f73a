"""Starting a session from the dashboard: in a process of its own that outlives the screen."""

from typing import TYPE_CHECKING

from blofin_cli.core.quotes import Mode
from blofin_cli.faces.tui.gestures import Field, Form, Matter
from blofin_cli.faces.tui.words import venue

if TYPE_CHECKING:
    from blofin_cli.faces.tui.app import Desk

ALIVE = {"starting", "reconciling", "trading", "paused", "halted", "stopping"}


async def start_session(desk: "Desk") -> None:
    """Ask what to run and start it detached.

    Another mode than the last session's wants a flat account or a typed word; what is no dry run
    wants the gate's word besides.
    """
    result, status = desk.seen.result, desk.status
    if result is not None and result.state in ALIVE:
        desk.tell("a session is running; stop it first", is_bad=True)
        return
    symbols = " ".join(status.symbols) if status is not None else "BTC-USDT"
    fields = (
        Field("symbol", "Symbols", symbols),
        Field("mode", "Mode", str(Mode.DRY_RUN), tuple(str(mode) for mode in Mode)),
        Field("exchange", "Exchange", "blofin" if status is None else status.exchange),
        Field("timeframe", "Entry timeframe", "15m" if status is None else status.timeframe),
    )
    answers = await desk.push_screen_wait(Form("Start a session", fields))
    if answers is None or "symbol" not in answers:
        return
    mode = answers.get("mode", str(Mode.DRY_RUN))
    held = 0 if status is None else len(status.positions)
    if status is not None and mode != status.mode and held:
        question = f"{held} positions of the {status.mode} session are open. Start {mode} anyway?"
        if not await desk.typed(Matter(question, word=f"start {mode}")):
            return
    arguments: dict[str, object] = {**answers, "mode": mode, "symbol": answers["symbol"].split()}
    await desk.say_done(
        "run", {**arguments, "detach": True}, "the session is starting", session_matter(answers)
    )


def session_matter(answers: dict[str, str]) -> Matter:
    """What is about to be started, and the word for it: a live one wants `live`."""
    mode = answers.get("mode", str(Mode.DRY_RUN))
    is_live = mode == str(Mode.LIVE)
    lines = [
        venue(mode, answers.get("exchange", "the exchange of the settings")),
        f"symbols {answers['symbol']}",
        f"timeframe {answers.get('timeframe', 'of the settings')}",
    ]
    if is_live:
        lines.insert(1, "The session places, moves and closes orders there without asking again.")
    name = "Trade with REAL MONEY?" if is_live else f"Start a {mode} session?"
    return Matter(name, tuple(lines), "live" if is_live else "run")
