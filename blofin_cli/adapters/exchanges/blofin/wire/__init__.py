"""BloFin's protocol without I/O: build, sign, parse. The only place that knows contracts.

`calls` builds requests, `signing` signs them, `answers` takes envelopes apart, `fields` reads one
row, `market` and `account` turn rows into records, `frames` speaks WebSocket. Strict where BloFin's
documentation of 2026-03-21 is sure, tolerant where two sources disagree: null, "" and absent are
the same, unknown keys pass, unknown words stay unknown, and a message that makes no sense is
refused as a whole with `BadAnswerError`.
"""
