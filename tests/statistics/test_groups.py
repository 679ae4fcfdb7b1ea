import numpy as np
import pytest

from medres.statistics import comparison, groups, power


def test_equal_groups_count_as_many_and_one_large_group_as_few() -> None:
    assert groups.effective([7] * 12) == pytest.approx(12)
    # (40 + 20)^2 / (40^2 + 20) by hand.
    assert groups.effective([40] + [1] * 20) == pytest.approx(3600 / 1620)
    assert groups.largest_share([40] + [1] * 20) == pytest.approx(2 / 3)
    assert groups.effective([3]) == groups.largest_share([3]) == 1


@pytest.mark.parametrize("n_groups", [1, 3, 5])
def test_below_six_groups_no_paired_test_can_be_significant(n_groups: int) -> None:
    """All questions of all groups on one side: no answers are further apart."""
    labels = np.repeat(np.arange(n_groups), 4)
    nothing, everything = np.zeros(len(labels)), np.ones(len(labels))
    least = comparison.paired_group_test(nothing, everything, labels)
    assert least > 0.05
    said = groups.too_few([4] * n_groups)
    assert f"cannot reach p < {least:.3g}, whatever" in said
    assert "10 points would take about" in said


def test_six_groups_can_be_significant_and_are_not_refused() -> None:
    labels = np.repeat(np.arange(groups.LEAST_GROUPS), 4)
    first, second = np.zeros(len(labels)), np.ones(len(labels))
    assert comparison.paired_group_test(first, second, labels) < 0.05
    assert groups.too_few([4] * groups.LEAST_GROUPS) == ""
    assert "even a large difference" in groups.sentence([4] * groups.LEAST_GROUPS)


def test_one_group_that_outweighs_the_others_is_refused() -> None:
    said = groups.too_few([40] + [1] * 20)
    assert "the largest group holds 67 % of the test questions" in said
    assert "21 groups count as 2.2 of equal size" in said
    assert "count as 3.8" in groups.too_few([20] + [1] * 20)  # half of all: 40^2 / 420
    assert groups.too_few([10] + [1] * 20) == ""  # 30^2 / 120 = 7.5


@pytest.mark.parametrize(("each", "difference"), [(1, 0.1), (5, 0.1), (8, 0.05), (1, 0.29)])
def test_the_needed_groups_are_the_fewest_that_detect_the_difference(
    each: int, difference: float
) -> None:
    n_groups = groups.needed(each, difference=difference)
    found = [
        power.detectable_difference(
            power.planned_standard_error(each * n, n, discordance=0.3, correlation=0.1), n - 1
        )
        for n in (n_groups, n_groups - 1)
    ]
    assert found[0] <= difference < found[1]


def test_needed_groups_by_the_textbook_formula() -> None:
    """Single questions: n = (z of 97.5 % + z of 80 %)^2 x discordance / difference^2 = 235.5."""
    assert 235.5 < groups.needed(1) < 241


def test_the_sentence_says_what_can_be_detected() -> None:
    said = groups.sentence([2] * 200)
    assert said.startswith(
        "400 test questions in 200 groups (effective number 200.0, the largest holds 0.5 %): "
    )
    # 2.8 standard errors of sqrt(0.3 x 1.1 / 400) are 8.05 points.
    assert "a difference of about 8 points between two resolutions of one training" in said
    assert "80 % power, if only one arm is right on 30 % of the questions" in said
    assert groups.sentence([5] * 4).startswith("20 test questions in 4 groups (effective")


@pytest.mark.parametrize("counts", [[], [3, 0], [2.5], [float("nan")], [-1]])
def test_what_is_no_number_of_questions_is_refused(counts: list[float]) -> None:
    for function in (
        groups.effective,
        groups.largest_share,
        groups.too_few,
        groups.sentence,
    ):
        with pytest.raises(ValueError, match="at least 1 each"):
            function(counts)


@pytest.mark.parametrize("difference", [0.0, 1.0, -0.1])
def test_an_impossible_difference_is_refused(difference: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        groups.needed(1, difference=difference)
