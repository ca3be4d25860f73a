"""How often a test process looks for garbage."""

import gc

YOUNG, MIDDLE, OLD = 50_000, 20, 100


def collect_seldom() -> None:
    """Leave what is loaded alone and look for cycles a seventieth as often.

    Tests are short and hold little; looking costs them a sixth of their time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
