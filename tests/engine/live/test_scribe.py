"""Writes that wait: in their order, and tried once a tick."""

from blofin_cli.engine.live.scribe import Scribe
from blofin_cli.errors import DataError


def test_while_one_waits_only_a_flush_tries_again():
    """A locked file is met once a tick, however much there is to write; nothing overtakes."""
    tried: list[str] = []
    is_locked = True

    def write(name: str) -> None:
        tried.append(name)
        if is_locked:
            raise DataError("busy")

    scribe = Scribe()
    assert [scribe.write(lambda name=name: write(name)) for name in "abc"] == [False] * 3
    assert tried == ["a"]
    assert scribe.is_behind
    assert scribe.flush() is False
    assert tried == ["a", "a"]
    is_locked = False
    assert scribe.flush() is True
    assert tried == ["a", "a", "a", "b", "c"]
    assert not scribe.is_behind
