"""What became of a plan so far: the intent it led to, and under which name the session is asked.

A plan is placed once. The intent key says so within one session; these say it across sessions and
for a plan that was refused before, which may be asked for again while it lives.
"""

from blofin_cli.app.context import Context
from blofin_cli.core.journal import Errand, ErrandState, Intent
from blofin_cli.core.tickets import Plan
from blofin_cli.errors import UnknownOutcomeError

ERRANDS_MAX = 20
CLOCKS_APART_MS = 60_000


def led_to(plan: Plan, account: str, context: Context) -> Intent | None:
    """The intent a plan came to, whichever session or command wrote it down."""
    since_ms = plan.created_ms - CLOCKS_APART_MS
    recent = context.journal.intents(account, since_ms=since_ms)
    return next((intent for intent in recent if intent.plan_hash == plan.hash), None)


def errand_id(plan: Plan, context: Context, *, is_agent: bool) -> str:
    """One errand a plan, however often it is asked for; after a definite no the next asks anew.

    An agent's errands are none of the person's who approves its plan. Whichever is done, the
    intent is named after the plan: it is the same order.
    """
    who = "agent" if is_agent else "person"
    names = [f"place-{plan.hash}-{who}-{number}" for number in range(ERRANDS_MAX)]
    fresh = (name for name in names if not _came_to_nothing(context.journal.errand(name)))
    return next(fresh, names[-1])


def _came_to_nothing(errand: Errand | None) -> bool:
    if errand is None or errand.state not in {ErrandState.FAILED, ErrandState.EXPIRED}:
        return False
    told = (errand.answer or {}).get("error", {})
    return bool(told.get("code") != UnknownOutcomeError.code)
