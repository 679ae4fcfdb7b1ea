import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from scipy import special

from medres.statistics import odds


def drawn(
    seed: int, n_trainings: int = 1, n_groups: int = 40, *, is_even: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Answers of the four arms, (n_trainings, 4, n_questions), where alignment helps."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), 5 if is_even else rng.integers(2, 7, n_groups))
    logit = np.array([1.2, 0.1, 0.3, 1.4])[None, :, None] + rng.normal(size=n_groups)[groups]
    logit = logit + 0.2 * rng.normal(size=(n_trainings, 4, 1))
    return (rng.random((n_trainings, 4, len(groups))) < special.expit(logit)).astype(int), groups


def in_rows(correct: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outcome, design and group of every answer, for one training."""
    trained, asked = (np.repeat(each, len(groups)) for each in ([0, 0, 1, 1], [0, 1, 0, 1]))
    design = np.column_stack([np.ones(len(trained)), trained, asked, trained * asked])
    return correct[0].ravel(), design, np.tile(groups, 4)


@pytest.mark.parametrize("seed", range(4))
def test_one_training_is_statsmodels_logistic_model_with_clustered_errors(seed: int) -> None:
    """On groups of equal size; for others R's clubSandwich has the correction that we have."""
    correct, groups = drawn(seed, is_even=True)
    outcome, design, codes = in_rows(correct, groups)
    model = sm.GLM(outcome.astype(float), design, sm.families.Binomial())
    fitted = model.fit(cov_type="cluster", cov_kwds={"groups": codes})
    found = odds.marginal(correct, groups)
    assert found.estimate == pytest.approx(fitted.params[3], rel=1e-6)
    # statsmodels also multiplies by (n - 1) / (n - k), for n answers and k parameters.
    n = len(outcome)
    assert found.standard_error == pytest.approx(
        fitted.bse[3] / np.sqrt((n - 1) / (n - 4)), rel=1e-4
    )


@pytest.mark.parametrize("model", [smf.glm, smf.gee])
@pytest.mark.parametrize("kind", [bool, int, float])
def test_truth_values_are_modelled_as_the_numbers_they_stand_for(
    model: Callable[..., Any], kind: type
) -> None:
    correct, groups = drawn(7)
    outcome, design, codes = in_rows(correct, groups)
    rows = pd.DataFrame({"y": outcome, "trained": design[:, 1], "asked": design[:, 2], "g": codes})
    options = {"groups": "g"} if model is smf.gee else {}

    def estimate(table: pd.DataFrame) -> float:
        family = sm.families.Binomial()
        fitted = model("y ~ trained * asked", data=table, family=family, **options).fit()
        return float(fitted.params["trained:asked"])

    found = odds.marginal(correct.astype(kind), groups).estimate
    assert found == pytest.approx(estimate(rows.astype({"y": float})), rel=1e-6)
    # statsmodels models P(False) of a boolean outcome given by formula, and says nothing.
    assert found == pytest.approx(-estimate(rows.astype({"y": bool})), rel=1e-6)
    shares = correct[0].mean(axis=1)
    log_odds = np.log(shares / (1 - shares))
    assert found == pytest.approx(log_odds[0] - log_odds[1] - log_odds[2] + log_odds[3])
    assert found > 1  # alignment helps, as drawn


def test_no_model_by_formula_is_left_that_could_turn_a_sign() -> None:
    """The models here take arrays of numbers; a new one by formula must be held by a test."""
    package = Path(odds.__file__).parents[1]
    sources = [*package.rglob("*.py"), *(package.parent / "notebooks").glob("*.ipynb")]
    by_formula = re.compile(r"formula\.api|from_formula|\b(GLM|GEE|Logit|Probit|MixedLM)\(")
    assert len(sources) > 50
    assert [str(each) for each in sources if by_formula.search(each.read_text())] == []


def test_several_trainings_are_averaged_and_their_spread_counts() -> None:
    correct, groups = drawn(1, 3)
    found = odds.marginal(correct, groups)
    alone = [odds.marginal(each[None], groups) for each in correct]
    assert found.estimate == pytest.approx(np.mean([each.estimate for each in alone]))
    assert 2 <= found.degrees_of_freedom < alone[0].degrees_of_freedom
    between = np.std([each.estimate for each in alone], ddof=1) / np.sqrt(3)
    assert found.standard_error >= between - 1e-12


def test_limits_are_where_the_p_value_is_the_level() -> None:
    found = odds.marginal(*drawn(2))
    for level in (0.9, 0.99):
        limits = found.limits(level)
        shifted = [odds.LogOddsRatio(found.estimate - limit, *_rest(found)) for limit in limits]
        assert [each.p_value for each in shifted] == pytest.approx([1 - level] * 2)


def _rest(found: odds.LogOddsRatio) -> tuple[float, float]:
    return found.standard_error, found.degrees_of_freedom


def test_swapping_the_evaluated_resolution_turns_the_sign() -> None:
    correct, groups = drawn(3)
    found, turned = odds.marginal(correct, groups), odds.marginal(correct[:, [1, 0, 3, 2]], groups)
    assert turned.estimate == pytest.approx(-found.estimate)
    assert turned.standard_error == pytest.approx(found.standard_error)


def test_what_cannot_be_estimated_says_why() -> None:
    correct, groups = drawn(4)
    assert odds.marginal(correct, np.zeros(len(groups))).note == "one group"
    perfect = correct.copy()
    perfect[:, 2] = 1
    assert odds.marginal(perfect, groups).note == "an arm has no right or no wrong answer"
    alike = np.tile([0, 1, 1, 1], (1, 4, 10))
    found = odds.marginal(alike, np.arange(40) // 4)
    assert found.note == "no group distinguishes the arms"
    assert found.estimate == pytest.approx(0)
    assert np.isnan(found.standard_error)


@pytest.mark.parametrize(("n_groups", "n_trainings"), [(8, 1), (30, 3)])
def test_the_level_holds_with_few_groups(n_groups: int, n_trainings: int) -> None:
    """With normal quantiles 8 groups reject 10 %."""
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(n_groups), 8)
    rejected = []
    for _ in range(600):
        logit = (
            1 + rng.normal(size=n_groups)[groups] + 0.5 * rng.normal(size=(4, n_groups))[:, groups]
        )
        correct = rng.random((n_trainings, 4, len(groups))) < special.expit(logit)
        rejected.append(odds.marginal(correct, groups).p_value <= 0.05)
    # Monte Carlo error of 600 draws at 5 %: 0.9 points.
    assert 0.01 <= np.mean(rejected) <= 0.075
