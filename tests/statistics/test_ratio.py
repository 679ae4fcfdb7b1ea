"""The share of one arm's accuracy that another reaches."""

import math

import numpy as np
import pytest
from scipy import stats

from medres.statistics import comparison, ratio


def drawn(
    n_questions: int, both: float, first_only: float, second_only: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    kinds = np.array([[1, 1], [1, 0], [0, 1], [0, 0]])
    shares = [both, first_only, second_only, 1 - both - first_only - second_only]
    answers = kinds[np.random.default_rng(seed).choice(4, n_questions, p=shares)]
    return answers[:, 0], answers[:, 1]


def fieller(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return Fieller's limits by his quadratic, for single questions that are all independent."""
    n = len(first)
    covariance = np.cov(first, second, ddof=1) / n
    square = stats.t.ppf(0.975, n - 1) ** 2
    a = first.mean() ** 2 - square * covariance[0, 0]
    b = -2 * (first.mean() * second.mean() - square * covariance[0, 1])
    c = second.mean() ** 2 - square * covariance[1, 1]
    low, high = sorted(np.roots([a, b, c]).real)
    return float(low), float(high)


def test_the_limits_are_those_of_fiellers_quadratic() -> None:
    first, second = drawn(300, 0.6, 0.2, 0.1)
    found = ratio.ratio(first, second, np.arange(300))
    assert found.difference == pytest.approx(second.mean() / first.mean())
    limits = found.interval()
    assert (limits.lower, limits.upper) == pytest.approx(fieller(first, second), abs=2e-3)


def test_interval_and_p_value_never_disagree() -> None:
    first, second = drawn(120, 0.5, 0.2, 0.1)
    found = ratio.ratio(first, second, np.repeat(np.arange(40), 3))
    limits = found.interval(0.9)
    assert found.p_value(limits.lower) == pytest.approx(0.1, abs=1e-6)
    assert found.p_value(limits.upper) == pytest.approx(0.1, abs=1e-6)
    assert found.p_value(found.difference) == pytest.approx(1)


def test_a_ratio_of_one_is_an_equal_accuracy() -> None:
    """At 1 the tested contrast is the difference of the arms."""
    first, second = drawn(400, 0.5, 0.22, 0.12, seed=1)
    groups = np.repeat(np.arange(100), 4)
    p_value = comparison.compare(first, second, groups).p_value()
    assert ratio.ratio(first, second, groups).p_value(1) == pytest.approx(p_value, rel=0.2)


def test_equal_arms_are_not_certain() -> None:
    """As for a difference: a share of groups may differ and have been missed."""
    first = np.array([1, 0] * 30)
    found = ratio.ratio(first, first, np.arange(60))
    limits = found.interval()
    missed = (1 - 0.025 ** (1 / 60)) / 0.5
    assert (limits.lower, limits.upper) == pytest.approx((1 - missed, 1 + missed))
    assert found.p_value(1) == 1
    assert found.p_value(0.5) < 0.05
    assert "differ in 0 of 60 groups" in found.refusal()


def test_a_first_arm_near_nought_bounds_nothing_from_above() -> None:
    first, second = np.zeros((2, 60))
    first[:1], second[:30] = 1, 1
    limits = ratio.ratio(first, second, np.arange(60)).interval()
    assert limits.upper == math.inf
    never = ratio.ratio(np.zeros(60), second, np.arange(60))
    assert math.isnan(never.difference)
    assert math.isnan(never.interval().lower)
    assert never.p_value(1.0) < 0.05  # an accuracy of 0.5 is not 0


def test_a_second_arm_that_is_never_right_has_a_share_of_nought() -> None:
    found = ratio.ratio(np.tile([1, 1, 0], 20), np.zeros(60), np.arange(60))
    limits = found.interval()
    assert (limits.estimate, limits.lower) == (0, 0)
    assert math.isnan(found.standard_error)


def test_trainings_widen_the_interval() -> None:
    first, second = drawn(200, 0.6, 0.2, 0.1)
    alike = ratio.ratio([first] * 3, [second] * 3, np.arange(200)).interval()
    worse = np.where(np.arange(200) < 60, 0, second)
    apart = ratio.ratio([first] * 3, [second, worse, second], np.arange(200)).interval()
    assert apart.upper - apart.lower > 2 * (alike.upper - alike.lower)


def test_arms_of_other_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="same questions"):
        ratio.ratio(np.ones(3), np.ones(4), np.arange(3))
    with pytest.raises(ValueError, match="same questions"):
        ratio.ratio(np.ones(3), np.ones(3), np.arange(4))


def test_intervals_cover() -> None:
    """True share 0.7 / 0.8 with three questions a group that share a difficulty."""
    rng = np.random.default_rng(5)
    n_draws, covered = 300, 0
    for _ in range(n_draws):
        ease = np.repeat(rng.normal(0, 0.1, 60), 3)
        first = rng.random(180) < 0.8 + ease
        second = rng.random(180) < 0.7 + ease
        limits = ratio.ratio(first, second, np.repeat(np.arange(60), 3)).interval()
        covered += limits.lower <= 0.7 / 0.8 <= limits.upper
    assert covered / n_draws > 0.92
