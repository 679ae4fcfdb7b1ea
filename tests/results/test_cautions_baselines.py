"""What is reached without looking, with and without training questions and blank images."""

from pathlib import Path

import pandas as pd
import pytest

from medres.datasets import QuestionSet
from medres.report import figures
from medres.results import cautions, choice, choice_tables
from tests.answer_tables import arm, first_right


def answers(*, has_blank):
    """Return ten answers at two sizes; the reference is yes in eight groups and no in two."""
    parts = [
        arm("none", name, first_right(right, 10)).assign(
            question="is it there?", reference=["yes"] * 8 + ["no"] * 2, split="test",
            image=[f"{index}.png" for index in range(10)], resampling="",
            given_width_px=28 * tokens, given_height_px=28, visual_tokens=tokens,
        )
        for name, tokens, right in (("low", 4, 9), ("native", 36, 9), ("blank", 36, 5))
        if has_blank or name != "blank"
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def questions(table, *, has_train):
    asked = table.drop_duplicates("question_id")
    train = asked.assign(split="train", question_id="train-" + asked["question_id"])
    every = pd.concat([asked, train], ignore_index=True) if has_train else asked
    return {"drawn": QuestionSet("drawn", every.reset_index(drop=True), Path(), fingerprint="")}


@pytest.mark.parametrize("has_train", [True, False])
@pytest.mark.parametrize("has_blank", [True, False])
def test_every_study_has_its_baselines_and_figure(has_train, has_blank):
    table = answers(has_blank=has_blank)
    found = cautions.without_looking(table, questions(table, has_train=has_train))
    of = found.set_index("baseline")["accuracy"]
    # Yes is the commonest answer, also among the other nine groups.
    assert of["majority answer"] == pytest.approx(0.8)
    assert ("blank image" in of.index) == has_blank
    ladders = [(each, choice.choose(each, margin=0.05)) for each in choice.ladders(table)]
    figures.ladder(choice_tables.by_rung(ladders, table), found, margin=0.05)


def test_a_question_that_no_other_group_has_is_not_known():
    table = answers(has_blank=True)
    table["question"] = table["question_id"]
    found = cautions.without_looking(table, questions(table, has_train=False))
    majority = found[found["baseline"] == "majority answer"]
    assert majority.empty
