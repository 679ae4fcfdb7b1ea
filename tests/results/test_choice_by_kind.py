"""Kinds of questions that need different sizes, and those that are not shown to."""

import numpy as np
import pandas as pd
import pytest

from medres.results import choice, choice_by_kind
from tests.answer_tables import first_right
from tests.ladders import answers

N = 200
IN_WORDS = {"low": "low, at most 784 pixels"}
HEART_AND_NODULES = {"heart?": (150, 150), "nodules?": (20, 180)}
"""Right answers at low and at native: low does for hearts, and loses 80 points for nodules."""
ALIKE = {"heart?": (150, 150), "nodules?": (150, 150)}


def table(rights, *, by="question", n_groups=N, **of_arm) -> pd.DataFrame:
    """Return answers at low and native, each kind of question asked N times."""
    names = np.repeat(list(rights), N)
    groups = [f"group-{index % n_groups}" for index in range(len(names))]
    found = answers(
        {
            rung: np.concatenate([first_right(right[at], N) for right in rights.values()])
            for at, rung in enumerate(("low", "native"))
        },
        **of_arm,
    )
    tiled = {by: np.tile(names, 2), "group": np.tile(groups, 2)}
    return found.assign(**{"question": "same?", "modality": "CT", **tiled})


def found(answered: pd.DataFrame, *, margin=0.05) -> pd.DataFrame:
    return choice_by_kind.table(choice.ladders(answered), margin=margin)


def test_kinds_of_opposite_needs_are_said():
    rows = found(table(HEART_AND_NODULES))
    assert rows[["by", "part", "chosen"]].to_numpy().tolist() == [
        ["question", "heart?", "low"],
        ["question", "nodules?", "native"],
    ]
    assert rows["disagrees"].tolist() == [True, True]
    assert rows[["n_questions", "n_groups"]].to_numpy().tolist() == [[N, N]] * 2
    assert (rows["excluded_loss"] <= 0.05).all()
    low, native = (f"{100 * each:.1f}" for each in rows["excluded_loss"])
    assert choice_by_kind.sentence(rows, IN_WORDS) == (
        "* drawn: kinds of questions need different sizes: for heart? low, at most 784 pixels "
        f"(loses at most {low} points); for nodules? native (loses at most {native} points)."
    )


def test_modalities_are_called_so_and_trainings_named():
    rights = dict(zip(("CT", "MRI"), HEART_AND_NODULES.values(), strict=True))
    rows = found(table(rights, by="modality", trained="mixed"))
    said = choice_by_kind.sentence(rows, {})
    assert said.startswith("* drawn, trained mixed: modalities need different sizes: for CT low (")


@pytest.mark.parametrize(
    "rights",
    [
        pytest.param(ALIKE, id="low does for both"),
        pytest.param({"heart?": (20, 180), "nodules?": (20, 180)}, id="low does for neither"),
        # Low is neither shown to be enough for nodules nor shown not to be.
        pytest.param({"heart?": (150, 150), "nodules?": (140, 152)}, id="not settled"),
    ],
)
def test_kinds_that_are_not_shown_to_disagree_give_no_sentence(rights):
    rows = found(table(rights))
    assert len(rows) == 2
    assert not rows["disagrees"].any()
    assert choice_by_kind.sentence(rows, IN_WORDS) == ""


def test_kinds_whose_questions_cannot_tell_choose_nothing():
    # Each size is right where the other is wrong: level, and either may be far better.
    answered = table({"heart?": (150, 150), "nodules?": (100, 100)})
    is_open = answered["question"].eq("nodules?") & answered["eval_resolution"].eq("native")
    answered.loc[is_open, "correct"] = ~answered.loc[is_open, "correct"]
    rows = found(answered).set_index("part")
    assert rows.loc["nodules?", "chosen"] == ""
    assert np.isnan(rows.loc["nodules?", "excluded_loss"])
    assert rows.loc["heart?", "chosen"] == "low"


def test_bounds_hold_together_for_all_kinds():
    """Beside another kind, a bound is wider than that of the kind alone."""
    answered = table(ALIKE)
    rows = found(answered).set_index("part")
    (alone,) = choice.ladders(answered[answered["question"] == "heart?"])
    single = choice.choose(alone, margin=0.05).losses[0].excluded
    double = choice.choose(alone, margin=0.05, level=0.975).losses[0].excluded
    assert single < rows.loc["heart?", "excluded_loss"]
    assert rows.loc["heart?", "excluded_loss"] == pytest.approx(double)


def test_kinds_of_too_few_groups_are_left_out():
    answered = table({**HEART_AND_NODULES, "hilum?": (100, 100)})
    is_few = answered["question"] == "hilum?"
    answered.loc[is_few, "group"] = [f"few-{index % 5}" for index in range(int(is_few.sum()))]
    assert found(answered)["part"].tolist() == ["heart?", "nodules?"]
    answered.loc[answered["question"] == "heart?", "group"] = "one"
    assert found(answered).empty


def test_questions_that_do_not_repeat_are_no_kinds():
    answered = table(ALIKE).assign(question=lambda rows: rows["question_id"])
    assert found(answered).empty
    assert list(found(answered)) == choice_by_kind.COLUMNS
    assert choice_by_kind.sentence(found(answered), {}) == ""


def test_one_rung_has_no_kinds():
    answered = table(HEART_AND_NODULES)
    assert found(answered[answered["eval_resolution"] == "low"]).empty


def test_a_kind_is_text_and_no_markup():
    rights = dict(zip(("a *b*?", "[c](d)?"), HEART_AND_NODULES.values(), strict=True))
    said = choice_by_kind.sentence(found(table(rights)), {})
    assert r"a \*b\*?" in said
    assert r"\[c\](d)?" in said or r"\[c\]\(d\)?" in said


def test_models_are_named_where_there_are_several():
    both = pd.concat([table(HEART_AND_NODULES).assign(model=name) for name in ("one", "two")])
    lines = choice_by_kind.sentence(found(both), {}).split("\n")
    assert [line.split(":")[0] for line in lines] == ["* drawn (one)", "* drawn (two)"]
