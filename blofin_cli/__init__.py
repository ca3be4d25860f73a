"""blofin-cli: supply and demand zones on BloFin USDT-M perpetuals, from backtest to live."""

__version__ = "0.1.0.dev0"
