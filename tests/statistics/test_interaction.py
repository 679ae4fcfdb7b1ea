import math

import numpy as np
import pytest
from scipy import special, stats

from medres.statistics import interaction


def drawn(
    rng: np.random.Generator, n_groups: int, *, gap: float = 0.0, n_parts: int = 2, nested: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two arms on groups of 12; part 0 gains more by the gap; parts share groups or do not."""
    groups = np.repeat(np.arange(n_groups), 12)
    parts = groups % n_parts if nested else np.arange(len(groups)) % n_parts
    logit = rng.normal(size=n_groups)[groups] + 1
    suits = 0.5 * rng.normal(size=n_groups)[groups]
    first = rng.random(len(groups)) < special.expit(logit)
    second = rng.random(len(groups)) < special.expit(logit + suits + gap * (parts == 0))
    return first, second, groups, parts


def test_two_parts_that_share_no_group_are_welch_s_test() -> None:
    """Groups of equal size: the test of two independent samples of group means."""
    arms = drawn(np.random.default_rng(0), 20, nested=True)
    means = ((arms[1].astype(int) - arms[0]).reshape(20, 12)).mean(axis=1)
    expected = stats.ttest_ind(means[0::2], means[1::2], equal_var=False).pvalue
    assert interaction.equal_differences(*arms) == pytest.approx(expected, rel=1e-9)


def test_two_parts_that_every_group_holds_are_a_paired_test() -> None:
    arms = drawn(np.random.default_rng(1), 15, nested=False)
    gains = (arms[1].astype(int) - arms[0]).reshape(15, 6, 2).mean(axis=1)
    expected = stats.ttest_rel(gains[:, 0], gains[:, 1]).pvalue
    assert interaction.equal_differences(*arms) == pytest.approx(expected, rel=1e-9)


def test_three_parts_that_every_group_holds_are_hotelling_s_test() -> None:
    arms = drawn(np.random.default_rng(2), 15, n_parts=3, nested=False)
    gains = (arms[1].astype(int) - arms[0]).reshape(15, 4, 3).mean(axis=1)
    contrasts = gains[:, 1:] - gains[:, :1]
    mean = contrasts.mean(axis=0)
    square = 15 * mean @ np.linalg.solve(np.cov(contrasts.T), mean)
    expected = stats.f.sf(square * (15 - 2) / (14 * 2), 2, 15 - 2)
    assert interaction.equal_differences(*arms) == pytest.approx(expected, rel=1e-9)


def test_parts_that_differ_are_found_and_names_and_order_do_not_matter() -> None:
    first, second, groups, parts = drawn(np.random.default_rng(3), 40, gap=1.5, nested=False)
    found = interaction.equal_differences(first, second, groups, parts)
    assert found < 0.001
    order = np.random.default_rng(4).permutation(len(parts))
    named = np.array(["nodule", "heart"])[parts][order]
    again = interaction.equal_differences(first[order], second[order], groups[order], named)
    assert again == pytest.approx(found)
    swapped = interaction.equal_differences(second, first, groups, parts)
    assert swapped == pytest.approx(found)


def test_trainings_are_averaged() -> None:
    rng = np.random.default_rng(5)
    first, second, groups, parts = drawn(rng, 12, nested=False)
    again = np.stack([second, second])
    found = interaction.equal_differences(first, again, groups, parts)
    assert found == pytest.approx(interaction.equal_differences(first, second, groups, parts))


def test_it_is_undefined_without_parts_or_groups_enough() -> None:
    first, second, groups, parts = drawn(np.random.default_rng(6), 12, nested=False)
    assert math.isnan(interaction.equal_differences(first, second, groups, np.zeros(len(parts))))
    assert math.isnan(interaction.equal_differences(first, second, groups, np.arange(len(parts))))
    assert math.isnan(interaction.equal_differences(first, first, groups, parts))
    few = groups < 3
    many_parts = np.arange(few.sum()) % 6
    arms = first[few], second[few], groups[few], many_parts
    assert math.isnan(interaction.equal_differences(*arms))


@pytest.mark.parametrize(
    ("n_groups", "n_parts", "nested"), [(15, 3, True), (15, 3, False), (30, 6, True)]
)
def test_equal_parts_are_told_apart_in_five_percent(
    n_groups: int, n_parts: int, nested: bool
) -> None:
    """With G_eff - 1 degrees of freedom, parts that share no groups gave 8 to 15 %."""
    rng = np.random.default_rng(7)
    p_values = [
        interaction.equal_differences(*drawn(rng, n_groups, n_parts=n_parts, nested=nested))
        for _ in range(800)
    ]
    # Monte Carlo error of 800 draws at 5 %: 0.8 points.
    assert np.isfinite(p_values).mean() > 0.95
    assert 0.01 <= np.mean(np.array(p_values) <= 0.05) <= 0.07
