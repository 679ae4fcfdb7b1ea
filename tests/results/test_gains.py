"""Where the gain of a resolution is greatest."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from medres.results import gains, paired
from tests.answer_tables import first_right, trainings

N = 200
ALIGNED = gains.GAINS["C1-C4"]


def compared(
    estimates: dict[str, tuple[float, float]],
    *,
    claim: str = "C1-C4",
    covers: str = paired.BETWEEN_TRAININGS,
    model: str = "tiny",
    degrees: float = 10,
) -> pd.DataFrame:
    """Return comparisons of one claim with a difference and its error on each data set."""
    rows = [
        {
            "claim": claim,
            "model": model,
            "dataset": dataset,
            "difference": difference,
            "standard_error": error,
            "degrees_of_freedom": degrees,
            "alone_lower": difference - 0.05,
            "alone_upper": difference + 0.05,
            "covers": covers,
            "verdict": paired.NOT_DECIDED,
            "reason": "",
        }
        for dataset, (difference, error) in estimates.items()
    ]
    return pd.DataFrame(rows)


THREE = {"cells": (0.40, 0.03), "slides": (0.02, 0.04), "smears": (0.10, 0.05)}


def test_two_gains_by_hand() -> None:
    """Errors 0.03 and 0.04 add up to 0.05."""
    (row,) = gains.pairs(compared({"cells": (0.4, 0.03), "slides": (0.2, 0.04)})).to_dict("records")
    assert (row["first_dataset"], row["second_dataset"]) == ("cells", "slides")
    assert row["difference"] == pytest.approx(-0.2)
    assert row["p_value"] == row["p_adjusted"] == pytest.approx(2 * stats.t.sf(4, 10))
    half = stats.t.ppf(0.975, 10) * 0.05
    assert row["lower"] == pytest.approx(-0.2 - half)
    assert row["upper"] == pytest.approx(-0.2 + half)
    assert row["verdict"] == gains.FIRST
    # Two data sets: Welch's test of equal means is nearly that of the pair.
    assert row["p_equal"] == pytest.approx(row["p_value"], abs=2e-3)


def test_greatest_and_smallest_are_shown_against_every_other() -> None:
    found = gains.pairs(compared(THREE))
    assert set(found["n_family"]) == {3}
    places = gains.table(found).set_index("dataset")
    assert list(places.index) == ["cells", "smears", "slides"]  # the largest gain first
    assert places["verdict"].to_dict() == {
        "cells": gains.GREATEST,
        "smears": gains.OPEN,
        "slides": gains.OPEN,  # not shown to be below smears
    }
    assert places[["n_behind", "n_ahead"]].values.tolist() == [[2, 0], [0, 1], [0, 1]]


def test_the_family_is_every_pair_of_a_gain() -> None:
    """Holm by hand: the smallest p-value counts three times, and the intervals agree with it."""
    found = gains.pairs(compared(THREE))
    order = found["p_value"].sort_values()
    assert found["p_adjusted"].min() == pytest.approx(3 * order.iloc[0])
    excludes = (found["lower"] > 0) | (found["upper"] < 0)
    rejected = found["p_adjusted"] <= 0.05
    at_limit = (found["lower"] == 0) | (found["upper"] == 0)
    assert (excludes | at_limit).tolist() == rejected.tolist()


def test_other_gains_and_models_are_apart() -> None:
    table = pd.concat(
        [
            compared(THREE),
            compared(THREE, claim="C14, gain"),
            compared({"cells": (0.1, 0.03)}, claim="C11"),  # one data set: no pair
            compared(THREE, claim="C5"),  # not a gain that is asked about
        ],
        ignore_index=True,
    )
    found = gains.pairs(table)
    assert found["claim"].value_counts().to_dict() == {"C1-C4": 3, "C14, gain": 3}
    assert set(found["n_family"]) == {3}
    two = pd.concat([compared(THREE), compared(THREE, model="large")], ignore_index=True)
    found = gains.pairs(two)
    assert found["model"].value_counts().to_dict() == {"tiny": 3, "large": 3}
    assert set(found["n_family"]) == {6}
    assert "(large)" in gains.summary(found)


@pytest.mark.parametrize("covers", [paired.THESE_TRAININGS, paired.THIS_TRAINING])
def test_single_trainings_decide_nothing(covers: str) -> None:
    """Not even of a gain of one training: between data sets, two trainings are compared."""
    found = gains.pairs(compared(THREE, covers=covers))
    assert set(found["covers"]) == {paired.THESE_TRAININGS}
    assert set(found["verdict"]) == {paired.ONLY_THESE_WEIGHTS}
    assert set(gains.table(found)["verdict"]) == {gains.OPEN}
    assert "one training each" in gains.sentence(found)


def test_a_pair_covers_no_more_than_the_lesser_of_both() -> None:
    table = compared(THREE)
    table.loc[0, "covers"] = paired.THESE_TRAININGS
    found = gains.pairs(table).set_index(["first_dataset", "second_dataset"])
    assert found.loc[("cells", "slides"), "covers"] == paired.THESE_TRAININGS
    assert found.loc[("slides", "smears"), "covers"] == paired.BETWEEN_TRAININGS


def test_what_decides_nothing_by_itself_is_no_part_of_a_pair() -> None:
    table = compared(THREE)
    table.loc[0, "verdict"] = paired.TOO_FEW
    assert gains.pairs(table)[["first_dataset", "second_dataset"]].values.tolist() == [
        ["slides", "smears"]
    ]
    table = compared(THREE)
    table.loc[0, "reason"] = "the arms differ in 2 of 40 groups; at least 6 must differ"
    found = gains.pairs(table).set_index(["first_dataset", "second_dataset"])
    assert found.loc[("cells", "slides"), "verdict"] == paired.NOT_DECIDED
    assert found.loc[("cells", "slides"), "reason"].startswith("the arms differ")


def test_where_no_pair_differs_the_error_is_that_of_the_interval() -> None:
    table = compared({"cells": (0.4, 0.03), "slides": (0.0, math.nan)})
    (row,) = gains.pairs(table).to_dict("records")
    error = math.hypot(0.03, 0.1 / 3.92)
    assert row["p_value"] == pytest.approx(2 * stats.t.sf(0.4 / error, 10))
    assert np.isfinite(row["p_equal"])


def test_the_words_say_where_and_by_how_much_at_least() -> None:
    found = gains.pairs(compared(THREE))
    said = gains.sentence(found)
    nearest = found[["lower", "upper"]].abs().min(axis=1)[:2].min()  # cells against both
    assert (
        f"**greatest** on cells, by {100 * nearest:.1f} points or more against every other" in said
    )
    assert "where it is smallest is **not decided**" in said
    assert "cells +40.0, smears +10.0, slides +2.0" in said
    assert gains.summary(found) == (
        f"* Where is the gain greatest? Of {ALIGNED}: **greatest** on cells."
    )


def test_of_two_data_sets_the_one_that_gains_more_says_it_all() -> None:
    found = gains.pairs(compared({"cells": (0.4, 0.03), "slides": (0.1, 0.04)}))
    assert set(gains.table(found)["verdict"]) == {gains.GREATEST, gains.SMALLEST}
    half = stats.t.ppf(0.975, 10) * 0.05
    said = gains.sentence(found)
    assert f"**greatest** on cells, by {100 * (0.3 - half):.1f} points or more against the" in said
    assert gains.SMALLEST not in said + gains.summary(found)


@pytest.mark.parametrize("estimates", [{}, {"cells": (0.4, 0.03)}], ids=["none", "one"])
def test_fewer_than_two_data_sets_have_nothing_to_compare(estimates: dict) -> None:
    table = compared(estimates) if estimates else compared(THREE).iloc[:0]
    found = gains.pairs(table)
    assert found.empty
    assert list(found) == gains.PAIR_COLUMNS
    assert list(gains.table(found)) == gains.COLUMNS
    assert gains.sentence(found) == gains.summary(found) == ""


def test_the_gains_are_those_of_the_answers() -> None:
    rights = {"cells": (60, 160), "slides": (100, 104)}
    table = pd.concat(
        [
            trainings(name, name, *[first_right(right + k, N) for k in range(3)], dataset=dataset)
            for dataset, both in rights.items()
            for name, right in zip(("low", "native"), both, strict=True)
        ],
        ignore_index=True,
    )
    found = gains.pairs(paired.comparisons(table, gains.CLAIMED))
    (row,) = found.to_dict("records")
    assert (row["gain_first"], row["gain_second"]) == pytest.approx((0.5, 0.02))
    assert row["verdict"] == gains.FIRST
    assert set(gains.table(found)["verdict"]) == {gains.GREATEST, gains.SMALLEST}
