"""Many storms on every core, planted bugs, kills at every step; one table of what came of it."""

import argparse
import json
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.memory import collect_seldom
from tests.storm.nemesis import EVERY_FAULT
from tests.storm.storm import Scene, Verdict, run_seed

HERE = Path(__file__).parent
KILLING_SEEDS = HERE / "killing_seeds.json"
SEEDS_A_BUG = 200
BATCH = 5
KILLERS_KEPT = 4
RARE = (
    "liquidation", "late answers", "arrived after a kill", "filled while halted",
    "filled while dead", "filled while deaf", "stop placed in storage trouble",
)  # fmt: skip
"""States that a campaign must have reached, besides each fault."""


@dataclass
class Total:
    """What a campaign adds up to."""

    seeds: int = 0
    hours: float = 0.0
    cpu_s: float = 0.0
    violated: dict[int, list[str]] = field(default_factory=dict)
    fired: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    naked_s: list[float] = field(default_factory=list)
    halt_s: list[float] = field(default_factory=list)
    most: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0

    def add(self, verdict: Verdict, cpu_s: float) -> None:
        """Take one more storm in."""
        self.seeds += 1
        self.hours += verdict.seconds / 3600
        self.cpu_s += cpu_s
        if verdict.violations:
            self.violated[verdict.seed] = verdict.violations
        self.fired += verdict.fired
        self.counts += verdict.counts
        self.naked_s += verdict.naked_s
        self.halt_s += verdict.halt_seen_s
        self.most |= verdict.rates
        self.duplicates += verdict.duplicates

    @property
    def never(self) -> list[str]:
        """Faults and rare states that were not reached."""
        faults = [name for name in EVERY_FAULT if not self.fired[name]]
        return faults + [name for name in RARE if not self.counts[name]]


def storm_of(seed: int) -> tuple[Verdict, float]:
    """One storm of an hour and the processor seconds it took."""
    from tests.storm.bot import live

    began = time.process_time()
    verdict = run_seed(Scene.of(seed), live)
    return verdict, time.process_time() - began


def hunt(seed: int, bug: str = "") -> list[str]:
    """What the brief storm of a seed finds while a bug is planted, up to the first finding."""
    from tests.storm.bot import live
    from tests.storm.bugs import planted

    with planted(bug):
        return run_seed(Scene.brief(seed), live, stops_early=True).violations


def storms_of(seeds: list[int]) -> list[tuple[Verdict, float]]:
    """Several storms in one process; the story is kept of those that failed."""
    done = []
    for seed in seeds:
        verdict, cpu_s = storm_of(seed)
        if not verdict.violations:
            verdict = replace(verdict, story=[])
        done.append((verdict, cpu_s))
    return done


def first_kill(bug: str, seeds: Iterable[int]) -> tuple[str, int | None, str, int]:
    """The first seed that finds a planted bug, what it said, and how many were tried.

    A seed that fails without the bug finds nothing.
    """
    tried = 0
    for seed in seeds:
        tried += 1
        violations = hunt(seed, bug)
        if violations and not hunt(seed):
            return bug, seed, violations[0][:160], tried
    return bug, None, "", tried


def run_storms(count: int, first: int, workers: int, failing: Path) -> Total:
    """A series of seeds over all workers; failing seeds are written down with their story."""
    total = Total()
    seeds = list(range(first, first + count))
    batches = [seeds[at : at + BATCH] for at in range(0, count, BATCH)]
    began = time.monotonic()
    with ProcessPoolExecutor(workers, initializer=collect_seldom) as pool:
        for future in as_completed([pool.submit(storms_of, batch) for batch in batches]):
            for verdict, cpu_s in future.result():
                total.add(verdict, cpu_s)
                if verdict.violations:
                    _write_down(failing, verdict)
            spent = time.monotonic() - began
            _progress(f"{total.seeds}/{count} seeds, {len(total.violated)} failed, {spent:.0f} s")
    _progress("", end="\n")
    return total


def run_bugs(workers: int, names: list[str], seeds: int) -> dict[str, tuple[int | None, str, int]]:
    """Every planted bug against its series of seeds, the known killer first."""
    known = killing_seeds()
    found: dict[str, tuple[int | None, str, int]] = {}
    with ProcessPoolExecutor(workers, initializer=collect_seldom) as pool:
        futures = [pool.submit(first_kill, name, range(1, seeds + 1)) for name in names]
        for future in as_completed(futures):
            name, seed, said, tried = future.result()
            found[name] = (seed, said, tried)
            _progress(f"bug {len(found)}/{len(names)}: {name} -> seed {seed}")
            if seed is not None:
                others = [each for each in known.get(name, []) if each != seed]
                known[name] = [seed, *others][:KILLERS_KEPT]
    _progress("", end="\n")
    KILLING_SEEDS.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")
    return found


def killing_seeds() -> dict[str, list[int]]:
    """Bug -> seeds that found it, the latest first."""
    if not KILLING_SEEDS.is_file():
        return {}
    return dict(json.loads(KILLING_SEEDS.read_text()))


