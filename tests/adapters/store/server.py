"""A PostgreSQL server of our own for the length of a test run, as a user that is not root."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def _binaries() -> Path | None:
    """The folder of the newest installed server."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return (
        found[-1].parent if found else Path(os.path.realpath(on_path)).parent if on_path else None
    )


def _someone() -> dict[str, int]:
    """Who the server runs as: a server refuses root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid}
    return {}


@contextmanager
def running_server() -> Iterator[str]:
    """The address of a server on a Unix socket; the test is skipped where there is none."""
    pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed")
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # short: a socket's path has 107 characters
    someone = _someone()
    if someone:
        os.chown(folder, someone["user"], someone["group"])
    quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **someone}
    data = str(folder / "data")
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "blofin", "-A", "trust", "-N", "--no-locale",
         "--encoding=UTF8"],
        check=True, **quiet,
    )  # fmt: skip
    server = subprocess.Popen(
        [
            binaries / "postgres",
            "-D",
            data,
            "-k",
            str(folder),
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",
        ],
        **quiet,
    )  # no test pulls the plug of this machine
    try:
        yield _ready(f"postgresql://blofin@/postgres?host={folder}", server)
    finally:
        server.send_signal(signal.SIGINT)  # without waiting for who is still connected
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def _ready(address: str, server: "subprocess.Popen[bytes]") -> str:
    import psycopg

    for _ in range(200):
        assert server.poll() is None, "the server ended"
        try:
            psycopg.connect(address).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return address
    pytest.fail("the server did not start")


def emptied(address: str) -> str:
    """The same server without a state; other sessions of earlier tests are ended."""
    import psycopg

    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'blofin'"
        )
        connection.execute("drop schema if exists blofin cascade")
    return address
