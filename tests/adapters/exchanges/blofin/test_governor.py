"""The rate budget: exact in every window, shared by processes, quick, and suspended together."""

import asyncio
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blofin_cli.adapters.exchanges.blofin import governor as module
from blofin_cli.adapters.exchanges.blofin.governor import Governor, Limit
from blofin_cli.adapters.exchanges.blofin.wire.calls import Purpose
from blofin_cli.errors import RateLimitError


class Hand:
    """A clock moved by hand."""

    def __init__(self, start: float = 1000.0):
        self.now = start

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def budget(tmp_path, hand) -> Governor:
    return Governor(tmp_path / "rate", seconds=hand, wall_ms=lambda: int(hand.now * 1000))


def taken(budget: Governor, purpose: Purpose, tries: int = 100) -> int:
    return sum(budget.try_acquire(purpose) == 0 for _ in range(tries))


def test_openings_leave_ten_for_protection(budget):
    """14 of 24 may open; stops and closes have the rest."""
    assert taken(budget, Purpose.OPEN) == 14
    assert taken(budget, Purpose.PROTECT) == 10


def test_protection_may_use_everything(budget):
    """24 of BloFin's 30, and then nothing opens."""
    assert taken(budget, Purpose.PROTECT) == 24
    assert taken(budget, Purpose.OPEN) == 0


def test_reads_leave_sixty_for_protection(budget):
    """340 a minute for reads, 400 with the reserve; trading calls count in the address too."""
    assert taken(budget, Purpose.READ, 500) == 340
    assert taken(budget, Purpose.PROTECT) == 24


def test_five_minute_window_is_kept(budget, hand):
    """400 a minute would be 2,000 in five minutes, and BloFin's second limit is 1,500."""
    sent = 0
    for _ in range(300):
        sent += taken(budget, Purpose.READ, 20)
        hand.now += 1
    assert sent == 1080


def test_room_comes_back_by_time_alone(budget, hand):
    """A process that starts later finds the budget refilled."""
    assert taken(budget, Purpose.PROTECT) == 24
    wait_s = budget.try_acquire(Purpose.PROTECT)
    assert 10 < wait_s <= 10.5
    hand.now += wait_s
    assert taken(budget, Purpose.PROTECT) == 24


steps = st.lists(
    st.tuples(st.sampled_from(list(Purpose)), st.sampled_from([0.0, 0.001, 0.1, 1.0, 3.0, 11.0])),
    max_size=300,
)


@settings(deadline=None, max_examples=40)
@given(steps)
def test_no_window_ever_holds_too_many_and_nothing_waits_with_room(tmp_path_factory, plan):
    """Both halves of the promise, for any order of calls, against a plain count."""
    hand = Hand()
    budget = Governor(tmp_path_factory.mktemp("rate") / "rate", seconds=hand)
    sent: dict[Limit, list[float]] = defaultdict(list)
    for purpose, pause in plan:
        hand.now += pause
        limits = module._BY_PURPOSE[purpose]
        full = [
            limit
            for limit in limits
            if sum(hand.now - at < limit.window_s for at in sent[limit]) >= limit.calls
        ]
        wait_s = budget.try_acquire(purpose)
        assert (wait_s > 0) == bool(full)
        for limit in limits:
            if wait_s == 0:
                sent[limit].append(hand.now)
    budget.close()


def test_suspension_stops_all_but_a_probe(budget, hand):
    """After 429 nothing goes out; protection may try every five seconds."""
    error = budget.suspend(is_trading=False)
    assert error.until_ms == int((hand.now + 60) * 1000)
    for purpose in Purpose:
        with pytest.raises(RateLimitError):
            budget.try_acquire(purpose)
    hand.now += 5
    assert budget.try_acquire(Purpose.PROTECT) == 0
    with pytest.raises(RateLimitError):
        budget.try_acquire(Purpose.PROTECT)
    hand.now += 56
    assert budget.try_acquire(Purpose.READ) == 0


def test_refusals_grow_and_are_forgiven(budget, hand):
    """10 s for a trading call, doubled when it comes again, forgotten after ten good minutes."""
    lengths = []
    for pause in (0, 1, 1, 700):
        hand.now += pause
        budget.suspend(is_trading=True)
        budget.suspend(is_trading=True)  # a call that was on its way
        lengths.append(round(budget.suspended_s()))
        hand.now += budget.suspended_s()
    assert lengths == [10, 20, 40, 10]


def test_retry_after_is_believed(budget):
    """The exchange knows best."""
    budget.suspend(is_trading=True, retry_after_s=300)
    assert budget.suspended_s() == 300


