from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medres.datasets import QuestionSet
from medres.results import learning
from tests.answer_tables import arm

N = 109
REFERENCES = ["yes"] * 59 + ["no"] * 50
"""54.1 % yes, as in the blood smears that every arm answered with yes."""


def question_set(
    references: list[str], *, texts: list[str] | None = None, dataset: str = "drawn"
) -> dict[str, QuestionSet]:
    """Return a data set of closed questions; what is asked in training is asked in the test."""
    number = np.arange(len(references))
    test = pd.DataFrame(
        {
            "question_id": [f"{dataset}-{index:03d}" for index in number],
            "question": texts or ["is it ill?"] * len(number),
            "reference": references,
            "options": [sorted(set(references))] * len(number),
            "split": "test",
            "dataset": dataset,
        }
    )
    train = test.assign(split="train", question_id=[f"train-{index}" for index in number])
    return {dataset: QuestionSet(dataset, pd.concat([train, test]), Path(), "")}


def answered(
    train_resolution: str,
    eval_resolution: str,
    replies: list[str],
    references: list[str] = REFERENCES,
    *,
    seed: int = 0,
    per_group: int = 1,
) -> pd.DataFrame:
    """Return one arm's answers, right where they equal the reference."""
    correct = [reply == reference for reply, reference in zip(replies, references, strict=True)]
    table = arm(train_resolution, eval_resolution, correct, seed=seed, per_group=per_group)
    return table.assign(parsed_answer=replies)


def study_that_says(replies: list[str]) -> pd.DataFrame:
    """Return answers of every training of a study, and of no training, all with the same reply."""
    trainings = ("none", "low", "native", "mixed")
    asked = ("low", "native", "mixed", "blank")
    return pd.concat([answered(each, at, replies) for each in trainings for at in asked])


def mistaken(n_wrong: int) -> list[str]:
    """Return the references with every so many replies the wrong one."""
    wrong = set(np.linspace(0, N - 1, n_wrong).round().astype(int).tolist())
    other = {"yes": "no", "no": "yes"}
    return [other[each] if index in wrong else each for index, each in enumerate(REFERENCES)]


def test_a_study_that_answers_everything_with_yes_has_learnt_nothing_and_says_so() -> None:
    found = learning.signs(study_that_says(["yes"] * N), question_set(REFERENCES))
    assert found["train_resolution"].tolist() == ["low", "native", "mixed"]
    assert set(found["verdict"]) == {learning.NOTHING}
    assert set(found["constant"]) == {'one answer, "yes", to 109 of 109 questions'}
    assert found["accuracy"].tolist() == found["accuracy_majority"].tolist() == [59 / 109] * 3
    said = learning.warning(found)
    assert said.startswith(
        "**Training at low and at native and at mixed resolution has learnt nothing from the images"
    )
    assert "`epochs`" in said
    assert "pretrained model" in said
    assert said.endswith("\n\n"), "what follows must begin a paragraph of its own"


def test_a_study_that_has_learnt_is_not_warned_of() -> None:
    learnt = [
        pd.concat([answered(each, each, mistaken(20)), answered(each, "blank", ["yes"] * N)])
        for each in ("low", "native")
    ]
    found = learning.signs(pd.concat(learnt), question_set(REFERENCES))
    assert set(found["verdict"]) == {learning.LEARNT}
    assert set(found["sign"]) == {""}
    assert learning.warning(found) == ""


@pytest.mark.parametrize("trained", ["low-lanczos", "scale-0.5", "native-then-scale-0.5"])
def test_a_training_is_judged_at_what_it_was_at_in_the_end(trained: str) -> None:
    at = trained.removeprefix("native-then-")
    parts = [answered(trained, "native", ["yes"] * N), answered(trained, at, mistaken(20))]
    parts.append(answered(trained, "blank", ["yes"] * N))
    (row,) = learning.signs(pd.concat(parts), question_set(REFERENCES)).itertuples()
    assert (row.eval_resolution, row.verdict) == (at, learning.LEARNT)


def test_a_model_without_training_is_never_accused() -> None:
    answers = pd.concat([answered("none", at, ["yes"] * N) for at in ("low", "native", "blank")])
    found = learning.signs(answers, question_set(REFERENCES))
    assert found.empty
    assert list(found.columns) == learning.COLUMNS
    assert learning.warning(found) == ""


