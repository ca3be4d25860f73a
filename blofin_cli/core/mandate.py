"""What the owner of an account allows: modes, risk, and whether a stop may ever be missing.

Without a mandate signed by a person the built-in one holds: play money only.
"""

from dataclasses import dataclass
from decimal import Decimal

from blofin_cli.core.quotes import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Mandate:
    """Limits that no command, agent or setting can raise; only a person signs another.

    Units: `risk_fraction_max` share of equity one trade may lose; `notional_usdt_max` None: only
    the account's own limits hold.
    """

    name: str
    modes: frozenset[Mode]
    risk_fraction_max: Decimal
    notional_usdt_max: Decimal | None = None
    allows_no_stop: bool = False


BUILT_IN = Mandate(
    name="built-in",
    modes=frozenset({Mode.DRY_RUN, Mode.DEMO}),
    risk_fraction_max=Decimal("0.02"),
)
