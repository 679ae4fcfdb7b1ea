import numpy as np
import pytest

from medres.statistics import groups


def test_equal_groups_count_as_they_are_and_unequal_ones_for_less() -> None:
    assert groups.effective([7] * 12) == pytest.approx(12)
    sizes = [50, 1, 9, 20]
    # The variance of a weighted mean of independent groups, over that of an unweighted one.
    shares = np.array(sizes) / 80
    assert groups.effective(sizes) == pytest.approx(1 / (shares**2).sum())
    assert groups.largest_share(sizes) == 50 / 80


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ([20], "1 group of test questions"),
        ([20] * 5, "5 groups of test questions"),
        ([20] * 6, ""),
        ([100, *[1] * 99], "the largest of 100 groups holds 50.3 % of the test questions"),
        ([20, *[10] * 8], ""),
    ],
)
def test_groups_too_few_or_too_unequal_to_decide_are_named(sizes: list[int], said: str) -> None:
    found = groups.too_few(sizes)
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_below_six_groups_no_outcome_of_a_paired_test_is_below_five_percent() -> None:
    """Why there must be six: all groups gain, the likeliest of all outcomes not to be chance."""
    assert 2 / 2**groups.LEAST_GROUPS <= 0.05 < 2 / 2 ** (groups.LEAST_GROUPS - 1)
