import numpy as np
import pytest
from scipy import integrate, special, stats

from medres.statistics import mixed_model

LOG_ODDS = np.array([0.8, -0.4, -0.2, 1.1])
# Contagious bovine pleuropneumonia: new cases and animals of 15 herds in 4 quarters
# (Lesnoff et al. 2004, Prev. Vet. Med. 66, 65-76); an example of R's lme4 as `cbpp`.
CASES = np.array(
    [
        *([2, 3, 4, 0], [3, 1, 1, 0], [8, 2, 0, 2], [2, 0, 2, 0], [5, 0, 0, 1]),
        *([3, 0, 0, 1], [8, 1, 3, 0], [12, 0, 0, 0], [2, 0, 0, 0], [1, 1, 0, 2]),
        *([0, 5, 3, 1], [2, 1, 0, 0], [1, 2, 0, 0], [11, 0, 0, 0], [1, 1, 1, 0]),
    ]
)
ANIMALS = np.array(
    [
        *([14, 12, 9, 5], [22, 18, 21, 0], [22, 16, 16, 20], [10, 10, 9, 6], [18, 25, 24, 4]),
        *([17, 17, 18, 20], [16, 10, 9, 5], [34, 0, 0, 0], [9, 6, 8, 6], [22, 22, 18, 22]),
        *([25, 27, 22, 22], [10, 8, 6, 5], [21, 24, 19, 23], [19, 2, 3, 2], [19, 15, 15, 15]),
    ]
)


