"""Proposals that wait for a person, and what every gate said at the last bars."""

from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll

from blofin_cli.app.desk import gates_of_last_bars
from blofin_cli.core.journal import Decision, Proposal
from blofin_cli.core.quotes import Mode
from blofin_cli.errors import BlofinError
from blofin_cli.faces.tui.gestures import Matter
from blofin_cli.faces.tui.page import Page
from blofin_cli.faces.tui.paint import Paint
from blofin_cli.faces.tui.parts import Panel, Row, Still, Table
from blofin_cli.faces.tui.words import (
    age,
    cell,
    clock,
    lines,
    minute,
    number,
    plain,
    price,
    right,
    venue,
)
from blofin_cli.faces.tui.zone_map import decision_lines

if TYPE_CHECKING:
    from textual.widgets import DataTable

    from blofin_cli.faces.tui.reading import Seen

PROPOSALS = (
    ("Id", 8), ("Symbol", 10), ("Side", 5), (">Entry", 10), (">Stop", 10), (">Target", 10),
    (">Risk", 8), (">Left", 7), ("  From", 10),
)  # fmt: skip
DECISIONS = (
    ("Bar", 13), ("Symbol", 11), ("Action", 7), ("Outcome", 11), ("Refused by", 30),
)  # fmt: skip
BARS = 60


