import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from medres.statistics import comparison, families


def drawn(rng: np.random.Generator, gain: float, n_groups: int = 30) -> comparison.Comparison:
    """Two arms whose accuracies differ by the gain on average; four questions a group."""
    groups = np.repeat(np.arange(n_groups), 4)
    suits = 0.1 * rng.normal(size=n_groups)[groups]
    first, second = (rng.random(len(groups)) < 0.5 + part for part in (0.0, gain + suits))
    return comparison.compare(first, second, groups)


def test_holm_equals_its_definition_in_the_order_given() -> None:
    adjusted = families.holm([0.01, 0.04, 0.03, 0.005])  # R: p.adjust(p, "holm")
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize("n_tests", [1, 2, 30])
def test_holm_is_that_of_statsmodels(n_tests: int) -> None:
    p_values = np.random.default_rng(n_tests).random(n_tests).round(1)  # with ties
    expected = multipletests(p_values, method="holm")[1]
    assert families.holm(p_values) == pytest.approx(expected)


def test_holm_is_monotone_and_never_below_the_p_value() -> None:
    p_values = np.random.default_rng(8).random(50) ** 3
    adjusted = families.holm(p_values)
    assert (np.diff(adjusted[np.argsort(p_values)]) >= 0).all()
    assert (adjusted >= p_values).all()
    assert adjusted.max() <= 1


@pytest.mark.parametrize("p_values", [[], [0.1, np.nan], [0.1, 1.1], [-0.1], [[0.1, 0.2]]])
def test_holm_refuses_what_would_be_counted_wrongly(p_values: list[float]) -> None:
    with pytest.raises(ValueError, match="p_values"):
        families.holm(p_values)


def test_interval_and_adjusted_p_value_never_disagree_in_a_thousand_families() -> None:
    rng = np.random.default_rng(0)
    pool = [drawn(rng, rng.choice([-0.3, -0.1, 0, 0, 0.1, 0.2])) for _ in range(200)]
    n_rejected, n_cut = 0, 0
    for _ in range(1000):
        family = [pool[index] for index in rng.integers(0, 200, rng.integers(1, 9))]
        nulls = rng.choice([0.0, -0.02], len(family)).tolist()
        adjusted, intervals = families.simultaneous(family, nulls)
        alone = [each.p_value(null) for each, null in zip(family, nulls, strict=True)]
        assert adjusted == pytest.approx(families.holm(alone))
        for each, null, p_adjusted, found in zip(family, nulls, adjusted, intervals, strict=True):
            excludes = found.lower >= null or found.upper <= null
            assert excludes == (p_adjusted <= 0.05)
            assert found.lower <= each.difference <= found.upper
            assert found.estimate == each.difference
            n_rejected += excludes
            n_cut += null in (found.lower, found.upper)
    assert n_rejected > 1000
    assert n_cut > 50  # the case in which Bonferroni's interval would hold the null


def test_a_family_of_one_has_the_interval_of_the_comparison_alone() -> None:
    for gain in (0.0, 0.15, 0.4):
        compared = drawn(np.random.default_rng(3), gain)
        adjusted, (found,) = families.simultaneous([compared], [0.0])
        assert adjusted.tolist() == [compared.p_value()]
        expected = compared.interval()
        assert (found.lower, found.upper) == pytest.approx((expected.lower, expected.upper))


@pytest.mark.parametrize("gains", [(0.0, 0.0, 0.0, 0.0), (0.0, 0.08, 0.15, 0.35)])
def test_all_intervals_of_a_family_hold_together(gains: tuple[float, ...]) -> None:
    rng = np.random.default_rng(1)
    n_draws, n_held, n_false = 400, 0, 0
    for _ in range(n_draws):
        compared = [drawn(rng, gain) for gain in gains]
        adjusted, intervals = families.simultaneous(compared, [0.0] * len(gains))
        held = [
            each.lower <= gain <= each.upper for each, gain in zip(intervals, gains, strict=True)
        ]
        n_held += all(held)
        n_false += any(p <= 0.05 for p, gain in zip(adjusted, gains, strict=True) if gain == 0)
    # Monte Carlo error of 400 draws at 95 %: 1.1 points; nominal 95 and 5 %.
    assert n_held / n_draws >= 0.93
    assert n_false / n_draws <= 0.08
