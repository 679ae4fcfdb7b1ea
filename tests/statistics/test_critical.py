"""Critical values of the largest of several correlated t statistics."""

import math

import numpy as np
import pytest
from scipy import special, stats

from medres.statistics import critical


@pytest.mark.parametrize("degrees", [5, 20, 300])
@pytest.mark.parametrize("n_others", [2, 5])
def test_the_critical_value_of_equally_correlated_arms_is_dunnetts(degrees, n_others):
    """Against a double integral over what the statistics share and the error."""
    shared, weights = np.polynomial.hermite_e.hermegauss(101)
    ratios = np.sqrt(stats.chi2.ppf((np.arange(4000) + 0.5) / 4000, degrees) / degrees)
    tail = critical.tail_of_equal(n_others, degrees, 0.95)
    value = stats.t.isf(tail, degrees)
    each = special.ndtr((value * ratios[:, None] - math.sqrt(0.5) * shared) / math.sqrt(0.5))
    held = float((each**n_others @ weights).mean() / weights.sum())
    assert held == pytest.approx(0.95, abs=0.002)


@pytest.mark.parametrize("n_arms", [3, 5])
def test_all_pairs_of_equal_arms_have_tukeys_critical_value(n_arms):
    """The studentised range over the square root of two."""
    pairs = [(i, j) for i in range(n_arms) for j in range(i + 1, n_arms)]
    correlation = critical.correlation_of_differences(np.eye(n_arms), pairs)
    tail = critical.tail_beyond(correlation, 30, 0.95, is_two_sided=True)
    expected = stats.studentized_range.ppf(0.95, n_arms, 30) / math.sqrt(2)
    assert stats.t.isf(tail, 30) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(("is_two_sided", "highest"), [(False, 0.05), (True, 0.025)])
def test_one_statistic_and_equal_statistics_have_the_whole_tail(is_two_sided, highest):
    one, equal = (
        critical.tail_beyond(np.ones((n, n)), 40, 0.95, is_two_sided=is_two_sided) for n in (1, 4)
    )
    assert one == pytest.approx(highest, abs=1e-12)
    assert equal == pytest.approx(highest, rel=0.02)


def test_independent_statistics_share_the_tail_by_sidak():
    tail = critical.tail_beyond(np.eye(4), 1e6, 0.95)
    assert tail == pytest.approx(1 - 0.95 ** (1 / 4), rel=0.03)


def test_the_tail_lies_between_the_whole_and_bonferronis():
    rng = np.random.default_rng(0)
    for degrees in (4, 9, 200):
        correlation = np.corrcoef(rng.normal(size=(5, 7)))
        assert 0.01 <= critical.tail_beyond(correlation, degrees, 0.95) <= 0.05


def test_differences_of_independent_arms_from_one_correlate_by_a_half():
    found = critical.correlation_of_differences(np.eye(3), [(0, 2), (1, 2), (0, 1)])
    assert found == pytest.approx(np.array([[1, 0.5, 0.5], [0.5, 1, -0.5], [0.5, -0.5, 1]]))


def test_a_pair_that_never_differs_is_taken_to_be_independent():
    covariance = np.array([[1.0, 1.0, 0.2], [1.0, 1.0, 0.2], [0.2, 0.2, 1.0]])
    found = critical.correlation_of_differences(covariance, [(0, 1), (0, 2), (1, 2)])
    assert found == pytest.approx(np.array([[1, 0, 0], [0, 1, 1], [0, 1, 1]]))