class Signals(Page):
    """Approve or reject; read why."""

    NAME = "signals"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "approve", "approve"),
        Binding("x", "reject", "reject"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._proposals: dict[str, Proposal] = {}
        self._decisions: dict[str, Decision] = {}
        self._bar: object = None

    def content(self) -> ComposeResult:
        """Proposals and decisions, with the one under the cursor in full beside them."""
        with Container(id="signals-body"):
            yield Panel("Proposals", Table(PROPOSALS, id="proposals"), id="proposals-panel")
            with VerticalScroll(id="plan-scroll"):
                yield Panel("Plan", Still(id="plan", classes="wraps"), id="plan-panel")
            yield Panel("Last bars", Table(DECISIONS, id="decisions"), id="decisions-panel")
            with VerticalScroll(id="gates-scroll"):
                yield Panel("Gates", Still(id="gates", classes="wraps"), id="gates-panel")

    def on_mount(self) -> None:
        """Keys go to the proposals first."""
        self.query_one("#proposals", Table).focus()

    def show(self, seen: "Seen") -> None:
        """Proposals with the time they have left; decisions when a bar has closed."""
        result = seen.result
        if result is None:
            return
        self.pass_time(seen)
        bar = None if result.status is None else result.status.last_bar_ms
        if bar != self._bar:
            self._bar = bar
            self.load()

    def pass_time(self, seen: "Seen") -> None:
        """The time that proposals have left."""
        result = seen.result
        if result is None:
            return
        self._proposals = {item.id: item for item in result.proposals}
        rows = [proposal_row(item, result.now_ms) for item in result.proposals]
        self.query_one("#proposals", Table).show(rows)
        self.query_one("#proposals-panel", Panel).rename(f"Proposals  {len(rows) or 'none'}")
        self._show_plan()

    def load(self) -> None:
        """Read the last decisions."""
        self.later(self._load, "decisions")

    async def _load(self) -> None:
        try:
            found = await self.desk.slow.read(lambda c: gates_of_last_bars(c, limit=BARS))
        except BlofinError as error:
            self.desk.complain(error)
            return
        self._decisions = {f"{item.symbol} {item.bar_ms}": item for item in found}
        paint = self.paint
        rows = [(key, decision_cells(item, paint)) for key, item in self._decisions.items()]
        self.query_one("#decisions", Table).show(rows)
        self._show_gates()

    def on_data_table_row_highlighted(self, event: "DataTable.RowHighlighted") -> None:
        """Another row is under the cursor."""
        if event.data_table.id == "proposals":
            self._show_plan()
        else:
            self._show_gates()

    def _show_plan(self) -> None:
        chosen = self._proposals.get(self.query_one("#proposals", Table).current or "")
        text = Text("nothing waits for you", style=self.paint.muted)
        self.query_one("#plan", Still).show(
            text if chosen is None else plan_text(chosen, self.paint)
        )

    def _show_gates(self) -> None:
        chosen = self._decisions.get(self.query_one("#decisions", Table).current or "")
        self.query_one("#gates", Still).show(decision_lines(chosen, self.paint))

    @work(group="acts")
    async def action_approve(self) -> None:
        """Approve the proposal under the cursor; the gate wants the person's own word.

        The word is typed beside the whole plan, so it is the yes to that plan as well. A proposal
        keeps its plan for good, and the command places it only if it is unaltered.
        """
        chosen = self._proposals.get(self.query_one("#proposals", Table).current or "")
        if chosen is not None:
            words = f"approved {chosen.id}"
            matter = approval(chosen)
            await self.desk.say_done("approve", {"id": chosen.id}, words, matter, consent=True)

    @work(group="acts")
    async def action_reject(self) -> None:
        """Reject it; nothing needs to be confirmed."""
        chosen = self._proposals.get(self.query_one("#proposals", Table).current or "")
        if chosen is not None:
            await self.desk.say_done("reject", {"id": chosen.id}, f"rejected {chosen.id}")


def proposal_row(proposal: Proposal, now_ms: int) -> Row:
    """One proposal."""
    plan = proposal.plan
    return proposal.id, (
        cell(proposal.id, "bold"),
        cell(plan.get("symbol")),
        cell(plan.get("side")),
        right(price(_figure(plan.get("entry")))),
        right(price(_figure(plan.get("stop")))),
        right(price(_figure(plan.get("target")))),
        right(number(_figure(plan.get("risk_usdt")))),
        right(age(max(0, proposal.expires_ms - now_ms))),
        cell(f"  {plain(proposal.face, 20)}"),
    )


def _figure(value: object) -> float | None:
    """A number of a plan's record, where it is text; None when it is none."""
    try:
        return float(str(value))
    except ValueError:
        return None


def plan_rows(proposal: Proposal) -> list[tuple[str, object]]:
    """Label and value of what would be placed, in the words of the command that places it."""
    from blofin_cli.app.commands.order import plan_lines
    from blofin_cli.core.tickets import plan_of

    try:
        return plan_lines(plan_of(proposal.plan))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return [("plan", "it cannot be read: reject it")]


def approval(proposal: Proposal) -> Matter:
    """What the person is asked to agree to: the whole plan, and why a person is asked."""
    plan = proposal.plan
    mode, exchange = str(plan.get("mode")), str(plan.get("exchange"))
    real = (venue(mode, exchange),) if mode == str(Mode.LIVE) else ()
    rows = [f"{label:<14} {value}" for label, value in plan_rows(proposal)]
    rows.insert(4, f"{'why asked':<14} {proposal.reason}, by {proposal.face}")  # below the worst
    return Matter(
        f"Approve {proposal.id}: {plan.get('side')} {plan.get('size')} {plan.get('symbol')}?",
        (*real, *rows),
    )


def plan_text(proposal: Proposal, paint: Paint) -> Text:
    """What would be placed, exactly, and why a person is asked."""
    plan = proposal.plan
    rows: list[tuple[str, object]] = [
        ("why asked", Text(plain(proposal.reason, 200), style=paint.entry)),
        *plan_rows(proposal),
        ("zone", f"{plain(plan.get('zone_id'), 80)}, score {plain(plan.get('confidence'), 8)}"),
        ("mandate", plain(plan.get("mandate"), 80)),
        ("asked by", f"{plain(proposal.face, 40)} at {clock(proposal.created_ms)}"),
        ("holds until", f"{clock(proposal.expires_ms)} UTC"),
    ]
    out = lines(rows, paint, 14)
    gates = plan.get("gates")
    for gate in gates if isinstance(gates, list) else ():
        if isinstance(gate, dict):
            is_open = bool(gate.get("passed"))
            out.append("\n✓ " if is_open else "\n✗ ", style=paint.good if is_open else paint.bad)
            words = f"{plain(gate.get('name'), 24).ljust(22)} {plain(gate.get('value'), 16)}"
            out.append(
                f"{words} / {plain(gate.get('threshold'), 16)} {plain(gate.get('note'), 80)}"
            )
    return out


def decision_cells(decision: Decision, paint: Paint) -> tuple[Text, ...]:
    """One bar's decision."""
    refused = ", ".join(gate.name for gate in decision.gates if not gate.passed)
    colour = paint.muted if decision.action == "hold" else paint.good
    return (
        cell(minute(decision.bar_ms), paint.muted),
        cell(decision.symbol),
        cell(decision.action, colour),
        cell(decision.outcome),
        cell(refused or "-", paint.muted),
    )