@pytest.mark.parametrize("damage", [b"text", b"\xff" * 100_000, b"1" * 50])
def test_damaged_file_costs_openings_ten_seconds_and_protection_nothing(tmp_path, hand, damage):
    """Whatever lies there, stops and closes go on at once."""
    path = tmp_path / "rate"
    path.write_bytes(damage)
    budget = Governor(path, seconds=hand)
    assert taken(budget, Purpose.PROTECT) == 24
    assert taken(budget, Purpose.OPEN) == 0
    hand.now += 10.6
    assert taken(budget, Purpose.OPEN) == 14


def test_budget_without_a_file_is_its_own(tmp_path, hand):
    """F54: a folder that cannot be written costs the sharing, not the protection."""
    (tmp_path / "rate").mkdir()
    budget = Governor(tmp_path / "rate", seconds=hand)
    assert not budget.is_shared
    assert taken(budget, Purpose.PROTECT) == 24


def test_times_from_before_a_restart_do_not_block(tmp_path):
    """The monotonic clock starts again at boot."""
    before = Governor(tmp_path / "rate", seconds=Hand(1_000_000.0))
    taken(before, Purpose.PROTECT)
    before.suspend(is_trading=True)
    after = Governor(tmp_path / "rate", seconds=Hand(5.0))
    assert taken(after, Purpose.PROTECT) == 24


def test_connections_are_a_second_apart(budget, hand):
    """One new WebSocket a second and address."""
    assert budget.try_connect() == 0
    assert 1 < budget.try_connect() < 1.2
    hand.now += 1.2
    assert budget.try_connect() == 0


async def test_acquire_refuses_to_wait_too_long(budget):
    """An order that would come ten seconds late is refused instead."""
    taken(budget, Purpose.PROTECT)
    with pytest.raises(RateLimitError):
        await budget.acquire(Purpose.PROTECT, wait_max_s=1.0)


async def test_acquire_waits_for_room(tmp_path):
    """It sleeps until there is room, and no longer."""
    budget = Governor(tmp_path / "rate")
    budget.try_connect()
    started = time.monotonic()
    async with asyncio.timeout(3):
        await budget.acquire_connection()
    assert 1.0 < time.monotonic() - started < 2.0


def test_one_decision_is_quick(tmp_path):
    """Far below 0.2 ms."""
    budget = Governor(tmp_path / "rate")

    def spent() -> float:
        started = time.perf_counter()
        budget.try_acquire(Purpose.OPEN)
        return time.perf_counter() - started

    assert median(spent() for _ in range(500)) < 200e-6


GREEDY = """
import sys, time
from pathlib import Path
from blofin_cli.adapters.exchanges.blofin.governor import Governor
from blofin_cli.adapters.exchanges.blofin.wire.calls import Purpose

budget, until = Governor(Path(sys.argv[1])), time.monotonic() + 1.5
taken = []
while time.monotonic() < until:
    if budget.try_acquire(Purpose(sys.argv[2])) == 0:
        taken.append(time.monotonic())
print(len(taken))
"""


@pytest.mark.process
@pytest.mark.parametrize(("purpose", "most"), [(Purpose.PROTECT, 24), (Purpose.READ, 340)])
def test_processes_share_one_budget(tmp_path, purpose, most):
    """Four greedy processes get together what one would get."""
    path = tmp_path / "rate"
    root = Path(__file__).resolve().parents[4]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", GREEDY, str(path), purpose.value],
            stdout=subprocess.PIPE, text=True, cwd=root,
        )
        for _ in range(4)
    ]  # fmt: skip
    counts = [int(process.communicate()[0]) for process in running]
    assert sum(counts) == most


@pytest.mark.process
def test_killed_process_leaves_no_lock(tmp_path):
    """kill -9 in the middle: the next one goes on."""
    path = tmp_path / "rate"
    root = Path(__file__).resolve().parents[4]
    victim = subprocess.Popen(
        [sys.executable, "-c", GREEDY, str(path), "protect"], stdout=subprocess.PIPE, cwd=root
    )
    time.sleep(0.5)
    victim.kill()
    victim.communicate()
    started = time.monotonic()
    Governor(path).try_acquire(Purpose.PROTECT)
    assert time.monotonic() - started < 1


def test_full_disk_that_takes_a_part_leaves_a_budget_of_ones_own(tmp_path):
    """A file cut short by a full disk can be mapped by nobody; protection must not fail for it."""
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from blofin_cli.adapters.exchanges.blofin.governor import Governor\n"
        "from blofin_cli.adapters.exchanges.blofin.wire.calls import Purpose\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "budget = Governor(Path(sys.argv[1]))\n"
        "print(budget.is_shared, budget.try_acquire(Purpose.PROTECT))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "rate")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("False 0.0\n", "")
    assert Governor(tmp_path / "rate").is_shared  # there is room again
