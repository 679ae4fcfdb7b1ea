import math

import numpy as np
import pytest
from scipy import optimize, stats

from medres.statistics import pooled

# Vaccination against tuberculosis, 13 trials (Colditz et al. 1994, JAMA 271, 698-702): cases and
# others among the vaccinated and among controls; an example of R's metafor as `dat.bcg`.
TRIALS = np.array(
    [
        *([4, 119, 11, 128], [6, 300, 29, 274], [3, 228, 11, 209], [62, 13536, 248, 12619]),
        *([33, 5036, 47, 5761], [180, 1361, 372, 1079], [8, 2537, 10, 619]),
        *([505, 87886, 499, 87892], [29, 7470, 45, 7232], [17, 1699, 65, 1600]),
        *([186, 50448, 141, 27197], [5, 2493, 3, 2338], [27, 16886, 29, 17825]),
    ]
)


def log_risk_ratios() -> tuple[np.ndarray, np.ndarray]:
    """Return log risk ratios of the trials and their standard errors."""
    cases, n = TRIALS[:, [0, 2]], TRIALS[:, [0, 2]] + TRIALS[:, [1, 3]]
    effects = np.log(cases[:, 0] / n[:, 0]) - np.log(cases[:, 1] / n[:, 1])
    return effects, np.sqrt((1 / cases - 1 / n).sum(axis=1))


def test_published_trials_give_the_values_of_metafor() -> None:
    """rma(yi, vi, method = "PM", test = "knha", control = list(tol = 1e-12)) of metafor 3.8."""
    effects, errors = log_risk_ratios()
    assert effects[:2] == pytest.approx([-0.8893, -1.5854], abs=1e-4)
    found = pooled.mean_effect(effects, errors)
    assert found.mean == pytest.approx(-0.71496815, abs=1e-6)
    assert (found.lower, found.upper) == pytest.approx((-1.10909838, -0.32083793), abs=1e-6)
    assert found.between**2 == pytest.approx(0.31806845, abs=1e-5)
    assert found.q == pytest.approx(152.23300808, abs=1e-6)
    assert found.p_value == pytest.approx(0.00191927, abs=1e-7)
    assert found.p_heterogeneity < 1e-20


def test_mean_and_error_equal_their_definitions() -> None:
    """Paule and Mandel's equation solved by search; Hartung and Knapp's error by its formula."""
    effects, errors = np.array([0.02, 0.11, -0.05, 0.08]), np.array([0.02, 0.03, 0.025, 0.06])

    def q_at(variance: float) -> tuple[float, float, np.ndarray]:
        weights = 1 / (errors**2 + variance)
        mean = float(weights @ effects / weights.sum())
        return float(weights @ (effects - mean) ** 2), mean, weights

    between = optimize.brentq(lambda variance: q_at(variance)[0] - 3, 0, 1, xtol=1e-14)
    q, mean, weights = q_at(between)
    error = math.sqrt(q / 3 / weights.sum())
    found = pooled.mean_effect(effects, errors)
    assert (found.mean, found.between**2) == pytest.approx((mean, between), rel=1e-3)
    half = stats.t.ppf(0.975, 3) * error
    assert (found.lower, found.upper) == pytest.approx((mean - half, mean + half), rel=1e-3)
    reach = stats.t.ppf(0.975, 2) * math.sqrt(between + error**2)
    assert found.prediction_upper == pytest.approx(mean + reach, rel=1e-3)
    assert found.q == pytest.approx(q_at(0.0)[0])


def test_two_data_sets_by_hand() -> None:
    """Equal errors: the plain mean, and (y1 - y2)^2 / 2 less the error's square between them."""
    found = pooled.mean_effect([0.1, 0.3], [0.05, 0.05])
    assert found.mean == pytest.approx(0.2)
    assert found.between**2 == pytest.approx(0.04 / 2 - 0.0025, rel=1e-4)
    assert found.q == pytest.approx(2 * 0.1**2 / 0.0025)
    assert found.upper == pytest.approx(0.2 + stats.t.ppf(0.975, 1) * 0.1, rel=1e-4)
    assert math.isnan(found.prediction_lower)


def test_data_sets_that_agree_have_no_spread_between_them() -> None:
    found = pooled.mean_effect([0.10, 0.11, 0.09], [0.05, 0.04, 0.06])
    assert found.between == 0
    assert found.p_heterogeneity > 0.9


def test_one_data_set_has_its_effect_and_nothing_else() -> None:
    found = pooled.mean_effect([0.1], [0.05])
    assert found.mean == 0.1
    assert np.isnan([found.lower, found.p_value, found.between, found.q]).all()


def test_the_order_does_not_matter_and_signs_turn_together() -> None:
    effects, errors = log_risk_ratios()
    found, turned = (
        pooled.mean_effect(effects, errors),
        pooled.mean_effect(-effects[::-1], errors[::-1]),
    )
    assert turned.mean == pytest.approx(-found.mean)
    assert turned.prediction_lower == pytest.approx(-found.prediction_upper)
    assert turned.p_value == pytest.approx(found.p_value)


def test_what_cannot_be_pooled_is_refused() -> None:
    with pytest.raises(ValueError, match=r"effects have shape \(2,\), errors \(3,\)"):
        pooled.mean_effect([0.1, 0.2], [0.1, 0.1, 0.1])
    for effects, errors in (([0.1, math.nan], [0.1, 0.1]), ([0.1, 0.2], [0.1, 0.0])):
        with pytest.raises(ValueError, match="missing or not positive"):
            pooled.mean_effect(effects, errors)


@pytest.mark.parametrize("between", [0.0, 0.06])
def test_the_mean_and_the_next_data_set_are_covered(between: float) -> None:
    rng = np.random.default_rng(0)
    is_held, is_predicted = [], []
    for _ in range(1500):
        errors = rng.uniform(0.01, 0.06, 6)
        effects = 0.1 + between * rng.normal(size=6) + errors * rng.normal(size=6)
        found = pooled.mean_effect(effects, errors)
        is_held.append(found.lower <= 0.1 <= found.upper)
        is_predicted.append(
            found.prediction_lower <= 0.1 + between * rng.normal() <= found.prediction_upper
        )
    # Monte Carlo error of 1,500 draws at 95 %: 0.6 points.
    assert 0.93 <= np.mean(is_held) <= 0.97
    # Its error of the spread between data sets is not in the prediction interval: below nominal.
    assert np.mean(is_predicted) >= 0.89


def test_a_plain_mean_is_a_test_of_one_sample() -> None:
    effects = [0.02, 0.11, 0.05, 0.07]
    found = pooled.average(effects)
    expected = stats.ttest_1samp(effects, 0.01)
    assert found.p_value(0.01) == pytest.approx(expected.pvalue)
    limits = expected.confidence_interval(0.9)
    assert (found.interval(0.9).lower, found.interval(0.9).upper) == pytest.approx(
        (limits.low, limits.high)
    )
    assert found.p_value(found.interval().lower) == pytest.approx(0.05)


def test_equal_effects_and_a_single_one_are_no_certainty() -> None:
    for effects in ([0.1, 0.1, 0.1], [0.1]):
        found = pooled.average(effects)
        assert (found.difference, found.p_value()) == (pytest.approx(0.1), 1)
        assert np.isnan([found.interval().lower, found.prediction(0.0).upper]).all()
