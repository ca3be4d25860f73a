"""What a picture is drawn from: plain frozen records that any caller can fill.

Fractions are fractions (0.12 is 12 %), times are UTC milliseconds, and a value that is unknown is
None or NaN and is shown as a dash.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from blofin_cli.core.candles import Candles, Prices, Times
from blofin_cli.core.market import Trade, Zone

Number = float | int | None


class Role(StrEnum):
    """What a horizontal line stands for; it sets the colour and the short name on the axis."""

    ENTRY = "entry"
    STOP = "stop"
    TARGET = "target"
    MARK = "mark"


@dataclass(frozen=True, slots=True)
class Level:
    """One horizontal price line; `label` is shown instead of the role when given."""

    price: float
    role: Role
    label: str = ""


@dataclass(frozen=True, slots=True)
class ChartView:
    """One symbol's candles with the zones, trades and levels to draw on them."""

    title: str
    candles: Candles
    zones: Sequence[Zone] = ()
    trades: Sequence[Trade] = ()
    levels: Sequence[Level] = ()
    subtitle: str = ""
    footer: Sequence[str] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Series:
    """A line over time. Shapes: ms (n,) int64 ascending, value (n,) float64."""

    ms: Times
    value: Prices


@dataclass(frozen=True, slots=True)
class Month:
    """One calendar month, `month` written 2024-05: trades closed, their net R, change of equity."""

    month: str
    trades: int
    net_r: Number
    return_fraction: Number


@dataclass(frozen=True, slots=True)
class Group:
    """One row of a breakdown: trades that share a label; the interval of mean R is 95 %."""

    label: str
    trades: int
    win_rate: Number = None
    reward_risk: Number = None
    expectancy_r: Number = None
    expectancy_low_r: Number = None
    expectancy_high_r: Number = None
    net_r: Number = None


@dataclass(frozen=True, slots=True)
class Cost:
    """One kind of cost: positive when paid, so a trade's funding enters with its sign turned."""

    name: str
    usdt: Number
    r: Number = None
    gross_fraction: Number = None


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting that differs from its default, and where its value came from."""

    key: str
    value: str
    origin: str
    default: str = ""


@dataclass(frozen=True, slots=True)
class ReportView:
    """All that a backtest report shows.

    `verdict_status` is `validated` or `no_evidence`; `verdict_failed` names each failed check.
    `metrics`, and each column of `bounds` and `baselines`, map the metric names of the JSON output
    to numbers; a metric that a column lacks is a dash. `intervals` holds 95 % intervals by metric.
    `equity` is in USDT; `drawdown` is a fraction of the peak and is computed from `equity` when
    absent; `equity_lines` are further curves to compare with, in USDT. The trades shown on
    `price_series` are those of `trades` with its symbol. `groups` maps a heading to its rows.
    """

    title: str
    verdict_status: str
    verdict_failed: Sequence[str]
    metrics: Mapping[str, Number]
    equity: Series
    run: Mapping[str, object] = field(default_factory=dict)
    intervals: Mapping[str, tuple[Number, Number]] = field(default_factory=dict)
    bounds: Mapping[str, Mapping[str, Number]] = field(default_factory=dict)
    baselines: Mapping[str, Mapping[str, Number]] = field(default_factory=dict)
    drawdown: Series | None = None
    equity_lines: Mapping[str, Series] = field(default_factory=dict)
    price_series: Sequence[ChartView] = ()
    trades: Sequence[Trade] = ()
    months: Sequence[Month] = ()
    groups: Mapping[str, Sequence[Group]] = field(default_factory=dict)
    costs: Sequence[Cost] = ()
    assumptions: Sequence[str] = ()
    config: Sequence[Setting] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
