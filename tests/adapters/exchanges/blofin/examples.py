"""BloFin's published payloads, read from the folder beside the repository when it is there."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from blofin_cli.core.market import Instrument

FOLDER = Path(__file__).resolve().parents[4].parent / "shared" / "blofin-examples"
NAMES = sorted(path.name for path in FOLDER.glob("*.json"))
REASON = "the published examples are not beside this repository"

CONTRACT_VALUES = {
    "BTC-USDT": Decimal("0.001"),
    "ETH-USDT": Decimal("0.1"),
    "LTC-USDT": Decimal(1),
    "BNB-USDT": Decimal("0.01"),
    "HOLO-USDT": Decimal(1),
    "BCH-USDT": Decimal("0.1"),
}


def raw(name: str) -> bytes:
    """The bytes of one example."""
    return (FOLDER / name).read_bytes()


def load(name: str) -> Any:
    """One example as Python values."""
    return json.loads(raw(name))


def instrument(symbol: str = "BTC-USDT", **changes: str) -> Instrument:
    """Terms for building requests."""
    texts = {
        "contract_value": "0.001", "lot_size": "0.1", "min_size": "0.1", "tick_size": "0.1",
        "market_size_max": "100000", "limit_size_max": "1000000",
    } | changes  # fmt: skip
    return Instrument(
        symbol=symbol,
        leverage_max=150,
        maintenance_margin=Decimal("0.003"),
        source="test",
        **{name: Decimal(text) for name, text in texts.items()},
    )
