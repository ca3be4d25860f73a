"""Plays answers written down in files: a server that stands in for an exchange.

A file of `answers/NAME/` is `{"source": ..., "answers": [...]}`. An answer is given to a request
of its `method` and `path` whose parameters match every expression of `when`, while all flags of
`if` are up and none of `unless`; it then puts up the flags of `set` and takes down those of
`clear`. The first that fits wins. Rows of a list may carry `"@if"` themselves. `page` names the
field (or column) of a row's time and makes a list obey startTime, endTime and limit.
"""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

FOLDER = Path(__file__).parent / "answers"


class Player:
    """Answers of one exchange on a port of this machine, for the length of a `with` block."""

    def __init__(self, name: str) -> None:
        files = sorted((FOLDER / name).glob("*.json"))
        told = [json.loads(path.read_text()) for path in files]
        assert told
        assert all(file["source"] for file in told)
        self.answers = [answer for file in told for answer in file["answers"]]
        self.flags: set[str] = set()
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Player":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, given: dict[str, str]) -> tuple[int, Any]:
        """Status and body; 501 for what nobody wrote down."""
        self.asked.append((method, path, given))
        for entry in self.answers:
            if (entry["method"], entry["path"]) == (method, path) and self._fits(entry, given):
                self.flags |= set(entry.get("set", ()))
                self.flags -= set(entry.get("clear", ()))
                return entry.get("status", 200), self._body(entry, given)
        return 501, {"code": -1, "msg": f"nobody wrote down {method} {path} {given}"}

    def _fits(self, entry: dict[str, Any], given: dict[str, str]) -> bool:
        texts = entry.get("when", {}).items()
        return (
            all(re.fullmatch(text, given.get(name, "")) for name, text in texts)
            and self.flags >= set(entry.get("if", ()))
            and not self.flags & set(entry.get("unless", ()))
        )

    def _body(self, entry: dict[str, Any], given: dict[str, str]) -> Any:
        body = entry["body"]
        if not isinstance(body, list):
            return body
        rows = [self._row(row) for row in body if not isinstance(row, dict) or self._is_up(row)]
        return rows if "page" not in entry else _page(rows, entry["page"], given)

    def _is_up(self, row: dict[str, Any]) -> bool:
        return self.flags >= set(row.get("@if", ()))

    def _row(self, row: Any) -> Any:
        return {k: v for k, v in row.items() if k != "@if"} if isinstance(row, dict) else row

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        player = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                parts = urlsplit(self.path)
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length).decode()
                given = dict(parse_qsl(parts.query)) | dict(parse_qsl(body))
                status, told = player.answer(self.command, parts.path, given)
                text = json.dumps(told).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_DELETE = do_PUT = _serve  # noqa: N815 - names of http.server

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


def _page(rows: list[Any], field: Any, given: dict[str, str]) -> list[Any]:
    """Binance's rule: from startTime on the first `limit`, else the last."""
    start, end = int(given.get("startTime", 0)), int(given.get("endTime", 2**60))
    kept = [row for row in rows if start <= row[field] <= end]
    limit = int(given.get("limit", 500))
    return kept[:limit] if "startTime" in given else kept[-limit:]