def test_one_answer_to_each_question_text_is_constant_too() -> None:
    texts = ["is it ill?", "is it large?"] * 55
    references = ["yes", "no", "yes", "yes", "no", "no", "yes", "no", "yes", "no"] * 11
    replies = ["yes", "no"] * 55
    known = question_set(references, texts=texts)
    found = learning.signs(answered("low", "low", replies, references), known)
    assert "one answer to each kind of question" in found["constant"].iloc[0]
    # One text answered by looking is enough not to be constant.
    seen = [
        reference if text == texts[0] else reply
        for reference, text, reply in zip(references, texts, replies, strict=True)
    ]
    found = learning.signs(answered("low", "low", seen, references), known)
    assert found["constant"].iloc[0] == ""


def test_texts_that_are_never_repeated_are_judged_by_their_options() -> None:
    known = question_set(REFERENCES, texts=[f"text {number}" for number in range(N)])
    found = learning.signs(answered("low", "low", ["yes"] * N), known)
    assert found["constant"].iloc[0] == 'one answer, "yes", to 109 of 109 questions'


def test_one_answer_where_almost_all_references_are_the_same_accuses_nobody() -> None:
    references = ["no"] * 26 + ["yes"] * 4
    answers = answered("low", "low", ["no"] * 30, references)
    found = learning.signs(answers, question_set(references)).iloc[0]
    assert (found["constant"], found["verdict"]) == ("", learning.UNKNOWN)


def test_with_few_questions_it_cannot_be_told_and_nobody_is_accused() -> None:
    references = ["yes", "no"] * 10
    replies = ["yes", "no", "yes", "no", "yes", "yes", "no", "no", "yes", "yes"] * 2
    blank = answered("low", "blank", ["yes"] * 20, references, per_group=1)
    answers = pd.concat([answered("low", "low", replies, references), blank])
    found = learning.signs(answers, question_set(references))
    assert found["verdict"].iloc[0] == learning.UNKNOWN
    assert (
        "70.0% right; not shown to be better than the majority answer (50.0%"
        in (found["sign"].iloc[0])
    )
    said = learning.warning(found)
    assert "cannot be shown to have learnt anything from the images, nor to have learnt" in said
    assert "has learnt nothing" not in said
    assert "More test groups would tell." in said


def test_with_four_groups_no_limit_is_given() -> None:
    references = ["yes", "no"] * 20
    answers = answered("low", "low", references, references, per_group=10)
    found = learning.signs(answers, question_set(references)).iloc[0]
    assert found["accuracy"] == 1
    assert found["verdict"] == learning.UNKNOWN
    assert np.isnan(found["lower_over_majority"])


