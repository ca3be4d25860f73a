"""The dashboard as a process on a terminal of its own: started, stopped, woken, resized, left."""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from pathlib import Path

import pytest

from tests.faces.seed import SESSION

pytestmark = pytest.mark.process


class Terminal:
    """A child on a pseudo terminal, and everything it has written."""

    def __init__(self, words: list[str], size: tuple[int, int], **environment: str) -> None:
        self.pid, self._file = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, [sys.executable, *words], {**os.environ, **environment})
        self.resize(*size)
        self.written = b""
        self._is_over = False

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._file, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self._file, keys)

    def read_until(self, words: bytes, seconds: float = 40) -> None:
        """Read until these bytes have come since the last look."""
        seen, end = b"", time.monotonic() + seconds
        while words not in seen:
            assert time.monotonic() < end, f"{words!r} did not come; got {seen[-800:]!r}"
            if select.select([self._file], [], [], 0.2)[0]:
                try:
                    piece = os.read(self._file, 65536)
                except OSError:
                    piece = b""
                assert piece, f"it ended; got {seen[-800:]!r}"
                seen += piece
                self.written += piece

    def exit_code(self) -> int:
        """Read to the end, then the code."""
        while True:
            try:
                piece = os.read(self._file, 65536)
            except OSError:
                break
            if not piece:
                break
            self.written += piece
        self._is_over = True
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def end(self) -> None:
        """Leave no process behind."""
        if not self._is_over:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


@pytest.mark.parametrize("colour", [{}, {"NO_COLOR": "1"}], ids=["colour", "no-colour"])
def test_terminal_is_left_as_it_was_found(sown, own_home, colour):
    """It draws, survives being stopped and woken and another size, and ends with 0."""
    folder: Path = sown("plain")[0]
    words = ["-m", "blofin_cli", "dash", "--state", str(folder / "state.db"), "--refresh-ms", "200"]
    terminal = Terminal(
        words, (100, 30), HOME=str(own_home), TERM="xterm-256color",
        BLOFIN_CACHE=str(folder / "cache"), **colour,
    )  # fmt: skip
    try:
        terminal.read_until(SESSION.encode())
        os.kill(terminal.pid, signal.SIGSTOP)
        time.sleep(0.3)
        os.kill(terminal.pid, signal.SIGCONT)
        terminal.type(b"7")
        terminal.read_until(b"graver")
        terminal.resize(80, 24)
        os.kill(terminal.pid, signal.SIGWINCH)
        terminal.type(b"2")
        terminal.read_until(b"ENTRY")
        terminal.type(b"q")
        assert terminal.exit_code() == 0
    finally:
        terminal.end()
    assert b"\x1b[?1049h" in terminal.written  # the other screen was opened
    assert terminal.written.rindex(b"\x1b[?1049l") > terminal.written.rindex(b"\x1b[?1049h")
    assert terminal.written.rindex(b"\x1b[?25h") > terminal.written.rindex(b"\x1b[?25l")
