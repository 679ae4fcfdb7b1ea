"""The statistics beside R's own, where R is installed (Debian: r-base-core, r-cran-...)."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from scipy import special, stats
from statsmodels.stats.proportion import proportion_confint

from medres.statistics import comparison, families, mixed_model, odds, pooled

RSCRIPT = shutil.which("Rscript")
pytestmark = pytest.mark.skipif(RSCRIPT is None, reason="Rscript is not installed")


def r(code: str, *, package: str = "stats") -> np.ndarray:
    """Return the numbers that R code evaluates to; skips the test if R lacks the package."""
    lines = (
        f'if (!requireNamespace("{package}", quietly = TRUE)) {{ cat("absent"); quit() }}',
        f"suppressMessages(library({package}))",
        f"found <- {{{code}}}",
        'cat("\\n[", paste(format(found, digits = 17), collapse = ","), "]", sep = "")',
    )
    done = subprocess.run(
        [str(RSCRIPT), "--vanilla", "/dev/stdin"],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=True,
    )
    if done.stdout == "absent":
        pytest.skip(f"R lacks the package {package}")
    return np.array(json.loads(done.stdout.splitlines()[-1].replace("NaN", "null")), dtype=float)


def vector(values: np.ndarray) -> str:
    return f"c({', '.join(map(repr, np.asarray(values).tolist()))})"


def two_arms(
    seed: int, n_groups: int = 30, size: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two arms whose groups differ in difficulty; groups of a size, or of 2 to 9 questions."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), size or rng.integers(2, 10, n_groups))
    logit = rng.normal(0.5, 1, n_groups)[groups]
    suits = rng.normal(0.3, 0.4, n_groups)[groups]
    first, second = (rng.random(len(groups)) < special.expit(logit + part) for part in (0, suits))
    return first.astype(int), second.astype(int), groups


def four_arms(seed: int, *, size: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Answers of the arms of `odds.SIGNS`, shape (4, n_questions), where alignment helps."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(25), size or rng.integers(2, 10, 25))
    logit = np.array([1.0, 0.2, 0.1, 1.3])[:, None] + rng.normal(0, 1, 25)[groups]
    return (rng.random((4, len(groups))) < special.expit(logit)).astype(int), groups


def as_rows(correct: np.ndarray, groups: np.ndarray) -> str:
    """Return R code of a data frame with an answer per row."""
    trained, asked = (np.repeat(each, len(groups)) for each in ([0, 0, 1, 1], [0, 1, 0, 1]))
    order = np.argsort(np.tile(groups, 4), kind="stable")  # geeglm wants clusters together
    columns = {"y": correct.ravel(), "trained": trained, "asked": asked, "g": np.tile(groups, 4)}
    return f"d <- data.frame({', '.join(f'{k} = {vector(v[order])}' for k, v in columns.items())})"


@pytest.mark.parametrize("seed", range(3))
def test_mcnemar_is_r_s_binomial_test_of_the_discordant_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.random(60) < 0.5, rng.random(60) < 0.7
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    (expected,) = r(f"binom.test({only_first}, {only_first + only_second}, 0.5)$p.value")
    found = comparison.mcnemar_exact(first.astype(int), second.astype(int))
    assert found == pytest.approx(expected, abs=1e-12)


def test_mcnemar_nears_r_s_approximate_test_with_many_pairs() -> None:
    """R has only the approximate test built in, with a continuity correction."""
    first = np.repeat([1, 1, 0, 0], [400, 120, 165, 315])
    second = np.repeat([1, 0, 1, 0], [400, 120, 165, 315])
    (approximate,) = r("mcnemar.test(matrix(c(400, 120, 165, 315), 2))$p.value")
    assert comparison.mcnemar_exact(first, second) == pytest.approx(approximate, rel=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_holm_is_r_s(seed: int) -> None:
    p_values = np.random.default_rng(seed).random(9) ** 3
    expected = r(f'p.adjust({vector(p_values)}, "holm")')
    assert families.holm(p_values) == pytest.approx(expected, abs=1e-12)


def test_accuracy_interval_of_single_questions_is_r_s_wilson_score() -> None:
    correct = np.repeat([1, 0], [70, 30])
    found = comparison.accuracy_interval(correct, np.arange(100))
    expected = r("prop.test(70, 100, correct = FALSE)$conf.int")
    assert (found.lower, found.upper) == pytest.approx(tuple(expected), abs=1e-9)
    assert tuple(expected) == pytest.approx(proportion_confint(70, 100, method="wilson"), abs=1e-9)


def test_standard_error_is_that_of_clubsandwich_s_cr2() -> None:
    """Groups of unequal size: the regression of gains on a constant."""
    first, second, groups = two_arms(0)
    code = f"g <- {vector(groups)}; fit <- lm({vector(second - first)} ~ 1); "
    expected = r(code + 'sqrt(vcovCR(fit, cluster = g, type = "CR2"))', package="clubSandwich")
    found = comparison.compare(first, second, groups)
    assert found.standard_error == pytest.approx(expected[0], rel=1e-6)


def test_log_odds_ratio_and_error_are_those_of_clubsandwich_s_cr2() -> None:
    correct, groups = four_arms(0)
    fit = "fit <- glm(y ~ trained * asked, binomial, d, control = glm.control(epsilon = 1e-12)); "
    errors = 'c(coef(fit)[4], sqrt(vcovCR(fit, cluster = d$g, type = "CR2")[4, 4]))'
    expected = r(f"{as_rows(correct, groups)}; {fit}{errors}", package="clubSandwich")
    found = odds.marginal(correct[None], groups)
    assert (found.estimate, found.standard_error) == pytest.approx(tuple(expected), rel=1e-5)


def test_log_odds_ratio_is_geeglm_s_and_its_error_that_with_a_small_sample_factor() -> None:
    """geeglm has no correction; for G equal groups ours is the root of G / (G - 1) larger."""
    correct, groups = four_arms(3, size=6)
    code = (
        f"{as_rows(correct, groups)}; fit <- geeglm(y ~ trained * asked, binomial, d, id = g); "
        "unlist(summary(fit)$coefficients[4, 1:2])"
    )
    estimate, error = r(code, package="geepack")
    found = odds.marginal(correct[None], groups)
    assert found.estimate == pytest.approx(estimate, rel=1e-5)
    assert found.standard_error / error == pytest.approx(np.sqrt(25 / 24), rel=1e-4)


def test_mixed_model_is_glmer_s() -> None:
    correct, groups = four_arms(4)
    right = np.stack([np.bincount(groups, weights=arm) for arm in correct], axis=1)
    sizes = np.repeat(np.bincount(groups)[:, None], 4, axis=1)
    found = mixed_model.fit(right, sizes)
    code = (
        f"d <- data.frame(k = {vector(right.ravel())}, n = {vector(sizes.ravel())}, "
        f"arm = factor(rep(1:4, 25)), g = rep(1:25, each = 4)); "
        "fit <- glmer(cbind(k, n - k) ~ 0 + arm + (1 | g), d, binomial, nAGQ = 15); "
        "c(fixef(fit), sqrt(diag(as.matrix(vcov(fit)))), getME(fit, 'theta'))"
    )
    expected = r(code, package="lme4")
    assert found.log_odds == pytest.approx(expected[:4], abs=1e-3)
    assert np.sqrt(np.diag(found.model_covariance)) == pytest.approx(expected[4:8], rel=0.02)
    assert found.deviation == pytest.approx(expected[8], abs=1e-3)


def test_sign_flips_over_groups_are_coin_s_exact_symmetry_test() -> None:
    first, second, groups = two_arms(1, 14)
    right = np.concatenate([np.bincount(groups, weights=arm) for arm in (first, second)])
    code = (
        f"y <- {vector(right)}; arm <- factor(rep(1:2, each = 14)); g <- factor(rep(1:14, 2)); "
        'as.numeric(pvalue(symmetry_test(y ~ arm | g, distribution = "exact")))'
    )
    (expected,) = r(code, package="coin")
    assert comparison.paired_group_test(first, second, groups) == pytest.approx(expected, rel=1e-6)


def test_a_studentised_bootstrap_over_many_equal_groups_gives_about_our_limits() -> None:
    first, second, groups = two_arms(5, 120, 8)
    means = (second - first).reshape(120, 8).mean(axis=1)
    code = (
        f"set.seed(1); b <- boot({vector(means)}, "
        "function(x, i) c(mean(x[i]), var(x[i]) / length(i)), 4000); "
        'boot.ci(b, type = "stud")$student[4:5]'
    )
    expected = r(code, package="boot")
    found = comparison.compare(first, second, groups).interval()
    assert (found.lower, found.upper) == pytest.approx(tuple(expected), abs=0.003)
    assert found.upper - found.lower > 0.05


@pytest.mark.parametrize("margin", [0.01, 0.02, 0.025])
def test_equivalence_is_two_one_sided_t_tests_in_a_large_sample(margin: float) -> None:
    first, second, groups = two_arms(6, 2000, 1)
    second = np.where(np.arange(2000) % 5 == 0, second, first)
    gains = vector(second - first)
    expected = r(
        f'max(t.test({gains}, mu = -{margin}, alternative = "greater")$p.value, '
        f't.test({gains}, mu = {margin}, alternative = "less")$p.value)'
    )
    found = comparison.compare(first, second, groups).p_within(margin)
    # As quantiles: in the tail the score statistic of ours is a little more careful.
    assert stats.norm.isf(found) == pytest.approx(stats.norm.isf(expected[0]), abs=0.1)


def test_the_mean_over_data_sets_is_metafor_s() -> None:
    """Paule and Mandel's variance, Hartung and Knapp's error.

    Its prediction interval has n - 1 degrees of freedom, ours n - 2 (Higgins et al. 2009, Journal
    of the Royal Statistical Society A 172, 137-159).
    """
    rng = np.random.default_rng(7)
    errors = rng.uniform(0.01, 0.05, 7)
    effects = 0.1 + 0.05 * rng.normal(size=7) + errors * rng.normal(size=7)
    code = (
        f'fit <- rma({vector(effects)}, sei = {vector(errors)}, method = "PM", test = "knha", '
        "control = list(tol = 1e-12)); "
        "reach <- (predict(fit)$pi.ub - fit$b) * qt(0.975, 5) / qt(0.975, 6); "
        "c(fit$b, fit$ci.lb, fit$ci.ub, fit$pval, sqrt(fit$tau2), fit$QE, fit$QEp, "
        "fit$b - reach, fit$b + reach)"
    )
    expected = r(code, package="metafor")
    found = pooled.mean_effect(effects, errors)
    names = "mean lower upper p_value between q p_heterogeneity prediction_lower prediction_upper"
    for name, value in zip(names.split(), expected, strict=True):
        assert getattr(found, name) == pytest.approx(value, rel=1e-5), name