def random_replies(n: int, *, seed: int) -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(seed)
    references, replies = (rng.permutation(["yes", "no"] * (n // 2)).tolist() for _ in range(2))
    return references, replies


def test_guessing_that_varies_is_no_better_than_the_majority_answer_and_a_blank_image() -> None:
    references, replies = random_replies(4000, seed=1)
    blank = random_replies(4000, seed=2)[1]
    answers = pd.concat(
        [answered("low", "low", replies, references), answered("low", "blank", blank, references)]
    )
    found = learning.signs(answers, question_set(references)).iloc[0]
    assert (found["verdict"], found["constant"]) == (learning.NOTHING, "")
    assert "no better than the majority answer" in found["sign"]
    assert "no better than a blank image" in found["sign"]


def test_the_limits_of_single_questions_are_those_of_a_mean() -> None:
    """Of independent gains: mean and 1.645 standard errors, the degrees of freedom being many."""
    references, replies = random_replies(4000, seed=1)
    found = learning.signs(answered("low", "low", replies, references), question_set(references))
    gains = np.array(replies) == np.array(references)
    gains = gains.astype(float) - (np.array(references) == "no")
    half = 1.645 * gains.std(ddof=1) / 4000**0.5
    row = found.iloc[0]
    assert row["over_majority"] == pytest.approx(gains.mean())
    assert row["lower_over_majority"] == pytest.approx(gains.mean() - half, abs=1e-4)
    assert row["upper_over_majority"] == pytest.approx(gains.mean() + half, abs=1e-4)


def test_what_is_right_on_blank_images_too_is_no_better_on_images() -> None:
    """Say the size of the image gives the answer away."""
    answers = pd.concat(
        [answered("low", "low", mistaken(10)), answered("low", "blank", mistaken(10))]
    )
    known = question_set(REFERENCES)
    found = learning.signs(answers, known).iloc[0]
    assert found["lower_over_majority"] > 0
    assert found["verdict"] == learning.BLIND
    assert "is no better on images than on blank ones" in learning.warning(
        learning.signs(answers, known)
    )


def test_a_rare_finding_that_is_seen_is_not_nothing_though_accuracy_hides_it() -> None:
    """2,000 questions, 5 % yes: 80 of 100 found, 95 false alarms: 94.2 % right against 95 %."""
    references = ["yes"] * 100 + ["no"] * 1900
    replies = ["yes"] * 80 + ["no"] * 20 + ["yes"] * 95 + ["no"] * 1805
    answers = pd.concat(
        [
            answered("low", "low", replies, references),
            answered("low", "blank", ["yes"] * 1000 + ["no"] * 1000, references),
        ]
    )
    found = learning.signs(answers, question_set(references)).iloc[0]
    assert found["accuracy"] == 0.9425 < found["accuracy_majority"] == 0.95
    # By hand: 0.05 x 175 / 2000 + 0.95 x 1825 / 2000.
    assert found["accuracy_shuffled"] == pytest.approx(0.87125)
    assert found["verdict"] == learning.MAJORITY


def test_a_loss_that_stays_accuses_unless_the_answers_show_otherwise() -> None:
    reason = {("drawn", "tiny", "low", 0): "the loss did not fall"}
    known, blank = question_set(REFERENCES), answered("low", "blank", ["yes"] * N)
    doubtful = mistaken(42)  # 61.5 % right
    answers = pd.concat([answered("low", "low", doubtful), blank])
    assert learning.signs(answers, known)["verdict"].iloc[0] == learning.UNKNOWN
    found = learning.signs(answers, known, reason)
    assert found["verdict"].iloc[0] == learning.UNKNOWN, "its answers follow the references"
    guessed = ["yes", "no", "yes", "yes", "yes"] * 21 + ["no"] * 4
    answers = pd.concat([answered("low", "low", guessed), blank])
    found = learning.signs(answers, known, reason)
    assert found["verdict"].iloc[0] == learning.NOTHING
    assert found["sign"].iloc[0].endswith("the loss did not fall")
    shown = pd.concat([answered("low", "low", mistaken(10)), blank])
    assert learning.signs(shown, known, reason)["verdict"].iloc[0] == learning.LEARNT


def test_the_training_with_the_plainest_sign_is_the_example() -> None:
    guessed = random_replies(4000, seed=1)
    answers = pd.concat(
        [
            answered("native", "native", guessed[1], guessed[0]),
            answered("native", "blank", random_replies(4000, seed=2)[1], guessed[0]),
            answered("low", "low", ["no"] * 4000, guessed[0]),
        ]
    )
    said = learning.warning(learning.signs(answers, question_set(guessed[0])))
    assert said.startswith("**Training at native and at low resolution has learnt nothing")
    assert '; low: one answer, "no", to 4,000 of 4,000 questions' in said


def test_seeds_are_named_where_there_are_several() -> None:
    answers = pd.concat(
        [
            answered("low", "low", ["yes"] * N),
            answered("low", "low", mistaken(10), seed=1),
            answered("low", "blank", ["yes"] * N, seed=1),
        ]
    )
    said = learning.warning(learning.signs(answers, question_set(REFERENCES)))
    assert said.startswith("**Training at low (seed 0) resolution has learnt nothing")
    assert "seed 1" not in said


def test_the_warning_of_the_csv_is_that_of_the_table(tmp_path: Path) -> None:
    found = learning.signs(study_that_says(["yes"] * N), question_set(REFERENCES))
    found.to_csv(tmp_path / "learning.csv", index=False, float_format="%.6g")
    again = pd.read_csv(tmp_path / "learning.csv", keep_default_na=False)
    assert learning.warning(again) == learning.warning(found)
