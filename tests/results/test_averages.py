import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from medres.results import averages
from medres.statistics import comparison


def compared(
    differences: list[float],
    errors: float | list[float],
    *,
    claim: str = "C5",
    model: str = "tiny",
) -> pd.DataFrame:
    """Return a claim's comparisons on several data sets, as far as a mean needs them."""
    table = pd.DataFrame({"difference": differences, "standard_error": errors})
    half = 1.96 * table["standard_error"]
    return table.assign(
        claim=claim,
        statement=f"statement of {claim}",
        model=model,
        degrees_of_freedom=1e9,
        alone_lower=table["difference"] - half,
        alone_upper=table["difference"] + half,
    )


def test_a_mean_over_three_data_sets_by_hand() -> None:
    """Equal errors: the plain mean, whose error is that of three numbers (SD 0.1)."""
    (row,) = averages.over_datasets(compared([-0.1, -0.2, -0.3], 0.02)).to_dict("records")
    assert (row["claim"], row["model"], row["n_datasets"]) == ("C5", "tiny", 3)
    assert row["difference"] == pytest.approx(-0.2)
    error = 0.1 / np.sqrt(3)
    quantile = 4.302653  # Student's t, 97.5 %, 2 degrees of freedom
    assert row["lower"] == pytest.approx(-0.2 - quantile * error, abs=1e-6)
    assert row["upper"] == pytest.approx(-0.2 + quantile * error, abs=1e-6)
    assert row["p_value"] == row["p_adjusted"] == pytest.approx(2 * stats.t.sf(0.2 / error, 2))
    # What varies beyond the errors: 0.1^2 - 0.02^2.
    assert row["between"] == pytest.approx(np.sqrt(0.0096), abs=1e-5)
    reach = 12.706205 * np.sqrt(0.0096 + error**2)  # 1 degree of freedom
    assert row["prediction_upper"] == pytest.approx(-0.2 + reach, abs=1e-4)
    assert row["p_heterogeneity"] == pytest.approx(stats.chi2.sf(0.02 / 0.02**2, 2))
    assert row["verdict"] == "not decided"


def test_each_data_set_counts_once_however_sure_it_is() -> None:
    differences, errors = [-0.25, -0.20, -0.31, -0.22], [0.02, 0.05, 0.03, 0.08]
    (row,) = averages.over_datasets(compared(differences, errors)).to_dict("records")
    assert row["difference"] == pytest.approx(np.mean(differences))
    assert row["p_value"] == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    limits = stats.ttest_1samp(differences, 0).confidence_interval()
    assert (row["lower"], row["upper"]) == pytest.approx((limits.low, limits.high))
    found = combine_effects(np.array(differences), np.square(errors), method_re="iterated")
    assert row["between"] == pytest.approx(np.sqrt(found.tau2))
    assert row["p_heterogeneity"] == pytest.approx(stats.chi2.sf(found.q, 3))
    assert row["verdict"] == "supported"


@pytest.mark.parametrize(
    ("claim", "differences", "verdict"),
    [
        ("C5", [-0.30, -0.32, -0.28], "supported"),
        ("C5", [0.30, 0.32, 0.28], "contradicted"),
        ("C11", [0.30, 0.32, 0.28], "supported"),
        ("C11", [-0.30, -0.32, -0.28], "contradicted"),
        ("C11", [0.30, -0.32, 0.28], "not decided"),
        # No more than 1 point worse:
        ("C8", [-0.001, 0.001, 0.000], "supported"),
        ("C8", [-0.011, -0.009, -0.010], "not decided"),
        ("C8", [-0.051, -0.049, -0.050], "contradicted"),
        ("C11", [0.30, 0.30], "fewer than 3 data sets"),
    ],
)
def test_a_verdict_follows_the_claim_s_sign_and_margin(
    claim: str, differences: list[float], verdict: str
) -> None:
    (row,) = averages.over_datasets(compared(differences, 0.001, claim=claim)).to_dict("records")
    assert row["verdict"] == verdict
    assert np.isnan(row["p_adjusted"]) == (len(differences) < 3)
    assert row["difference"] == pytest.approx(np.mean(differences))


