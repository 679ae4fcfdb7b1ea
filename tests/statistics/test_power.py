import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.power import TTestPower

from medres.statistics import comparison, power


@pytest.fixture
def arms() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(50), rng.integers(1, 8, 50))
    suits = rng.normal(0, 0.2, 50)[groups]
    first, second = (rng.random(len(groups)) < 0.6 + sign * suits for sign in (-1, 1))
    return first.astype(int), second.astype(int), groups


def test_standard_error_is_that_of_a_cluster_robust_regression(
    arms: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    first, second, groups = arms
    error, degrees = power.standard_error(*arms)
    model = sm.OLS(second - first, np.ones(len(first)))
    # Its small-sample factor has n - 1 over n - k, which is 1 for a mean.
    fitted = model.fit(cov_type="cluster", cov_kwds={"groups": groups})
    assert error == pytest.approx(fitted.bse[0], rel=1e-9)
    assert degrees == 49


def test_standard_error_of_single_question_groups_is_that_of_a_mean() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 2, (2, 80))
    error, _ = power.standard_error(first, second, np.arange(80))
    assert error == pytest.approx(stats.sem(second - first), rel=1e-12)


def test_one_group_has_no_standard_error_and_equal_arms_detect_nothing_known() -> None:
    error, degrees = power.standard_error([0, 1], [1, 1], ["a", "a"])
    assert (math.isnan(error), degrees) == (True, 0)
    assert math.isnan(power.detectable_difference(error, degrees))
    equal = power.standard_error([0, 1, 1], [0, 1, 1], list("abc"))
    assert equal == (0.0, 2)
    assert math.isnan(power.detectable_difference(*equal))


@pytest.mark.parametrize(
    ("n_questions", "effect"),
    [(5, 0.0), (5, 0.5), (5, 1.2), (30, 0.1), (30, 0.5), (400, 0.0), (400, 0.1), (400, 0.15)],
)
def test_power_agrees_with_statsmodels(n_questions: int, effect: float) -> None:
    expected = TTestPower().power(effect, n_questions, 0.05, alternative="two-sided")
    error = 1 / math.sqrt(n_questions)
    assert power.power(effect, error, n_questions - 1) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("distance", [8, 15, 40])
@pytest.mark.parametrize("degrees", [10, 399])
def test_a_difference_far_above_its_error_is_found_for_sure(degrees: int, distance: int) -> None:
    assert power.power(distance, 1.0, degrees) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("degrees", [1, 4, 49, 1000])
@pytest.mark.parametrize(("wanted", "alpha"), [(0.8, 0.05), (0.95, 0.01)])
def test_the_detectable_difference_has_the_wanted_power(
    degrees: int, wanted: float, alpha: float
) -> None:
    found = power.detectable_difference(0.02, degrees, power_wanted=wanted, alpha=alpha)
    assert power.power(found, 0.02, degrees, alpha=alpha) == pytest.approx(wanted, abs=1e-6)
    assert power.power(-found, 0.02, degrees, alpha=alpha) == pytest.approx(wanted, abs=1e-6)
    assert power.power(0.9 * found, 0.02, degrees, alpha=alpha) < wanted


def test_simulated_studies_find_the_detectable_difference_four_times_in_five() -> None:
    """Four questions a group, of which an arm suits some groups better than others."""
    n_groups, n_studies, shift = 120, 400, 0.09
    groups = np.repeat(np.arange(n_groups), 4)
    rng = np.random.default_rng(8)
    n_found, detectable = 0, []
    for _ in range(n_studies):
        suits = rng.normal(0, 0.12, n_groups)[groups]
        first = (rng.random(len(groups)) < 0.6 - suits).astype(int)
        second = (rng.random(len(groups)) < 0.6 + shift + suits).astype(int)
        n_found += comparison.paired_group_test(first, second, groups) <= 0.05
        detectable.append(power.detectable_difference(*power.standard_error(first, second, groups)))
    error = np.median(detectable) / power.detectable_difference(1.0, n_groups - 1)
    expected = power.power(shift, float(error), n_groups - 1)
    assert n_found / n_studies == pytest.approx(expected, abs=0.06)


def test_a_planned_error_is_that_of_a_study_as_planned() -> None:
    """Discordance 0.3; in half of the groups all gains are one number, else drawn one by one."""
    n_groups, size, rng = 4000, 5, np.random.default_rng(2)
    values, chances = [-1, 0, 1], [0.15, 0.7, 0.15]
    own = rng.choice(values, (n_groups, size), p=chances)
    alike = np.repeat(rng.choice(values, (n_groups, 1), p=chances), size, axis=1)
    gains = np.where(rng.random((n_groups, 1)) < 0.5, own, alike).ravel()
    first, second = (gains < 0).astype(int), (gains > 0).astype(int)
    error, _ = power.standard_error(first, second, np.repeat(np.arange(n_groups), size))
    planned = power.planned_standard_error(
        n_groups * size, n_groups, discordance=0.3, correlation=0.5
    )
    assert error == pytest.approx(planned, rel=0.05)


def test_impossible_plans_are_refused() -> None:
    with pytest.raises(ValueError, match="30 groups of 20 questions"):
        power.planned_standard_error(20, 30, discordance=0.2, correlation=0)
    with pytest.raises(ValueError, match=r"discordance is 1\.2"):
        power.planned_standard_error(20, 3, discordance=1.2, correlation=0)
    with pytest.raises(ValueError, match=r"alpha 0\.9 and power_wanted 0\.8"):
        power.detectable_difference(0.1, 9, alpha=0.9)


def test_training_interval_is_that_of_scipy_and_undefined_for_one_training() -> None:
    differences = np.array([0.05, 0.08, 0.02, 0.06])
    found = comparison.training_interval(differences)
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (found.lower, found.upper) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert found.estimate == pytest.approx(differences.mean())
    alone = comparison.training_interval([0.05])
    assert (alone.estimate, math.isnan(alone.lower), math.isnan(alone.upper)) == (0.05, True, True)
    for wrong in ([], [0.1, math.nan], [[0.1]]):
        with pytest.raises(ValueError, match="give one number per training"):
            comparison.training_interval(wrong)
