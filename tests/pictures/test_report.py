"""The report's text, with scripts or without."""

import json
import re
from dataclasses import fields, replace
from html.parser import HTMLParser
from typing import Any

import numpy as np

from blofin_cli.core.market import Trade
from blofin_cli.pictures.page import notice, vendored
from blofin_cli.pictures.report import report_html
from blofin_cli.pictures.tables import histogram, month_table
from blofin_cli.pictures.views import Month, ReportView, Series
from tests.pictures import samples

ATTRIBUTION = "https://www.tradingview.com/"


class Page(HTMLParser):
    """Elements, addresses and text of a page, scripts and styles apart."""

    def __init__(self, html: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside in self.raw:
            self.raw[self.inside].append(data)
        else:
            self.text.append(data)

    def count(self, name: str) -> int:
        return sum(tag == name for tag, _ in self.elements)

    @property
    def data(self) -> Any:
        return json.loads(self.raw["script"][0])


def test_verdict_stands_first_with_every_failed_item() -> None:
    """A reader meets the verdict in words before any number."""
    view = samples.report_view()
    text = "\n".join(Page(report_html(view)).text)
    first = text.index("No evidence of an edge")
    assert all(text.index(item) > first for item in view.verdict_failed)
    assert max(text.index(item) for item in view.verdict_failed) < text.index("Expectancy")


def test_validated_verdict_promises_nothing() -> None:
    """Passing is evidence; the page says that it is no more."""
    view = replace(samples.report_view(), verdict_status="validated", verdict_failed=())
    text = "\n".join(Page(report_html(view)).text)
    assert "Validated" in text
    assert "not a promise" in text


def test_page_fetches_nothing_and_links_only_the_attribution() -> None:
    """Self-contained: no source, no import, no address but the one the licence asks for."""
    page = Page(report_html(samples.report_view()))
    addresses = [
        attributes[name]
        for _, attributes in page.elements
        for name in ("src", "href", "action", "srcset", "data")
        if name in attributes
    ]
    assert [address for address in addresses if not (address or "").startswith("#")] == [
        ATTRIBUTION
    ]
    style = "".join(page.raw["style"])
    assert "url(" not in style
    assert "@import" not in style
    ours = [script for script in page.raw["script"] if "TradingView Lightweight" not in script]
    assert not any("http" in script for script in ours)
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert notice().split(" http")[0] in " ".join("".join(page.text).split())


def test_hostile_text_in_every_field_stays_text() -> None:
    """The page has the same elements whatever its texts say."""
    evil = samples.HOSTILE
    view = samples.report_view(300)
    texts: dict[str, Any] = dict.fromkeys(_text_fields(), evil)
    trades = [replace(each, **texts, tags=[evil]) for each in view.trades]
    hostile = replace(
        view,
        title=evil,
        verdict_failed=[evil],
        run={evil: evil},
        baselines={evil: {evil: 1.0}},
        groups={evil: [replace(view.groups["symbol"][0], label=evil)]},
        costs=[replace(view.costs[0], name=evil)],
        months=[Month(f"2024-0{evil}", 1, 1.0, 0.1)],
        assumptions=[evil],
        config=[replace(view.config[0], key=evil, value=evil, origin=evil)],
        digests={evil: evil},
        equity_lines={evil: view.equity},
        trades=trades,
    )
    page = Page(report_html(hostile))
    assert page.count("script") == 4
    assert page.count("img") == 0
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert page.data["trades"]["note"][0].startswith("</script>")


def _text_fields() -> list[str]:
    return [field.name for field in fields(Trade) if field.type is str and field.name != "side"]


def test_unknown_numbers_are_dashes() -> None:
    """NaN, None and infinity never reach the page."""
    view = samples.report_view(300)
    metrics = {**view.metrics, "sharpe": float("inf"), "profit_factor": None}
    html = report_html(replace(view, metrics=metrics))
    page = Page(html)
    text = " ".join(page.text)
    assert not re.search(r"\b(nan|inf|None)\b", text)
    assert "\N{EN DASH}" in text
    json.dumps(page.data, allow_nan=False)


def test_empty_report_still_opens_with_its_verdict() -> None:
    """No trades, no candles, no equity: sections disappear, the verdict stays."""
    empty = Series(np.empty(0, dtype=np.int64), np.empty(0))
    page = Page(report_html(ReportView("Nothing", "no_evidence", ["no trades"], {}, empty)))
    assert "No evidence of an edge" in page.text
    assert "no trades" in page.text
    assert page.data["trades"] == {}


def test_every_table_has_a_caption_and_a_name() -> None:
    """A screen reader can tell the tables apart and reach those that scroll."""
    page = Page(report_html(samples.report_view()))
    assert page.count("table") == page.count("caption") > 5
    regions = [a for _, a in page.elements if a.get("role") == "region"]
    assert len(regions) == page.count("table")
    assert all(region.get("aria-label") and region.get("tabindex") == "0" for region in regions)
    assert not any("style" in attributes for _, attributes in page.elements)


def test_equity_is_thinned_and_trades_go_once() -> None:
    """Charts get bounded data; the trade list is the only copy of the trades."""
    view = samples.report_view()
    ms = np.arange(30_000, dtype=np.int64) * 900_000
    long = Series(ms, 10_000 + np.sin(ms / 3e8) * 500)
    data = Page(report_html(replace(view, equity=long))).data
    assert len(data["equity"]["t"]) <= 2_000
    assert len(data["drawdown"]["t"]) <= 2_000
    assert max(data["drawdown"]["v"]) <= 0
    assert len(data["trades"]["id"]) == len(view.trades)
    assert all(chart["trades"] == [] for chart in data["price_series"])


def test_month_table_adds_r_and_compounds_returns() -> None:
    """Known answer: +10 % and -10 % make -1 %, and an unknown month makes the year unknown."""
    known = [Month("2023-01", 3, 2.0, 0.10), Month("2023-03", 2, -1.0, -0.10)]
    table = month_table([*known, Month("2024-01", 1, 1.0, None), Month("2024-02", 1, 1.0, 0.1)])
    rows = table.split("<tr>")
    assert "+1.0<small>\N{MINUS SIGN}1.0 %" in rows[2]
    assert "+2.0<small>\N{EN DASH}</small>" in rows[3]


def test_histogram_counts_every_trade_once() -> None:
    """Tails fall into the outer bins."""
    multiples = [-9.0, -1.0, -1.0, 0.1, 2.3, 40.0]
    counts = [int(count) for count in re.findall(r"R: (\d+) trades", histogram(multiples))]
    assert sum(counts) == len(multiples)


def test_vendored_files_are_the_recorded_ones(vendor_digests: dict[str, str]) -> None:
    """What is shipped is what was reviewed, version and digest."""
    assert {name: entry["sha256"] for name, entry in vendored().items()} == vendor_digests
    assert vendored()["lightweight-charts.js"]["version"].startswith("5.2.")
