import math

import numpy as np
import pytest

from medres.statistics import comparison, contrast
from medres.statistics import groups as of_groups


def drawn(n_trainings: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(25), rng.integers(2, 8, 25))
    chance = np.array([0.5, 0.6, 0.7, 0.9])[:, None] + 0.1 * rng.normal(size=25)[groups]
    return (rng.random((n_trainings, 4, len(groups))) < chance).astype(int), groups


@pytest.mark.parametrize("n_trainings", [1, 3])
def test_a_difference_of_two_arms_is_that_of_a_comparison(n_trainings: int) -> None:
    correct, groups = drawn(n_trainings)
    found = contrast.contrast(correct, [-1, 0, 0, 1], groups)
    compared = comparison.compare(correct[:, 0], correct[:, 3], groups)
    for name in ("difference", "standard_error", "degrees_of_freedom", "n_differing_groups"):
        assert getattr(found, name) == pytest.approx(getattr(compared, name)), name
    assert found.by_training == pytest.approx(compared.by_training)


def test_a_difference_of_differences_is_its_definition() -> None:
    correct, groups = drawn()
    found = contrast.contrast(correct, [1, -1, -1, 1], groups)
    means = correct[0].mean(axis=1)
    assert found.difference == pytest.approx(means[0] - means[1] - means[2] + means[3])
    gains = correct[0, 0] - correct[0, 1] - correct[0, 2] + correct[0, 3]
    sums = np.bincount(groups, weights=gains - gains.mean())
    shares = np.bincount(groups) / len(groups)
    expected = math.sqrt((sums**2 / (1 - shares)).sum()) / len(groups)
    assert found.standard_error == pytest.approx(expected)


def test_interval_and_p_value_agree() -> None:
    correct, groups = drawn(3)
    found = contrast.contrast(correct, [1, -1, -1, 1], groups)
    for level in (0.5, 0.95):
        interval = found.interval(level)
        assert found.p_value(interval.lower) == pytest.approx(1 - level)
        assert found.p_value(interval.upper) == pytest.approx(1 - level)


def test_what_cannot_decide_is_refused() -> None:
    correct, groups = drawn()
    assert contrast.contrast(correct, [1, -1, -1, 1], groups).refusal() == ""
    few = contrast.contrast(correct, [1, -1, -1, 1], groups % 5)
    assert few.refusal() == of_groups.shortage(np.bincount(groups % 5)) != ""
    same = np.repeat(correct[:, :1], 4, axis=1)
    found = contrast.contrast(same, [1, -1, -1, 1], groups)
    assert (found.p_value(), found.refusal()[:30]) == (1.0, "the arms differ in 0 of 25 gro")
    with pytest.raises(ValueError, match="must sum to 0"):
        contrast.contrast(correct, [1, -1, 1, 1], groups)


def test_several_trainings_that_are_all_but_perfect_are_refused() -> None:
    rng = np.random.default_rng(4)
    correct = (rng.random((3, 4, 800)) < 0.985).astype(int)
    found = contrast.contrast(correct, [1, -1, -1, 1], np.arange(800) // 8)
    assert found.refusal().startswith("all arms are within 3 points of the limit of accuracy")
    assert contrast.contrast(correct[:1], [1, -1, -1, 1], np.arange(800) // 8).refusal() == ""
