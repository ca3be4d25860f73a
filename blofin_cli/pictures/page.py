"""One self-contained HTML file: inlined scripts and styles, and a policy that lets nothing else in.

The policy names each script and style by its digest, so that even markup smuggled into a note could
not run, and forbids every request. The only outside address is the attribution link that the
chart library's licence asks for; it is followed by a person or not at all.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from blofin_cli.pictures.looks import theme_css
from blofin_cli.pictures.markup import Markup, join, tag
from blofin_cli.pictures.payload import to_json

LIBRARY = "lightweight-charts.js"


@cache
def vendored() -> dict[str, dict[str, Any]]:
    """What is known of each vendored file, by its name: version, licence, digest."""
    return {entry["file"]: entry for entry in json.loads(_resource("vendor/vendor.json"))}


@cache
def library_script() -> str:
    """The charting library's source text."""
    return _resource(f"vendor/{LIBRARY}")


@cache
def asset(name: str) -> str:
    """One of our own scripts or styles."""
    return _resource(f"assets/{name}")


@cache
def notice() -> str:
    """The attribution that the charting library's licence requires on every page."""
    return " ".join(_resource("vendor/lightweight-charts.NOTICE").split())


def page(title: str, body: Markup, data: object, scripts: Sequence[str]) -> str:
    """The whole document; `data` is what the scripts find in the element `data`."""
    style = theme_css() + asset("style.css")
    sources = [library_script(), *(asset(name) for name in scripts)]
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"script-src {' '.join(_digest(source) for source in sources)}; "
        f"style-src {_digest(style)} 'sha256-{vendored()[LIBRARY]['style_sha256']}'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", Markup(style)),
    )
    tail = join(
        tag("script", to_json(data), type="application/json", id="data"),
        *(tag("script", Markup(source)) for source in sources),
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', body, tail), lang='en')}\n"


def display_buttons() -> Markup:
    """Buttons for the theme and for colours that suit colour-blind readers."""
    return tag(
        "div",
        tag("button", "Theme", type="button", id="theme", title="Light, dark, or as the system"),
        tag(
            "button",
            "Colour-blind",
            type="button",
            id="colours",
            aria_pressed="false",
            title="Blue and orange instead of green and red",
        ),
        class_="buttons",
        role="group",
        aria_label="Display",
    )


def attribution() -> Markup:
    """The library's notice with its link."""
    text, link = notice().rsplit(" ", 1)
    return tag(
        "p",
        "Charts: ",
        text,
        " ",
        tag("a", link, href=link, rel="noopener noreferrer", target="_blank"),
        class_="notice",
    )


def _resource(name: str) -> str:
    return (files("blofin_cli.pictures") / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
