"""The report's tables and its two small drawings, as markup that needs no script."""

import math
from collections.abc import Iterable, Sequence

from blofin_cli.pictures.markup import Markup, join, tag
from blofin_cli.pictures.scales import nice_ticks
from blofin_cli.pictures.views import Cost, Group, Month, Number, Setting
from blofin_cli.pictures.wording import MISSING, is_known, number, percent

R_BIN = 0.25
R_LOW, R_HIGH = -3.0, 6.0
GROUP_SMALL = 30
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def scrollable(caption: str, head: Markup, rows: Iterable[Markup], **attributes: object) -> Markup:
    """A table with a caption that scrolls sideways by itself, by keyboard too."""
    classes = f"sticky {attributes.pop('class_', '')}".strip()
    table = tag(
        "table",
        tag("caption", tag("span", caption)),
        tag("thead", head),
        tag("tbody", *rows),
        class_=classes,
        **attributes,
    )
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=caption)


def cost_table(costs: Sequence[Cost]) -> Markup:
    """What each cost took, in money, in R and as a share of the gross result."""
    rows = [
        tag(
            "tr",
            tag("th", cost.name, scope="row"),
            tag("td", number(cost.usdt), class_="n"),
            tag("td", number(cost.r), class_="n"),
            tag("td", percent(cost.gross_fraction), class_="n"),
        )
        for cost in costs
    ]
    if len(costs) > 1:
        rows.append(
            tag(
                "tr",
                tag("th", "All costs", scope="row"),
                tag("td", number(_sum([cost.usdt for cost in costs])), class_="n own"),
                tag("td", number(_sum([cost.r for cost in costs])), class_="n own"),
                tag("td", percent(_sum([cost.gross_fraction for cost in costs])), class_="n own"),
            )
        )
    head = _heads("Cost", "USDT", "R", "Share of gross")
    return scrollable("Positive is paid, negative is received.", head, rows)


def _sum(values: Sequence[Number]) -> Number:
    """The sum; unknown when one part is unknown."""
    known = [value for value in values if value is not None and is_known(value)]
    return sum(known) if len(known) == len(values) else None


def setting_table(settings: Sequence[Setting]) -> Markup:
    """Settings that are not the defaults, with their origin."""
    if not settings:
        return tag("p", "None: this run used the defaults throughout.")
    rows = [
        tag(
            "tr",
            tag("th", tag("code", setting.key), scope="row", class_="wrap"),
            tag("td", tag("code", setting.value), class_="wrap"),
            tag("td", tag("code", setting.default or MISSING), class_="wrap"),
            tag("td", setting.origin, class_="wrap"),
        )
        for setting in settings
    ]
    heads = [tag("th", name, scope="col") for name in ("Setting", "Value", "Default", "From")]
    return scrollable("Everything else is at its default.", tag("tr", *heads), rows)


def group_table(title: str, groups: Sequence[Group]) -> Markup:
    """One breakdown; the drawing shows the 95 % interval of the mean against zero."""
    ends = [
        abs(end)
        for group in groups
        for end in (group.expectancy_r, group.expectancy_low_r, group.expectancy_high_r)
        if end is not None and is_known(end)
    ]
    # A tiny group's interval would flatten all the others.
    reach = min(max(ends, default=1.0), 1.5) or 1.0
    rows = [_group_row(group, reach) for group in groups]
    small = f" Fewer than {GROUP_SMALL} trades say little." if _has_small(groups) else ""
    head = _heads("", "n", "Won", "Payoff", "Sum R", "Mean R", "95 % interval", "")
    return scrollable(f"{title}: mean net R with its 95 % interval.{small}", head, rows)


def _has_small(groups: Sequence[Group]) -> bool:
    return any(group.trades < GROUP_SMALL for group in groups)


def _group_row(group: Group, reach: float) -> Markup:
    low, high = group.expectancy_low_r, group.expectancy_high_r
    interval = f"{_r(low)} to {_r(high)}" if is_known(low) and is_known(high) else MISSING
    return tag(
        "tr",
        tag("th", group.label, scope="row"),
        tag(
            "td", number(group.trades, 0), class_="n" if group.trades >= GROUP_SMALL else "n muted"
        ),
        tag("td", percent(group.win_rate, 0), class_="n"),
        tag("td", number(group.reward_risk), class_="n"),
        tag("td", number(group.net_r, 1, signed=True), class_="n"),
        tag("td", _r(group.expectancy_r), class_=f"n {_tone(group.expectancy_r)}".strip()),
        tag("td", interval, class_="n"),
        tag("td", _whisker(group, reach)),
    )


def _r(value: Number) -> str:
    return number(value, 2, signed=True)


def _tone(value: Number) -> str:
    if value is None or not is_known(value) or value == 0:
        return ""
    return "pos" if value > 0 else "neg"


def _whisker(group: Group, reach: float) -> Markup | None:
    """Mean as a dot and interval as a line around zero; grey while zero lies within it."""
    mean, low, high = group.expectancy_r, group.expectancy_low_r, group.expectancy_high_r
    if mean is None or not is_known(mean):
        return None
    kind = "unsure"
    line = None
    if low is not None and high is not None and is_known(low) and is_known(high):
        kind = "win" if low > 0 else "loss" if high < 0 else "unsure"
        line = tag("line", x1=_share(low, reach), x2=_share(high, reach), y1="50%", y2="50%")
    return tag(
        "svg",
        tag("line", x1="50%", x2="50%", y1=0, y2="100%", class_="zero"),
        line,
        tag("circle", cx=_share(mean, reach), cy="50%", r=4, class_=kind),
        class_="whisker",
        aria_hidden="true",
    )


