"""BloFin's public REST endpoints over the box: market data, no key.

Source: BloFin's API documentation, Public Data.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from blofin_cli.adapters.exchanges.sim import rows
from blofin_cli.adapters.exchanges.sim.bars import BARS
from blofin_cli.adapters.exchanges.sim.checks import parameter
from blofin_cli.adapters.exchanges.sim.reading import Fields
from blofin_cli.adapters.exchanges.sim.records import CROSS, ISOLATED, VenueError

if TYPE_CHECKING:
    from blofin_cli.adapters.exchanges.sim.box import Box, Call

Rows = list[dict[str, Any]]


def instruments(box: "Box", call: "Call") -> Rows:
    """`market/instruments`."""
    return [rows.instrument_row(box.venue.terms[name]) for name in _chosen(box, call.query)]


def tickers(box: "Box", call: "Call") -> Rows:
    """`market/tickers`."""
    return [box.ticker(name) for name in _chosen(box, call.query) if box.venue.markets[name].tick]


def books(box: "Box", call: "Call") -> Rows:
    """`market/books`: one level a side unless asked for more."""
    name = _listed(box, call.query)
    size = _limit(call.query, "size", 1, 100)
    state = box.venue.markets[name]
    state.quote()
    return [
        {
            "asks": rows.level_rows(state.book, "asks", size),
            "bids": rows.level_rows(state.book, "bids", size),
            "ts": str(box.stamp_ms),
        }
    ]


def trades(box: "Box", call: "Call") -> Rows:
    """`market/trades`, newest first."""
    prints = box.prints[_listed(box, call.query)]
    limit = _limit(call.query, "limit", 100, 100)
    newest = [prints[-1 - i] for i in range(min(limit, len(prints)))]
    return [rows.trade_row(tick, trade_id) for trade_id, tick in newest]


def mark_price(box: "Box", call: "Call") -> Rows:
    """`market/mark-price`."""
    found = []
    for name in _chosen(box, call.query):
        mark = rows.plain(box.venue.markets[name].mark)
        ts = str(box.stamp_ms)
        found.append({"instId": name, "indexPrice": mark, "markPrice": mark, "ts": ts})
    return found


def funding_rate(box: "Box", call: "Call") -> Rows:
    """`market/funding-rate`, with the newer keys."""
    return [box.funding_row(name) for name in _chosen(box, call.query)]


def funding_rate_history(box: "Box", call: "Call") -> Rows:
    """`market/funding-rate-history`, newest first."""
    name = _listed(box, call.query)
    before, after = call.query.integer("before"), call.query.integer("after")
    paid = [
        {"instId": name, "fundingRate": rows.plain(rate), "fundingTime": str(at)}
        for at, rate in reversed(box.venue.funding_paid[name])
        if (before is None or at > before) and (after is None or at < after)
    ]
    return paid[: _limit(call.query, "limit", 100, 100)]


def candles(box: "Box", call: "Call") -> list[list[str]]:
    """`market/candles`, newest first, the forming one included."""
    return _candle_rows(box, call.query)


def plain_candles(box: "Box", call: "Call") -> list[list[str]]:
    """`market/index-candles`, `market/mark-price-candles`: the last price's, without volumes."""
    return [[*row[:5], row[8]] for row in _candle_rows(box, call.query)]


def position_tiers(box: "Box", call: "Call") -> Rows:
    """`market/position-tiers`."""
    margin_mode = call.query.need("marginMode")
    if margin_mode not in {CROSS, ISOLATED}:
        raise parameter("marginMode")
    return rows.tier_rows(box.venue.terms[_listed(box, call.query)], margin_mode)


def server_time(box: "Box", call: "Call") -> dict[str, str]:
    """`public/time`, not documented: clients disagree about the field, so both are there.

    It is the market's time, which quotes and candles carry too; at 1x that is the wall's.
    """
    ts = str(box.clocks.market_ms)
    return {"ts": ts, "timestamp": ts}


def _candle_rows(box: "Box", query: Fields) -> list[list[str]]:
    name = _listed(box, query)
    bar = query.text("bar", "1m")
    if bar not in BARS:
        raise parameter("bar")
    after, before = query.integer("after"), query.integer("before")
    limit = _limit(query, "limit", 500, 1_440)
    series, forming = box.bars[name].series(bar, box.now_ms)
    value = float(box.venue.terms[name].contract_value)
    found = []
    if (
        forming is not None
        and (after is None or forming.ts < after)
        and (before is None or forming.ts > before)
    ):
        found.append(rows.candle_row(forming, value, closed=False))
    closed = series.window(after, before, limit - len(found)) if limit > len(found) else []
    found += [rows.candle_row(row, value, closed=True) for row in reversed(closed)]
    return found


def _listed(box: "Box", query: Fields) -> str:
    """A required instrument."""
    name = query.need("instId")
    if name not in box.venue.terms:
        raise parameter("instId")
    return name


def _chosen(box: "Box", query: Fields) -> Sequence[str]:
    """One instrument, or all."""
    return [_listed(box, query)] if query.text("instId") else list(box.venue.terms)


def _limit(query: Fields, name: str, default: int, most: int) -> int:
    value = query.integer(name)
    if value is None:
        return default
    if value < 1:
        raise parameter(name)
    return min(value, most)


def page(found: Sequence[Any], key: str, query: Fields, default: int = 20) -> list[Any]:
    """One page of rows that ascend by id, newest first; `before` is newer, `after` older.

    Errors: VenueError for both at once.
    """
    before, after = query.integer("before"), query.integer("after")
    if before is not None and after is not None:
        raise VenueError("152005", "Parameter error: before and after exclude each other.")
    limit = _limit(query, "limit", default, 100)
    chosen: list[Any] = []
    for row in reversed(found):
        number = int(getattr(row, key))
        if (before is None or number > before) and (after is None or number < after):
            chosen.append(row)
            if len(chosen) == limit:
                break
    return chosen
