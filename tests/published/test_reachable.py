"""Reachable p-values against every 2x2 table, tested by statsmodels and scipy."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from medres.published import reachable
from medres.statistics import comparison


def enumerated(first: int, second: int, n_questions: int) -> list[tuple[int, float]]:
    """Discordant answers and p of every table of counts with these margins."""
    found = []
    for both in range(n_questions + 1):
        only_first, only_second = first - both, second - both
        neither = n_questions - both - only_first - only_second
        if min(only_first, only_second, neither) >= 0:
            table = [[both, only_first], [only_second, neither]]
            p_value = float(mcnemar(table, exact=True).pvalue)
            found.append((only_first + only_second, p_value))
    return sorted(found)


@pytest.mark.parametrize("n_questions", [1, 6, 11])
def test_p_values_are_those_of_every_table_with_these_counts(n_questions: int) -> None:
    for first in range(n_questions + 1):
        for second in range(n_questions + 1):
            found = reachable.p_values([first], [second], n_questions)
            pairs = sorted(zip(found["n_discordant"], found["p_value"], strict=True))
            expected = enumerated(first, second, n_questions)
            assert [n for n, _ in pairs] == [n for n, _ in expected]
            assert [p for _, p in pairs] == pytest.approx([p for _, p in expected])


def test_p_values_are_those_of_answers_that_have_these_counts() -> None:
    rng = np.random.default_rng(0)
    first, second = (rng.random((2, 300)) < [[0.7], [0.8]]).astype(int)
    found = reachable.p_values([first.sum()], [second.sum()], 300)
    at = found["n_discordant"] == np.sum(first != second)
    assert found.loc[at, "p_value"].item() == pytest.approx(comparison.mcnemar_exact(first, second))


def test_more_answers_that_differ_never_lower_p_and_swapping_changes_nothing() -> None:
    found = reachable.p_values([723], [791], 1000)
    assert (np.diff(found.sort_values("n_discordant")["p_value"]) >= 0).all()
    swapped = reachable.p_values([791], [723], 1000)
    columns = ["n_discordant", "p_value"]
    pd.testing.assert_frame_equal(
        found[columns].sort_values(columns, ignore_index=True),
        swapped[columns].sort_values(columns, ignore_index=True),
    )


def test_equal_counts_have_p_one_and_none_have_no_row() -> None:
    assert set(reachable.p_values([5], [5], 9)["p_value"]) == {1.0}
    assert reachable.p_values([], [5], 9).empty


def test_several_counts_are_all_taken() -> None:
    found = reachable.p_values([3, 4], [6, 7], 10)
    assert set(found[["first_count", "second_count"]].itertuples(index=False, name=None)) == {
        (3, 6), (3, 7), (4, 6), (4, 7),
    }  # fmt: skip


def test_reach_of_a_hand_example() -> None:
    # 5 against 9 of 10: at most one question is right in the first arm alone.
    found = reachable.reach("50", "90", 10, "<0.20")
    assert (found["first_count"], found["second_count"]) == ("5", "9")
    assert (found["differ_least"], found["differ_most"]) == (4, 6)
    assert found["p_least"] == pytest.approx(2 * 0.5**4)
    assert found["p_most"] == pytest.approx(2 * (1 + 6) * 0.5**6)
    assert found["p_unpaired"] == pytest.approx(stats.fisher_exact([[5, 5], [9, 1]])[1])
    assert found["differ_reaching"] == 4
    assert found["verdict"] == "reached if at most 4 differ"


@pytest.mark.parametrize(
    ("stated", "verdict"),
    [
        ("<0.125", "not reachable"),
        ("<0.5", "always reached"),
        ("0.22", "reached by some tables"),
        ("0.30", "not reachable"),
        ("", "no p-value stated"),
    ],
)
def test_a_stated_p_is_held_against_all_that_can_be(stated: str, verdict: str) -> None:
    assert reachable.reach("50", "90", 10, stated)["verdict"] == verdict


def test_a_percentage_that_is_no_count_reaches_nothing() -> None:
    found = reachable.reach("50.00", "33.33", 10, "<0.001")
    assert found["verdict"] == "not counts of 10"
    assert (found["first_count"], found["second_count"]) == ("5", "")
    assert np.isnan([found["p_least"], found["p_most"], found["p_unpaired"]]).all()


def test_counts_by_any_rule_are_the_union() -> None:
    # 1 of 8 is 12.5: 13 half up, 12 half even and cut off.
    assert reachable.counts_by_any_rule("13", 8) == [1]
    assert reachable.counts_by_any_rule("12", 8) == [1]
    assert reachable.counts_by_any_rule("61.49", 735) == [452]
    assert reachable.counts_by_any_rule("93.1", 2000) == [1861, 1862, 1863]


def test_too_many_tables_are_said_not_built() -> None:
    found = reachable.reach("50", "51", 1_000_000, "<0.001")
    assert found["verdict"] == "too many tables to enumerate"
    assert found["first_count"] == "495000 to 509999"  # cut off, 50 is all of 50 to 51
