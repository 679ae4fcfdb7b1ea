"""Weighted sums of independent estimates."""

import math

import numpy as np
import pytest
from scipy import stats

from medres.statistics import independent


def test_a_difference_by_hand() -> None:
    """0.10 with error 0.03, 0.30 with error 0.04: the error of the difference is 0.05."""
    found = independent.weighted([0.1, 0.3], [0.03, 0.04], [20, 20], [-1, 1])
    assert found.difference == pytest.approx(0.2)
    assert found.standard_error == pytest.approx(0.05)
    # All parts have 20 degrees of freedom, and so has their harmonic mean.
    assert found.degrees_of_freedom == pytest.approx(20)
    assert found.p_value() == pytest.approx(2 * stats.t.sf(4, 20))
    half = stats.t.ppf(0.975, 20) * 0.05
    limits = found.interval()
    assert (limits.lower, limits.upper) == pytest.approx((0.2 - half, 0.2 + half))


def test_a_mean_of_four_has_half_the_error_of_one() -> None:
    found = independent.weighted([1, 2, 3, 6], [0.2] * 4, [7] * 4, [0.25] * 4)
    assert found.difference == pytest.approx(3)
    assert found.standard_error == pytest.approx(0.1)


def test_the_larger_variance_has_the_say_in_the_degrees_of_freedom() -> None:
    """Variances 0.09 and 0.01 with 2 and 60: 0.10 / (0.09 / 2 + 0.01 / 60)."""
    found = independent.weighted([0, 0], [0.3, 0.1], [2, 60], [1, -1])
    assert found.degrees_of_freedom == pytest.approx(0.10 / (0.09 / 2 + 0.01 / 60))


def test_an_estimate_without_error_makes_the_sum_undecided() -> None:
    found = independent.weighted([0.1, 0.5], [0.1, math.nan], [9, 9], [-1, 1])
    assert found.difference == pytest.approx(0.4)
    assert math.isnan(found.standard_error)
    assert found.p_value() == 1
    assert math.isnan(found.interval().lower)


@pytest.mark.parametrize(
    "given",
    [([1.0], [1.0, 2.0], [3.0], [1.0]), ([], [], [], []), ([[1.0]], [[1.0]], [[1.0]], [[1.0]])],
    ids=["lengths", "none", "table"],
)
def test_shapes_are_refused(given: tuple) -> None:
    with pytest.raises(ValueError, match="give lists of one length"):
        independent.weighted(*given)


def test_the_test_keeps_its_level_with_few_degrees_of_freedom() -> None:
    """Two means of three trainings each, whose spreads differ: false in 5 % or less, near it."""
    rng = np.random.default_rng(3)
    n_draws, rejected = 2000, 0
    for _ in range(n_draws):
        parts = [rng.normal(0, spread, 3) for spread in (0.02, 0.06)]
        found = independent.weighted(
            [part.mean() for part in parts],
            [part.std(ddof=1) / math.sqrt(3) for part in parts],
            [2, 2],
            [-1, 1],
        )
        rejected += found.p_value() <= 0.05
    assert 0.01 < rejected / n_draws < 0.06
