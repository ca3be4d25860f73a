"""Long commands that were started from a browser: watched, and ended when asked."""

import asyncio
import contextlib
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from blofin_cli.errors import RefusedError
from blofin_cli.faces.web.calls import NotThereError

RUNNING_MAX, KEPT_MAX, SAID_MAX = 3, 30, 200
LINE_BYTES_MAX = 16_000_000
WORKER = (sys.executable, "-m", "blofin_cli.faces.web.worker")


@dataclass(slots=True)
class Job:
    """One long command. `state` is running, done, failed or cancelled; a result may come late."""

    id: str
    name: str
    arguments: dict[str, Any]
    started_ms: int
    process: asyncio.subprocess.Process
    state: str = "running"
    done: int = 0
    total: int = 0
    text: str = ""
    ended_ms: int | None = None
    said: list[str] = field(default_factory=list)
    summary: list[tuple[str, str]] = field(default_factory=list)
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    watching: "asyncio.Task[None] | None" = None

    @property
    def fraction(self) -> float | None:
        """How far it is, 0 to 1; None while nobody knows."""
        return min(1.0, self.done / self.total) if self.total else None

    def record(self) -> dict[str, Any]:
        """What a browser may see of it."""
        names = (
            "id", "name", "arguments", "state", "done", "total", "text", "started_ms", "ended_ms",
            "said", "summary", "result", "error",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}


class Jobs:
    """The long commands of this server, newest first."""

    def __init__(self, state: str | None):
        self._state = state
        self._jobs: dict[str, Job] = {}

    async def start(
        self, name: str, arguments: Mapping[str, Any], *, consent: bool, client: str
    ) -> Job:
        """Start a command that was validated already.

        Errors: RefusedError when too many are running.
        """
        running = [job for job in self._jobs.values() if job.state == "running"]
        if len(running) >= RUNNING_MAX:
            raise RefusedError(
                f"{RUNNING_MAX} long commands are running", hint="wait for one, or cancel it"
            )
        process = await asyncio.create_subprocess_exec(
            *WORKER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            limit=LINE_BYTES_MAX,
            start_new_session=True,  # Ctrl-C in the server's terminal is not meant for it
        )
        now_ms = time.time_ns() // 1_000_000
        job = Job(secrets.token_hex(4), name, dict(arguments), now_ms, process)
        order = {
            "name": name,
            "arguments": job.arguments,
            "state": self._state,
            "consent": consent,
            "client": client,
        }
        assert process.stdin is not None
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.close()
        job.watching = asyncio.create_task(_watch(job))
        self._jobs[job.id] = job
        self._forget_old()
        return job

    def find(self, job_id: str) -> Job:
        """The job of this id. Errors: NotThereError."""
        try:
            return self._jobs[job_id]
        except KeyError:
            raise NotThereError("no such job; the server may have been restarted") from None

    def newest(self) -> list[Job]:
        """All jobs, the newest first."""
        return list(reversed(self._jobs.values()))

    def cancel(self, job_id: str) -> Job:
        """End a running job; what it saved before stays.

        Errors: NotThereError when there is none.
        """
        job = self.find(job_id)
        if job.state == "running":
            job.state = "cancelled"
            with contextlib.suppress(ProcessLookupError):
                job.process.terminate()
        return job

    async def close(self) -> None:
        """End what must not outlive the server."""
        for job in self._jobs.values():
            if job.state == "running":
                self.cancel(job.id)
        watching = [job.watching for job in self._jobs.values() if job.watching is not None]
        for task in watching:
            if not task.done():
                task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)

    def _forget_old(self) -> None:
        ended = [job.id for job in self._jobs.values() if job.state != "running"]
        for job_id in ended[: max(0, len(self._jobs) - KEPT_MAX)]:
            del self._jobs[job_id]


async def _watch(job: Job) -> None:
    """Follow what the process says until it ends."""
    assert job.process.stdout is not None
    with contextlib.suppress(ValueError):  # a line longer than anything we would show
        async for line in job.process.stdout:
            _hear(job, line)
    code = await job.process.wait()
    job.ended_ms = time.time_ns() // 1_000_000
    if job.state == "running":
        job.state = "done" if job.error is None and job.result is not None else "failed"
    if job.state == "failed" and job.error is None:
        job.error = {"code": "bug", "message": f"the process ended with code {code}", "hint": ""}


def _hear(job: Job, line: bytes) -> None:
    try:
        said = json.loads(line)
    except ValueError:
        return
    if not isinstance(said, dict):
        return
    for kind, value in said.items():
        if kind == "progress":
            job.done, job.total, job.text = int(value[0]), int(value[1]), str(value[2])
        elif kind == "say":
            job.said = [*job.said, str(value)][-SAID_MAX:]
        elif kind == "summary":
            job.summary = [(str(label), str(text)) for label, text in value]
        elif kind == "result":
            job.result = value
        elif kind == "error":
            job.error = value
