"""How many images more would decide: by the rungs still in question, not by hopeless ones."""

import pandas as pd
import pytest

from medres.results import choice
from medres.results.choice import UNDECIDED
from medres.statistics import best
from tests.answer_tables import arm, first_right

N = 400
TOKENS = {"low": 4, "pixels-7056": 9, "native": 36}


def ladder(**rights):
    """Return the ladder of rungs with these right answers to each of 400 single questions."""
    parts = [
        arm("none", name, right).assign(
            image=[f"{index}.png" for index in range(N)], resampling="",
            given_width_px=28 * TOKENS[name], given_height_px=28, visual_tokens=TOKENS[name],
        )
        for name, right in rights.items()
    ]  # fmt: skip
    (found,) = choice.ladders(pd.concat(parts, ignore_index=True))
    return found


BEST = first_right(360, N)
NEAR = [*first_right(334, 360), *first_right(12, 40)]  # 26 lost, 12 gained: 3.5 points less
HOPELESS = [*first_right(60, 200), *first_right(60, 200)]


def test_a_hopeless_rung_asks_for_no_more_images():
    two = choice.choose(ladder(**{"pixels-7056": NEAR, "native": BEST}), margin=0.05)
    three = choice.choose(
        ladder(**{"low": HOPELESS, "pixels-7056": NEAR, "native": BEST}), margin=0.05
    )
    for found in (two, three):
        assert found.verdict == UNDECIDED
        assert found.would_be == "pixels-7056"
    needed = {
        n_arms: best.groups_to_decide(1, n_arms=n_arms, margin=0.05, discordance=0.095, loss=0.035)
        for n_arms in (2, 3)
    }
    assert two.n_more_images == pytest.approx(needed[2] - N, rel=0.12)
    assert three.n_more_images == pytest.approx(needed[3] - N, rel=0.12)
