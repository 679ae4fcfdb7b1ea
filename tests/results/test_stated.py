import numpy as np
import pandas as pd
import pytest

from medres.results import stated
from tests.answer_tables import arm


def with_options(table: pd.DataFrame, confidence: float = 0.8) -> pd.DataFrame:
    """Return answers to yes/no questions that state a confidence; right ones answer yes."""
    sure = list(np.log([confidence, 1 - confidence]))
    return table.assign(
        options=[["yes", "no"]] * len(table),
        reference=["yes" if correct else "no" for correct in table["correct"]],
        option_log_probabilities=[sure] * len(table),
    )


def test_an_arm_holds_one_row_per_training() -> None:
    answers = pd.concat(
        [
            with_options(arm("native", "low", [1, 0, 1], seed=1), 0.9),
            with_options(arm("native", "low", [0, 1, 1], seed=0)),
            with_options(arm("low", "low", [1, 1])),
        ]
    )
    low, native = stated.arms(answers)
    assert low.key["train_resolution"] == "low"
    assert native.seeds == [0, 1]
    assert native.correct.tolist() == [[0, 1, 1], [1, 0, 1]]
    sure = [stated.confidence(each) for each in native.log_probabilities]
    assert np.array(sure) == pytest.approx(np.array([[0.8] * 3, [0.9] * 3]))
    assert native.groups.tolist() == ["group-0", "group-1", "group-2"]


def test_fewer_options_have_no_probability_for_the_others() -> None:
    answers = with_options(arm("low", "low", [1, 0]))
    answers["options"] = [["yes", "no"], ["yes", "no", "unclear"]]
    answers["option_log_probabilities"] = [[-1.0, -1.0], [-1.0, -1.0, -1.0]]
    (found,) = stated.arms(answers)
    assert found.right.tolist() == [0, 1]
    assert stated.confidence(found.log_probabilities[0]) == pytest.approx([1 / 2, 1 / 3])


def test_what_has_no_stated_confidence_is_counted_and_left_out() -> None:
    answers = with_options(arm("low", "low", [1, 0, 1, 1, 1, 0]))
    answers["options"] = [[], ["yes"], *[["yes", "no"]] * 4]
    values = answers["option_log_probabilities"].tolist()
    values[:4] = [[], [-1.0], None, [-1.0, np.nan]]
    answers["option_log_probabilities"] = values
    (found,) = stated.arms(answers)
    assert found.n_left_out == 4
    assert found.correct.shape == (1, 2)
    said = stated.describe(answers)
    assert "2 of 6 answers (33.3 %)" in said
    assert "2 scored without log-probabilities" in said
    assert "1 to open questions" in said
    assert "1 with a single option" in said


def test_a_question_that_one_training_did_not_score_is_left_out_of_all() -> None:
    first, second = (with_options(arm("low", "low", [1, 0, 1], seed=seed)) for seed in (0, 1))
    second["option_log_probabilities"] = [None, *second["option_log_probabilities"][1:]]
    (found,) = stated.arms(pd.concat([first, second]))
    assert (found.correct.shape, found.n_left_out) == ((2, 2), 1)


def test_trainings_that_answered_different_questions_are_refused() -> None:
    answers = pd.concat(
        [with_options(arm("low", "low", [1] * n, seed=seed)) for seed, n in ((0, 3), (1, 2))]
    )
    with pytest.raises(ValueError, match="different questions"):
        list(stated.arms(answers))


def test_open_questions_alone_give_no_arm() -> None:
    answers = with_options(arm("low", "low", [1, 0])).assign(options=[[], []])
    assert list(stated.arms(answers)) == []
    assert "0 of 2 answers" in stated.describe(answers)
