"""Kinds of questions of which one cannot tell what suffices, only what does not."""

import numpy as np
import pandas as pd
import pytest

from medres.results import choice, choice_by_kind
from tests.answer_tables import arm, first_right

HEART, NODULES = "is the heart enlarged?", "are there nodules?"


def at(name, right, *, tokens):
    """Return answers to both kinds of questions, each kind once in every group."""
    n = len(right) // 2
    return arm("none", name, right).assign(
        question=np.repeat([HEART, NODULES], n),
        group=[f"group-{index % n}" for index in range(2 * n)],
        image=[f"{index % n}.png" for index in range(2 * n)],
        given_width_px=28 * tokens, given_height_px=28, resampling="", visual_tokens=tokens,
    )  # fmt: skip


def found(nodules_low, nodules_native, *, heart=(96, 96), n=100):
    """Return the table of kinds; right answers of n, lost and gained at different questions."""
    low = [*first_right(heart[0], n), *first_right(nodules_low, n)]
    # Native is right on the last questions, low on the first: they differ on many.
    native = [*first_right(heart[1], n), *first_right(nodules_native, n)[::-1]]
    answers = pd.concat([at("low", low, tokens=4), at("native", native, tokens=36)])
    return choice_by_kind.table(choice.ladders(answers.reset_index(drop=True)), margin=0.05)


def test_a_kind_for_which_nothing_is_shown_to_suffice_is_not_left_out():
    table = found(20, 75)
    of = table.set_index("part")
    assert of.loc[HEART, "chosen"] == "low"
    assert of.loc[NODULES, "loses_more"] == "low"
    said = choice_by_kind.sentence(table, {"low": "64 x 64"})
    assert f"for {HEART} 64 x 64 (loses at most" in said
    assert f"for {NODULES} native (loses at most" in said
    undecided = table.assign(chosen=["low", ""], excluded_loss=[0.03, np.nan])
    said = choice_by_kind.sentence(undecided, {})
    assert f"for {NODULES} not low, which loses more, and no size is shown to suffice." in said


@pytest.mark.parametrize("counts", [(96, 96), (95, 97)])
def test_kinds_that_agree_are_not_said(counts):
    assert choice_by_kind.sentence(found(*counts), {}) == ""
