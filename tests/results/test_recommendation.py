import pandas as pd
import pytest

from medres import saving
from medres.results import grids, paired, recommendation
from medres.results.numbers import percent, points
from medres.statistics import groups
from tests.answer_tables import arm, first_right, trainings

TRAINED = ("low", "low"), ("native", "native")
UNTRAINED = ("none", "low"), ("none", "native")


def three(
    n_low: int, n_native: int, n_questions: int, *, per_group: int = 1, n_trainings: int = 3
) -> pd.DataFrame:
    """Return equal trainings at low and at native, right on the first questions."""
    return pd.concat(
        [
            trainings(*key, *[first_right(n_right, n_questions)] * n_trainings, per_group=per_group)
            for key, n_right in zip(TRAINED, (n_low, n_native), strict=True)
        ]
    )


def untrained(n_low: int, n_native: int, n_questions: int) -> pd.DataFrame:
    rights = (n_low, n_native)
    return pd.concat(
        [
            arm(*key, first_right(n_right, n_questions))
            for key, n_right in zip(UNTRAINED, rights, strict=True)
        ]
    )


def advised(answers: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the recommendations, and the numbers of the tables that the first one must have."""
    answers = answers.assign(
        visual_tokens=answers["eval_resolution"].map({"low": 12, "native": 1234})
    ).reset_index(drop=True)
    cells, compared = grids.over_trainings(answers), paired.comparisons(answers)
    advice = recommendation.table(cells, compared)
    row = compared.iloc[0]
    at = {each["eval_resolution"]: each for each in cells.to_dict("records")}
    reached = {
        name: f"{percent(at[name]['accuracy'])} % ({percent(at[name]['lower'])} to "
        f"{percent(at[name]['upper'])}) at {tokens} visual tokens per image"
        for name, tokens in (("low", "12"), ("native", "1,234"))
    }
    return advice, (
        f"native reaches {reached['native']}, low {reached['low']}; native minus low "
        f"{points(row['difference'])} points ({points(row['lower'])} to {points(row['upper'])})"
    )


BRANCHES = [
    (
        three(20, 36, 40),
        recommendation.NATIVE,
        "**drawn: train and evaluate at native.** 40 test questions of 40 groups, 3 trainings "
        "each: {numbers}.",
    ),
    (
        three(36, 20, 40),
        recommendation.LOW,
        "**drawn: train and evaluate at low.** 40 test questions of 40 groups, 3 trainings each: "
        "{numbers}.",
    ),
    (
        three(450, 450, 900),
        recommendation.LOW,
        "**drawn: train and evaluate at low.** It is no more than 1 point worse. 900 test "
        "questions of 900 groups, 3 trainings each: {numbers}.",
    ),
    (
        three(2000, 2016, 4000),
        recommendation.NATIVE,
        "**drawn: train and evaluate at native.** 4,000 test questions of 4,000 groups, 3 "
        "trainings each: {numbers}. Low is no more than 1 point worse.",
    ),
    (
        three(20, 22, 40),
        recommendation.NEITHER,
        "**drawn: not settled.** 40 test questions of 40 groups, 3 trainings each: the arms "
        "differ in 2 of 40 groups; at least 6 must differ. As seen: {numbers}.",
    ),
    (
        three(10, 30, 40, per_group=10),
        recommendation.NEITHER,
        f"**drawn: nothing can be settled.** 40 test questions of 4 groups: "
        f"{groups.shortage([10] * 4)}. As seen: {{numbers}}.",
    ),
    *(
        (
            three(20, n_native, 40, n_trainings=1),
            recommendation.NEITHER,
            "**drawn: not settled beyond these weights.** With one training each, native is "
            f"{ahead}; another training may come out differently, and more seeds would settle it. "
            "40 test questions of 40 groups: {numbers}.",
        )
        for n_native, ahead in ((36, "ahead"), (8, "behind"))
    ),
    (
        untrained(20, 36, 40),
        recommendation.NATIVE,
        "**drawn: evaluate (without fine-tuning) at native.** 40 test questions of 40 groups: "
        "{numbers}.",
    ),
    (
        untrained(36, 20, 40),
        recommendation.LOW,
        "**drawn: evaluate (without fine-tuning) at low.** 40 test questions of 40 groups: "
        "{numbers}.",
    ),
]


@pytest.mark.parametrize(("answers", "choice", "sentence"), BRANCHES)
def test_a_recommendation_has_the_numbers_of_the_tables(
    answers: pd.DataFrame, choice: str, sentence: str
) -> None:
    advice, numbers = advised(answers)
    (row,) = advice.to_dict("records")
    assert list(advice.columns) == recommendation.COLUMNS
    assert (row["dataset"], row["model"], row["choice"]) == ("drawn", "tiny", choice)
    assert row["sentence"] == sentence.format(numbers=numbers)
    assert row["of"] == ("none" if "without fine-tuning" in sentence else "trained")


def varied(n_trainings: int) -> pd.DataFrame:
    """Return arms that each are right where the other is not on some questions."""
    low = [1] * 20 + [0] * 20
    native = [0] * 5 + low[5:-7] + [1] * 7
    return pd.concat(
        [
            trainings(*key, *[correct] * n_trainings)
            for key, correct in zip(TRAINED, (low, native), strict=True)
        ]
    )


def test_what_is_not_settled_says_what_would_have_been_found() -> None:
    answers = varied(3)
    advice, numbers = advised(answers)
    (row,) = advice.to_dict("records")
    could = paired.comparisons(answers)["detectable_difference"].iloc[0]
    assert row["choice"] == recommendation.NEITHER
    assert 0.1 < could < recommendation.LARGEST_EXPECTED
    assert row["sentence"] == (
        f"**drawn: not settled.** 40 test questions of 40 groups, 3 trainings each: {numbers}. A "
        f"true difference of about {percent(could)} points is found in 4 of 5 such studies."
    )


def test_arms_that_are_level_are_neither_ahead_nor_behind() -> None:
    low = [1] * 20 + [0] * 20
    parts = [arm("low", "low", low), arm("native", "native", [0] * 6 + low[6:-6] + [1] * 6)]
    advice, numbers = advised(pd.concat(parts))
    assert "native is level with low;" in advice["sentence"].iloc[0]
    assert "native minus low 0.0 points" in numbers


def test_trained_models_come_before_untrained_ones_and_each_data_set_has_its_own() -> None:
    both = pd.concat([three(20, 36, 40), untrained(36, 20, 40)])
    other = untrained(36, 20, 40).assign(dataset="other")
    answers = pd.concat([both, other], ignore_index=True)
    advice = recommendation.table(grids.over_trainings(answers), paired.comparisons(answers))
    found = advice.set_index("dataset")[["of", "choice"]].to_numpy().tolist()
    assert found == [["trained", recommendation.NATIVE], ["none", recommendation.LOW]]
    assert recommendation.sentence(advice) == "\n".join(f"* {each}" for each in advice["sentence"])


def test_a_study_without_a_pair_to_choose_from_has_no_recommendation() -> None:
    parts = [arm("native", "native", first_right(30, 40)), arm("native", "low", [0] * 40)]
    answers = pd.concat(parts)
    for compared in (paired.comparisons(answers), paired.comparisons(parts[0])):
        advice = recommendation.table(grids.over_trainings(answers), compared)
        assert advice.empty
        assert list(advice.columns) == recommendation.COLUMNS
        assert recommendation.sentence(advice) == ""


def test_trainings_that_differ_much_ask_for_more_seeds() -> None:
    row = paired.comparisons(varied(3)).iloc[0].copy()
    row["detectable_difference"] = 0.89
    cell = {"accuracy": 0.5, "lower": 0.2, "upper": 0.8, "mean_visual_tokens": 4.0}
    arms = pd.Series(cell), pd.Series(cell)
    choice, said = recommendation._answer("drawn", "trained", arms, row, row)
    assert choice == recommendation.NEITHER
    assert said.endswith("differ too much for a likely difference to be found; train more seeds.")
    assert "89" not in said


@pytest.mark.parametrize("answers", [three(20, 36, 40), three(20, 21, 40), untrained(5, 35, 40)])
def test_a_recommendation_says_where_low_saves_nothing(answers: pd.DataFrame) -> None:
    answers = answers.assign(visual_tokens=256, image=answers["question_id"]).reset_index(drop=True)
    cells, compared = grids.over_trainings(answers), paired.comparisons(answers)
    without = recommendation.table(cells, compared)["sentence"].item()
    saved = saving.table(answers)
    said = recommendation.table(cells, compared, saved)["sentence"].item()
    assert said == f"{without} {saving.sentence(saved.iloc[0])}"
    assert said.endswith("(256 of 256 visual tokens): the comparison is of detail, not of cost.")
    cheaper = answers.assign(
        visual_tokens=answers["eval_resolution"].map({"low": 12, "native": 256})
    )
    cells = grids.over_trainings(cheaper)
    without = recommendation.table(cells, compared)
    saved = saving.table(cheaper)
    pd.testing.assert_frame_equal(recommendation.table(cells, compared, saved), without)
