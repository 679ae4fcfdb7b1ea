import numpy as np
import pytest
from scipy import stats

from medres.statistics import tails

DEGREES = (0.5, 1.0, 2.0, 7.3, 59.0, 1e4, np.inf)


@pytest.mark.parametrize("degrees", DEGREES)
def test_student_is_that_of_scipy(degrees: float) -> None:
    for tail in (1e-12, 0.001, 0.025, 0.5, 0.9):
        assert tails.student_quantile(tail, degrees) == stats.t.isf(tail, degrees)
    for value in (-3.0, 0.0, 0.1, 2.5, 40.0):
        assert tails.student_tail(value, degrees) == stats.t.sf(value, degrees)


def test_the_normal_distribution_is_that_of_scipy() -> None:
    for tail in (1e-12, 0.001, 0.025, 0.5, 0.9):
        assert tails.normal_quantile(tail) == stats.norm.isf(tail)


@pytest.mark.parametrize("degrees", DEGREES[:-1])
def test_chi_square_is_that_of_scipy(degrees: float) -> None:
    shares = np.array([[1e-6, 0.05], [0.5, 0.999]])
    found = tails.chi_square_quantiles(shares, degrees)
    assert found.tolist() == stats.chi2.ppf(shares, degrees).tolist()
    assert tails.chi_square_quantiles(0.05, degrees) == stats.chi2.ppf(0.05, degrees)


def test_without_degrees_of_freedom_nothing_is_known() -> None:
    for unknown in (np.nan, -1.0):
        assert np.isnan(tails.student_quantile(0.025, unknown))
        assert np.isnan(tails.student_tail(1.0, unknown))
        assert np.isnan(tails.chi_square_quantiles(0.05, unknown))


def test_nothing_exceeds_infinity() -> None:
    assert tails.student_tail(np.inf, 5) == 0
