"""A dashboard over a seeded state, a client that is signed in, and a server of its own process."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from blofin_cli.app.commands.web import WebRequest
from blofin_cli.core import compiled
from blofin_cli.faces.web.doorway import doorway_of
from blofin_cli.faces.web.passwords import FILE_NAME, PasswordFile
from blofin_cli.faces.web.routes import application
from blofin_cli.faces.web.site import Site, make_site
from tests.faces.seed import StillClock, seed

PASSWORD = "correct horse battery"
PORT = 8788
ORIGIN = f"http://127.0.0.1:{PORT}"


@pytest.fixture(autouse=True)
def interpreted() -> Iterator[None]:
    """No test here waits for a compiler."""
    with compiled.forced(False):
        yield


@dataclass
class Visitor:
    """A client with the token of its session."""

    client: TestClient
    site: Site
    csrf: str = ""

    def enter(self) -> None:
        """A session as the form would open it, without the work of the hash."""
        fingerprint = self.site.passwords.fingerprint()
        cookie = self.site.sessions.begin(fingerprint)
        self.client.cookies.set("blofin", cookie, domain="127.0.0.1")
        session = self.site.sessions.find(cookie, fingerprint)
        assert session is not None
        self.csrf = session.csrf

    def sign_in(self, password: str = PASSWORD) -> Any:
        """Send the form; the token is read from the session it opens."""
        answer = self.client.post(
            "/login", data={"password": password}, headers={"origin": ORIGIN},
            follow_redirects=False,
        )  # fmt: skip
        cookie = self.client.cookies.get("blofin")
        found = self.site.sessions.find(cookie, self.site.passwords.fingerprint())
        self.csrf = "" if found is None else found.csrf
        return answer

    def get(self, path: str, **headers: str) -> Any:
        return self.client.get(path, headers=headers, follow_redirects=False)

    def post(self, path: str, fields: Any = None, **headers: str) -> Any:
        """Send a form as our own page would."""
        sent = {"_csrf": self.csrf} | (fields or {})
        given = {"origin": ORIGIN} | headers
        return self.client.post(path, data=sent, headers=given, follow_redirects=False)

    def call(self, path: str, document: Any, **headers: str) -> Any:
        """Send JSON as our own script would."""
        given = {"origin": ORIGIN, "x-csrf-token": self.csrf} | headers
        return self.client.post(path, json=document, headers=given, follow_redirects=False)


@pytest.fixture(scope="session")
def seeds(tmp_path_factory) -> Callable[..., Path]:
    """Folders with a seeded state, each made once and only ever copied."""
    made: dict[Any, Path] = {}

    def folder(**how: Any) -> Path:
        key = tuple(sorted(how.items()))
        if key not in made:
            made[key] = tmp_path_factory.mktemp("seed")
            seed(made[key], **how)
        return made[key]

    return folder


@pytest.fixture(scope="session")
def password_text(tmp_path_factory) -> bytes:
    """The password hashed once."""
    found = PasswordFile(tmp_path_factory.mktemp("password") / FILE_NAME)
    found.choose(PASSWORD)
    return found.path.read_bytes()


@pytest.fixture
def passwords(tmp_path, password_text) -> PasswordFile:
    """A file with the password of these tests."""
    found = PasswordFile(tmp_path / "config" / FILE_NAME)
    found.path.parent.mkdir()
    found.path.touch(0o600)
    found.path.write_bytes(password_text)
    return found


@pytest.fixture
def visitor(tmp_path, passwords, monkeypatch, seeds) -> Iterator[Callable[..., Visitor]]:
    """`visitor()` is signed in at a dashboard over a copy of the seeded state."""
    opened: list[TestClient] = []

    def make(*, signed_in: bool = True, seconds: Any = time.monotonic, **how: Any) -> Visitor:
        place = tmp_path / f"state-{len(opened)}"
        shutil.copytree(seeds(**how), place)
        monkeypatch.setenv("BLOFIN_CACHE", str(place / "cache"))
        site = make_site(
            doorway_of(WebRequest(port=PORT), PORT), passwords, str(place / "state.db"),
            clock=StillClock(), seconds=seconds,
        )  # fmt: skip
        client = TestClient(application(site), base_url=ORIGIN, client=("127.0.0.1", 50_000))
        client.__enter__()
        opened.append(client)
        found = Visitor(client, site)
        if signed_in:
            found.enter()
        return found

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@dataclass(frozen=True)
class Running:
    """A server in a process of its own."""

    address: str
    home: Path
    process: subprocess.Popen[str]


@pytest.fixture
def server(tmp_path) -> Iterator[Callable[..., Running]]:
    """Starts `blofin web` as a user would; `server("--port", "0", state=...)`."""
    running: list[subprocess.Popen[str]] = []

    def start(*words: str, state: Path, cache: Path, **environment: str) -> Running:
        home = tmp_path / "home"
        PasswordFile(home / ".config" / "blofin-cli" / FILE_NAME).choose(PASSWORD)
        variables = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("BLOFIN_", "XDG_"))},
            "HOME": str(home), "BLOFIN_CACHE": str(cache), **environment,
            "NUMBA_DISABLE_JIT": "1",  # a session in a new home would compile for half a minute
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", "blofin_cli", "web", "--port", "0", "--state", str(state),
             *words],
            env=variables, cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        running.append(process)
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("dashboard"), line + process.stderr.read()
        return Running(line.split()[1], home, process)

    yield start
    for process in running:
        process.terminate()
        process.communicate(timeout=10)
