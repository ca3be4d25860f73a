"""kill -9 at the steps of a story, and of the packaged program itself."""

import pytest

from tests.storm import sigkill
from tests.storm.bot import live
from tests.storm.kills import SCENARIOS, killed, play, points_of

pytestmark = [pytest.mark.process, pytest.mark.filterwarnings("ignore")]


@pytest.mark.timeout(600)
def test_kill_at_a_loop_step_loses_nothing():
    """The process dies at each fourth step of an entry, its missing stop and its half close (I10).

    `scripts/storm --kills` takes every step.
    """
    name = SCENARIOS[0]
    points = [
        point for point in points_of(name, live) if not point.is_statement and point.at_s < 86.0
    ]
    assert len(points) > 200
    assert not killed(name, points[::4])


@pytest.mark.parametrize("name", SCENARIOS)
def test_kill_between_statements_loses_nothing(name):
    """The process dies before each 25th statement of the journal; the campaign takes all."""
    points = [point for point in points_of(name, live) if point.is_statement]
    assert not killed(name, points[::25])


def test_story_without_a_kill_is_clean():
    """What the kills are compared with holds by itself."""
    for name in SCENARIOS:
        verdict, _ = play(name, live)
        assert not verdict.violations


@pytest.mark.enable_socket
@pytest.mark.timeout(900)
def test_real_sigkills_lose_nothing():
    """SIGKILLs of the packaged program in mid-order, over real sockets and a real file.

    At the end a second session is refused while the last one lives (I25). The campaign kills twenty
    times: `scripts/storm --sigkills 20`.
    """
    with sigkill.theatre() as stage:
        counts = sigkill.kill_often(stage, 8, lambda *_, **__: None)
        assert not stage.problems()
    assert counts["entries"] > 1
