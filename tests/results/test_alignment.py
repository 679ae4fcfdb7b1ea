from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf

from medres.results import alignment

NUMBERS = [
    "log_odds_ratio",
    "standard_error",
    "odds_ratio",
    "ratio_lower",
    "ratio_upper",
    "p_value",
]
CELLS = [("low", "low"), ("low", "native"), ("native", "low"), ("native", "native")]


def answers(
    accuracies: list[float], *, dataset: str = "drawn", n_groups: int = 150, seed: int = 0
) -> pd.DataFrame:
    """Return answers to three questions a group in four arms; groups differ in difficulty."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), 3)
    ease = rng.normal(0, 1.5, n_groups)[groups]
    parts = []
    for (trained, asked), accuracy in zip(CELLS, accuracies, strict=True):
        odds = accuracy / (1 - accuracy) * np.exp(ease)
        parts.append(
            pd.DataFrame(
                {
                    "dataset": dataset,
                    "model": "tiny",
                    "train_resolution": trained,
                    "eval_resolution": asked,
                    "group": [f"{dataset}-{group}" for group in groups],
                    "correct": rng.random(len(groups)) < odds / (1 + odds),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def of_all(table: pd.DataFrame) -> pd.DataFrame:
    ratios = alignment.odds_ratios(table)
    return ratios[ratios["odds_of"] == alignment.MARGINAL]


def of_a_group(table: pd.DataFrame) -> pd.DataFrame:
    ratios = alignment.odds_ratios(table)
    return ratios[ratios["odds_of"] == alignment.CONDITIONAL]


BOTH = pytest.mark.parametrize("rows_of", [of_all, of_a_group])
RowsOf = Callable[[pd.DataFrame], pd.DataFrame]


def test_the_ratio_is_that_of_the_four_cells() -> None:
    table = answers([0.8, 0.4, 0.3, 0.9])
    (row,) = of_all(table).to_dict("records")
    shares = table.groupby(["train_resolution", "eval_resolution"])["correct"].mean()
    odds = shares / (1 - shares)
    expected = odds["low", "low"] * odds["native", "native"]
    expected /= odds["low", "native"] * odds["native", "low"]
    assert row["odds_ratio"] == pytest.approx(expected, rel=1e-6)
    assert (row["n_answers"], row["n_groups"]) == (1800, 150)


def test_the_error_is_that_of_a_generalised_estimating_equation() -> None:
    table = answers([0.6, 0.5, 0.5, 0.6])
    (row,) = of_all(table).to_dict("records")
    fitted = smf.gee(
        "right ~ train_resolution * eval_resolution",
        groups="group",
        data=table.assign(right=table["correct"].astype(int)),
        family=sm.families.Binomial(),
        cov_struct=sm.cov_struct.Independence(),
    ).fit()
    name = "train_resolution[T.native]:eval_resolution[T.native]"
    assert row["log_odds_ratio"] == pytest.approx(fitted.params[name], abs=1e-6)
    # The two differ by the factor for few groups, G / (G - 1) x (n - 1) / (n - 4).
    factor = np.sqrt(150 / 149 * 1799 / 1796)
    assert row["standard_error"] == pytest.approx(fitted.bse[name] * factor, rel=1e-6)


def test_agreement_that_does_not_matter_is_found_in_a_twentieth_of_studies() -> None:
    tables = [answers([0.6] * 4, n_groups=60, seed=seed) for seed in range(200)]
    found = pd.concat([alignment.odds_ratios(table) for table in tables])
    rates = (found["p_value"] <= 0.05).groupby(found["odds_of"]).mean()
    # Monte Carlo error of 200 draws at 5 %: 1.5 points.
    assert rates.between(0.01, 0.095).all()


def test_the_ratio_of_one_group_is_found_and_that_of_all_answers_is_nearer_to_one() -> None:
    """Drawn with a spread of 1.5 between groups, and a log odds ratio of two times 1.7."""
    accuracies = [0.7, 0.3, 0.3, 0.7]
    drawn = 4 * np.log(0.7 / 0.3)
    tables = [answers(accuracies, n_groups=400, seed=seed) for seed in range(8)]
    rows = pd.concat([of_a_group(table) for table in tables])
    error = np.sqrt((rows["standard_error"] ** 2).mean() / len(tables))
    assert rows["log_odds_ratio"].mean() == pytest.approx(drawn, abs=3 * error)
    assert rows["group_deviation"].mean() == pytest.approx(1.5, abs=0.1)
    assert (pd.concat([of_all(table) for table in tables])["log_odds_ratio"] < drawn - 0.4).all()


@BOTH
def test_swapped_arms_flip_the_sign_and_the_same_answers_give_the_same(rows_of: RowsOf) -> None:
    table = answers([0.8, 0.4, 0.3, 0.9])
    swapped = table["eval_resolution"].map({"low": "native", "native": "low"})
    first, second = rows_of(table), rows_of(table.assign(eval_resolution=swapped))
    assert first["log_odds_ratio"].iloc[0] == pytest.approx(-second["log_odds_ratio"].iloc[0], 1e-5)
    assert first["standard_error"].iloc[0] == pytest.approx(second["standard_error"].iloc[0], 1e-5)
    pd.testing.assert_frame_equal(first, rows_of(table.copy()))


@BOTH
def test_equal_arms_have_the_ratio_one_of_unknown_error(rows_of: RowsOf) -> None:
    first = answers([0.6] * 4).iloc[:450]
    table = pd.concat(
        [first.assign(train_resolution=trained, eval_resolution=asked) for trained, asked in CELLS]
    )
    (row,) = rows_of(table).to_dict("records")
    assert row["odds_ratio"] == pytest.approx(1, abs=1e-6)
    assert np.isnan([row["ratio_lower"], row["p_value"]]).all()
    assert row["note"] == "no group distinguishes the arms"


@BOTH
def test_an_arm_without_a_wrong_answer_has_no_ratio(rows_of: RowsOf) -> None:
    table = answers([0.8, 0.4, 0.3, 0.9])
    is_aligned = (table["train_resolution"] == "native") & (table["eval_resolution"] == "native")
    (row,) = rows_of(table.assign(correct=table["correct"] | is_aligned)).to_dict("records")
    assert np.isnan([row[name] for name in NUMBERS]).all()
    assert row["note"] == "an arm has no right or no wrong answer"


def test_groups_without_variation_have_a_marginal_ratio_only() -> None:
    table = answers([0.8, 0.4, 0.3, 0.9])
    apart = table.assign(group=[f"group-{number}" for number in range(len(table))])
    assert np.isfinite(of_all(apart)["odds_ratio"]).all()
    assert of_a_group(apart)["note"].tolist() == ["no group has both right and wrong answers"]


def test_one_group_has_no_ratio_and_a_missing_arm_gives_no_row() -> None:
    table = answers([0.8, 0.4, 0.3, 0.9])
    alone = alignment.odds_ratios(table.assign(group="one"))
    assert alone[NUMBERS].isna().all(axis=None)
    assert alone["note"].tolist() == ["one group"] * 2
    for lacking in (table[table["eval_resolution"] == "low"], table.iloc[:0]):
        nothing = alignment.odds_ratios(lacking)
        assert nothing.empty
        assert set(alignment.SHOWN) < set(nothing.columns)
        assert "lacks the four arms" in alignment.sentence(nothing)


def test_answers_without_verdict_or_group_are_refused() -> None:
    table = answers([0.8, 0.4, 0.3, 0.9])
    for name in ("correct", "group"):
        lacking = table.astype({name: object})
        lacking.loc[[5, 9], name] = None
        with pytest.raises(ValueError, match="2 answers have no verdict or no group"):
            alignment.odds_ratios(lacking)


def test_other_arms_change_nothing() -> None:
    table = answers([0.8, 0.4, 0.3, 0.9])
    more = pd.concat([table, table.assign(train_resolution="mixed")], ignore_index=True)
    pd.testing.assert_frame_equal(alignment.odds_ratios(more), alignment.odds_ratios(table))


def test_heterogeneity_tells_data_sets_apart_and_leaves_alike_ones_alone() -> None:
    alike = [answers([0.7, 0.4, 0.4, 0.7], dataset=f"set {seed}", seed=seed) for seed in range(3)]
    other = answers([0.6, 0.6, 0.6, 0.6], dataset="other", seed=9)
    same = alignment.heterogeneity(of_all(pd.concat(alike)))
    mixed = alignment.heterogeneity(of_all(pd.concat([*alike, other])))
    assert (same["n_datasets"], same["degrees_of_freedom"]) == (3, 2)
    assert same["p_value"] > 0.05
    assert mixed["p_value"] < 1e-6
    single = alignment.odds_ratios(alike[0])
    assert np.isnan(alignment.heterogeneity(of_all(alike[0]))["p_value"])
    assert alignment.sentence(single).startswith("Fewer than two data sets")
    ratios = alignment.odds_ratios(pd.concat([*alike, other]))
    assert alignment.sentence(ratios).startswith("* tiny: the odds ratios of 4 data sets differ (")


def test_heterogeneity_is_cochran_s_q() -> None:
    ratios = pd.DataFrame(
        {"log_odds_ratio": [1.0, 2.0, np.nan], "standard_error": [0.5, 1.0, np.nan]}
    )
    found = alignment.heterogeneity(ratios)
    # Weights 4 and 1, weighted mean 1.2: 4 x 0.04 + 1 x 0.64.
    assert found["q"] == pytest.approx(0.8)
    assert found["n_datasets"] == 2
