"""I30: whatever face asks, there is one way to an order that can open something."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "blofin_cli"
OPENS = {"place", "place_many"}
CALLS = {
    ("engine/gate.py", "self._exchange"),  # the door
    ("engine/live/trader.py", "self.gate"),
    ("engine/live/trader.py", "self"),
    ("engine/live/errands.py", "self._trader"),
    ("app/orders.py", "gate"),
    ("app/drill.py", "exchange"),  # its own box, which it started for the drill
}
KEYS_HANDED_OUT = {"app/running.py", "app/orders.py"}


def calls(path: Path) -> list[ast.Call]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def sources() -> dict[str, Path]:
    """Every module but the adapters, which are what is called, by its place in the package."""
    return {
        str(path.relative_to(PACKAGE)): path
        for path in PACKAGE.rglob("*.py")
        if "adapters" not in path.parts
    }


def test_only_the_gate_places_orders():
    """A second caller of `place` would be a second way around halt, mandate and limits."""
    found = {
        (name, ast.unparse(call.func.value))
        for name, path in sources().items()
        for call in calls(path)
        if isinstance(call.func, ast.Attribute) and call.func.attr in OPENS
    }
    assert found == CALLS


def test_only_two_callers_hold_an_account_that_can_open():
    """The session, and an order while there is none; every other command gets less."""
    found = {
        name
        for name, path in sources().items()
        for call in calls(path)
        if isinstance(call.func, ast.Name) and call.func.id == "open_trading"
    }
    assert found == KEYS_HANDED_OUT
