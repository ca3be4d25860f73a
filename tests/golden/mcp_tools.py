"""Remake `mcp_tools.json`, what agents are offered when every group is on.

    python -m tests.golden.mcp_tools

Read every changed line before it is committed: agents depend on these names and sentences.
"""

import json
import sys
from pathlib import Path
from typing import Any

from blofin_cli.app import catalog
from blofin_cli.faces.mcp.schemas import tool_records
from blofin_cli.faces.mcp.toolset import offer_of

GOLDEN = Path(__file__).parent / "mcp_tools.json"


def golden() -> list[dict[str, Any]]:
    """Every tool as `tools/list` sends it."""
    offer = offer_of(catalog.load_all().values(), toolset="all", allow_trading=True)
    return tool_records(offer)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(golden(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.stdout.write(f"{GOLDEN}\n")
