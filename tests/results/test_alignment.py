from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from scipy import stats

from medres.results import alignment
from medres.statistics import groups as of_groups

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
                    "seed": 0,
                    "question_id": [f"{dataset}-{number}" for number in range(len(groups))],
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
    assert (row["n_answers"], row["n_groups"], row["n_seeds"]) == (1800, 150, 1)
    assert row["n_effective_groups"] == pytest.approx(150)


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
    # The two differ by the factor for few groups, G / (G - 1), and by Student's t for normal.
    error = fitted.bse[name] * np.sqrt(150 / 149)
    assert row["standard_error"] == pytest.approx(error, rel=1e-6)
    statistic = abs(row["log_odds_ratio"]) / error
    assert row["p_value"] == pytest.approx(2 * stats.t.sf(statistic, 149), rel=1e-4)
    limits = fitted.params[name] + stats.t.isf(0.025, 149) * error * np.array([-1, 1])
    assert (row["ratio_lower"], row["ratio_upper"]) == pytest.approx(tuple(np.exp(limits)))


def test_agreement_that_does_not_matter_is_found_in_a_twentieth_of_studies() -> None:
    tables = [answers([0.6] * 4, n_groups=30, seed=seed) for seed in range(100)]
    found = pd.concat([alignment.odds_ratios(table) for table in tables])
    rates = (found["p_value"] <= 0.05).groupby(found["odds_of"]).mean()
    # Monte Carlo error of 100 draws at 5 %: 2.2 points.
    assert rates.between(0.005, 0.115).all()


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
def test_an_arm_without_a_wrong_answer_has_no_ratio(rows_of: RowsOf) -> None:
    table = answers([0.8, 0.4, 0.3, 0.9])
    is_aligned = (table["train_resolution"] == "native") & (table["eval_resolution"] == "native")
    (row,) = rows_of(table.assign(correct=table["correct"] | is_aligned)).to_dict("records")
    assert np.isnan([row[name] for name in NUMBERS]).all()
    assert row["note"] == "an arm has no right or no wrong answer"


def equal_arms(n_questions: int = 450) -> pd.DataFrame:
    first = answers([0.6] * 4).iloc[:n_questions]
    return pd.concat(
        [first.assign(train_resolution=trained, eval_resolution=asked) for trained, asked in CELLS]
    )


def test_equal_arms_have_a_marginal_ratio_of_one_without_an_error() -> None:
    (row,) = of_all(equal_arms()).to_dict("records")
    assert row["odds_ratio"] == pytest.approx(1, abs=1e-6)
    assert np.isnan([row["ratio_lower"], row["p_value"]]).all()
    assert row["note"] == "no group distinguishes the arms"


def test_equal_arms_have_a_conditional_ratio_of_one_with_the_model_s_own_error() -> None:
    """The sandwich is 0; the model knows how sure as many independent answers would be."""
    (row,) = of_a_group(equal_arms()).to_dict("records")
    assert row["odds_ratio"] == pytest.approx(1, abs=1e-6)
    assert row["p_value"] == pytest.approx(1, abs=1e-5)
    assert row["ratio_lower"] < 0.8
    assert row["ratio_upper"] == pytest.approx(1 / row["ratio_lower"], rel=1e-4)


def test_groups_without_variation_have_no_conditional_ratio() -> None:
    table = equal_arms()
    apart = table.assign(group=table["question_id"])
    assert of_a_group(apart)["note"].tolist() == ["no group has both right and wrong answers"]


def test_a_question_is_of_one_group_in_all_arms() -> None:
    table = answers([0.8, 0.4, 0.3, 0.9])
    apart = table.assign(group=table["group"] + table["eval_resolution"])
    with pytest.raises(ValueError, match="arms disagree on the group"):
        alignment.odds_ratios(apart)


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


def test_data_sets_that_differ_are_told_apart_and_alike_ones_are_left_alone() -> None:
    alike = [answers([0.7, 0.4, 0.4, 0.7], dataset=f"set {seed}", seed=seed) for seed in range(3)]
    other = answers([0.6, 0.6, 0.6, 0.6], dataset="other", seed=9)
    said = alignment.sentence(alignment.odds_ratios(pd.concat(alike)))
    assert said.startswith("* tiny: the odds ratios of 3 data sets (for one group) do not differ")
    said = alignment.sentence(alignment.odds_ratios(pd.concat([*alike, other])))
    assert said.startswith("* tiny: the odds ratios of 4 data sets (for one group) differ (")
    assert said.endswith("(Welch's test, p < 0.001; for these weights).")
    single = alignment.odds_ratios(alike[0])
    assert alignment.sentence(single).startswith("Fewer than two data sets")


def test_the_sentence_is_of_welch_s_test() -> None:
    """Two data sets: Welch's t is 1 over the root of 0.25 + 1, on 1.25^2 / (0.25^2 + 1) x 4."""
    ratios = pd.DataFrame(
        {
            "model": "tiny",
            "odds_of": alignment.MARGINAL,
            "log_odds_ratio": [1.0, 2.0, np.nan],
            "standard_error": [0.5, 1.0, np.nan],
            "degrees_of_freedom": 4.0,
            "n_seeds": 3,
        }
    )
    degrees = 1.25**2 / (0.25**2 + 1) * 4
    assert 2 * stats.t.sf(1 / 1.25**0.5, degrees) == pytest.approx(0.406, abs=5e-4)
    assert alignment.sentence(ratios) == (
        "* tiny: the odds ratios of 2 data sets (for all answers) do not differ beyond chance "
        "(Welch's test, p 0.406)."
    )


@BOTH
def test_several_trainings_are_a_mean_with_what_varies_between_them(rows_of: RowsOf) -> None:
    """The same questions are asked of each training: they are no further groups."""
    first = answers([0.7, 0.4, 0.4, 0.7], n_groups=60)
    again = pd.concat([first, first.assign(seed=1), first.assign(seed=2)])
    (once,), (thrice,) = (rows_of(table).to_dict("records") for table in (first, again))
    assert (thrice["n_seeds"], thrice["n_answers"]) == (3, 3 * once["n_answers"])
    for name in ("log_odds_ratio", "standard_error", "n_groups"):
        assert thrice[name] == pytest.approx(once[name])
    others = [answers([0.7, x, x, 0.7], n_groups=60, seed=0) for x in (0.2, 0.6)]
    varied = pd.concat([first, *(other.assign(seed=k + 1) for k, other in enumerate(others))])
    (row,) = rows_of(varied).to_dict("records")
    each = [rows_of(table)["log_odds_ratio"].iloc[0] for table in (first, *others)]
    assert row["log_odds_ratio"] == pytest.approx(np.mean(each))
    assert row["standard_error"] >= np.std(each, ddof=1) / np.sqrt(3)
    assert row["standard_error"] > 2 * once["standard_error"]


@BOTH
def test_too_few_groups_have_no_ratio(rows_of: RowsOf) -> None:
    table = answers([0.7, 0.4, 0.4, 0.7], n_groups=60)
    number = table["question_id"].str.partition("-")[2].astype(int)
    (row,) = rows_of(table.assign(group=number % 5)).to_dict("records")
    assert row["note"] == f"too few groups: {of_groups.shortage([36] * 5)}"
    assert np.isnan([row[name] for name in NUMBERS]).all()
