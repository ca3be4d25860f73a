"""Exchanges: each module here is a value of `exchange.kind`."""