def table(total: Total, bugs: dict[str, Any], kills: dict[str, Any], sigkills: str) -> str:
    """The one table."""
    rows: list[tuple[str, str]] = []
    failed = len(total.violated)
    if total.seeds:
        speed = total.hours * 3600 / max(total.cpu_s, 1e-9) / 3600
        naked = sorted(total.naked_s)
        rows += [
            ("seeds", f"{total.seeds} of {total.hours / total.seeds:g} simulated hours"),
            ("simulated hours per second and core", f"{speed:.2f}"),
            ("seeds with a violation",
             f"{failed} (95 %: at most {_bound(failed, total.seeds):.3%})"),
            ("entries sent, fills, lives", ", ".join(
                str(total.counts[name]) for name in ("openings", "fill", "lives"))),
            ("seconds without a stop, p50 / p99 / max", _percentiles(naked)),
            ("duplicate orders", str(total.duplicates)),
            ("halt acknowledged after, p50 / p99 / max s", _percentiles(sorted(total.halt_s))),
            ("requests at most: 10 s trading, 10 s opening, 60 s all", ", ".join(
                str(total.most[name]) for name in ("trading", "opening", "all"))),
            ("faults and rare states never reached", ", ".join(total.never) or "none"),
        ]  # fmt: skip
    if bugs:
        tries = sorted(tried for seed, _, tried in bugs.values() if seed is not None)
        median = tries[len(tries) // 2] if tries else 0
        rows.append(("planted bugs found", f"{len(tries)} of {len(bugs)}, median {median} seeds"))
        missed = [name for name, (seed, _, _) in bugs.items() if seed is None]
        if missed:
            rows.append(("planted bugs missed", ", ".join(missed)))
    for name, said in kills.items():
        rows.append((f"kill points of {name}", said))
    if sigkills:
        rows.append(("SIGKILLs of the packaged program", sigkills))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _bound(failed: int, seeds: int) -> float:
    """Upper 95 % bound of the failure rate: exact for zero, Wilson's beyond."""
    if failed == 0:
        return 1 - 0.05 ** (1 / seeds)
    z, rate = 1.645, failed / seeds
    middle = rate + z * z / (2 * seeds)
    spread = z * math.sqrt(rate * (1 - rate) / seeds + z * z / (4 * seeds * seeds))
    return (middle + spread) / (1 + z * z / seeds)


def _percentiles(values: list[float]) -> str:
    if not values:
        return "none"
    shares = (0.5, 0.99, 1.0)
    picked = [values[min(len(values) - 1, int(len(values) * share))] for share in shares]
    return " / ".join(f"{value:.1f}" for value in picked) + f" of {len(values)}"


def _write_down(failing: Path, verdict: Verdict) -> None:
    record = {
        "seed": verdict.seed,
        "violations": verdict.violations,
        "counts": dict(verdict.counts),
        "story": verdict.story,
    }
    with failing.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def _progress(text: str, end: str = "") -> None:
    print(f"\r\033[K{text}", end=end, file=sys.stderr, flush=True)


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/storm", description=__doc__)
    parser.add_argument("--seeds", type=int, help="storms of one simulated hour; 50 by themselves")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--ci", action="store_true", help="1,000 seeds and everything else")
    parser.add_argument("--release", action="store_true", help="10,000 seeds and everything else")
    parser.add_argument("--bugs", action="store_true", help="hunt the planted bugs")
    parser.add_argument("--bug", action="append", default=[], help="hunt this one")
    parser.add_argument("--kills", action="store_true", help="kill at every step and statement")
    parser.add_argument("--sigkills", type=int, default=0, help="SIGKILLs of the packaged program")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--failing", type=Path, default=Path("storm-failures.jsonl"), help="where failures go"
    )
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    """Run what was asked for and print the table; 1 when anything was found that must not be."""
    from tests.storm import bugs, kills, sigkill

    asked = _arguments(words)
    if asked.ci or asked.release:
        asked.seeds = 10_000 if asked.release else 1_000
        asked.bugs = asked.kills = True
        asked.sigkills = 500 if asked.release else 100
    if asked.seeds is None:
        asked.seeds = 0 if asked.bug or asked.bugs or asked.kills or asked.sigkills else 50
    asked.failing.unlink(missing_ok=True)
    total = run_storms(asked.seeds, asked.first, asked.workers, asked.failing)
    names = asked.bug or (list(bugs.BUGS) if asked.bugs else [])
    found = run_bugs(asked.workers, names, SEEDS_A_BUG) if names else {}
    points = kills.every_scenario(asked.workers, _progress) if asked.kills else {}
    said, died = "", False
    if asked.sigkills:
        said, died = sigkill.campaign(asked.sigkills, _progress)
    print(table(total, found, {name: text for name, (text, _) in points.items()}, said))
    for seed, violations in sorted(total.violated.items())[:20]:
        print(f"seed {seed}: {violations[0][:200]}", file=sys.stderr)
    missed = any(seed is None for seed, _, _ in found.values())
    unreached = bool(total.never) and asked.seeds >= 200
    broken = any(bad for _, bad in points.values())
    return int(bool(total.violated) or missed or unreached or broken or died)


def chunks(items: list[Any], size: int) -> Iterator[list[Any]]:
    """Slices of a list."""
    for at in range(0, len(items), size):
        yield items[at : at + size]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
