"""A session that trades at an exchange: it mirrors, books, protects, decides and writes down."""

from blofin_cli.engine.live.session import LiveSession

__all__ = ["LiveSession"]
