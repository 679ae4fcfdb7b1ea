"""The paper's averages beside the same averages here."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from medres.results import averages, headlines, paired
from tests.answer_tables import first_right, trainings

N = 200
LANCZOS = "upsampled-lanczos"
FOUR = ("subcellular", "compound", "cervical", "wsi")


def compared(
    differences: dict[str, float], claim: str, *, error: float = 0.01, **given: str
) -> pd.DataFrame:
    rows = [
        {
            "claim": claim,
            "model": "tiny",
            "dataset": dataset,
            "difference": difference,
            "standard_error": error,
            "degrees_of_freedom": 10,
            "alone_lower": difference - 0.02,
            "alone_upper": difference + 0.02,
            "covers": paired.BETWEEN_TRAININGS,
            "verdict": paired.NOT_DECIDED,
        }
        | given
        for dataset, difference in differences.items()
    ]
    return pd.DataFrame(rows)


def nothing() -> pd.DataFrame:
    return headlines.shares(trainings("low", "low", first_right(5, 9)))


def test_the_stated_numbers_are_the_papers() -> None:
    """By hand from the printed cells: C8 -1.2 and -0.9, C9 +12.2, C11 +0.57, C14 95.4."""
    found = headlines.stated()
    numbers = [
        (row.claim, len(row.datasets), round(row.stated_number, 4), round(100 * row.printed, 1))
        for row in found.itertuples()
    ]
    assert numbers == [
        ("C8", 7, -0.01, -1.2),
        ("C8", 4, -0.01, -0.9),
        ("C9", 4, 0.122, 12.2),
        ("C11", 3, 0.04, 0.6),
        ("C14", 2, 0.957, 95.4),
    ]


GAINS = {"subcellular": 0.30, "compound": 0.26, "cervical": 0.31, "wsi": 0.29}


def test_a_mean_over_the_papers_sets_by_hand() -> None:
    """C9: +29 points here, against +12.2; the three VQA sets are not among its four."""
    table = compared(GAINS | {"vqa-rad": 0.0}, "C9")
    found = headlines.table(table, nothing(), {name: name for name in [*FOUR, "vqa-rad"]})
    (row,) = found.to_dict("records")
    values = list(GAINS.values())
    assert row["datasets"] == ", ".join(FOUR)
    assert row["here"] == pytest.approx(0.29)
    limits = stats.ttest_1samp(values, 0.122)
    assert row["p_adjusted"] == pytest.approx(limits.pvalue)
    interval = limits.confidence_interval()
    assert (row["sets_lower"], row["sets_upper"]) == pytest.approx((interval.low, interval.high))
    # Four errors of 0.01: 0.005 for their mean, with 10 degrees of freedom.
    half = stats.t.ppf(0.975, 10) * 0.005
    assert (row["these_lower"], row["these_upper"]) == pytest.approx((0.29 - half, 0.29 + half))
    assert row["verdict"] == headlines.ABOVE


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [(0.0, headlines.ABOVE), (-0.17, headlines.ALIKE), (-0.30, headlines.BELOW)],
)
def test_the_verdict_is_on_the_stated_number(shift: float, verdict: str) -> None:
    table = compared({name: gain + shift for name, gain in GAINS.items()}, "C9")
    (row,) = headlines.table(table, nothing(), {name: name for name in FOUR}).to_dict("records")
    assert row["verdict"] == verdict
    assert (row["sets_lower"] <= 0.122 <= row["sets_upper"]) == (verdict == headlines.ALIKE)


def test_two_data_sets_have_no_verdict_but_an_interval_for_themselves() -> None:
    table = compared({"drawn": 0.3, "other": 0.1}, "C9")
    (row,) = headlines.table(table, nothing(), {"drawn": "", "other": ""}).to_dict("records")
    assert (row["verdict"], row["n_datasets"]) == (averages.TOO_FEW, 2)
    assert np.isnan([row["sets_lower"], row["sets_upper"], row["p_adjusted"]]).all()
    assert row["these_lower"] < 0.2 < row["these_upper"]
    assert row["datasets"] == "drawn, other"  # stands for none of the paper's: all are taken


def test_a_twin_stands_for_the_papers_set() -> None:
    table = compared({"twin-a": 0.3, "twin-b": 0.2, "mine": 0.9}, "C9")
    named = {"twin-a": "subcellular", "twin-b": "wsi", "mine": ""}
    (row,) = headlines.table(table, nothing(), named).to_dict("records")
    assert row["datasets"] == "twin-a, twin-b"


def test_what_decides_nothing_is_no_part_of_a_mean() -> None:
    table = compared(GAINS, "C9")
    table.loc[0, "verdict"] = paired.TOO_FEW
    (row,) = headlines.table(table, nothing(), {name: name for name in FOUR}).to_dict("records")
    assert row["n_datasets"] == 3


def test_own_images_get_no_checklist() -> None:
    own = SimpleNamespace(name="own", label="own", source="")
    phantom = SimpleNamespace(name="twin-wsi", label="twin-wsi (drawn)", source="")
    fetched = SimpleNamespace(name="wsi", label="wsi", source="wsi")
    assert headlines.stands_for({"own": own}) == {}
    assert headlines.stands_for({"a": own, "twin-wsi": phantom, "b": fetched}) == {
        "own": "",
        "twin-wsi (drawn)": "wsi",
        "wsi": "wsi",
    }
    found = headlines.table(compared(GAINS, "C9"), nothing(), {})
    assert found.empty
    assert list(found) == headlines.COLUMNS


def shared(rights: dict[str, tuple[int, int]], n_trainings: int = 3) -> pd.DataFrame:
    """Return shares of answers with right ones at native and enlarged, of 200."""
    table = pd.concat(
        [
            trainings(
                "native",
                name,
                *[first_right(right + k, N) for k in range(n_trainings)],
                dataset=dataset,
            )
            for dataset, both in rights.items()
            for name, right in zip(("native", LANCZOS), both, strict=True)
        ],
        ignore_index=True,
    )
    return headlines.shares(table)


def test_the_share_is_of_native_accuracy() -> None:
    found = shared({"drawn": (159, 79), "other": (150, 143)}).set_index("dataset")
    assert found["share_of_native"].to_dict() == pytest.approx(
        {"drawn": 80 / 160, "other": 144 / 151}
    )
    assert found.loc["drawn", "verdict"] == headlines.BELOW
    assert found.loc["drawn", "upper"] < 0.957
    assert found.loc["other", "lower"] < 0.957 < found.loc["other", "upper"]
    assert found.loc["other", "verdict"] == headlines.ALIKE


def test_arms_that_hardly_differ_decide_nothing() -> None:
    (row,) = shared({"drawn": (150, 148)}).to_dict("records")
    assert row["verdict"] == paired.NOT_DECIDED
    assert row["reason"].startswith("the arms differ in 4 of 200 groups")


def test_a_mean_of_shares_is_compared_with_957() -> None:
    rights = {"a": (159, 79), "b": (160, 90), "c": (150, 80), "d": (170, 100)}
    shares = shared(rights)
    named = dict.fromkeys("abcd", "")
    (row,) = headlines.table(compared(GAINS, "C9").iloc[:0], shares, named).to_dict("records")
    expected = np.mean([80 / 160, 91 / 161, 81 / 151, 101 / 171])
    assert row["here"] == pytest.approx(expected)
    assert row["stated_number"] == pytest.approx(0.957)
    assert row["verdict"] == headlines.BELOW
    assert row["sets_upper"] < 0.957


def test_a_native_arm_that_is_never_right_has_no_share() -> None:
    assert shared({"drawn": (0, 50)}, n_trainings=1).empty