def test_two_data_sets_are_no_part_of_the_family_and_one_has_no_mean() -> None:
    table = pd.concat(
        [
            compared([-0.1, -0.2, -0.3], 0.02),
            compared([0.1, 0.3], 0.02, claim="C11"),
            compared([0.1], 0.02, claim="C9"),
        ]
    )
    found = averages.over_datasets(table).set_index("claim")
    assert found.index.tolist() == ["C5", "C11"]
    assert found.loc["C5", "p_adjusted"] == found.loc["C5", "p_value"]
    assert found.loc["C11", "difference"] == pytest.approx(0.2)
    assert found.loc["C11", ["lower", "upper", "p_value", "p_adjusted"]].isna().all()


def test_a_data_set_without_a_pair_that_differs_counts_by_its_interval() -> None:
    table = compared([0.1, 0.2, 0.0], [0.02, 0.02, np.nan], claim="C11")
    table.loc[2, ["alone_lower", "alone_upper"]] = [-0.0392, 0.0392]
    found = averages.over_datasets(table)
    expected = averages.over_datasets(compared([0.1, 0.2, 0.0], 0.02, claim="C11"))
    pd.testing.assert_frame_equal(found, expected)
    # One group: the difference counts, what it could be is not known.
    table.loc[2, ["alone_lower", "alone_upper"]] = np.nan
    (row,) = averages.over_datasets(table).to_dict("records")
    two = averages.over_datasets(compared([0.1, 0.2], 0.02, claim="C11"))
    assert (row["n_datasets"], row["difference"]) == (3, pytest.approx(0.1))
    assert row["p_heterogeneity"] == two["p_heterogeneity"].iloc[0]
    table[["standard_error", "alone_lower", "alone_upper"]] = np.nan
    assert np.isnan(averages.over_datasets(table)["between"].iloc[0])


def test_means_are_adjusted_together_and_their_intervals_agree() -> None:
    rng = np.random.default_rng(0)
    table = pd.concat(
        [
            compared((rng.normal(0, 0.02, 4) + shift).tolist(), 0.02, claim=claim, model=model)
            for model in ("tiny", "large")
            for claim, shift in (("C5", 0.035), ("C6", 0.05), ("C8", 0.03), ("C11", 0), ("C9", 0.1))
        ]
    )
    found = averages.over_datasets(table)
    assert len(found) == 10
    assert found["p_adjusted"].min() == pytest.approx(10 * found["p_value"].min())
    null = np.where(found["claim"] == "C8", -0.01, 0)
    excludes = (found["lower"] >= null) | (found["upper"] <= null)
    assert excludes.equals(found["p_adjusted"] <= 0.05)
    assert 0 < excludes.sum() < 10
    assert (found["p_value"] <= 0.05).sum() > excludes.sum()


def test_equal_differences_are_no_certainty() -> None:
    """A model that always gives the same answer gains nothing on any data set."""
    for differences in ([0.0] * 3, [-0.1] * 3):
        (row,) = averages.over_datasets(compared(differences, 0.02)).to_dict("records")
        assert (row["verdict"], row["p_adjusted"]) == ("not decided", 1)
        assert np.isnan([row["lower"], row["upper"], row["prediction_lower"]]).all()


def test_nothing_is_averaged_over_nothing() -> None:
    for empty in (pd.DataFrame(), compared([0.1], 0.02)):
        found = averages.over_datasets(empty)
        assert found.empty
        assert list(found.columns) == averages.COLUMNS


@pytest.mark.parametrize("n_groups", [(20, 20, 20, 20), (200, 8, 8)])
def test_equal_arms_are_told_apart_in_a_twentieth_of_studies(n_groups: tuple[int, ...]) -> None:
    """One training of each arm on each data set, which vary by 4 points from each other.

    A mean that weighs large data sets more rejects in 16 % of the second.
    """
    rng = np.random.default_rng(0)
    n_studies = 250
    decided = []
    for _ in range(n_studies):
        found = []
        for number in n_groups:
            shared = rng.normal(0, 0.15, number).repeat(4)
            of_training = rng.normal(0, 0.04, (2, 1))
            right = rng.random((2, 4 * number)) < 0.65 + shared + of_training
            found.append(comparison.compare(*right, np.arange(4 * number) // 4))
        table = compared([each.difference for each in found], [e.standard_error for e in found])
        decided.append(averages.over_datasets(table)["p_value"].iloc[0] <= 0.05)
    # Monte Carlo error of 250 draws at 5 %: 1.4 points.
    assert 0.01 <= np.mean(decided) <= 0.09
