"""The browser of the pictures, made to walk through a website."""

import json
import time
from collections.abc import Callable
from typing import Any

from tests.pictures.browser import Browser

DESKTOP, PHONE = (1440, 900), (390, 844)
WAIT_S_MAX = 15.0


def visit(
    page: Browser, url: str, size: tuple[int, int] = DESKTOP, *, scheme: str = "dark"
) -> None:
    """Go to an address at a window size and wait for its load event."""
    width, height = size
    phone = width < 600
    page.call(
        "Emulation.setDeviceMetricsOverride",
        width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone,
    )  # fmt: skip
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.call("Emulation.setEmulatedMedia", features=features)
    page.call("Page.navigate", url=url)
    page._until(lambda reply: reply.get("method") == "Page.loadEventFired")


def fill(page: Browser, selector: str, text: str) -> None:
    """Put text into a field as a person's typing would leave it."""
    page.run(
        f"(() => {{ const field = document.querySelector({json.dumps(selector)});"
        f" field.value = {json.dumps(text)};"
        " field.dispatchEvent(new Event('input', {bubbles: true}));"
        " field.dispatchEvent(new Event('change', {bubbles: true})); return 1; })()"
    )


def submit(page: Browser, selector: str) -> None:
    """Press a button that leads to another page, and wait for that."""
    page.call(
        "Runtime.evaluate",
        expression=f"setTimeout(() => document.querySelector({json.dumps(selector)}).click(), 0)",
    )
    page._until(lambda reply: reply.get("method") == "Page.loadEventFired")


def until(page: Browser, script: str, is_right: Callable[[Any], bool] = bool) -> Any:
    """The value of an expression once it is as wanted."""
    deadline = time.monotonic() + WAIT_S_MAX
    while True:
        found = page.run(script)
        if is_right(found):
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{script} stayed {found!r}")
        time.sleep(0.1)


def sign_in(page: Browser, address: str, password: str, size: tuple[int, int] = DESKTOP) -> None:
    """Through the form, to the dashboard."""
    visit(page, address, size)
    fill(page, "#password", password)
    submit(page, "form button")
