"""Results turned into pictures: charts and the backtest report.

Everything here is a pure function from frozen views to text or bytes; only `files.save` writes.
Modules are imported by name (`pictures.chart`, `pictures.report`), so nothing loads before use.
"""
