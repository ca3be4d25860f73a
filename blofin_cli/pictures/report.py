"""The backtest report: one HTML file that says first whether there is anything to believe.

Tables are written here, so they can be read without JavaScript; charts and the trade list are drawn
by `assets/report.js` from the data at the end of the page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from blofin_cli.pictures.markup import Markup, join, tag
from blofin_cli.pictures.metrics import (
    column_label,
    is_signed,
    metric_label,
    metric_order,
    metric_text,
)
from blofin_cli.pictures.page import attribution, display_buttons, page
from blofin_cli.pictures.payload import (
    Json,
    as_columns,
    at_most,
    chart_payload,
    drawdown_of,
    series_columns,
    thinned,
    trade_payload,
)
from blofin_cli.pictures.tables import (
    cost_table,
    group_table,
    histogram,
    month_table,
    scrollable,
    setting_table,
)
from blofin_cli.pictures.views import ChartView, Number, ReportView
from blofin_cli.pictures.wording import MISSING, is_known, number, percent, plain, words

EQUITY_POINTS_MAX = 2_000
# Four years of 1h bars for one symbol; many symbols share what a page can hold.
CANDLES_MAX = 36_000
CANDLES_MIN = 5_000
CANDLES_ALL_MAX = 150_000
TRADES_MAX = 50_000
CARDS = (
    "expectancy_r",
    "win_rate",
    "reward_risk",
    "profit_factor",
    "total_return",
    "max_drawdown",
    "sharpe",
    "trades",
)


def report_html(report: ReportView) -> str:
    """The whole report as one HTML document that needs no network.

    Invariants: the same view gives the same text; every text of the view is inert.
    """
    sections = [
        ("metrics", "Metrics", _metrics(report)),
        ("equity", "Equity", _equity(report)),
        ("price", "Chart", _price(report)),
        ("spread", "R and costs", _spread_and_costs(report)),
        ("months", "Months", _months(report)),
        ("groups", "Breakdown", _groups(report)),
        ("trades", "Trades", _trades(report)),
        ("assumptions", "Assumptions", _assumptions(report)),
        ("settings", "Settings", _settings(report)),
    ]
    present = [(name, title, content) for name, title, content in sections if content is not None]
    links = [tag("a", title, href=f"#{name}") for name, title, _ in present]
    body = tag(
        "div",
        _header(report),
        tag("main", _verdict(report), _cards(report)),
        tag("nav", *links, aria_label="Sections"),
        *(tag("section", content, id=name) for name, _, content in present),
        tag("footer", attribution()),
        class_="report",
    )
    return page(report.title, body, _data(report), ("chart.js", "report.js"))


def _data(report: ReportView) -> Json:
    """What the scripts draw; equity keeps its extremes, candles fold until they fit."""
    equity = thinned(report.equity, EQUITY_POINTS_MAX)
    drawdown = report.drawdown or drawdown_of(report.equity)
    lines = [
        {"name": name, **series_columns(thinned(series, EQUITY_POINTS_MAX), 2)}
        for name, series in report.equity_lines.items()
    ]
    return {
        "equity": series_columns(equity, 2),
        "drawdown": _below_zero(series_columns(thinned(drawdown, EQUITY_POINTS_MAX), 5)),
        "equity_lines": lines,
        "price_series": [
            chart_payload(view, CANDLES_MAX, with_trades=False) for view in _folded(report)
        ],
        "trades": as_columns([trade_payload(trade) for trade in report.trades[-TRADES_MAX:]]),
    }


def _below_zero(columns: Json) -> Json:
    """Drawdown drawn downwards, whichever sign the caller gave it."""
    return {**columns, "v": [-abs(value) for value in columns["v"]]}


def _folded(report: ReportView) -> list[ChartView]:
    """The price series with candles coarse enough for one page to hold them all."""
    share = CANDLES_ALL_MAX // max(1, len(report.price_series))
    bars = min(CANDLES_MAX, max(CANDLES_MIN, share))
    return [replace(view, candles=at_most(view.candles, bars)) for view in report.price_series]


def _header(report: ReportView) -> Markup:
    facts = [
        tag("div", tag("dt", words(name)), tag("dd", _shown(value)))
        for name, value in report.run.items()
    ]
    return tag(
        "header",
        tag("div", tag("h1", report.title), display_buttons(), class_="row"),
        tag("dl", *facts, class_="facts") if facts else None,
        tag("noscript", tag("p", "Charts and the trade list need JavaScript; the tables do not.")),
    )


def _shown(value: object) -> str:
    """A fact of the run: numbers with separators, lists with commas, nothing as a dash."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        whole = float(value).is_integer() if is_known(value) else False
        return number(value, 0 if whole else 2)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(plain(item) for item in value)
    return plain(value) if value not in (None, "") else MISSING


