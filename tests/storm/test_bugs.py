"""Every planted bug: a storm that cannot find it is worth nothing."""

from functools import cache

import pytest

from tests.storm.bugs import BUGS
from tests.storm.campaign import hunt, killing_seeds

pytestmark = [pytest.mark.process, pytest.mark.filterwarnings("ignore")]


@cache
def is_clean(seed: int) -> bool:
    """Without a bug the storm of a seed finds nothing; asked once a seed."""
    return not hunt(seed)


@pytest.mark.parametrize("name", sorted(BUGS))
def test_planted_bug_is_found(name):
    """Each planted bug falls in a storm that killed it before; without it that storm is clean."""
    seeds = killing_seeds().get(name, [])
    killers = (seed for seed in seeds if hunt(seed, name))
    killer = next(killers, None)
    assert killer is not None, f"{seeds} find {name} no more: scripts/storm --bug {name}"
    assert is_clean(killer)