def counts(
    seed: int, *, deviation: float = 1.2, n_groups: int = 100, slope: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return right and asked of groups with 1 to 6 questions each, drawn from the model."""
    rng = np.random.default_rng(seed)
    asked = np.repeat(rng.integers(1, 7, (n_groups, 1)), 4, axis=1)
    linear = LOG_ODDS + deviation * rng.normal(size=(n_groups, 1))
    linear = linear + slope * rng.normal(size=(n_groups, 4))
    return rng.binomial(asked, special.expit(linear)), asked


def test_the_likelihood_is_that_of_its_definition() -> None:
    right, asked = np.array([[3, 0, 1, 2], [0, 0, 1, 0]]), np.array([[4, 2, 1, 5], [90, 1, 1, 40]])
    parameters = np.append(LOG_ODDS, 2.5)
    values, gradient = mixed_model._log_likelihood(parameters, right, asked)
    for group in range(2):

        def integrand(normal: float, group: int = group) -> float:
            chance = special.expit(LOG_ODDS + 2.5 * normal)
            binomial = chance ** right[group] * (1 - chance) ** (asked - right)[group]
            return float(stats.norm.pdf(normal) * binomial.prod())

        expected = integrate.quad(integrand, -9, 3, limit=500, epsabs=0)[0]
        assert values[group] == pytest.approx(np.log(expected), abs=1e-4)
    for index in range(5):
        step = np.eye(5)[index] * 1e-5
        above, below = (
            mixed_model._log_likelihood(parameters + sign * step, right, asked)[0]
            for sign in (1, -1)
        )
        assert gradient[:, index] == pytest.approx((above - below) / 2e-5, abs=2e-4)


def test_the_fit_is_that_of_lme4() -> None:
    """glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, binomial, nAGQ = 7)."""
    found = mixed_model.fit(CASES, ANIMALS)
    effects = np.array([-1.39923, -0.99140, -1.12782, -1.57947])
    expected = effects[0] + np.array([0, *effects[1:]])
    assert found.log_odds == pytest.approx(expected, abs=2e-4)
    assert found.deviation == pytest.approx(0.6475, abs=2e-4)


def test_simulated_log_odds_are_found_within_their_errors() -> None:
    """Of arms that suit groups differently too: the model lacks that, the errors cover it."""
    contrast = np.array([1, -1, -1, 1])
    for slope in (0.0, 1.0):
        fits = [mixed_model.fit(*counts(seed, slope=slope)) for seed in range(60)]
        found = np.array([contrast @ fit.log_odds for fit in fits])
        errors = np.array([contrast @ fit.covariance @ contrast for fit in fits]) ** 0.5
        # Of 60 draws a spread is known to 9 % of itself.
        assert found.std(ddof=1) == pytest.approx(errors.mean(), rel=0.25)
        if slope == 0:
            assert found.mean() == pytest.approx(
                contrast @ LOG_ODDS, abs=3 * errors.mean() / 60**0.5
            )
            assert np.mean([fit.deviation for fit in fits]) == pytest.approx(1.2, abs=0.05)


def test_groups_that_do_not_differ_give_the_plain_log_odds() -> None:
    right, asked = np.tile([[3, 2, 1, 2]], (30, 1)), np.full((30, 4), 4)
    found = mixed_model.fit(right, asked)
    assert found.log_odds == pytest.approx(special.logit([0.75, 0.5, 0.25, 0.5]), abs=1e-3)
    assert found.deviation < 0.05


def test_the_order_of_groups_and_arms_does_not_matter() -> None:
    right, asked = counts(1)
    order = np.random.default_rng(0).permutation(len(right))
    found, again = mixed_model.fit(right, asked), mixed_model.fit(right[order], asked[order])
    assert np.array_equal(found.covariance, again.covariance)
    swapped = mixed_model.fit(right[:, ::-1], asked[:, ::-1])
    assert swapped.log_odds == pytest.approx(found.log_odds[::-1], abs=1e-5)


@pytest.mark.parametrize(
    ("right", "asked", "note"),
    [
        ([[3, 1, 1, 2]], [[4, 4, 4, 4]], "one group"),
        ([[2, 1], [2, 0]], [[2, 2], [2, 2]], "an arm has no right or no wrong answer"),
        ([[2, 2], [0, 0]], [[2, 2], [2, 2]], "no group has both right and wrong answers"),
    ],
)
def test_what_cannot_be_fitted_is_undefined_and_says_why(
    right: list[list[int]], asked: list[list[int]], note: str
) -> None:
    found = mixed_model.fit(right, asked)
    assert found.note == note
    assert np.isnan(found.log_odds).all()
    assert np.isnan(found.covariance).all()


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"right has shape \(2,\), asked \(2,\)"):
        mixed_model.fit([1, 1], [2, 2])
    for wrong in ([[3, 1], [1, 1]], [[np.nan, 1], [1, 1]], [[-1, 1], [1, 1]]):
        with pytest.raises(ValueError, match="between 0 and asked in every"):
            mixed_model.fit(wrong, [[2, 2], [2, 2]])


def test_a_contrast_has_the_larger_of_the_two_errors() -> None:
    """With few groups the sandwich estimate is too small, with arms that suit groups the other."""
    contrast = np.array([1, -1, -1, 1])
    few, suited = mixed_model.fit(*counts(3, n_groups=12)), mixed_model.fit(*counts(1, slope=2.0))
    for found in (few, suited):
        both = [contrast @ each @ contrast for each in (found.covariance, found.model_covariance)]
        assert found.variance_of(contrast) == pytest.approx(max(both))
    model, sandwich = (
        contrast @ each @ contrast for each in (suited.model_covariance, suited.covariance)
    )
    assert sandwich > 1.5 * model


def test_the_error_with_few_groups_is_not_too_small() -> None:
    contrast = np.array([1, -1, -1, 1])
    fits = [mixed_model.fit(*counts(seed, n_groups=12)) for seed in range(120)]
    fits = [fit for fit in fits if not fit.note]
    spread = np.std([contrast @ fit.log_odds for fit in fits], ddof=1)
    errors = np.sqrt([fit.variance_of(contrast) for fit in fits])
    sandwich = np.sqrt([max(0, contrast @ fit.covariance @ contrast) for fit in fits])
    # Of 120 draws a spread is known to 6 % of itself.
    assert np.sqrt(np.mean(errors**2)) > 0.88 * spread
    assert sandwich.mean() < errors.mean()
