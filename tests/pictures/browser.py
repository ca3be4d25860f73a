"""A headless Chromium driven over a pipe: no port, no socket, no driver to install."""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BINARY = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--disable-component-update",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
]
REPLY_SECONDS_MAX = 40


class Browser:
    """One page of one browser; `console` and `requests` hold what it said and fetched."""

    def __init__(self, to_browser: int, from_browser: int):
        self.to_browser, self.from_browser = to_browser, from_browser
        self.buffer = b""
        self.count = 0
        self.console: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    session: str | None = None

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one command and wait for its answer."""
        self.count += 1
        message: dict[str, Any] = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        return self._until(lambda reply: reply.get("id") == self.count)

    def open(
        self, path: Path, *, width: int = 1400, height: int = 900, scheme: str = "dark"
    ) -> None:
        """Load a file at a window size and colour scheme and wait for it."""
        phone = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone,
        )  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.call("Page.navigate", url=path.absolute().as_uri())
        self._until(lambda reply: reply.get("method") == "Page.loadEventFired")
        self.run(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))"
        )

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        reply = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in reply:
            raise AssertionError(reply["exceptionDetails"])
        return reply["result"].get("value")

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Save what is seen, or the whole page."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _until(self, wanted: Any) -> dict[str, Any]:
        deadline = time.monotonic() + REPLY_SECONDS_MAX
        while True:
            while b"\0" in self.buffer:
                raw, self.buffer = self.buffer.split(b"\0", 1)
                reply = json.loads(raw)
                self._note(reply)
                if wanted(reply):
                    if "error" in reply:
                        raise AssertionError(reply["error"])
                    return dict(reply.get("result", {}))
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.from_browser], [], [], left)[0]:
                raise TimeoutError("the browser did not answer")
            chunk = os.read(self.from_browser, 1 << 16)
            if not chunk:
                raise ConnectionError("the browser went away")
            self.buffer += chunk

    def _note(self, reply: dict[str, Any]) -> None:
        params = reply.get("params", {})
        match reply.get("method"):
            case "Runtime.consoleAPICalled":
                self.console.append(f"{params['type']}: {params['args']}")
            case "Runtime.exceptionThrown":
                self.console.append(str(params["exceptionDetails"]))
            case "Log.entryAdded":
                self.console.append(str(params["entry"]))
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])


@contextmanager
def browser() -> Iterator[Browser]:
    """A running browser; ended with its profile when the block ends."""
    assert BINARY is not None
    read_theirs, write_ours = os.pipe()
    read_ours, write_theirs = os.pipe()
    profile = tempfile.mkdtemp(prefix="pictures-")
    # The browser reads commands from descriptor 3 and answers on 4.
    shell = f'exec "$0" "$@" 3<&{read_theirs} 4>&{write_theirs}'
    process = subprocess.Popen(
        ["/bin/bash", "-c", shell, BINARY, *FLAGS, f"--user-data-dir={profile}"],
        pass_fds=(read_theirs, write_theirs),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(read_theirs)
    os.close(write_theirs)
    try:
        yield Browser(write_ours, read_ours)
    finally:
        process.terminate()
        process.wait(10)
        os.close(write_ours)
        os.close(read_ours)
        shutil.rmtree(profile, ignore_errors=True)
