"""A seeded part of `benchmarks.verdicts`: level and coverage, and what is refused."""

import numpy as np
import pytest

from benchmarks import simulated, verdicts
from benchmarks.simulated import GENERATORS, Setting

N_DRAWS = 2000  # Monte Carlo error at 5 %: 0.5 points


@pytest.mark.parametrize(
    "setting",
    [
        Setting("shared difficulty", "even", 8, 0.75, 1, 0.0),
        Setting("arms suit groups", "even", 15, 0.90, 1, 0.0),
        Setting("arms suit groups", "skewed", 30, 0.75, 1, 0.0),
        Setting("shared difficulty", "even", 120, 0.99, 1, 0.0),
        Setting("shared difficulty", "even", 30, 0.75, 3, 0.02),
        Setting("arms suit groups", "even", 30, 0.75, 3, 0.04),
        Setting("trainings repeat", "even", 15, 0.90, 5, 0.0),
        Setting("spread in one arm", "even", 30, 0.75, 5, 0.07),
        Setting("spread in points", "even", 30, 0.75, 3, 0.07),
        Setting("independent", "even", 30, 0.90, 5, 0.04),
    ],
    ids=str,
)
def test_verdicts_on_equal_arms_are_seldom_false_and_intervals_cover(setting: Setting) -> None:
    found = verdicts.grid(np.random.default_rng(0), N_DRAWS, [setting]).iloc[0]
    assert found["refused"] < 15
    assert found["false"] <= 6.5
    assert 93 <= found["covers"] <= 98.5
    assert 92.5 <= found["accuracy_covers"] <= 98.5


@pytest.mark.parametrize(
    "setting",
    [
        Setting("shared difficulty", "half in one", 30, 0.75, 1, 0.0),
        Setting("shared difficulty", "half in one", 120, 0.90, 5, 0.04),
        Setting("shared difficulty", "skewed", 6, 0.75, 3, 0.0),
        Setting("shared difficulty", "even", 5, 0.75, 1, 0.0),
        Setting("shared difficulty", "even", 6, 0.99, 1, 0.0),
        Setting("trainings repeat", "even", 30, 0.99, 3, 0.0),
    ],
    ids=str,
)
def test_settings_that_cannot_decide_are_refused(setting: Setting) -> None:
    found = verdicts.grid(np.random.default_rng(0), 200, [setting]).iloc[0]
    assert found["refused"] >= 98
    assert found["false"] <= 0.5


def test_rare_failures_of_trainings_near_the_limit_give_no_verdict() -> None:
    """By Student's t alone a fifth of these would be false."""
    setting = Setting("spread in one arm", "even", 120, 0.99, 5, 0.02)
    (arms,) = simulated.drawn(np.random.default_rng(0), setting, 300)
    found = simulated.judged(*arms, setting.sizes, 0.0)
    is_rejected = found.p_value <= 0.05
    assert is_rejected.mean() > 0.12
    assert (is_rejected & ~found.is_refused).mean() <= 0.02


@pytest.mark.parametrize(
    "name", ["400 x 1, 99 to 98 %", "120 x 8, 99 to 98 %", "100 x 1, 3 % lost, 2 % gained"]
)
def test_a_loss_of_the_margin_is_seldom_called_smaller(name: str) -> None:
    n_groups, size, options = verdicts.LOSSES[name]
    sizes = np.full(n_groups, size)
    arms = simulated.losing(np.random.default_rng(0), 2000, sizes, **options)
    assert (arms[1].mean() - arms[0].mean()) == pytest.approx(-0.01, abs=0.002)
    found = simulated.judged(*arms, sizes, -0.01)
    is_said = (found.p_value / 2 <= 0.025) & (found.difference > -0.01) & ~found.is_refused
    # Monte Carlo error of 2,000 draws at 2.5 %: 0.35 points.
    assert is_said.mean() <= 0.035


@pytest.mark.parametrize("generator", GENERATORS)
def test_drawn_answers_have_the_accuracy_and_spread_of_their_setting(generator: str) -> None:
    setting = Setting(generator, "even", 60, 0.8, 4, 0.05)
    (arms,) = simulated.drawn(np.random.default_rng(1), setting, 300, gain=0.04)
    for arm, accuracy in zip(arms, (0.8, 0.84), strict=True):
        assert arm.mean() == pytest.approx(accuracy, abs=0.01)
    variance = arms[1].mean(axis=2).var(axis=1, ddof=1).mean()
    # Between trainings of one study: their spread, and chance of 480 answers.
    assert 0.04 <= np.sqrt(variance) <= 0.062


def test_accuracies_that_cannot_spread_so_far_are_not_drawn() -> None:
    impossible = Setting("spread in points", "even", 8, 0.99, 3, 0.07)
    assert simulated.solved(0.99, 0.07, GENERATORS["spread in points"]) is None
    assert list(simulated.drawn(np.random.default_rng(0), impossible, 10)) == []