def _share(value: float, reach: float) -> str:
    return f"{50 + 46 * min(1.0, max(-1.0, value / reach)):.1f}%"


def month_table(months: Sequence[Month]) -> Markup:
    """Years down, months across: net R, and the change of equity below it, tinted by R."""
    cells = {month.month: month for month in months}
    years = sorted({month.month[:4] for month in months})
    strongest = max(
        (abs(month.net_r) for month in months if month.net_r and is_known(month.net_r)), default=1.0
    )
    rows = []
    for year in years:
        row = [cells.get(f"{year}-{number_of:02d}") for number_of in range(1, 13)]
        rows.append(
            tag(
                "tr",
                tag("th", year, scope="row"),
                *(_month_cell(month, strongest) for month in row),
                _year_cell([month for month in row if month]),
            )
        )
    head = tag("tr", *(tag("th", name, scope="col") for name in ("Year", *_MONTHS, "All")))
    caption = (
        "Net R of the trades closed in the month, below it the change of equity. "
        "A dash means no trade."
    )
    return scrollable(caption, head, rows, class_="months")


def _month_cell(month: Month | None, strongest: float) -> Markup:
    if month is None:
        return tag("td", MISSING, class_="muted")
    heat = None
    if month.net_r and is_known(month.net_r):
        level = min(3, 1 + math.floor(3 * abs(month.net_r) / strongest))
        heat = f"{'up' if month.net_r > 0 else 'down'}{level}"
    shown = number(month.net_r, 1, signed=True) if month.trades else MISSING
    change = tag("small", percent(month.return_fraction, signed=True))
    return tag("td", shown, change, class_=heat, title=f"{month.month}: {month.trades} trades")


def _year_cell(months: Sequence[Month]) -> Markup:
    net_r = _sum([month.net_r for month in months])
    growth: Number = 1.0
    for month in months:
        known = month.return_fraction is not None and is_known(month.return_fraction)
        growth = (
            growth * (1 + (month.return_fraction or 0.0)) if known and growth is not None else None
        )
    change = None if growth is None else growth - 1
    return tag(
        "td",
        number(net_r, 1, signed=True),
        tag("small", percent(change, signed=True)),
        class_=f"own {_tone(net_r)}".strip(),
    )


def histogram(multiples: Sequence[float]) -> Markup:
    """How often each R came out, in bins of a quarter; the outer bins hold the tails."""
    low = max(R_LOW, math.floor(min(multiples) / R_BIN) * R_BIN)
    high = min(R_HIGH, (math.floor(max(multiples) / R_BIN) + 1) * R_BIN)
    low, high = min(low, -1.0), max(high, 1.0)
    count = round((high - low) / R_BIN)
    bins = [0] * count
    for multiple in multiples:
        bins[min(count - 1, max(0, math.floor((multiple - low) / R_BIN)))] += 1
    mean = sum(multiples) / len(multiples)
    median = sorted(multiples)[len(multiples) // 2]
    bars = [_bar(index, size, bins, low) for index, size in enumerate(bins) if size]
    ticks = [tick for tick in nice_ticks(low, high, 9) if low < tick < high]
    labels = [
        tag(
            "text",
            number(tick, 0 if tick == int(tick) else 1, signed=True),
            x=_across(tick, low, high),
            y=224,
            text_anchor="middle",
        )
        for tick in ticks
    ]
    mean_x = _across(min(max(mean, low), high), low, high)
    zero_x = _across(0.0, low, high)
    drawing = tag(
        "svg",
        tag("line", x1="0", x2="100%", y1=206, y2=206),
        *bars,
        tag("line", x1=zero_x, x2=zero_x, y1=16, y2=206, class_="zero"),
        tag("line", x1=mean_x, x2=mean_x, y1=8, y2=206, class_="mean"),
        *labels,
        tag("text", f"most in a bin: {number(max(bins), 0)}", x="100%", y=12, text_anchor="end"),
        class_="histogram",
        role="img",
        aria_label=f"Histogram of R: mean {_r(mean)}, median {_r(median)}",
    )
    best, worst = max(multiples), min(multiples)
    note = (
        f"{number(len(multiples), 0)} trades, bins of {R_BIN} R; the line is the mean, {_r(mean)}. "
        f"Median {_r(median)}, worst {_r(worst)}, best {_r(best)}."
    )
    return join(drawing, tag("p", note, class_="notice"))


def _bar(index: int, size: int, bins: Sequence[int], low: float) -> Markup:
    tall = max(1.0, 180 * size / max(bins))
    start = low + index * R_BIN
    width = 100 / len(bins)
    return tag(
        "rect",
        tag("title", f"{_r(start)} to {_r(start + R_BIN)} R: {size} trades"),
        x=f"{(index + 0.06) * width:.2f}%",
        width=f"{0.88 * width:.2f}%",
        y=206 - tall,
        height=tall,
        class_="win" if start >= 0 else "loss",
    )


def _across(value: float, low: float, high: float) -> str:
    return f"{100 * (value - low) / (high - low):.2f}%"


def _heads(first: str, *others: str) -> Markup:
    cells = [tag("th", name, scope="col", class_="n") if name else tag("td") for name in others]
    return tag("tr", tag("th", first or "Group", scope="col"), *cells)
