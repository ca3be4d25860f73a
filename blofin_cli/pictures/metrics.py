"""What each metric is called and how its number is written: the report's small dictionary."""

from blofin_cli.pictures.wording import number, percent, words

_SIGNED_PERCENT, _PERCENT, _RATIO, _R, _USDT, _COUNT, _CHANCE = range(7)

# In the order in which a reader asks: does it earn, is that luck, what does it cost to hold on.
_METRICS = {
    "trades": ("Trades", _COUNT),
    "expectancy_r": ("Expectancy, net R a trade", _R),
    "win_rate": ("Win rate", _PERCENT),
    "breakeven_win_rate": ("Break-even win rate", _PERCENT),
    "reward_risk": ("Payoff, average win / average loss", _RATIO),
    "profit_factor": ("Profit factor", _RATIO),
    "average_win_r": ("Average win, R", _R),
    "average_loss_r": ("Average loss, R", _RATIO),
    "sd_r": ("Standard deviation of R", _RATIO),
    "sum_r": ("Sum of R", _R),
    "drawdown_r": ("Largest fall of the sum of R", _RATIO),
    "losing_streak": ("Longest losing streak", _COUNT),
    "pnl_usdt": ("Net result, USDT", _USDT),
    "total_return": ("Total return", _SIGNED_PERCENT),
    "cagr": ("Return a year", _SIGNED_PERCENT),
    "max_drawdown": ("Largest drawdown", _PERCENT),
    "sharpe": ("Sharpe, daily, annualised", _RATIO),
    "sortino": ("Sortino", _RATIO),
    "calmar": ("Calmar", _RATIO),
    "sqn": ("SQN", _RATIO),
    "deflated_sharpe": ("Deflated Sharpe, probability", _CHANCE),
    "exposure": ("Exposure, share of time", _PERCENT),
    "turnover": ("Turnover", _RATIO),
    "ambiguous_share": ("Trades with unknown order inside a bar", _PERCENT),
    "share_of_gross": ("Costs, share of gross", _PERCENT),
    "fees_usdt": ("Fees, USDT", _USDT),
    "slippage_usdt": ("Slippage, USDT", _USDT),
    "funding_usdt": ("Funding, USDT", _USDT),
    "placebo_p": ("Placebo p-value, shuffled levels", _CHANCE),
    "trials": ("Trials on these data so far", _COUNT),
    "p_value": ("Chance of this by luck, p", _CHANCE),
}
_SUFFIXES = {
    "_r": _R,
    "_usdt": _USDT,
    "_rate": _PERCENT,
    "_share": _PERCENT,
    "_fraction": _PERCENT,
    "_return": _SIGNED_PERCENT,
    "_drawdown": _PERCENT,
    "_p": _CHANCE,
    "_bars": _COUNT,
    "trades": _COUNT,
    "days": _COUNT,
}
_SIGNED = (_R, _SIGNED_PERCENT)
_COLUMNS = {
    "buy_and_hold": "Buy and hold",
    "random_entries": "Random entries",
    "shuffled_zones": "Shuffled zones",
    "ema_50_200": "EMA 50/200",
    "ema_20_50_bracket": "EMA 20/50, same bracket",
    "strategy_alone": "Strategy, no account limits",
}


def metric_order(names: set[str]) -> list[str]:
    """The names in reading order; those that the dictionary lacks come last, by alphabet."""
    known = [name for name in _METRICS if name in names]
    return known + sorted(names - set(known))


def metric_label(name: str) -> str:
    """A metric's name in words."""
    return _METRICS[name][0] if name in _METRICS else words(name)


def column_label(name: str) -> str:
    """The heading of a baseline or a bound."""
    return _COLUMNS.get(name) or words(name).replace("Ema ", "EMA ")


def metric_text(name: str, value: float | None) -> str:
    """A metric's number with its unit; a dash when unknown."""
    kind = _kind(name)
    if kind == _COUNT:
        return number(value, 0)
    if kind in (_PERCENT, _SIGNED_PERCENT):
        return percent(value, signed=kind == _SIGNED_PERCENT)
    if kind == _CHANCE:
        return number(value, 3)
    return number(value, 3 if name == "expectancy_r" else 2, signed=kind == _R)


def is_signed(name: str) -> bool:
    """Whether the metric's sign says gain or loss."""
    return _kind(name) in _SIGNED


def _kind(name: str) -> int:
    if name in _METRICS:
        return _METRICS[name][1]
    return next((kind for suffix, kind in _SUFFIXES.items() if name.endswith(suffix)), _RATIO)
