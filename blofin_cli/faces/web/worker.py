"""A process of its own for one long command: progress as JSON lines, and at last its result.

Minutes of arithmetic must not slow the server that holds the halt button, and ending a process
ends whatever it was doing.
"""

import asyncio
import contextlib
import json
import sys
from typing import Any

from blofin_cli.errors import BlofinError, ComparisonError

RESULT_BYTES_MAX = 4_000_000


def main() -> int:
    """Run the command that stdin describes."""
    from blofin_cli.app import catalog
    from blofin_cli.app.context import Context
    from blofin_cli.app.spec import invoke

    order = json.loads(sys.stdin.readline())
    context = Context(
        face="web",
        client=order["client"],
        state_override=order["state"],
        consent=order["consent"],
        progress=_progress,
        say=lambda text: _tell("say", text),
    )
    try:
        result = asyncio.run(invoke(catalog.load(order["name"]), order["arguments"], context))
    except ComparisonError as error:
        if error.result is not None:
            _tell_result(error.result)
        _tell("error", error.envelope()["error"])
    except BlofinError as error:
        _tell("error", error.envelope()["error"])
    except Exception as defect:  # noqa: BLE001  # boundary: the page shows it, the process ends
        what = f"{type(defect).__name__}: {ascii(str(defect))[1:-1][:200]}"
        _tell("error", BlofinError(f"a defect in blofin-cli: {what}").envelope()["error"])
    else:
        _tell_result(result)
    return 0


def _tell_result(result: Any) -> None:
    from blofin_cli.faces.render import json_ready, summary_text

    whole = json_ready(result)
    if len(json.dumps(whole)) > RESULT_BYTES_MAX:
        whole = {"run_id": whole.get("run_id"), "note": "too long to show whole; it is saved"}
    _tell("summary", [[label, summary_text(label, value)] for label, value in result.summary()])
    _tell("result", whole)


def _progress(done: int, total: int, text: str) -> None:
    _tell("progress", [done, total, text])


def _tell(kind: str, value: Any) -> None:
    with contextlib.suppress(OSError, ValueError):  # the server has gone; the work goes on
        sys.stdout.write(json.dumps({kind: value}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