def _verdict(report: ReportView) -> Markup:
    is_validated = report.verdict_status == "validated"
    failed = list(report.verdict_failed)
    if is_validated:
        heading = "Validated"
        meaning = (
            "Every check passed on trades the settings were not chosen on. "
            "That is evidence, not a promise."
        )
    else:
        heading = "No evidence of an edge"
        count = f"{len(failed)} {'check' if len(failed) == 1 else 'checks'} failed"
        meaning = (
            f"{count if failed else 'The checks did not pass'}: these results cannot be told from "
            "chance. Live trading with these settings needs a signed override."
        )
    return tag(
        "section",
        tag("h2", heading),
        tag("p", meaning),
        tag("ul", *(tag("li", item) for item in failed)) if failed else None,
        class_="verdict validated" if is_validated else "verdict",
        id="verdict",
        aria_label="Verdict",
    )


def _cards(report: ReportView) -> Markup | None:
    names = [name for name in CARDS if name in report.metrics]
    if not names:
        return None
    return tag("dl", *(_card(name, report) for name in names), class_="cards")


def _card(name: str, report: ReportView) -> Markup:
    value = report.metrics[name]
    interval = _interval(name, report.intervals)
    label = metric_label(name).split(",")[0]
    shown = metric_text(name, value)
    number_cell = tag(
        "dd",
        f"{shown} R" if name == "expectancy_r" and is_known(value) else shown,
        tag("small", f"95 %: {interval}") if interval else None,
        class_=_tone(name, value),
    )
    return tag("div", tag("dt", label), number_cell)


def _interval(name: str, intervals: Mapping[str, tuple[Number, Number]]) -> str:
    low, high = intervals.get(name, (None, None))
    if not is_known(low) and not is_known(high):
        return ""
    return f"{metric_text(name, low)} to {metric_text(name, high)}"


def _tone(name: str, value: Number) -> str | None:
    """The class that colours a gain or a loss; the sign in the text says the same."""
    if value is None or not is_known(value) or not is_signed(name) or value == 0:
        return None
    return "pos" if value > 0 else "neg"


def _metrics(report: ReportView) -> Markup | None:
    """The strategy beside its bounds and what else one could have done."""
    columns = [("", "Strategy", report.metrics)]
    columns += [("Band", column_label(name), column) for name, column in report.bounds.items()]
    columns += [
        ("Baselines", column_label(name), column) for name, column in report.baselines.items()
    ]
    names = metric_order(set().union(*(column for _, _, column in columns)))
    if not names:
        return None
    spans = [
        (title, sum(group == title for group, _, _ in columns)) for title in ("Band", "Baselines")
    ]
    group_row = tag(
        "tr",
        tag("td", colspan=2),
        *(tag("th", title, colspan=span, scope="colgroup") for title, span in spans if span),
    )
    heads = [
        tag("th", title, scope="col", class_="n own" if index == 0 else "n")
        for index, (_, title, _) in enumerate(columns)
    ]
    rows = [_metric_row(name, columns, report) for name in names]
    caption = (
        "Net of fees, slippage and funding. The band counts trades whose order inside a bar is "
        "unknown as losses (pessimistic) or as wins (optimistic)."
        if report.bounds
        else "Net of fees, slippage and funding."
    )
    head = join(
        group_row if any(span for _, span in spans) else None,
        tag("tr", tag("th", "Metric", scope="col"), *heads),
    )
    return join(tag("h2", "Metrics beside the baselines"), scrollable(caption, head, rows))


def _metric_row(
    name: str, columns: Sequence[tuple[str, str, Mapping[str, Number]]], report: ReportView
) -> Markup:
    cells = []
    for index, (_, _, column) in enumerate(columns):
        value = column.get(name)
        tone = _tone(name, value)
        classes = " ".join(part for part in ("n", "own" if index == 0 else "", tone or "") if part)
        cells.append(tag("td", metric_text(name, value), class_=classes))
    interval = _interval(name, report.intervals)
    extra = tag("small", f" 95 %: {interval}", class_="muted") if interval else None
    return tag("tr", tag("th", metric_label(name), extra, scope="row"), *cells)


def _equity(report: ReportView) -> Markup | None:
    values = report.equity.value
    if len(values) == 0:
        return None
    change = float(values[-1] / values[0] - 1) if values[0] else None
    summary = f"Equity from {number(float(values[0]))} to {number(float(values[-1]))} USDT"
    return join(
        tag("h2", "Equity and drawdown"),
        _plot("equity-chart", f"{summary}, {percent(change, signed=True)}"),
        tag(
            "p",
            f"{summary}. Marked to market, costs included; below, the loss from the peak.",
            class_="notice",
        ),
    )


