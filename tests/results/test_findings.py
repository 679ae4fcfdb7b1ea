import pandas as pd
import pytest

from medres.published.claims import Claim
from medres.results import findings, grids, paired
from medres.results.numbers import points
from medres.statistics import groups
from tests.answer_tables import arm, first_right, trainings

BEATS = Claim("A", "native beats low", ("low", "low"), ("native", "native"), +1, "one")
NEAR = Claim("D", "low is near", ("native", "native"), ("low", "low"), +1, "one", margin=0.05)


def three_trainings(n_low: int, n_native: int) -> pd.DataFrame:
    return pd.concat(
        [
            trainings(name, name, *[first_right(n_right, 25)] * 3)
            for name, n_right in (("low", n_low), ("native", n_native))
        ]
    )


def test_sentences_take_their_numbers_from_the_table() -> None:
    answers = three_trainings(5, 25)
    table = paired.comparisons(answers, (BEATS, NEAR))
    said = findings.sentence(table)
    row = table.iloc[0]
    limits = f"{points(row['lower'])} to {points(row['upper'])}"
    assert said.splitlines()[0] == (
        f"* native beats low: **supported** on drawn (+80.0 points, 95 % confidence interval "
        f"{limits}, adjusted p < 0.001; covers questions and trainings)."
    )
    assert "* low is near: **contradicted** on drawn (−80.0 points" in said
    assert said.count("adjusted p") == 2
    assert "* native beats low: **supported on drawn**." in findings.summary(table)
    assert findings.describe_answers(answers) == (
        "150 answers in 6 cells, 3 training seeds. Unparsable answers, which count as wrong: 6."
    )
    one = answers[answers["seed"] == 0].assign(parsed_answer="yes")
    assert findings.describe_answers(one) == (
        "50 answers in 2 cells, one training seed. No answer was unparsable (those would count as "
        "wrong)."
    )


REPLIES = pd.DataFrame(
    {
        "eval_resolution": ["low", "low", "native", "native", "mixed", "native"],
        "generated_reply": ["yes", "", "no", None, "", "a nodule in the"],
        "reasoning": [None, "It is", "So.", None, "It is", None],
        "reply_tokens": [2, 1024, 40, 0, 1024, 1024],
        "is_cut": [False, True, False, False, True, True],
    }
)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([0, 2, 3], ""),
        (
            [0, 2, 5],
            " 1 of 3 generated replies were cut off at max_new_tokens = 1,024 before their end.",
        ),
        (
            [0, 1, 2, 3, 4, 5],
            " 2 of 4 generated replies were cut off at max_new_tokens = 1,024 before their end, 1 "
            "of them inside their reasoning, so that they have no answer.",
        ),
        ([4], ""),
    ],
)
def test_replies_that_were_cut_off_are_counted(rows: list[int], expected: str) -> None:
    assert findings.cut_off(REPLIES.iloc[rows]) == expected


def test_answers_from_before_replies_were_recorded_are_not_said_to_be_whole_or_cut() -> None:
    assert findings.cut_off(REPLIES.drop(columns=["is_cut", "reply_tokens"])) == ""
    partly = pd.concat([REPLIES.iloc[:2], REPLIES.iloc[2:3].drop(columns="is_cut")])
    assert findings.cut_off(partly).startswith(" 1 of 3 generated replies")


def test_a_sentence_says_why_nothing_is_decided() -> None:
    answers = three_trainings(5, 25)
    one = answers[answers["seed"] == 0]
    assert findings.sentence(paired.comparisons(one, (BEATS,))).endswith(
        "adjusted p < 0.001; covers questions, for these weights; a single training; another may "
        "come out differently)."
    )
    few = paired.comparisons(answers.assign(group="one"), (BEATS,))
    assert findings.sentence(few) == (
        "* native beats low: **too few groups to decide** on drawn (+80.0 points, 95 % confidence "
        "interval – to –, adjusted p 1.000; covers questions and trainings; "
        f"{groups.shortage([25])})."
    )


def test_several_models_are_named_behind_the_data_set() -> None:
    one = three_trainings(5, 25)
    both = pd.concat([one, one.assign(model="large", correct=True)])
    table = paired.comparisons(both, (BEATS,))
    assert findings.summary(table) == (
        "* native beats low: **supported on drawn (tiny); not decided on drawn (large)**."
    )
    assert "not decided** on drawn (large) (0.0 points" in findings.sentence(table)
    assert paired.labelled(table)["dataset"].tolist() == ["drawn (tiny)", "drawn (large)"]


def test_cells_are_said_with_their_interval() -> None:
    grid = grids.grid(pd.concat([arm("low", "low", first_right(13, 16))]))
    row = grid.iloc[0]
    limits = f"{100 * row['lower']:.1f} to {100 * row['upper']:.1f} %"
    assert findings.describe_cells(grid) == f"**81.3 %** at low ({limits})"
