"""Kinds of questions that need different sizes."""

import numpy as np
import pandas as pd
import pytest

from medres.results import choice, choice_by_kind, ladder
from tests import ladder_tables
from tests.answer_tables import first_right

HEART, NODULES = "is the heart enlarged?", "are there nodules?"


def divided(heart, nodules, *, n=100, by="question", kinds=(HEART, NODULES)):
    """Return answers to two kinds of questions; rights are counts by eval resolution."""
    parts = []
    for name in heart:
        right = [*first_right(heart[name], n), *first_right(nodules[name], n)]
        part = ladder_tables.at(name, right)
        groups = [f"group-{index % n}" for index in range(2 * n)]
        parts.append(part.assign(**{by: np.repeat(kinds, n)}, group=groups))
    return pd.concat(parts, ignore_index=True)


def found(answers, margin=0.05):
    asked, _ = ladder.rungs(answers)
    rungs = ladder.table(asked, margin=margin)
    table = choice_by_kind.table(asked, rungs, margin=margin)
    return table, choice_by_kind.sentence(table, choice.table(rungs, margin=margin))


FLAT = {"low": 95, "native": 95}


def test_a_kind_that_loses_where_another_does_not_is_said():
    table, said = found(divided(FLAT, {"low": 40, "native": 95}))
    of = table[table["by"] == "question"].set_index("part")
    assert of.loc[HEART, "chosen"] == "low"
    assert of.loc[NODULES, "chosen"] == "native"
    assert of.loc[NODULES, "loses_more"] == "low"
    assert of["disagree"].all()
    assert said.startswith("* **Kinds of questions differ**: ")
    assert f"for *{HEART}* low suffices" in said
    assert f"for *{NODULES}* native suffices" in said
    assert "low loses too much" in said


def test_kinds_that_lose_alike_are_not_said_to_differ():
    for counts in (FLAT, {"low": 40, "native": 95}):
        table, said = found(divided(counts, counts))
        assert not table["disagree"].any()
        assert "no kind is shown to need another size" in said


def test_a_loss_that_is_not_shown_divides_nothing():
    table, said = found(divided(FLAT, {"low": 90, "native": 95}))
    assert not table["disagree"].any()
    assert "no kind" in said


@pytest.mark.parametrize("by", ["modality", "answer_type"])
def test_other_divisions_are_tried_too(by):
    answers = divided(FLAT, {"low": 40, "native": 95}, by=by, kinds=("CT", "MRI"))
    table, said = found(answers.assign(question="what?"))
    assert set(table["by"]) == {by}
    assert "for *MRI* native suffices" in said


def test_bounds_hold_for_all_kinds_together():
    """Two of 100 lost: within 5.5 points alone (5 % on one side), but not beside another kind."""
    rights = {"low": 98, "native": 100}
    together, _ = found(divided(rights, rights), margin=0.055)
    alone, _ = ladder.rungs(divided(rights, rights).query("question == @HEART"))
    assert ladder.table(alone, margin=0.055)["is_chosen"].tolist() == [False, True] or (
        ladder.table(alone, margin=0.055)["excluded_loss"].iloc[0] < together["excluded_loss"].max()
    )


def test_a_kind_with_too_few_groups_is_left_out():
    answers = divided(FLAT, {"low": 40, "native": 95})
    few = answers["question"].eq(NODULES) & ~answers["question_id"].str[-1].eq("7")
    group = answers["group"].where(~answers["question"].eq(NODULES), "one")
    table, said = found(answers[~few].assign(group=group))
    assert table.empty
    assert said == ""


def test_one_size_has_no_kinds():
    table, said = found(divided({"native": 95}, {"native": 40}))
    assert table.empty
    assert said == ""