def _price(report: ReportView) -> Markup | None:
    if not report.price_series:
        return None
    options = [
        tag("option", f"{view.candles.symbol} {view.candles.timeframe}", value=index)
        for index, view in enumerate(_folded(report))
    ]
    tools = tag(
        "div",
        tag("label", "Symbol ", tag("select", *options, id="price-symbol")),
        tag("div", id="price-tools"),
        class_="tools",
    )
    note = (
        "Triangles are entries, dots winning exits, crosses losing ones. Zones: solid border "
        "fresh, dashed tested, hatched ended. Drag to move, pinch or use the buttons to "
        "zoom; on the focused chart: arrows, plus, minus, Home, End."
    )
    return join(
        tag("h2", "Trades and zones on candles"),
        tools,
        _plot("price-chart", "Candles with zones and trades. " + note),
        tag("p", note, class_="notice"),
        tag("div", id="trade-detail", hidden=True, aria_live="polite"),
    )


def _plot(name: str, label: str) -> Markup:
    return tag("div", class_="plot", id=name, role="group", aria_label=label)


def _spread_and_costs(report: ReportView) -> Markup | None:
    parts = []
    multiples = [trade.r_multiple for trade in report.trades if is_known(trade.r_multiple)]
    if multiples:
        parts.append(tag("div", tag("h2", "Distribution of R"), histogram(multiples)))
    if report.costs:
        parts.append(tag("div", tag("h2", "Costs"), cost_table(report.costs)))
    return tag("div", *parts, class_="two") if parts else None


def _months(report: ReportView) -> Markup | None:
    if not report.months:
        return None
    return join(tag("h2", "Month by month"), month_table(report.months))


def _groups(report: ReportView) -> Markup | None:
    tables = [
        tag("div", tag("h3", words(title)), group_table(words(title), rows))
        for title, rows in report.groups.items()
        if rows
    ]
    if not tables:
        return None
    return join(tag("h2", "Breakdown"), tag("div", *tables, class_="two groups"))


def _trades(report: ReportView) -> Markup | None:
    if not report.trades:
        return None
    everything = (("all", ""),)
    results = (*everything, ("won", "win"), ("lost", "loss"))
    tools = tag(
        "div",
        _select("Symbol", "filter-symbol", everything),
        _select("Reason", "filter-reason", everything),
        _select("Result", "filter-result", results),
        tag(
            "label",
            "Find ",
            tag("input", id="filter-text", type="search", placeholder="tag, note, session …"),
        ),
        tag("span", id="trade-count", class_="muted", role="status"),
        class_="tools",
    )
    left_out = len(report.trades) - TRADES_MAX
    caption = (
        "Choose a trade to see it on the chart. A ? marks an order inside the bar that is unknown."
    )
    if left_out > 0:
        caption += f" The oldest {number(left_out, 0)} trades are left out."
    table = scrollable(caption, tag("tr"), (), id="trade-table", class_="trades")
    pages = tag(
        "div",
        tag("button", "◀ Before", type="button", id="page-before"),
        tag("span", id="page-now", class_="muted"),
        tag("button", "Next ▶", type="button", id="page-after"),
        class_="tools",
        role="group",
        aria_label="Pages of the trade list",
    )
    return join(tag("h2", "Trades"), tools, table, pages)


def _select(label: str, name: str, options: Sequence[tuple[str, str]]) -> Markup:
    made = [tag("option", text, value=value) for text, value in options]
    return tag("label", f"{label} ", tag("select", *made, id=name))


def _assumptions(report: ReportView) -> Markup | None:
    if not report.assumptions:
        return None
    lines = tag("ul", *(tag("li", sentence) for sentence in report.assumptions))
    return join(tag("h2", "What was assumed"), tag("div", lines, class_="prose"))


def _settings(report: ReportView) -> Markup | None:
    parts = [
        tag(
            "div", tag("h2", "Settings that differ from the defaults"), setting_table(report.config)
        )
    ]
    if report.digests:
        rows = [
            tag(
                "tr",
                tag("th", words(name), scope="row"),
                tag("td", tag("code", digest), class_="wrap"),
            )
            for name, digest in report.digests.items()
        ]
        head = tag("tr", tag("th", "Of", scope="col"), tag("th", "Digest", scope="col"))
        caption = "The same code, settings and data give the same result, to the byte."
        parts.append(tag("div", tag("h2", "Digests"), scrollable(caption, head, rows)))
    return tag("div", *parts, class_="two")
