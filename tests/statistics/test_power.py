import math

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from medres.statistics import comparison, power


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
    error = 0.02 if degrees > 1 else 0.002  # one degree takes 200 times the error
    found = power.detectable_difference(error, degrees, power_wanted=wanted, alpha=alpha)
    assert power.power(found, error, degrees, alpha=alpha) == pytest.approx(wanted, abs=5e-4)
    assert power.power(-found, error, degrees, alpha=alpha) == pytest.approx(wanted, abs=5e-4)
    assert power.power(0.9 * found, error, degrees, alpha=alpha) < wanted - 0.001


@pytest.mark.parametrize("degrees", [2, 7, 29])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 8])
def test_an_estimated_error_keeps_the_power_over_all_errors_it_may_come_from(
    degrees: int, alpha: float
) -> None:
    """True error 1: estimates scatter by chi, each study prints its own difference."""
    of_error, of_known_error = (
        1000 * power.detectable_difference(0.001, degrees, alpha=alpha, is_estimated=is_estimated)
        for is_estimated in (True, False)
    )
    errors = np.sqrt(np.random.default_rng(0).chisquare(degrees, 1000) / degrees)
    found = [power.power(of_error * error, 1, degrees, alpha=alpha) for error in errors]
    # Monte Carlo error of 1,000 studies: 0.8 points.
    assert np.mean(found) == pytest.approx(0.8, abs=0.025)
    assert of_known_error < of_error


def test_nothing_can_be_detected_without_an_error_or_below_a_difference_of_one() -> None:
    equal = comparison.compare([0, 1, 1], [0, 1, 1], list("abc"))
    alone = comparison.compare([0, 1], [1, 1], ["a", "a"])
    for found in (equal, alone):
        assert math.isnan(
            power.detectable_difference(found.standard_error, found.degrees_of_freedom)
        )
    assert math.isnan(power.detectable_difference(0.4, 4))
    assert not math.isnan(power.detectable_difference(0.3, 400))


def gains(
    rng: np.random.Generator, shift: float, n_groups: int, size: int
) -> comparison.Comparison:
    """A study whose second arm is better by the shift, and suits some groups better."""
    groups = np.repeat(np.arange(n_groups), size)
    suits = rng.normal(0, 0.06, n_groups)[groups]
    first, second = (rng.random(len(groups)) < 0.5 + part for part in (-suits, shift + suits))
    return comparison.compare(first, second, groups)


@pytest.mark.parametrize(("n_groups", "size"), [(8, 30), (60, 5)])
@pytest.mark.parametrize("n_family", [1, 8])
def test_simulated_studies_find_what_a_page_says_they_can_four_times_in_five(
    n_groups: int, size: int, n_family: int
) -> None:
    """Each of 500 studies prints a difference; another of that true difference is drawn."""
    rng = np.random.default_rng(8)
    n_studies, n_found, alpha = 500, 0, 0.05 / n_family
    # It is a multiple of the standard error.
    of_error = 1000 * power.detectable_difference(
        0.001, n_groups - 1, alpha=alpha, is_estimated=True
    )
    for _ in range(n_studies):
        printed = of_error * gains(rng, 0.0, n_groups, size).standard_error
        n_found += gains(rng, printed, n_groups, size).p_value() <= alpha
    # Monte Carlo error of 500 studies at 80 %: 1.8 points.
    assert 0.75 <= n_found / n_studies <= 0.85


def test_a_planned_error_is_that_of_a_study_as_planned() -> None:
    """Discordance 0.3; in half of the groups all gains are one number, else drawn one by one."""
    n_groups, size, rng = 4000, 5, np.random.default_rng(2)
    values, chances = [-1, 0, 1], [0.15, 0.7, 0.15]
    own = rng.choice(values, (n_groups, size), p=chances)
    alike = np.repeat(rng.choice(values, (n_groups, 1), p=chances), size, axis=1)
    gains = np.where(rng.random((n_groups, 1)) < 0.5, own, alike).ravel()
    first, second = (gains < 0).astype(int), (gains > 0).astype(int)
    found = comparison.compare(first, second, np.repeat(np.arange(n_groups), size))
    planned = power.planned_standard_error(
        n_groups * size, n_groups, discordance=0.3, correlation=0.5
    )
    assert found.standard_error == pytest.approx(planned, rel=0.05)


def test_impossible_plans_are_refused() -> None:
    with pytest.raises(ValueError, match="30 groups of 20 questions"):
        power.planned_standard_error(20, 30, discordance=0.2, correlation=0)
    with pytest.raises(ValueError, match=r"discordance is 1\.2"):
        power.planned_standard_error(20, 3, discordance=1.2, correlation=0)
    with pytest.raises(ValueError, match=r"alpha 0\.9 and power_wanted 0\.8"):
        power.detectable_difference(0.1, 9, alpha=0.9)
