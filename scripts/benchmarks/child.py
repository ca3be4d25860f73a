"""A job in a process of its own, run one round at a time whenever the parent says so.

So contenders take turns (a machine that slows down slows all of them alike) and each has its own
peak memory. Only the standard library is used here: the peers' environment runs this file too.
"""

import gc
import importlib
import json
import os
import subprocess
import sys
import time
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent


@dataclass
class Child:
    """A running job; `ms` are its rounds, `facts` what it said about its work."""

    name: str
    process: "subprocess.Popen[str]"
    ms: list[float] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    peak_mb: float = 0.0

    @property
    def median_ms(self) -> float:
        """The middle of its rounds."""
        return median(self.ms)

    def round(self) -> None:
        """Let it do its job once."""
        self._tell("go")
        answer = self.answer()
        self.ms.append(answer.pop("ms"))
        self.facts |= answer

    def end(self) -> None:
        """Ask for its peak memory and let it go."""
        self._tell("end")
        self.peak_mb = self.answer()["peak_mb"]
        self.process.wait(timeout=30)

    def _tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What it says next."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"bench: the job {self.name} ended with {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


# A first run this long has compiled, and compiling takes memory that the job does not.
COLD_MS = 5000


def start(job: str, folder: Path, *words: str, python: str = sys.executable) -> Child:
    """Start a job, `module:function`, and wait until it has prepared and run once, warm."""
    child = _start(job, folder, words, python)
    if child.facts["first_ms"] > COLD_MS:
        child.end()
        child = _start(job, folder, words, python)
    return child


def _start(job: str, folder: Path, words: tuple[str, ...], python: str) -> Child:
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "SMC_CREDIT": "0", "TQDM_DISABLE": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    process = subprocess.Popen(
        [python, "-m", "benchmarks.child", job, str(folder), *words],
        cwd=HERE.parent,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    child = Child(" ".join([job, *words]), process)
    child.facts = child.answer()
    return child


def race(children: list[Child], rounds: int) -> None:
    """Let contenders take turns, then end them."""
    for _ in range(rounds):
        for child in children:
            child.round()
    for child in children:
        child.end()


def peak_mb() -> float:
    """Most memory this process ever held. VmHWM, since ru_maxrss begins with the parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def main(job: str, folder: str, *words: str) -> None:
    """Serve rounds of a job on stdin and stdout."""
    answers = sys.stdout
    module, _, function = job.partition(":")
    with redirect_stdout(sys.stderr):
        work = getattr(importlib.import_module(f"benchmarks.{module}"), function)
        run = work(Path(folder), *words)
        started = time.perf_counter()
        run()
        first_ms = (time.perf_counter() - started) * 1e3
    print(json.dumps({"first_ms": first_ms}), file=answers, flush=True)
    for line in sys.stdin:
        if line.strip() == "end":
            break
        gc.collect()
        with redirect_stdout(sys.stderr):
            started = time.perf_counter()
            facts = run() or {}
            ms = (time.perf_counter() - started) * 1e3
        print(json.dumps({"ms": ms} | facts), file=answers, flush=True)
    print(json.dumps({"peak_mb": peak_mb()}), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
